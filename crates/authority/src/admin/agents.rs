//! Agents and operators: registered with a one-time code, stopped and resumed, retired for good.

use attorn_audit::{Entry, Kind};
use attorn_registry::{Agent, AgentId, AgentKey, AgentKind, LifeCycle, Name};
use attorn_store::NewAgent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authentication::{AuthenticationWire, BindingWire, note_authentication};
use super::context::{Context, Effect};
use super::delegation;
use super::last_operator::{Taken, verify_owner, verify_remains};
use super::list::List;
use super::reason::{Reason, ReasonWished};
use super::refusal::Refusal;
use crate::code::EnrolmentCode;

/// An agent or an operator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentView {
    /// Also its OAuth `client_id`.
    id: String,
    name: String,
    /// `agent`, `gateway` or `operator`.
    kind: &'static str,
    owner: Option<String>,
    state: &'static str,
    keys: Vec<AgentKeyView>,
    /// How it proves who it is.
    authentication: AuthenticationWire,
    /// What its tokens are bound to.
    binding: BindingWire,
    created_s: u64,
    /// First second at which it may not act any more.
    expires_s: Option<u64>,
    /// When it was given a token last, to the hour; told by `agent.list` and `agent.show`.
    last_used_s: Option<u64>,
}

/// A public key of an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentKeyView {
    /// RFC 7638 thumbprint.
    jkt: String,
    state: &'static str,
    not_before_s: u64,
    not_after_s: Option<u64>,
}

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentNew {
    /// `[a-z0-9][a-z0-9-]{0,62}`
    pub(crate) name: String,
    /// Name or identifier of who answers for it.
    pub(crate) owner: String,
    #[serde(default)]
    pub(crate) kind: AgentKindWire,
    /// How it proves who it is; a key of its own unless said otherwise.
    pub(crate) authentication: Option<AuthenticationWire>,
    /// What its tokens are bound to; what goes with its authentication unless said otherwise.
    pub(crate) binding: Option<BindingWire>,
    /// First second at which it may not act any more; it has no end if absent.
    pub(crate) expires_s: Option<u64>,
}

/// What is behind an identity.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AgentKindWire {
    /// Software that acts on its own.
    #[default]
    Agent,
    /// A gateway in a process of its own.
    Gateway,
    /// A person's command line.
    Operator,
}

/// An agent and the code that enrols its key. Without `Debug`: the code is a secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgentCode {
    id: String,
    name: String,
    kind: &'static str,
    owner: Option<String>,
    state: &'static str,
    /// Shown this once. Good for one enrolment. Absent where there is nothing to enrol.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_expires_s: Option<u64>,
}

/// Another way to authenticate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthenticationWanted {
    /// The old way ends at once.
    authentication: AuthenticationWire,
    /// What goes with it unless said otherwise.
    binding: Option<BindingWire>,
}

/// Another end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpiryWanted {
    /// First second at which it may not act any more; no end if absent.
    expires_s: Option<u64>,
}

/// Another owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerWanted {
    /// Name or identifier.
    owner: String,
}

pub(crate) async fn list(context: Context) -> Result<List<AgentView>, Refusal> {
    let mut agents: Vec<_> = context.snapshot.agents().collect();
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    let mut uses = context.shared.store.last_agent_uses().await?;
    let view = |agent: &Agent| AgentView {
        last_used_s: uses.remove(&agent.id),
        ..AgentView::of(&context, agent)
    };
    Ok(agents.into_iter().map(view).collect())
}

pub(crate) async fn show(context: Context) -> Result<AgentView, Refusal> {
    let agent = context.agent(context.segment("agent"))?;
    let mut uses = context.shared.store.last_agent_uses().await?;
    Ok(AgentView { last_used_s: uses.remove(&agent.id), ..AgentView::of(&context, agent) })
}

pub(crate) async fn keys(context: Context) -> Result<List<AgentKeyView>, Refusal> {
    Ok(context.agent(context.segment("agent"))?.keys.iter().map(AgentKeyView::of).collect())
}

