//! Locks: the fast way to stop something. They hold from the moment they are answered.

use attorn_audit::{Entry, Kind};
use attorn_registry::{GrantId, LOCK_LIFETIME_MAX_S, Lock, LockId, LockTarget};
use attorn_store::Changed;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::last_operator::{Taken, verify_remains};
use super::list::List;
use super::operation::Operation;
use super::reason::Reason;
use super::refusal::{Missing, Refusal};
use super::resources;

/// A lock.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LockView {
    id: String,
    target: Target,
    reason: String,
    by: String,
    created_s: u64,
    expires_s: u64,
    lifted_s: Option<u64>,
    /// Whether it stops anything now.
    holds: bool,
    /// The version of the registry that has it, where it was set or lifted just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_version: Option<u64>,
}

/// A new lock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockNew {
    target: Target,
    /// Why; recorded.
    reason: String,
    /// First second at which it does not hold any more; 30 days from now if absent.
    expires_s: Option<u64>,
}

/// What a lock stops. Agents, owners and servers by name or identifier.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Target {
    /// Everything an agent does.
    Agent {
        /// The agent.
        agent: String,
    },
    /// What one grant gives.
    Grant {
        /// The grant.
        grant: String,
    },
    /// Everything bound to one key.
    Key {
        /// RFC 7638 thumbprint.
        jkt: String,
    },
    /// Everything of every identity an owner answers for.
    Owner {
        /// The owner.
        owner: String,
    },
    /// Everything that is done for a person, and their signing in.
    Person {
        /// The person.
        person: String,
    },
    /// Everything at an API.
    Resource {
        /// The API.
        resource: String,
    },
    /// Everything at a server.
    Server {
        /// The server.
        server: String,
    },
    /// One access token.
    Token {
        /// Its `jti`.
        jti: String,
    },
    /// One tool.
    Tool {
        /// The server.
        server: String,
        /// The exact name of the tool.
        tool: String,
    },
}

pub(crate) async fn list(context: Context) -> Result<List<LockView>, Refusal> {
    // From the store, which also remembers what ended.
    let locks = context.shared.store.locks().await?;
    Ok(locks.iter().map(|lock| LockView::of(&context, lock)).collect())
}

pub(crate) async fn create(context: Context, new: LockNew) -> Result<Effect<LockView>, Refusal> {
    let latest_s = context.now_s().saturating_add(LOCK_LIFETIME_MAX_S);
    let target = new.target.resolve(&context)?;
    // A lock ends by itself, but until then nobody could do anything else either.
    match &target {
        LockTarget::Agent { agent } => verify_remains(&context, Taken::Agent(agent))?,
        LockTarget::Grant { grant } => verify_remains(&context, Taken::Grant(grant))?,
        LockTarget::Key { jkt } => verify_remains(&context, Taken::Key(*jkt))?,
        LockTarget::Owner { owner } => verify_remains(&context, Taken::Owner(owner))?,
        LockTarget::Person { .. }
        | LockTarget::Resource { .. }
        | LockTarget::Server { .. }
        | LockTarget::Token { .. }
        | LockTarget::Tool { .. } => {}
    }
    let lock = Lock {
        id: LockId::from_random(&context.shared.random.bytes()),
        target,
        reason: new.reason,
        by: context.operator.id.to_string(),
        created_s: context.now_s(),
        expires_s: new.expires_s.unwrap_or(latest_s),
        lifted_s: None,
    };
    let changed = context.shared.store.create_lock(&context.act(), &lock).await?;
    let fact = about(&context, Kind::LockCreated, &changed.record, &changed.record.reason);
    Ok(Effect::new(LockView::of_change(&context, &changed), fact))
}

pub(crate) async fn lift(context: Context, reason: Reason) -> Result<Effect<LockView>, Refusal> {
    let reason = reason.text()?;
    let id = LockId::parse(context.segment("lock"));
    let id = id.map_err(|_| Refusal::Missing(Missing::Lock))?;
    let changed = context.shared.store.lift_lock(&context.act(), &id).await?;
    let fact = about(&context, Kind::LockLifted, &changed.record, &reason);
    Ok(Effect::new(LockView::of_change(&context, &changed), fact))
}

