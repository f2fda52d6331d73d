//! `/traces` and `/traces/{name}`: what happened, for people who may read the log.
//!
//! The same chain as the admin API gives and `attorn audit trace` draws. That somebody looked, and for
//! what, is on record before anything is shown.

use attorn_audit::trace::{Key, Located, Term, assemble};
use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{
    DecisionRow, Here, LOOKED_FOR_BY, TracePage, TraceSearch, TracesPage, moment,
};
use attorn_net::Body;
use attorn_oauth::form::Form;
use attorn_registry::{Role, Snapshot};
use http::request::Parts;
use http::{Response, StatusCode};

use super::shown::seen;
use super::steps::{Names, steps};
use super::visitor::{Visitor, name_of, role_missing};
use super::{People, page};
use crate::admin::{self, Operation, encoded};
use crate::shared::Shared;

/// The name in a path, if it is spelled as one: unreserved characters or `%XX` (RFC 3986 section 2.1).
pub(crate) fn name(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'/' => return None,
            byte => bytes.push(byte),
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then_some(name)
}

/// The search, which leads to a chain, and the last decisions.
pub(crate) async fn search(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let visitor = match visitor((shared, people), head, "/traces", now_ms / 1000).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let asked = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
    let (id, by) = match &asked {
        Ok(form) => (form.value("id").unwrap_or_default(), by_of(form.value("by"))),
        Err(_) => ("", ""),
    };
    if !id.trim().is_empty() && id.len() <= NAME_BYTES_MAX {
        return page::see_other(&shared.config.endpoint(&address(id.trim(), by)));
    }
    let looked = (Kind::AdminRead, Operation::AuditSearch);
    let about = visitor.entry(shared, head, looked, now_ms);
    let search = TraceSearch { id: "", by, problem: None };
    listed(shared, &visitor, about, (StatusCode::OK, search)).await
}

/// One chain.
pub(crate) async fn show(
    shared: &Shared,
    people: &People,
    head: &Parts,
    name: &str,
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
    let by = by_of(query.as_ref().ok().and_then(|query| query.value("by")));
    let path = address(name, by);
    let visitor = match visitor((shared, people), head, &path, now_ms / 1000).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let mut about = visitor.entry(shared, head, (Kind::AdminRead, Operation::AuditTrace), now_ms);
    about.detail.insert("looked_up".to_owned(), name.to_owned());
    about.detail.extend((!by.is_empty()).then(|| ("looked_up_by".to_owned(), by.to_owned())));
    if shared.note(&about).await.is_err() {
        return page::unavailable(shared);
    }
    let snapshot = shared.published.load();
    let Ok((entries, is_cut)) = chain(shared, &snapshot, (name, by)).await else {
        return page::unavailable(shared);
    };
    let search = TraceSearch { id: name, by, problem: None };
    if entries.is_empty() {
        let problem = Some("Nothing is recorded under this name in the log of this authority.");
        let search = TraceSearch { problem, ..search };
        return listed(shared, &visitor, about, (StatusCode::NOT_FOUND, search)).await;
    }
    chain_page(shared, &visitor, search, (entries, is_cut))
}

/// Who is logged in and may read the log.
async fn visitor(
    (shared, people): (&Shared, &People),
    head: &Parts,
    path: &str,
    now_s: u64,
) -> Result<Visitor, Response<Body>> {
    let visitor = Visitor::at((shared, people), head, path, now_s).await?;
    if visitor.person.may(Role::may_audit) {
        return Ok(visitor);
    }
    let refused = (Kind::AdminRefused, Operation::AuditTrace);
    let about = visitor.entry(shared, head, refused, shared.clock.now_ms());
    Err(role_missing(shared, about, Role::Auditor).await)
}

/// The entries of what is named. Where nobody says what it is, its form does, and what has no form may
/// be a name that somebody gave an agent, a person or a request.
async fn chain(
    shared: &Shared,
    snapshot: &Snapshot,
    (name, by): (&str, &str),
) -> Result<(Vec<Located>, bool), admin::Refusal> {
    let agent = || snapshot.agent_named(name).map(|agent| agent.id.to_string());
    let person = || snapshot.person_named(name).map(|person| person.id.to_string());
    let term = match by {
        "agent" => Term::new(Key::Agent, agent().unwrap_or_else(|| name.to_owned())),
        "approval" => Term::new(Key::Approval, name),
        "decision" => Term::new(Key::Decision, name),
        "downstream_request" => Term::new(Key::DownstreamRequest, name),
        "exchanged" => Term::new(Key::Exchanged, name),
        "person" => Term::new(Key::Subject, person().unwrap_or_else(|| name.to_owned())),
        "token" => Term::new(Key::Token, name),
        "trace" => Term::new(Key::Trace, name),
        _ => {
            let guessed = Term::guess(name);
            let named = || {
                let agent = agent().map(|id| Term::new(Key::Agent, id));
                agent.or_else(|| person().map(|id| Term::new(Key::Subject, id)))
            };
            if guessed.key != Key::Token {
                guessed
            } else if let Some(term) = named() {
                term
            } else {
                let found = admin::chain_of(shared, snapshot, guessed).await?;
                if !found.0.is_empty() {
                    return Ok(found);
                }
                Term::new(Key::DownstreamRequest, name)
            }
        }
    };
    admin::chain_of(shared, snapshot, term).await
}