pub(crate) async fn register(
    context: Context,
    new: AgentNew,
) -> Result<Effect<AgentCode>, Refusal> {
    let new = read(&context, new)?;
    let store = &context.shared.store;
    let agent = store.register_agent(&context.act(), &new).await?.record;
    let fact = registered(&context, &agent);
    if !agent.authentication.needs_enrolment() {
        return Ok(Effect::new(AgentCode::of(&context, &agent, None), fact));
    }
    let code = EnrolmentCode::new(&context.shared.random, context.now_s());
    store.create_enrolment(&context.act(), &agent.id, code.hash()).await?;
    Ok(Effect::new(AgentCode::of(&context, &agent, Some(code)), fact))
}

/// The agent to be.
pub(crate) fn read(context: &Context, new: AgentNew) -> Result<NewAgent, Refusal> {
    let authentication = AuthenticationWire::read(new.authentication)?;
    Ok(NewAgent {
        id: AgentId::from_random(&context.shared.random.bytes()),
        name: Name::parse(&new.name)?,
        kind: new.kind.into(),
        owner: context.owner(&new.owner)?.id.clone(),
        binding: new.binding.map_or_else(|| authentication.usual_binding(), Into::into),
        authentication,
        expires_s: new.expires_s,
    })
}

/// What the journal says of a new agent.
pub(crate) fn registered(context: &Context, agent: &Agent) -> Entry {
    let mut fact = about(context, Kind::IdentityRegistered, agent);
    note_authentication(&mut fact, agent);
    fact
}

/// Another way to authenticate is as good as a code for a new key.
pub(crate) async fn authentication(
    context: Context,
    wanted: AuthenticationWanted,
) -> Result<Effect<AgentView>, Refusal> {
    let agent = context.agent(context.segment("agent"))?;
    delegation::verify_code(&context, agent)?;
    let authentication = AuthenticationWire::read(Some(wanted.authentication))?;
    let binding = wanted.binding.map_or_else(|| authentication.usual_binding(), Into::into);
    let store = &context.shared.store;
    let wanted = (&authentication, binding);
    let changed = store.set_agent_authentication(&context.act(), &agent.id, wanted).await?;
    let fact = authentication_changed(&context, &changed.record);
    Ok(Effect::new(AgentView::of(&context, &changed.record), fact))
}

/// What the journal says of another way to authenticate.
pub(crate) fn authentication_changed(context: &Context, agent: &Agent) -> Entry {
    let mut fact = about(context, Kind::KeyRotated, agent);
    note_authentication(&mut fact, agent);
    fact
}

pub(crate) async fn code(context: Context, _: ReasonWished) -> Result<Effect<AgentCode>, Refusal> {
    let agent = context.agent(context.segment("agent"))?;
    delegation::verify_code(&context, agent)?;
    let code = EnrolmentCode::new(&context.shared.random, context.now_s());
    let store = &context.shared.store;
    store.create_enrolment(&context.act(), &agent.id, code.hash()).await?;
    let fact = about(&context, Kind::IdentityCodeIssued, agent);
    Ok(Effect::new(AgentCode::of(&context, agent, Some(code)), fact))
}

pub(crate) async fn expiry(
    context: Context,
    wanted: ExpiryWanted,
) -> Result<Effect<AgentView>, Refusal> {
    let agent = &context.agent(context.segment("agent"))?.id;
    if wanted.expires_s.is_some() {
        verify_remains(&context, Taken::Agent(agent))?;
    }
    let store = &context.shared.store;
    let changed = store.set_agent_expiry(&context.act(), agent, wanted.expires_s).await?;
    let fact = about(&context, Kind::AdminChanged, &changed.record);
    Ok(Effect::new(AgentView::of(&context, &changed.record), fact))
}

pub(crate) async fn owner(
    context: Context,
    wanted: OwnerWanted,
) -> Result<Effect<AgentView>, Refusal> {
    let agent = &context.agent(context.segment("agent"))?.id;
    let owner = &context.owner(&wanted.owner)?.id;
    verify_owner(&context, agent, owner)?;
    let agent = context.shared.store.set_agent_owner(&context.act(), agent, owner).await?.record;
    let fact = about(&context, Kind::IdentityOwnerChanged, &agent);
    Ok(Effect::new(AgentView::of(&context, &agent), fact))
}

