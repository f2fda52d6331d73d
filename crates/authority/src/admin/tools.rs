//! Tools: held until their owner confirms definition and class.

use attorn_audit::{Entry, Kind};
use attorn_registry::{Class, McpServer, Tool, ToolState};
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
    /// The class the owner confirmed.
    class: Option<&'static str>,
    /// The class the server's annotations suggest.
    proposed_class: &'static str,
    /// SHA-256 of the canonical definition as last seen.
    digest: String,
    approved_by: Option<String>,
    approved_s: Option<u64>,
    seen_s: u64,
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
}

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The class; the proposed one if absent.
    class: Option<ClassWire>,
    /// The digest that was looked at; if given, a definition that changed since is refused.
    digest: Option<String>,
}

/// Another class for an approved tool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classification {
    class: ClassWire,
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
    Ok(List { items: waiting })
}

pub(crate) async fn approve(
    context: Context,
    approval: Approval,
) -> Result<Effect<ToolView>, Refusal> {
    let (server, tool) = tool(&context)?;
    if approval.digest.is_some_and(|seen| seen != hex(&tool.digest)) {
        return Err(Refusal::ToolChanged);
    }
    let class = approval.class.map_or(tool.proposed_class, Class::from);
    confirm(&context, (server, tool), class, Kind::ToolApproved).await
}

pub(crate) async fn classify(
    context: Context,
    classification: Classification,
) -> Result<Effect<ToolView>, Refusal> {
    let (server, tool) = tool(&context)?;
    if tool.approved_class().is_none() {
        return Err(Refusal::ToolNotApproved);
    }
    confirm(&context, (server, tool), classification.class.into(), Kind::ToolClassified).await
}

async fn confirm(
    context: &Context,
    (server, tool): (&McpServer, &Tool),
    class: Class,
    kind: Kind,
) -> Result<Effect<ToolView>, Refusal> {
    if server.is_builtin() {
        return Err(Refusal::Builtin);
    }
    // The digest that was looked at, not whatever is there by then.
    let confirmed = (tool.digest, class);
    let store = &context.shared.store;
    let tool = store.approve_tool(&context.act(), &server.id, &tool.name, confirmed).await?.record;
    let fact = Entry {
        class: Some(class.as_str().to_owned()),
        server: Some(server.id.to_string()),
        tool: Some(tool.name.clone()),
        tool_digest: Some(hex(&tool.digest)),
        ..context.fact(kind)
    };
    Ok(Effect::new(ToolView::of(&tool), fact))
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

pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ToolView {
    fn of(tool: &Tool) -> Self {
        Self {
            name: tool.name.clone(),
            state: state(tool),
            class: tool.approved.as_ref().map(|approved| approved.class.as_str()),
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
        let raw = |text| RawValue::from_string(text).map_err(|_| Refusal::StoreUnavailable);
        Ok(Self {
            name: tool.name.clone(),
            state: state(tool),
            class: tool.approved.as_ref().map(|approved| approved.class.as_str()),
            proposed_class: tool.proposed_class.as_str(),
            approved_digest: tool.approved.as_ref().map(|approved| hex(&approved.digest)),
            digest: hex(&tool.digest),
            approved_definition: approved.map(raw).transpose()?,
            definition: raw(tool.definition.clone())?,
        })
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
