//! What an empty registry is given: signing keys, policies, the admin server, and a way in.

use attorn_audit::{Entry, Kind};
use attorn_jose::sha256;
use attorn_policy::PolicySet;
use attorn_registry::{
    Agent, AgentId, AgentKind, Authentication, Binding, Class, Grant, GrantId, KeyState, LifeCycle,
    Name, OwnerId, ScopePattern, ServerId, Snapshot, UpstreamSpec,
};
use attorn_store::{Act, Confirmed, NewAgent, NewOwner, NewServer, SeenTool};

use crate::authority::StartError;
use crate::code::EnrolmentCode;
use crate::rotation;
use crate::shared::Shared;
use crate::{Operation, SERVER_NAME};

/// Adds what is missing; changes nothing that is there. Safe to repeat after a crash at any line.
pub(crate) async fn seed(shared: &Shared) -> Result<(), StartError> {
    let snapshot = shared.store.load_snapshot(shared.clock.now_ms()).await?;
    if snapshot.issuer_keys.is_empty() {
        for state in [KeyState::Active, KeyState::Prepublished] {
            make_issuer_key(shared, state).await?;
        }
    }
    rotation::destroy_ended(shared, &snapshot.issuer_keys)?;
    if snapshot.policy.version == 0 {
        let (act, text) = (act(shared), PolicySet::starter_text());
        announce(
            shared,
            Entry { policy_version: Some("1".to_owned()), ..fact(shared, Kind::PolicyApplied) },
        )
        .await?;
        shared.store.apply_policy(&act, text, "starter policies").await?;
    }
    seed_admin_server(shared, &snapshot).await
}

async fn make_issuer_key(shared: &Shared, state: KeyState) -> Result<(), StartError> {
    let key = shared.keys.make(&shared.random, state)?;
    let mut entry = fact(shared, Kind::KeyAdded);
    entry.detail.insert("kid".to_owned(), key.kid.clone());
    entry.detail.insert("state".to_owned(), state.as_str().to_owned());
    announce(shared, entry).await?;
    shared.store.add_issuer_key(&act(shared), &key).await?;
    Ok(())
}

/// The operations are the tools of a built-in server, so that grants, locks and policies work on
/// them as on any tool. Our own definitions need nobody's approval.
async fn seed_admin_server(shared: &Shared, snapshot: &Snapshot) -> Result<(), StartError> {
    let act = act(shared);
    let server = if let Some(server) = snapshot.server_named(SERVER_NAME) {
        server.clone()
    } else {
        let server = NewServer {
            id: ServerId::from_random(&shared.random.bytes()),
            name: own_name(SERVER_NAME)?,
            owner: administrators(shared, snapshot).await?,
            upstream: UpstreamSpec::Builtin,
        };
        let (id, owner) = (Some(server.id.to_string()), Some(server.owner.to_string()));
        announce(shared, Entry { server: id, owner, ..fact(shared, Kind::IdentityRegistered) })
            .await?;
        shared.store.register_server(&act, &server).await?.record
    };
    let waiting = |operation: &&Operation| {
        let known = server.tools.get(operation.row().id);
        let digest = sha256(definition(**operation).as_bytes());
        !known.is_some_and(|known| known.digest == digest && known.approved_class().is_some())
    };
    if Operation::ALL.iter().all(|operation| !waiting(&operation)) {
        return Ok(());
    }
    let seen: Vec<_> = Operation::ALL.iter().map(|operation| seen(*operation)).collect();
    shared.store.record_seen_tools(&act, &server.id, &seen).await?;
    let approved = |operation: &Operation| {
        let (row, digest) = (operation.row(), sha256(definition(*operation).as_bytes()));
        (row.id, Confirmed::plain(digest, row.class))
    };
    let approved: Vec<_> = Operation::ALL.iter().filter(waiting).map(approved).collect();
    shared.store.approve_tools(&act, &server.id, &approved).await?;
    Ok(())
}

/// The owner of what has no other.
async fn administrators(shared: &Shared, snapshot: &Snapshot) -> Result<OwnerId, StartError> {
    let known = snapshot.owners().find(|owner| owner.name.as_str() == ADMINISTRATORS);
    if let Some(owner) = known {
        return Ok(owner.id.clone());
    }
    let owner = NewOwner {
        id: OwnerId::from_random(&shared.random.bytes()),
        name: own_name(ADMINISTRATORS)?,
        email: None,
    };
    let id = Some(owner.id.to_string());
    announce(shared, Entry { owner: id, ..fact(shared, Kind::IdentityRegistered) }).await?;
    Ok(shared.store.create_owner(&act(shared), &owner).await?.record.id)
}

