//! One item of a file: found as described, or made so by what its single operation does.

use attorn_audit::Kind;
use attorn_registry::{Agent, AgentKind, Class, ClassRule, Grant, LifeCycle, Tool, UpstreamSpec};
use attorn_store::{Confirmed, Refusal as StoreRefusal};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::agents::{self, AgentNew};
use super::super::authentication::AuthenticationWire;
use super::super::delegation;
use super::super::grants::{self, GrantNew};
use super::super::last_operator::verify_owner;
use super::super::operation::Operation;
use super::super::owners::{self, OwnerNew};
use super::super::policies::{self, PolicyNew};
use super::super::refusal::{Missing, Refusal};
use super::super::servers::{self, ServerNew, Upstream};
use super::super::tools::{self, Approval, ClassWire, EffectsWire};
use super::walk::{Step, Walk, read};

/// A server of a file: without `upstream`, one that is there already.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerItem {
    name: String,
    owner: String,
    upstream: Option<Upstream>,
}

/// A tool of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolItem {
    server: String,
    name: String,
    class: Option<ClassWire>,
    rules: Option<Vec<ClassRule>>,
    effects: Option<EffectsWire>,
    digest: Option<String>,
}

impl Walk<'_> {
    pub(super) async fn owner(&mut self, item: &RawValue) -> Result<Vec<Step>, Refusal> {
        let new: OwnerNew = read(item)?;
        self.may_see(Operation::OwnerList, &[Operation::OwnerCreate])?;
        let mut owners = self.context.snapshot.owners();
        if let Some(owner) = owners.find(|owner| owner.name.as_str() == new.name) {
            let is_same = new.email.is_none() || new.email == owner.email;
            not_retired(owner.state)?;
            return if is_same { Ok(Vec::new()) } else { Err(Refusal::Fixed("email")) };
        }
        drop(owners);
        self.may(Operation::OwnerCreate)?;
        let owner = self.batch.create_owner(&owners::read(&self.context, new)?).await?;
        self.facts.push(owners::registered(&self.context, &owner));
        let subject = owner.name.to_string();
        let detail = owner.email.clone().unwrap_or_default();
        self.advance(|delta| delta.owners.push(owner))?;
        Ok(vec![Step { operation: Operation::OwnerCreate, subject, detail }])
    }

    pub(super) async fn agent(&mut self, item: &RawValue) -> Result<Vec<Step>, Refusal> {
        let new: AgentNew = read(item)?;
        self.may_see(Operation::AgentShow, &[Operation::AgentList, Operation::AgentRegister])?;
        let Some(agent) = self.context.snapshot.agent_named(&new.name).cloned() else {
            return self.new_agent(new).await;
        };
        not_retired(agent.state)?;
        if AgentKind::from(new.kind) != agent.kind {
            return Err(Refusal::Fixed("kind"));
        }
        // `agent.expiry` moves it; a file that says nothing of it does not take it away.
        if new.expires_s.is_some() && new.expires_s != agent.expires_s {
            return Err(Refusal::Fixed("expires_s"));
        }
        if !self.named.insert(agent.id.clone()) {
            return Err(Refusal::Twice);
        }
        let mut steps = Vec::new();
        steps.extend(self.agent_owner(&agent, &new).await?);
        steps.extend(self.agent_authentication(&agent, new).await?);
        Ok(steps)
    }

    async fn new_agent(&mut self, new: AgentNew) -> Result<Vec<Step>, Refusal> {
        self.may(Operation::AgentRegister)?;
        let agent = self.batch.register_agent(&agents::read(&self.context, new)?).await?;
        self.facts.push(agents::registered(&self.context, &agent));
        let owner = self.context.owner_name(agent.owner.as_ref()).unwrap_or_default();
        let subject = agent.name.to_string();
        let detail = format!("owner {owner}, {}", agent.authentication.method());
        self.named.insert(agent.id.clone());
        self.advance(|delta| delta.agents.push(agent))?;
        Ok(vec![Step { operation: Operation::AgentRegister, subject, detail }])
    }

    async fn agent_owner(
        &mut self,
        agent: &Agent,
        new: &AgentNew,
    ) -> Result<Option<Step>, Refusal> {
        let owner = self.context.owner(&new.owner)?.clone();
        if agent.owner.as_ref() == Some(&owner.id) {
            return Ok(None);
        }
        self.may(Operation::AgentOwner)?;
        verify_owner(&self.context, &agent.id, &owner.id)?;
        let changed = self.batch.set_agent_owner(&agent.id, &owner.id).await?;
        self.facts.push(agents::about(&self.context, Kind::IdentityOwnerChanged, &changed));
        self.advance(|delta| delta.agents.push(changed))?;
        let (subject, detail) = (agent.name.to_string(), format!("owner {}", owner.name));
        Ok(Some(Step { operation: Operation::AgentOwner, subject, detail }))
    }

    async fn agent_authentication(
        &mut self,
        agent: &Agent,
        new: AgentNew,
    ) -> Result<Option<Step>, Refusal> {
        let is_given = new.authentication.is_some();
        let authentication = match new.authentication {
            Some(wire) => AuthenticationWire::read(Some(wire))?,
            None => agent.authentication.clone(),
        };
        let binding = match new.binding {
            Some(binding) => binding.into(),
            None if is_given => authentication.usual_binding(),
            None => agent.binding,
        };
        if authentication == agent.authentication && binding == agent.binding {
            return Ok(None);
        }
        self.may(Operation::AgentAuthentication)?;
        // As good as a code for a new key.
        delegation::verify_code(&self.context, agent)?;
        let wanted = (&authentication, binding);
        let changed = self.batch.set_agent_authentication(&agent.id, wanted).await?;
        self.facts.push(agents::authentication_changed(&self.context, &changed));
        self.advance(|delta| delta.agents.push(changed))?;
        let (subject, detail) = (agent.name.to_string(), authentication.method().to_owned());
        Ok(Some(Step { operation: Operation::AgentAuthentication, subject, detail }))
    }

    pub(super) async fn server(&mut self, item: &RawValue) -> Result<Vec<Step>, Refusal> {
        let ServerItem { name, owner, upstream } = read(item)?;
        let others =
            [Operation::ServerList, Operation::ServerRegister, Operation::ServerRegisterCommand];
        self.may_see(Operation::ServerShow, &others)?;
        if let Some(server) = self.context.snapshot.server_named(&name) {
            not_retired(server.state)?;
            if server.owner.as_ref() != Some(&self.context.owner(&owner)?.id) {
                return Err(Refusal::Fixed("owner"));
            }
            let is_same = match upstream.map(UpstreamSpec::from) {
                None => true,
                Some(new) => self.is_upstream(&server.upstream, &new)?,
            };
            return if is_same { Ok(Vec::new()) } else { Err(Refusal::Fixed("upstream")) };
        }
        let upstream = upstream.ok_or(Refusal::Missing(Missing::Server))?;
        let operation = match &upstream {
            Upstream::Builtin => return Err(Refusal::Builtin),
            Upstream::Http { .. } => Operation::ServerRegister,
            Upstream::Stdio { .. } => Operation::ServerRegisterCommand,
        };
        self.may(operation)?;
        let new = servers::read(&self.context, ServerNew { name, owner, upstream })?;
        let server = self.batch.register_server(&new).await?;
        self.facts.push(servers::registered(&self.context, &server));
        let subject = server.name.to_string();
        let detail = servers::summary(&server.upstream);
        self.advance(|delta| delta.servers.push(server))?;
        Ok(vec![Step { operation, subject, detail }])
    }

    /// Whether a server is reached as the file has it. Its secrets are shown to nobody, so only who
    /// may register it learns whether they are these.
    fn is_upstream(&self, there: &UpstreamSpec, wanted: &UpstreamSpec) -> Result<bool, Refusal> {
        if servers::may_hold_secrets(there) || servers::may_hold_secrets(wanted) {
            self.may(match wanted {
                UpstreamSpec::Stdio { .. } => Operation::ServerRegisterCommand,
                UpstreamSpec::Builtin | UpstreamSpec::Http { .. } => Operation::ServerRegister,
            })?;
        }
        Ok(there == wanted)
    }

    pub(super) async fn tool(&mut self, item: &RawValue) -> Result<Vec<Step>, Refusal> {
        let item: ToolItem = read(item)?;
        self.may_see(Operation::ToolList, &[Operation::ToolApprove, Operation::ToolClassify])?;
        let server = self.context.server(&item.server)?.clone();
        if server.is_builtin() {
            return Err(Refusal::Builtin);
        }
        let tool = server.tools.get(&item.name).ok_or(Refusal::Missing(Missing::Tool))?;
        if !self.tools.insert((server.id.clone(), tool.name.clone())) {
            return Err(Refusal::Twice);
        }
        let Some((operation, confirmed)) = difference(tool, item)? else { return Ok(Vec::new()) };
        self.may(operation)?;
        let tool = self.batch.approve_tool(&server.id, &tool.name, &confirmed).await?;
        let is_approval = operation == Operation::ToolApprove;
        let kind = if is_approval { Kind::ToolApproved } else { Kind::ToolClassified };
        self.facts.push(tools::about(&self.context, kind, &server.id, (&tool, &confirmed)));
        let subject = format!("{}/{}", server.name, tool.name);
        let rules = confirmed.rules.len();
        let detail = match rules {
            0 => confirmed.class.to_string(),
            _ => format!("{}, {rules} rules", confirmed.class),
        };
        let mut server = server;
        server.tools.insert(tool.name.clone(), tool);
        self.advance(|delta| delta.servers.push(server))?;
        Ok(vec![Step { operation, subject, detail }])
    }

    pub(super) async fn grant(&mut self, item: &RawValue) -> Result<Vec<Step>, Refusal> {
        let new: GrantNew = read(item)?;
        self.may_see(Operation::GrantList, &[Operation::GrantShow, Operation::GrantCreate])?;
        let wanted = grants::read(&self.context, new)?;
        // Also one that ended: the same file must not give anew what was given for a time.
        let is_there = |grant: &&Grant| grant.revoked_s.is_none() && is_same(grant, &wanted);
        if let Some(grant) = self.grants.iter().find(is_there) {
            self.kept.insert(grant.id.clone());
            return Ok(Vec::new());
        }
        self.may(Operation::GrantCreate)?;
        let wanted = grants::judged(&self.context, wanted)?;
        let grant = self.batch.create_grant(&wanted).await?;
        self.facts.push(grants::created(&self.context, &grant));
        let step = self.grant_step(Operation::GrantCreate, &grant);
        self.kept.insert(grant.id.clone());
        self.grants.push(grant.clone());
        self.advance(|delta| delta.grants.push(grant))?;
        Ok(vec![step])
    }

    pub(super) async fn policy(&mut self, item: &RawValue) -> Result<Vec<Step>, Refusal> {
        let PolicyNew { text, reason } = read(item)?;
        self.may_see(Operation::PolicyShow, &[Operation::PolicyApply])?;
        if text == self.context.snapshot.policy.text {
            return Ok(Vec::new());
        }
        self.may(Operation::PolicyApply)?;
        let compiled = policies::compile(text.clone(), 0)?;
        let reason = reason.unwrap_or_default();
        let source = self.batch.apply_policy(&text, &reason).await?;
        let about = (&source, &compiled);
        self.facts.push(policies::about(&self.context, Kind::PolicyApplied, about, reason));
        let subject = format!("version {}", source.version);
        let detail = format!("{} rules", compiled.rules().len());
        self.advance(|delta| delta.policy = Some(source))?;
        Ok(vec![Step { operation: Operation::PolicyApply, subject, detail }])
    }
}

