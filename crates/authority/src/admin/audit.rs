//! The journal, searched by its index and proven by itself.

use std::collections::BTreeMap;

use attorn_audit::note::NoteVerifier;
use attorn_audit::trace::{Key, Located, Term, leads_to};
use attorn_audit::{Entry, Kind};
use attorn_registry::Snapshot;
use attorn_store::index::{Filter, HITS_MAX};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::context::Context;
use super::list::List;
use super::refusal::{Missing, Refusal};
use crate::search::Search;
use crate::shared::Shared;

/// One entry with its place in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryView {
    /// Place in the log.
    index: u64,
    /// The members of the entry.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    entry: Map<String, Value>,
}

/// An entry that was found.
#[derive(Debug)]
struct Hit {
    index: u64,
    entry: Entry,
}

/// Which entries. Every part that is given must hold.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryFilter {
    /// Name or identifier.
    agent: Option<String>,
    /// Whom it is about: name or identifier.
    person: Option<String>,
    /// Name or identifier.
    server: Option<String>,
    tool: Option<String>,
    /// Such as `call.decided`.
    kind: Option<String>,
    /// `permit` or `deny`.
    decision: Option<String>,
    /// A reason code.
    reason: Option<String>,
    decision_id: Option<String>,
    trace_id: Option<String>,
    token_jti: Option<String>,
    approval: Option<String>,
    /// The name that an API gave a request.
    downstream_request_id: Option<String>,
    /// A token that was got by exchange.
    exchanged_jti: Option<String>,
    /// Only these places, for an export; then nothing else counts.
    #[serde(default)]
    indices: Vec<u64>,
    /// Only entries from this place on.
    #[schema(value_type = Option<u64>)]
    from_index: Option<Count>,
    /// Only entries before this place.
    #[schema(value_type = Option<u64>)]
    before_index: Option<Count>,
    /// At most so many, newest first.
    #[schema(value_type = Option<u64>)]
    limit: Option<Count>,
}

/// What a chain is looked up by.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceFilter {
    /// Without it the form of the identifier says.
    by: Option<By>,
}

/// What an identifier names.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    Agent,
    Approval,
    Decision,
    DownstreamRequest,
    Exchanged,
    Issued,
    Person,
    Token,
    Trace,
    UntracedExchange,
}

impl By {
    const fn key(self) -> Key {
        match self {
            Self::Agent => Key::Agent,
            Self::Approval => Key::Approval,
            Self::Decision => Key::Decision,
            Self::DownstreamRequest => Key::DownstreamRequest,
            Self::Exchanged => Key::Exchanged,
            Self::Issued => Key::Issued,
            Self::Person => Key::Subject,
            Self::Token => Key::Token,
            Self::Trace => Key::Trace,
            Self::UntracedExchange => Key::UntracedExchange,
        }
    }
}

/// The entries of one chain, in the order of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Chain {
    items: Vec<EntryView>,
    /// The origin of the log they are from.
    log: String,
    /// Entries before this place were removed by retention: what is not here may have been there.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_before: Option<u64>,
}

/// A number, in a query as text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Count {
    Number(u64),
    Text(#[serde(deserialize_with = "number")] u64),
}

/// A bundle that anyone can verify offline.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Bundle(Box<RawValue>);

// By hand: its form belongs to the log, not to this API.
impl PartialSchema for Bundle {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().into()
    }
}

impl ToSchema for Bundle {}

/// The newest signed checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointView {
    size: u64,
    /// The signed note: C2SP tlog-checkpoint.
    note: String,
    /// The signed note about the entries that retention removed, if it removed any.
    tombstone: Option<String>,
    /// The newest one that witnesses cosigned: C2SP tlog-cosignature. Absent without witnesses.
    #[serde(skip_serializing_if = "Option::is_none")]
    cosigned_note: Option<String>,
    /// The keys that verify it: C2SP signed-note. The first one signs now.
    keys: Vec<String>,
}

pub(crate) async fn search(
    context: Context,
    filter: EntryFilter,
) -> Result<List<EntryView>, Refusal> {
    let mut hits = find(&context.shared, &context.snapshot, filter).await?;
    hits.reverse();
    Ok(listed(&context, &hits))
}

pub(crate) async fn show(context: Context) -> Result<EntryView, Refusal> {
    let index = place(&context)?;
    let mut found = context.shared.journal.read_at(vec![index]).await?;
    let found = found.pop().ok_or(Refusal::Missing(Missing::Entry))?;
    Ok(EntryView::of(&Hit::parse(found)?))
}

/// The proof of one entry is a bundle of one entry: it needs nothing else to be verified.
pub(crate) async fn proof(context: Context) -> Result<Bundle, Refusal> {
    let index = place(&context)?;
    bundle(&context, &[index]).await
}

