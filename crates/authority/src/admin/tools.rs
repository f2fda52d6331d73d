//! Tools: held until their owner confirms definition and class.

use attorn_audit::{Entry, Kind};
use attorn_json::{Limits, TextPlace, hidden_places};
use attorn_registry::{Approved, Class, ClassRule, Effects, McpServer, ServerId, Tool, ToolState};
use attorn_store::Confirmed;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::refusal::{Missing, Refusal};

/// A tool, without its definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolView {
    name: String,
    /// `approved`, `changed` or `unconfirmed`; only approved tools are listed and called.
    state: &'static str,
    /// The class the owner confirmed, of calls no rule speaks of.
    class: Option<&'static str>,
    /// Rules that give calls with certain arguments another class. First match wins.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<ClassRule>,
    /// What the tool does to the flow of information, as its owner said.
    effects: Vec<&'static str>,
    /// Texts of the definition with characters that would not be seen, escaped.
    hidden_text: Vec<HiddenText>,
    /// The class the server's annotations suggest.
    proposed_class: &'static str,
    /// SHA-256 of the canonical definition as last seen.
    digest: String,
    approved_by: Option<String>,
    approved_s: Option<u64>,
    seen_s: u64,
}

/// A text of a definition that does not read as it is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HiddenText {
    /// JSON pointer into the definition.
    at: String,
    /// What is wrong with it.
    what: Vec<&'static str>,
    /// The text, hidden characters escaped.
    text: String,
}

/// A tool that waits for its owner.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolDiff {
    name: String,
    /// `changed` or `unconfirmed`.
    state: &'static str,
    class: Option<&'static str>,
    proposed_class: &'static str,
    /// Digest of what was approved, if anything was.
    approved_digest: Option<String>,
    digest: String,
    /// The definition that was approved last, if one was.
    #[schema(value_type = Object)]
    approved_definition: Option<Box<RawValue>>,
    /// The definition as last seen.
    #[schema(value_type = Object)]
    definition: Box<RawValue>,
    /// Texts of the definition with characters that would not be seen, escaped.
    hidden_text: Vec<HiddenText>,
}

/// A tool as its server defines it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolDefinition {
    name: String,
    /// The definition as last seen.
    #[schema(value_type = Object)]
    definition: Box<RawValue>,
}

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The class; if absent that of the earlier approval, with its rules, else the proposed one.
    pub(crate) class: Option<ClassWire>,
    /// Rules by argument; without a class they are those of the earlier approval.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) rules: Option<Vec<ClassRule>>,
    /// What the tool does to the flow of information; if absent as before.
    pub(crate) effects: Option<EffectsWire>,
    /// The digest that was looked at; if given, a definition that changed since is refused.
    pub(crate) digest: Option<String>,
    /// Take a definition with characters that would not be seen.
    #[serde(default)]
    pub(crate) accept_hidden_characters: bool,
}

/// Other classes or effects for an approved tool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classification {
    /// The class of calls no rule speaks of; if absent as before.
    class: Option<ClassWire>,
    /// Rules by argument, in order. If absent as before, and none where the class is given.
    #[schema(value_type = Option<Vec<Object>>)]
    rules: Option<Vec<ClassRule>>,
    /// What the tool does to the flow of information; if absent as before.
    effects: Option<EffectsWire>,
}

/// What a tool does to the flow of information.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EffectsWire {
    /// Its results hold what not everybody may know.
    #[serde(default)]
    reads_private: bool,
    /// Its results hold what strangers wrote.
    #[serde(default)]
    takes_untrusted: bool,
    /// Its arguments reach somebody outside.
    #[serde(default)]
    sends_outside: bool,
}

/// What a call can do to the world.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClassWire {
    /// Leaves things as they are.
    Read,
    /// Changes something that can be changed back.
    Write,
    /// Cannot be undone.
    Irreversible,
}

pub(crate) async fn list(context: Context) -> Result<List<ToolView>, Refusal> {
    Ok(sorted(context.server(context.segment("server"))?).map(ToolView::of).collect())
}