fn about(context: &Context, kind: Kind, lock: &Lock, reason: &str) -> Entry {
    let mut fact = context.fact(kind);
    match &lock.target {
        LockTarget::Agent { agent } => fact.agent = Some(agent.to_string()),
        LockTarget::Grant { grant } => fact.grant = Some(grant.to_string()),
        LockTarget::Key { jkt } => fact.proof_key = Some(jkt.to_string()),
        LockTarget::Owner { owner } => fact.owner = Some(owner.to_string()),
        LockTarget::Person { person } => fact.subject = Some(person.to_string()),
        LockTarget::Resource { resource } => {
            fact.downstream_resource = Some(resource.to_string());
        }
        LockTarget::Server { server } => fact.server = Some(server.to_string()),
        LockTarget::Token { jti } => fact.token_jti = Some(jti.clone()),
        LockTarget::Tool { server, tool } => {
            fact.server = Some(server.to_string());
            fact.tool = Some(tool.clone());
        }
    }
    fact.detail.insert("lock".to_owned(), lock.id.to_string());
    fact.detail.insert("reason".to_owned(), reason.to_owned());
    fact.detail.insert("expires_s".to_owned(), lock.expires_s.to_string());
    fact
}

impl Target {
    fn resolve(self, context: &Context) -> Result<LockTarget, Refusal> {
        Ok(match self {
            Self::Agent { agent } => LockTarget::Agent { agent: context.agent(&agent)?.id.clone() },
            Self::Grant { grant } => LockTarget::Grant {
                grant: GrantId::parse(&grant).map_err(|_| Refusal::Missing(Missing::Grant))?,
            },
            Self::Key { jkt } => LockTarget::Key { jkt: jkt.parse().map_err(|_| Refusal::Form)? },
            Self::Owner { owner } => LockTarget::Owner { owner: context.owner(&owner)?.id.clone() },
            Self::Person { person } => {
                LockTarget::Person { person: context.person(&person)?.id.clone() }
            }
            Self::Resource { resource } => {
                LockTarget::Resource { resource: resources::named(context, &resource)?.id.clone() }
            }
            Self::Server { server } => {
                let server = context.server(&server)?;
                if server.is_builtin() {
                    // Nobody could lift it: the API that would is the one it stops.
                    return Err(Refusal::Builtin);
                }
                LockTarget::Server { server: server.id.clone() }
            }
            Self::Token { jti } => LockTarget::Token { jti },
            Self::Tool { server, tool } => {
                let server = context.server(&server)?;
                if server.is_builtin() && tool == Operation::LockLift.row().id {
                    // As above.
                    return Err(Refusal::Builtin);
                }
                LockTarget::Tool { server: server.id.clone(), tool }
            }
        })
    }

    fn shown(context: &Context, target: &LockTarget) -> Self {
        let snapshot = &context.snapshot;
        let server_name = |id: &_| {
            snapshot.server(id).map_or_else(|| id.to_string(), |server| server.name.to_string())
        };
        match target {
            LockTarget::Agent { agent: id } => Self::Agent {
                agent: snapshot
                    .agent(id)
                    .map_or_else(|| id.to_string(), |one| one.name.to_string()),
            },
            LockTarget::Grant { grant } => Self::Grant { grant: grant.to_string() },
            LockTarget::Key { jkt } => Self::Key { jkt: jkt.to_string() },
            LockTarget::Owner { owner: id } => Self::Owner {
                owner: snapshot
                    .owner(id)
                    .map_or_else(|| id.to_string(), |one| one.name.to_string()),
            },
            LockTarget::Person { person: id } => Self::Person {
                person: snapshot
                    .person(id)
                    .map_or_else(|| id.to_string(), |one| one.name.to_string()),
            },
            LockTarget::Resource { resource: id } => Self::Resource {
                resource: snapshot
                    .resource(id)
                    .map_or_else(|| id.to_string(), |one| one.name.to_string()),
            },
            LockTarget::Server { server } => Self::Server { server: server_name(server) },
            LockTarget::Token { jti } => Self::Token { jti: jti.clone() },
            LockTarget::Tool { server, tool } => {
                Self::Tool { server: server_name(server), tool: tool.clone() }
            }
        }
    }
}

impl LockView {
    fn of(context: &Context, lock: &Lock) -> Self {
        Self {
            id: lock.id.to_string(),
            target: Target::shown(context, &lock.target),
            reason: lock.reason.clone(),
            by: context.name_of(&lock.by),
            created_s: lock.created_s,
            expires_s: lock.expires_s,
            lifted_s: lock.lifted_s,
            holds: lock.holds(context.now_s()),
            registry_version: None,
        }
    }

    fn of_change(context: &Context, changed: &Changed<Lock>) -> Self {
        Self { registry_version: Some(changed.version), ..Self::of(context, &changed.record) }
    }
}