pub(crate) async fn export(context: Context, filter: EntryFilter) -> Result<Bundle, Refusal> {
    if !filter.indices.is_empty() {
        let mut indices = filter.indices;
        indices.sort_unstable();
        indices.dedup();
        return bundle(&context, &indices).await;
    }
    let found = filter.resolve(&context.snapshot).run(&context.shared).await?;
    let indices: Vec<u64> = found.into_iter().map(|(index, _)| index).rev().collect();
    bundle(&context, &indices).await
}

pub(crate) async fn checkpoint(context: Context) -> Result<CheckpointView, Refusal> {
    let signed = context.shared.journal.checkpoint();
    Ok(CheckpointView {
        size: signed.checkpoint.size,
        note: signed.note.to_string(),
        tombstone: context.shared.journal.tombstone().map(|signed| signed.note.to_string()),
        cosigned_note: context.shared.journal.cosigned().map(|signed| signed.note.to_string()),
        keys: context.shared.journal.keys().iter().map(NoteVerifier::to_vkey).collect(),
    })
}

/// Everything that belongs to one name, from issuance to outcome, as far as this log has it.
pub(crate) async fn trace(context: Context, asked: TraceFilter) -> Result<Chain, Refusal> {
    let id = context.segment("trace").to_owned();
    let wanted = match asked.by {
        Some(by) => Term::new(by.key(), id),
        None => Term::guess(&id),
    };
    let hits = chain(&context.shared, &context.snapshot, wanted).await?;
    let List { items, removed_before } = listed(&context, &hits);
    let log = context.shared.journal.checkpoint().checkpoint.origin;
    Ok(Chain { items, log, removed_before })
}

/// Follows names from entry to entry. Bounded: a name that is everywhere leads only so far.
async fn chain(shared: &Shared, snapshot: &Snapshot, wanted: Term) -> Result<Vec<Hit>, Refusal> {
    let (mut terms, mut done): (Vec<Term>, Vec<Term>) = (wanted.seeds(), Vec::new());
    let mut found: BTreeMap<u64, Hit> = BTreeMap::new();
    while let Some(term) = terms.pop() {
        if done.contains(&term) || done.len() >= TERMS_MAX || found.len() >= CHAIN_MAX {
            continue;
        }
        for hit in find(shared, snapshot, filter_of(&term)).await? {
            if term.finds(&hit.entry) && !found.contains_key(&hit.index) {
                terms.extend(leads_to(&hit.entry));
                found.insert(hit.index, hit);
            }
        }
        done.push(term);
    }
    Ok(found.into_values().collect())
}

/// As [`trace`], for a page: the chain with the origin of the log, and whether it was cut.
pub(crate) async fn chain_of(
    shared: &Shared,
    snapshot: &Snapshot,
    wanted: Term,
) -> Result<(Vec<Located>, bool), Refusal> {
    let log = shared.journal.checkpoint().checkpoint.origin;
    let hits = chain(shared, snapshot, wanted).await?;
    let is_cut = hits.len() >= CHAIN_MAX;
    let located = |hit: Hit| Located { log: log.clone(), index: hit.index, entry: hit.entry };
    Ok((hits.into_iter().map(located).collect(), is_cut))
}

/// The last decisions about tool calls, newest first.
pub(crate) async fn decisions(
    shared: &Shared,
    snapshot: &Snapshot,
    limit: u64,
) -> Result<Vec<Entry>, Refusal> {
    let kind = Some(Kind::CallDecided.as_str().to_owned());
    let limit = Some(Count::Number(limit));
    let filter = EntryFilter { kind, limit, ..EntryFilter::default() };
    let hits = find(shared, snapshot, filter).await?;
    Ok(hits.into_iter().rev().map(|hit| hit.entry).collect())
}

fn filter_of(term: &Term) -> EntryFilter {
    let value = Some(term.value.clone());
    let of_kind = |kind: Kind| Some(kind.as_str().to_owned());
    let any = EntryFilter::default();
    match term.key {
        Key::Agent => EntryFilter { agent: value, ..any },
        Key::Approval => EntryFilter { approval: value, ..any },
        Key::Decision => EntryFilter { decision_id: value, ..any },
        Key::DownstreamRequest => EntryFilter { downstream_request_id: value, ..any },
        Key::Exchanged => EntryFilter { exchanged_jti: value, ..any },
        Key::Issued => EntryFilter { token_jti: value, kind: of_kind(Kind::TokenIssued), ..any },
        Key::Subject => EntryFilter { person: value, ..any },
        Key::Token => EntryFilter { token_jti: value, ..any },
        Key::Trace => EntryFilter { trace_id: value, ..any },
        Key::UntracedExchange => {
            EntryFilter { token_jti: value, kind: of_kind(Kind::TokenExchanged), ..any }
        }
    }
}