pub(crate) async fn diff(context: Context) -> Result<List<ToolDiff>, Refusal> {
    let server = context.server(context.segment("server"))?;
    let mut waiting = Vec::new();
    for tool in sorted(server).filter(|tool| tool.approved_class().is_none()) {
        let known = context.shared.store.tool_definitions(&server.id, &tool.name).await?;
        waiting.push(ToolDiff::of(tool, known.approved)?);
    }
    Ok(waiting.into_iter().collect())
}

pub(crate) async fn definitions(context: Context) -> Result<List<ToolDefinition>, Refusal> {
    let server = context.server(context.segment("server"))?;
    let definition = |tool: &Tool| {
        Ok(ToolDefinition { name: tool.name.clone(), definition: raw(tool.definition.clone())? })
    };
    sorted(server).map(definition).collect()
}

pub(crate) async fn approve(
    context: Context,
    approval: Approval,
) -> Result<Effect<ToolView>, Refusal> {
    let (server, tool) = tool(&context)?;
    let confirmed = read_approval(tool, approval)?;
    confirm(&context, server, (tool, confirmed), Kind::ToolApproved).await
}

/// What an approval confirms of a tool as it is now.
pub(crate) fn read_approval(tool: &Tool, approval: Approval) -> Result<Confirmed, Refusal> {
    if approval.digest.is_some_and(|seen| seen != hex(&tool.digest)) {
        return Err(Refusal::ToolChanged);
    }
    if !approval.accept_hidden_characters && !hidden(tool).is_empty() {
        return Err(Refusal::HiddenText);
    }
    let given = (approval.class.map(Class::from), approval.rules, approval.effects);
    Ok(confirmed(tool, tool.approved.as_ref(), given))
}

pub(crate) async fn classify(
    context: Context,
    classification: Classification,
) -> Result<Effect<ToolView>, Refusal> {
    let (server, tool) = tool(&context)?;
    if tool.approved_class().is_none() {
        return Err(Refusal::ToolNotApproved);
    }
    let Classification { class, rules, effects } = classification;
    if class.is_none() && rules.is_none() && effects.is_none() {
        return Err(Refusal::Form);
    }
    let given = (class.map(Class::from), rules, effects);
    let confirmed = confirmed(tool, tool.approved.as_ref(), given);
    confirm(&context, server, (tool, confirmed), Kind::ToolClassified).await
}

/// What was given, over what was approved before. A class stands for all calls unless rules come
/// with it: rules that were made for another default do not survive it.
pub(crate) fn confirmed(
    tool: &Tool,
    before: Option<&Approved>,
    (class, rules, effects): (Option<Class>, Option<Vec<ClassRule>>, Option<EffectsWire>),
) -> Confirmed {
    let kept = || match class {
        Some(_) => Vec::new(),
        None => before.map(|before| before.rules.clone()).unwrap_or_default(),
    };
    let effects_before = before.map_or_else(Effects::default, |before| before.effects);
    Confirmed {
        digest: tool.digest,
        rules: rules.unwrap_or_else(kept),
        class: class.or_else(|| before.map(|before| before.class)).unwrap_or(tool.proposed_class),
        effects: effects.map_or(effects_before, Effects::from),
    }
}

async fn confirm(
    context: &Context,
    server: &McpServer,
    (tool, confirmed): (&Tool, Confirmed),
    kind: Kind,
) -> Result<Effect<ToolView>, Refusal> {
    if server.is_builtin() {
        return Err(Refusal::Builtin);
    }
    let store = &context.shared.store;
    // The digest that was looked at, not whatever is there by then.
    let tool = store.approve_tool(&context.act(), &server.id, &tool.name, &confirmed).await?.record;
    let fact = about(context, kind, &server.id, (&tool, &confirmed));
    Ok(Effect::new(ToolView::of(&tool), fact))
}