/// In the order of RFC 8785; none of the texts needs escaping.
fn definition(operation: Operation) -> String {
    let row = operation.row();
    format!(r#"{{"class":"{}","description":"{}","name":"{}"}}"#, row.class, row.summary, row.id)
}

fn seen(operation: Operation) -> SeenTool {
    let (row, definition) = (operation.row(), definition(operation));
    SeenTool {
        name: row.id.to_owned(),
        digest: sha256(definition.as_bytes()),
        definition,
        proposed_class: row.class,
    }
}

/// A code for the first operator, if none is enrolled.
pub(crate) async fn first_operator_code(
    shared: &Shared,
) -> Result<Option<EnrolmentCode>, StartError> {
    let _alone = shared.turns.next().await;
    let snapshot = shared.published.load();
    let operators = || snapshot.agents().filter(|agent| agent.kind == AgentKind::Operator);
    // One that was ever enrolled closes this door for good, also when suspended or retired.
    if operators().any(|operator| operator.state != LifeCycle::Pending) {
        return Ok(None);
    }
    let now_ms = shared.clock.now_ms();
    let agent = match operators().next() {
        Some(waiting) => waiting.clone(),
        None => register_operator(shared, &snapshot).await?,
    };
    grant_everything(shared, &snapshot, &agent).await?;
    let code = EnrolmentCode::new(&shared.random, now_ms / 1000);
    let mut entry =
        Entry { agent: Some(agent.id.to_string()), ..fact(shared, Kind::IdentityCodeIssued) };
    entry.detail.insert("purpose".to_owned(), "first operator".to_owned());
    // A code nobody knows about would be a way in that leaves no trace.
    announce(shared, entry).await?;
    shared.store.create_enrolment(&act(shared), &agent.id, code.hash()).await?;
    shared.publish().await?;
    Ok(Some(code))
}

async fn register_operator(shared: &Shared, snapshot: &Snapshot) -> Result<Agent, StartError> {
    let act = act(shared);
    let new = NewAgent {
        id: AgentId::from_random(&shared.random.bytes()),
        name: own_name("first-operator")?,
        kind: AgentKind::Operator,
        owner: administrators(shared, snapshot).await?,
        authentication: Authentication::PrivateKeyJwt,
        binding: Binding::Dpop,
        expires_s: None,
    };
    let (id, owner) = (Some(new.id.to_string()), Some(new.owner.to_string()));
    announce(shared, Entry { agent: id, owner, ..fact(shared, Kind::IdentityRegistered) }).await?;
    Ok(shared.store.register_agent(&act, &new).await?.record)
}

/// The first operator's grant. Apart from the registration, so that a crash between the two does
/// not leave an operator who may do nothing.
async fn grant_everything(
    shared: &Shared,
    snapshot: &Snapshot,
    agent: &Agent,
) -> Result<(), StartError> {
    let Some(server) = snapshot.server_named(SERVER_NAME) else { return Ok(()) };
    if !snapshot.grants(&agent.id, &server.id).is_empty() {
        return Ok(());
    }
    let act = act(shared);
    let grant = Grant {
        id: GrantId::from_random(&shared.random.bytes()),
        agent: agent.id.clone(),
        server: server.id.clone(),
        patterns: Class::ALL.map(ScopePattern::All).to_vec(),
        constraints: Vec::new(),
        awaits_second: false,
        confirmed_by: None,
        expires_s: None,
        revoked_s: None,
        by: BY.to_owned(),
        reason: "first operator".to_owned(),
        created_s: act.now_s,
    };
    let patterns: Vec<_> = grant.patterns.iter().map(ToString::to_string).collect();
    let entry = Entry {
        agent: Some(grant.agent.to_string()),
        grant: Some(grant.id.to_string()),
        scope: Some(patterns.join(" ")),
        server: Some(grant.server.to_string()),
        ..fact(shared, Kind::GrantCreated)
    };
    announce(shared, entry).await?;
    shared.store.create_grant(&act, &grant).await?;
    Ok(())
}

/// An entry about something nobody asked for.
fn fact(shared: &Shared, kind: Kind) -> Entry {
    Entry { by: Some(BY.to_owned()), ..shared.entry(kind, shared.clock.now_ms()) }
}

/// Records what the next line does. If the process dies in between, the next start does it again
/// and says so again.
async fn announce(shared: &Shared, entry: Entry) -> Result<(), StartError> {
    let _recorded = shared.record(&entry).await?;
    Ok(())
}

fn act(shared: &Shared) -> Act<'static> {
    Act { by: BY, now_s: shared.clock.now_s() }
}

fn own_name(text: &str) -> Result<Name, StartError> {
    Name::parse(text).map_err(StartError::Name)
}

/// Who did what nobody asked for.
const BY: &str = "attorn";
/// The owner of the admin server and of the first operator.
const ADMINISTRATORS: &str = "administrators";