fn chain_page(
    shared: &Shared,
    visitor: &Visitor,
    search: TraceSearch<'_>,
    (entries, is_cut): (Vec<Located>, bool),
) -> Response<Body> {
    let snapshot = shared.published.load();
    let log = entries.first().map(|one| one.log.clone()).unwrap_or_default();
    let mut names = Names::default();
    let steps = steps(&snapshot, assemble(entries), &mut names);
    let nav = visitor.nav(shared, Here::Traces);
    let path = address(search.id, search.by);
    let command = match search.by {
        "" => search.id.to_owned(),
        "downstream_request" => format!("--downstream-id {}", search.id),
        by => format!("{} --by {by}", search.id),
    };
    let html = TracePage {
        nav,
        search,
        address: &format!("{}{path}", nav.base),
        command: seen(&command),
        names: names.by_lane(),
        steps,
        log: &log,
        removed_before: Some(shared.journal.first()).filter(|first| *first > 0),
        is_cut,
    }
    .html();
    page::page(StatusCode::OK, html, None)
}

/// The search with the last decisions.
async fn listed(
    shared: &Shared,
    visitor: &Visitor,
    about: Entry,
    (status, search): (StatusCode, TraceSearch<'_>),
) -> Response<Body> {
    let snapshot = shared.published.load();
    let Ok(decisions) = admin::decisions(shared, &snapshot, READ_MAX).await else {
        return page::unavailable(shared);
    };
    let about = Entry { tool: Some(Operation::AuditSearch.row().id.to_owned()), ..about };
    if shared.note(&about).await.is_err() {
        return page::unavailable(shared);
    }
    // A gateway looks at its servers all the time; what agents do is looked for.
    let of_agents = decisions.into_iter().filter(|entry| entry.agent.is_some());
    let decisions =
        of_agents.take(DECISIONS_MAX).filter_map(|entry| decision_row(&snapshot, entry));
    let nav = visitor.nav(shared, Here::Traces);
    let page = TracesPage { nav, search, decisions: decisions.collect() };
    page::page(status, page.html(), None)
}

fn decision_row(snapshot: &Snapshot, entry: Entry) -> Option<DecisionRow> {
    let named = |id: Option<String>| id.map(|id| name_of(snapshot, &id)).unwrap_or_default();
    let (server, tool) = (named(entry.server), entry.tool.unwrap_or_default());
    Some(DecisionRow {
        id: entry.decision_id?,
        at: moment(entry.time_ms / 1000),
        decision: entry.decision.map_or("", Decision::as_str),
        reason: entry.reason,
        agent: named(entry.agent),
        call: seen(&format!("{server}/{tool}")),
    })
}

/// Where a chain stands, below the issuer.
fn address(name: &str, by: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!("?by={by}") };
    format!("/traces/{}{by}", encoded(name))
}

/// One of the words that the search offers; everything else is none.
fn by_of(text: Option<&str>) -> &'static str {
    let found = LOOKED_FOR_BY.into_iter().find(|(by, _)| text == Some(*by));
    found.map_or("", |(by, _)| by)
}

/// What APIs call a request is at most as long.
const NAME_BYTES_MAX: usize = 512;
const DECISIONS_MAX: usize = 25;
const READ_MAX: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_spelled_in_a_path_and_read_back() {
        for text in ["dec_a", "a/b c", "ü?#%", "..", "\u{202e}"] {
            let path = address(text, "");
            let segment = path.strip_prefix("/traces/").unwrap();
            assert_eq!(name(segment).as_deref(), Some(text), "{path}");
        }
        for segment in ["", "%", "%4", "%zz", "%ff", "a/b", &"x".repeat(513)] {
            assert_eq!(name(segment), None, "{segment}");
        }
    }

    #[test]
    fn only_the_words_of_the_search_are_taken() {
        assert_eq!(by_of(Some("token")), "token");
        for text in [None, Some(""), Some("x"), Some("token&x")] {
            assert_eq!(by_of(text), "");
        }
        assert_eq!(address("a", "token"), "/traces/a?by=token");
    }
}