/// What the journal says of what was confirmed.
pub(crate) fn about(
    context: &Context,
    kind: Kind,
    server: &ServerId,
    (tool, confirmed): (&Tool, &Confirmed),
) -> Entry {
    let mut fact = Entry {
        class: Some(confirmed.class.as_str().to_owned()),
        server: Some(server.to_string()),
        tool: Some(tool.name.clone()),
        tool_digest: Some(hex(&tool.digest)),
        ..context.fact(kind)
    };
    if !confirmed.rules.is_empty() {
        let rules = serde_json::to_string(&confirmed.rules).unwrap_or_default();
        fact.detail.insert("rules".to_owned(), rules);
    }
    if !confirmed.effects.is_empty() {
        fact.detail.insert("effects".to_owned(), confirmed.effects.names().join(" "));
    }
    if !hidden(tool).is_empty() {
        fact.detail.insert("hidden_text".to_owned(), "accepted".to_owned());
    }
    fact
}

/// The texts of a definition that hide something. The name stands in it, too.
fn hidden(tool: &Tool) -> Vec<TextPlace> {
    let limits = Limits { bytes_max: tool.definition.len(), ..Limits::MESSAGE };
    let document = attorn_json::parse(tool.definition.as_bytes(), &limits);
    document.map(|document| hidden_places(document.value(), HIDDEN_MAX)).unwrap_or_default()
}

fn hidden_text(tool: &Tool) -> Vec<HiddenText> {
    let shown = |place: TextPlace| HiddenText {
        at: place.at,
        what: place.findings.iter().map(|finding| finding.meaning()).collect(),
        text: place.text,
    };
    hidden(tool).into_iter().map(shown).collect()
}

fn tool(context: &Context) -> Result<(&McpServer, &Tool), Refusal> {
    let server = context.server(context.segment("server"))?;
    let tool = server.tools.get(context.segment("tool"));
    Ok((server, tool.ok_or(Refusal::Missing(Missing::Tool))?))
}

fn sorted(server: &McpServer) -> impl Iterator<Item = &Tool> {
    let mut tools: Vec<_> = server.tools.values().collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools.into_iter()
}

fn state(tool: &Tool) -> &'static str {
    match tool.state() {
        ToolState::Approved(_) => "approved",
        ToolState::Changed => "changed",
        ToolState::Unconfirmed => "unconfirmed",
    }
}

fn raw(definition: String) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(definition).map_err(|_| Refusal::StoreUnavailable)
}

pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ToolView {
    fn of(tool: &Tool) -> Self {
        Self {
            name: tool.name.clone(),
            state: state(tool),
            class: tool.approved.as_ref().map(|approved| approved.class.as_str()),
            rules: tool.approved.as_ref().map(|it| it.rules.clone()).unwrap_or_default(),
            effects: tool.approved.as_ref().map(|it| it.effects.names()).unwrap_or_default(),
            hidden_text: hidden_text(tool),
            proposed_class: tool.proposed_class.as_str(),
            digest: hex(&tool.digest),
            approved_by: tool.approved.as_ref().map(|approved| approved.by.clone()),
            approved_s: tool.approved.as_ref().map(|approved| approved.at_s),
            seen_s: tool.seen_s,
        }
    }
}

impl ToolDiff {
    fn of(tool: &Tool, approved: Option<String>) -> Result<Self, Refusal> {
        Ok(Self {
            name: tool.name.clone(),
            state: state(tool),
            class: tool.approved.as_ref().map(|approved| approved.class.as_str()),
            proposed_class: tool.proposed_class.as_str(),
            approved_digest: tool.approved.as_ref().map(|approved| hex(&approved.digest)),
            digest: hex(&tool.digest),
            approved_definition: approved.map(raw).transpose()?,
            definition: raw(tool.definition.clone())?,
            hidden_text: hidden_text(tool),
        })
    }
}

impl From<EffectsWire> for Effects {
    fn from(wire: EffectsWire) -> Self {
        let EffectsWire { reads_private, takes_untrusted, sends_outside } = wire;
        Self { reads_private, takes_untrusted, sends_outside }
    }
}

impl From<ClassWire> for Class {
    fn from(class: ClassWire) -> Self {
        match class {
            ClassWire::Read => Self::Read,
            ClassWire::Write => Self::Write,
            ClassWire::Irreversible => Self::Irreversible,
        }
    }
}

/// Places told of one definition; one is enough to refuse it.
const HIDDEN_MAX: usize = 16;