pub(crate) async fn suspend(
    context: Context,
    reason: Reason,
) -> Result<Effect<AgentView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Suspended, Kind::IdentitySuspended, reason).await
}

pub(crate) async fn resume(
    context: Context,
    reason: ReasonWished,
) -> Result<Effect<AgentView>, Refusal> {
    become_state(context, LifeCycle::Active, Kind::IdentityResumed, reason.text()).await
}

pub(crate) async fn retire(context: Context, reason: Reason) -> Result<Effect<AgentView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Retired, Kind::IdentityRetired, reason).await
}

async fn become_state(
    context: Context,
    to: LifeCycle,
    kind: Kind,
    reason: Option<String>,
) -> Result<Effect<AgentView>, Refusal> {
    let agent = context.agent(context.segment("agent"))?;
    // Only a proven key makes a pending agent active.
    if agent.state == LifeCycle::Pending && to == LifeCycle::Active {
        return Err(Refusal::NotEnrolled);
    }
    if to == LifeCycle::Active && agent.has_ended(context.now_s()) {
        return Err(Refusal::AgentEnded);
    }
    if to != LifeCycle::Active {
        verify_remains(&context, Taken::Agent(&agent.id))?;
    }
    let store = &context.shared.store;
    let agent = store.set_agent_state(&context.act(), &agent.id, to).await?.record;
    let mut fact = about(&context, kind, &agent);
    fact.detail.extend(reason.map(|reason| ("reason".to_owned(), reason)));
    Ok(Effect::new(AgentView::of(&context, &agent), fact))
}

/// What the journal says of any change of an agent.
pub(crate) fn about(context: &Context, kind: Kind, agent: &Agent) -> Entry {
    let mut fact = context.fact(kind);
    fact.agent = Some(agent.id.to_string());
    fact.owner = agent.owner.as_ref().map(ToString::to_string);
    fact.detail.insert("name".to_owned(), agent.name.to_string());
    fact.detail.insert("kind".to_owned(), agent.kind.as_str().to_owned());
    let end = agent.expires_s.map(|end_s| ("expires_s".to_owned(), end_s.to_string()));
    fact.detail.extend(end);
    fact
}

impl AgentView {
    fn of(context: &Context, agent: &Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            name: agent.name.to_string(),
            kind: agent.kind.as_str(),
            owner: context.owner_name(agent.owner.as_ref()),
            state: agent.state.as_str(),
            keys: agent.keys.iter().map(AgentKeyView::of).collect(),
            authentication: AuthenticationWire::of(&agent.authentication),
            binding: agent.binding.into(),
            created_s: agent.created_s,
            expires_s: agent.expires_s,
            last_used_s: None,
        }
    }
}

impl AgentKeyView {
    fn of(key: &AgentKey) -> Self {
        Self {
            jkt: key.jkt.to_string(),
            state: key.state.as_str(),
            not_before_s: key.not_before_s,
            not_after_s: key.not_after_s,
        }
    }
}

impl AgentCode {
    fn of(context: &Context, agent: &Agent, code: Option<EnrolmentCode>) -> Self {
        Self {
            id: agent.id.to_string(),
            name: agent.name.to_string(),
            kind: agent.kind.as_str(),
            owner: context.owner_name(agent.owner.as_ref()),
            state: agent.state.as_str(),
            code_expires_s: code.as_ref().map(|code| code.expires_s),
            code: code.map(EnrolmentCode::into_text),
        }
    }
}

impl From<AgentKindWire> for AgentKind {
    fn from(kind: AgentKindWire) -> Self {
        match kind {
            AgentKindWire::Agent => Self::Agent,
            AgentKindWire::Gateway => Self::Gateway,
            AgentKindWire::Operator => Self::Operator,
        }
    }
}