fn listed(context: &Context, hits: &[Hit]) -> List<EntryView> {
    let removed_before = Some(context.shared.journal.first()).filter(|first| *first > 0);
    List { removed_before, ..hits.iter().map(EntryView::of).collect() }
}

/// The entries of one decision, oldest first.
pub(crate) async fn entries_of_decision(
    context: &Context,
    decision: &str,
) -> Result<Vec<Entry>, Refusal> {
    let mut hits = hits_of_decision(context, decision).await?;
    hits.sort_by_key(|hit| hit.index);
    Ok(hits.into_iter().map(|hit| hit.entry).collect())
}

/// With the trace and the token that the decision's entries name, from issuance to outcome.
async fn hits_of_decision(context: &Context, decision: &str) -> Result<Vec<Hit>, Refusal> {
    let by_decision =
        EntryFilter { decision_id: Some(decision.to_owned()), ..EntryFilter::default() };
    let (shared, snapshot) = (&context.shared, &context.snapshot);
    let mut hits = find(shared, snapshot, by_decision).await?;
    let token = hits.iter().find_map(|hit| hit.entry.token_jti.clone());
    if let Some(token_jti) = token {
        let issued = EntryFilter {
            token_jti: Some(token_jti),
            kind: Some(Kind::TokenIssued.as_str().to_owned()),
            ..EntryFilter::default()
        };
        hits.extend(find(shared, snapshot, issued).await?);
    }
    Ok(hits)
}

/// The entries a filter finds, in the order of the log.
async fn find(
    shared: &Shared,
    snapshot: &Snapshot,
    filter: EntryFilter,
) -> Result<Vec<Hit>, Refusal> {
    let found = filter.resolve(snapshot).run(shared).await?;
    found.into_iter().rev().map(Hit::parse).collect()
}

async fn bundle(context: &Context, indices: &[u64]) -> Result<Bundle, Refusal> {
    let bytes = context.shared.journal.export(indices).await?;
    let text = String::from_utf8(bytes).map_err(|_| Refusal::JournalUnavailable)?;
    Ok(Bundle(RawValue::from_string(text).map_err(|_| Refusal::JournalUnavailable)?))
}

fn place(context: &Context) -> Result<u64, Refusal> {
    context.segment("index").parse().map_err(|_| Refusal::Missing(Missing::Entry))
}

impl EntryFilter {
    fn resolve(self, snapshot: &Snapshot) -> Search {
        // Entries hold identifiers; whatever is no name is one.
        let agent = |text: String| snapshot.agent_named(&text).map_or(text, |it| it.id.to_string());
        let person =
            |text: String| snapshot.person_named(&text).map_or(text, |it| it.id.to_string());
        let server =
            |text: String| snapshot.server_named(&text).map_or(text, |it| it.id.to_string());
        let filter = Filter {
            agent: self.agent.map(agent),
            subject: self.person.map(person),
            server: self.server.map(server),
            tool: self.tool,
            kind: self.kind,
            decision: self.decision,
            reason: self.reason,
            trace_id: self.trace_id,
            decision_id: self.decision_id,
            token_jti: self.token_jti,
            approval: self.approval,
            downstream_request_id: self.downstream_request_id,
            exchanged_jti: self.exchanged_jti,
        };
        let limit = self.limit.map_or(LIMIT, Count::value);
        Search {
            filter,
            from: self.from_index.map_or(0, Count::value),
            before: self.before_index.map_or(u64::MAX, Count::value),
            limit: usize::try_from(limit.min(HITS_MAX.into())).unwrap_or(usize::MAX),
        }
    }
}

impl Hit {
    fn parse((index, bytes): (u64, Bytes)) -> Result<Self, Refusal> {
        let entry = Entry::parse(&bytes).map_err(|_| Refusal::JournalUnavailable)?;
        Ok(Self { index, entry })
    }
}

impl Count {
    pub(crate) const fn value(self) -> u64 {
        match self {
            Self::Number(value) | Self::Text(value) => value,
        }
    }
}

fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl EntryView {
    fn of(hit: &Hit) -> Self {
        // Canonical bytes of an entry are a JSON object.
        let entry = serde_json::from_slice(&hit.entry.to_canonical()).unwrap_or_default();
        Self { index: hit.index, entry }
    }
}

/// How many entries an answer has when nothing is said.
const LIMIT: u64 = 200;
/// Names that one chain is followed by, and entries that it has.
const TERMS_MAX: usize = 300;
const CHAIN_MAX: usize = 1000;
