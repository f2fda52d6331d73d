//! The last operator stays: no change leaves nobody who could undo it.
//!
//! Once an operator was enrolled, no code for a first one is made again. So one is always left who
//! may act for as long as nobody stops them, with a key that counts and grants without an end for
//! what it takes to help another one.
//!
//! Not looked at: another way to authenticate that the operator does not have, rotations of keys,
//! and policies, which the administration API does not follow where they would close it.

use attorn_jose::Jkt;
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{
    Agent, AgentId, AgentKind, Authentication, GrantId, LockTarget, OwnerId, Snapshot,
    SnapshotDelta,
};

use super::context::Context;
use super::operation::Operation;
use super::refusal::Refusal;

/// What a change takes away from an operator, for a while or for good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken<'a> {
    Agent(&'a AgentId),
    Grant(&'a GrantId),
    Key(Jkt),
    Owner(&'a OwnerId),
}

/// Refuses to take away what the last operator needs.
pub(crate) fn verify_remains(context: &Context, taken: Taken<'_>) -> Result<(), Refusal> {
    let (snapshot, now_s) = (&context.snapshot, context.now_s());
    let remains = |taken| {
        let mut operators = snapshot.agents().filter(|agent| agent.kind == AgentKind::Operator);
        operators.any(|operator| can_administer(snapshot, operator, taken, now_s))
    };
    // Where nobody can by these rules, nothing gets worse.
    if remains(Some(taken)) || !remains(None) { Ok(()) } else { Err(Refusal::LastOperator) }
}

/// Refuses a change of people or owners after which nobody could administer.
pub(crate) fn verify_remains_after(
    context: &Context,
    put: impl FnOnce(&mut SnapshotDelta),
) -> Result<(), Refusal> {
    let (now, now_s) = (&context.snapshot, context.now_s());
    let mut delta = SnapshotDelta {
        after: now.version,
        version: now.version.saturating_add(1),
        made_ms: context.now_ms,
        epoch: now.epoch,
        ..SnapshotDelta::default()
    };
    put(&mut delta);
    let next = now.apply(delta).map_err(|_| Refusal::StoreUnavailable)?;
    let remains = |snapshot: &Snapshot| {
        let mut operators = snapshot.agents().filter(|agent| agent.kind == AgentKind::Operator);
        operators.any(|operator| can_administer(snapshot, operator, None, now_s))
    };
    if remains(&next) || !remains(now) { Ok(()) } else { Err(Refusal::LastOperator) }
}

/// Refuses to put the last operator under an owner who is locked.
pub(crate) fn verify_owner(
    context: &Context,
    agent: &AgentId,
    owner: &OwnerId,
) -> Result<(), Refusal> {
    let lock = LockTarget::Owner { owner: owner.clone() };
    match context.snapshot.active_lock(&lock, context.now_s()) {
        Some(_) => verify_remains(context, Taken::Agent(agent)),
        None => Ok(()),
    }
}

/// What it takes to let another operator in, or back in.
const NEEDED: [Operation; 4] =
    [Operation::AgentRegister, Operation::AgentResume, Operation::GrantCreate, Operation::LockLift];

fn can_administer(
    snapshot: &Snapshot,
    operator: &Agent,
    taken: Option<Taken<'_>>,
    now_s: u64,
) -> bool {
    let (mut without_agent, mut without_grant, mut without_key) = (false, None, None);
    match taken {
        None => {}
        Some(Taken::Agent(id)) => without_agent = operator.id == *id,
        Some(Taken::Grant(id)) => without_grant = Some(id),
        Some(Taken::Key(jkt)) => without_key = Some(jkt),
        Some(Taken::Owner(id)) => {
            let mut owners = snapshot.owners_behind(operator.owner.as_ref());
            without_agent = owners.any(|owner| owner.id == *id);
        }
    }
    let owners = snapshot.owners_behind(operator.owner.as_ref());
    let owners = owners.map(|owner| LockTarget::Owner { owner: owner.id.clone() });
    let mut locks = owners.chain([LockTarget::Agent { agent: operator.id.clone() }]);
    let locked = locks.any(|it| snapshot.active_lock(&it, now_s).is_some());
    let acts = snapshot.acting_agent(&operator.id, now_s).is_ok() && operator.expires_s.is_none();
    let free = |jkt| {
        let lock = LockTarget::Key { jkt };
        snapshot.active_lock(&lock, now_s).is_none() && Some(jkt) != without_key
    };
    let has_key = match &operator.authentication {
        // A platform that is not trusted any more lets nobody in.
        Authentication::None | Authentication::PrivateKeyJwt | Authentication::Workload { .. } => {
            let mut keys = operator.accepted_keys(now_s);
            keys.any(|key| key.not_after_s.is_none() && free(key.jkt))
        }
        Authentication::SelfSignedTlsClientAuth { certificates } => {
            certificates.iter().any(|one| free(Confirmation::Certificate(*one).key()))
        }
        // Another certificate of the same name does as well.
        Authentication::Spiffe { .. } | Authentication::TlsClientAuth { .. } => true,
    };
    let holds = |operation: &Operation| {
        let scope = operation.scope();
        let builtin = snapshot.servers().filter(|server| server.is_builtin());
        let mut grants =
            builtin.flat_map(|at| snapshot.counting_grants(&operator.id, &at.id, now_s));
        grants.any(|grant| {
            grant.expires_s.is_none() && Some(&grant.id) != without_grant && grant.covers(&scope)
        })
    };
    acts && !locked && !without_agent && has_key && NEEDED.iter().all(holds)
}