/// A name is given once, also after its end.
fn not_retired(state: LifeCycle) -> Result<(), Refusal> {
    if state == LifeCycle::Retired {
        return Err(Refusal::Store(StoreRefusal::NameTaken));
    }
    Ok(())
}

/// Who gave it, when and why does not tell grants apart.
fn is_same(grant: &Grant, other: &Grant) -> bool {
    let has_all = |these: &Grant, those: &Grant| {
        these.patterns.iter().all(|pattern| those.patterns.contains(pattern))
    };
    grant.agent == other.agent
        && grant.server == other.server
        && grant.expires_s == other.expires_s
        && grant.constraints == other.constraints
        && has_all(grant, other)
        && has_all(other, grant)
}

/// What would make a tool as the file has it, if it is not.
fn difference(tool: &Tool, item: ToolItem) -> Result<Option<(Operation, Confirmed)>, Refusal> {
    let ToolItem { class, rules, effects, digest, .. } = item;
    let Some(approved) = tool.approved.as_ref().filter(|_| tool.approved_class().is_some()) else {
        // Nobody approves a definition that they have not looked at.
        let digest = digest.ok_or(Refusal::ToolNotApproved)?;
        let accept_hidden_characters = false;
        let digest = Some(digest);
        let approval = Approval { class, rules, effects, digest, accept_hidden_characters };
        let confirmed = tools::read_approval(tool, approval)?;
        return Ok(Some((Operation::ToolApprove, confirmed)));
    };
    if digest.is_some_and(|digest| digest != tools::hex(&tool.digest)) {
        return Err(Refusal::ToolChanged);
    }
    let given = (class.map(Class::from), rules, effects);
    let confirmed = tools::confirmed(tool, Some(approved), given);
    let is_as_approved = confirmed.class == approved.class
        && confirmed.rules == approved.rules
        && confirmed.effects == approved.effects;
    Ok((!is_as_approved).then_some((Operation::ToolClassify, confirmed)))
}
