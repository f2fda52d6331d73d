//! Every change there is, each on the prepared registry, and what asking again gives.

use std::collections::BTreeSet;
use std::pin::Pin;

use attorn_registry::{
    AgentId, AgentKind, Approval, Authentication, Binding, Class, ClientSource, Consent, ConsentId,
    Downstream, ExternalSubject, Grant, GrantId, HttpMethod, IssuerKey, KeyHolder, KeyState,
    LifeCycle, Lock, LockId, LockTarget, OperationId, OwnerId, PathTemplate, PersonGrant, PersonId,
    PersonOrGroup, Provided, PublicClient, ResourceId, ResourceKey, ResourceOperation,
    ResourceRefusal, Role, ScopePattern, ServerId, TransitionRefused, UpstreamSpec,
};

use crate::failure::{Refusal, StoreError};
use crate::fixtures::{World, act, bob, id, key, name};
use crate::{
    ChangeKind, Confirmed, InForce, NewAgent, NewOwner, NewPerson, NewPublicClient, NewResource,
    NewServer, PersonSettings, SeenTool,
};

type Run = for<'a> fn(&'a World) -> Running<'a>;
type Running<'a> = Pin<Box<dyn Future<Output = Result<Option<u64>, StoreError>> + 'a>>;

/// One change.
pub(super) struct Operation {
    pub(super) name: &'static str,
    run: Run,
    pub(super) again: Again,
}

/// What the same change does the second time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Again {
    /// It is refused, and nothing changes.
    Refused(Refusal),
    /// Nothing is to be done, and nothing changes.
    Nothing,
    /// It is done again, with a version of its own, and every record is as after the first time.
    Same,
    /// A number counts up once more and the meaning stays: every older token is ended again, the
    /// same policies are in force.
    Harmless,
}

impl Operation {
    pub(super) fn run<'a>(&self, world: &'a World) -> Running<'a> {
        (self.run)(world)
    }
}

/// Makes the records that the operations are about.
pub(super) async fn prepare(world: &World) {
    let store = &world.store;
    store.rotate_agent_key(&act(1), &world.agent, (key(1), "{}"), 0).await.unwrap();
    store.create_enrolment(&act(1), &world.agent, [1; 32]).await.unwrap();
    store.record_seen_tools(&act(1), &world.server, &[seen("get")]).await.unwrap();
    let made = (key(10), "{}");
    store.add_server_key(&act(1), &world.server, made, KeyHolder::Gateway).await.unwrap();
    let resource = world.new_resource();
    store.register_resource(&act(1), &resource).await.unwrap();
    store.add_operation(&act(1), &resource.id, operation("get")).await.unwrap();
    store.allow_downstream(&act(1), &resource.id, rule(world, Class::Read)).await.unwrap();
    store.create_grant(&act(1), &world.new_grant()).await.unwrap();
    store.create_grant(&act(1), &waiting(world)).await.unwrap();
    store.create_lock(&act(1), &lock(world, 9)).await.unwrap();
    store.add_issuer_key(&act(1), &issuer_key("k1")).await.unwrap();
    store.apply_policy(&act(1), "permit (principal, action, resource);", "first").await.unwrap();
    store.create_owner(&act(1), &owner(21, "carla")).await.unwrap();
    store.set_agent_state(&act(1), &world.agent, LifeCycle::Active).await.unwrap();
    for seed in [1, 2] {
        store.request_approval(&act(10), &world.new_approval(seed)).await.unwrap();
    }
    let change = (&world.new_approval(2).approval, &given(world));
    store.replace_approval(&act(11), ChangeKind::ApprovalDecided, change).await.unwrap();
    let person = world.active_person().await;
    store.create_invitation(&act(3), &person, [91; 32]).await.unwrap();
    let other = NewPerson {
        id: linked(),
        name: name("linda"),
        external: Some(subject("1")),
        ..world.new_person()
    };
    store.create_person(&act(3), &other).await.unwrap();
    store.create_person_grant(&act(3), &world.new_person_grant(&person)).await.unwrap();
    store.put_consent(&act(3), &world.new_consent(&person)).await.unwrap();
    store.register_public_client(&act(3), &client(61, "viewer")).await.unwrap();
    store.add_passkey(&act(3), &world.new_passkey(95)).await.unwrap();
}

/// Somebody who is linked to a provider.
fn linked() -> PersonId {
    PersonId::from_random(&id(83))
}

fn subject(text: &str) -> ExternalSubject {
    ExternalSubject { issuer: "https://id.example".to_owned(), subject: text.to_owned() }
}

/// The second approval, given.
fn given(world: &World) -> Approval {
    world.new_approval(2).approval.approve(&bob(), "fine", 11).unwrap()
}

/// A row of the table: the name is that of the method.
macro_rules! operation {
    ($name:ident, $again:expr, |$world:ident, $store:ident| $change:expr) => {
        Operation {
            name: stringify!($name),
            run: |$world| {
                Box::pin(async move {
                    let $store = &$world.store;
                    $change
                })
            },
            again: $again,
        }
    };
}

/// The version of a change that was made.
macro_rules! version {
    ($change:expr) => {
        Ok(Some($change.await?.version))
    };
}

const SUSPENDED_TWICE: Refusal =
    Refusal::Transition(TransitionRefused { from: LifeCycle::Suspended, to: LifeCycle::Suspended });

#[rustfmt::skip]
pub(super) const OPERATIONS: &[Operation] = &[
    operation!(create_owner, Again::Refused(Refusal::NameTaken), |_w, store|
        version!(store.create_owner(&act(2), &owner(20, "bob")))),
    operation!(set_owner_state, Again::Refused(SUSPENDED_TWICE), |w, store|
        version!(store.set_owner_state(&act(2), &w.owner.id, LifeCycle::Suspended))),
    operation!(register_agent, Again::Refused(Refusal::NameTaken), |w, store|
        version!(store.register_agent(&act(2), &agent(w)))),
    operation!(set_agent_state, Again::Refused(SUSPENDED_TWICE), |w, store|
        version!(store.set_agent_state(&act(2), &w.agent, LifeCycle::Suspended))),
    operation!(set_agent_owner, Again::Same, |w, store|
        version!(store.set_agent_owner(&act(2), &w.agent, &owner(21, "carla").id))),
    operation!(set_agent_expiry, Again::Same, |w, store|
        version!(store.set_agent_expiry(&act(2), &w.agent, Some(2_000_000_000)))),
    operation!(set_agent_authentication, Again::Same, |w, store|
        version!(store.set_agent_authentication(
            &act(2), &w.agent, (&Authentication::PrivateKeyJwt, Binding::Certificate)))),
    operation!(rotate_agent_key, Again::Refused(Refusal::KeyTaken), |w, store|
        version!(store.rotate_agent_key(&act(2), &w.agent, (key(2), "{}"), 300))),
    operation!(remove_agent_key, Again::Same, |w, store|
        version!(store.remove_agent_key(&act(2), &w.agent, &key(1)))),
    operation!(create_enrolment, Again::Same, |w, store|
        version!(store.create_enrolment(&act(2), &w.agent, [2; 32]))),
    operation!(redeem_enrolment, Again::Refused(Refusal::CodeInvalid), |_w, store|
        version!(store.redeem_enrolment(&act(2), &[1; 32], (key(3), "{}")))),
    operation!(create_grant, Again::Refused(Refusal::IdTaken), |w, store| {
        let grant = Grant { id: GrantId::from_random(&id(30)), ..w.new_grant() };
        version!(store.create_grant(&act(2), &grant)) }),
    operation!(revoke_grant, Again::Refused(Refusal::GrantRevoked), |w, store|
        version!(store.revoke_grant(&act(2), &w.new_grant().id))),
    operation!(confirm_grant, Again::Refused(Refusal::GrantConfirmed), |w, store|
        version!(store.confirm_grant(&act(2), &waiting(w).id))),
    operation!(request_approval, Again::Refused(Refusal::IdTaken), |w, store|
        version!(store.request_approval(&act(10), &w.new_approval(3)))),
    operation!(decide_approval, Again::Refused(Refusal::ApprovalChanged), |w, store| {
        let before = w.new_approval(1).approval;
        let after = before.deny(&bob(), "no", 12).unwrap();
        version!(store.replace_approval(&act(12), ChangeKind::ApprovalDecided, (&before, &after))) }),
    operation!(use_approval, Again::Refused(Refusal::ApprovalChanged), |w, store| {
        let before = given(w);
        let after = before.use_once(&before.call, "dec_1", 12).unwrap();
        version!(store.replace_approval(&act(12), ChangeKind::ApprovalUsed, (&before, &after))) }),
    operation!(expire_approval, Again::Refused(Refusal::ApprovalChanged), |w, store| {
        let before = w.new_approval(1).approval;
        let after = before.expire(70).unwrap();
        version!(store.replace_approval(&act(70), ChangeKind::ApprovalExpired, (&before, &after))) }),
    operation!(create_lock, Again::Refused(Refusal::IdTaken), |w, store|
        version!(store.create_lock(&act(2), &lock(w, 31)))),
    operation!(lift_lock, Again::Refused(Refusal::LockLifted), |w, store|
        version!(store.lift_lock(&act(2), &lock(w, 9).id))),
    operation!(add_issuer_key, Again::Refused(Refusal::KeyTaken), |_w, store|
        version!(store.add_issuer_key(&act(2), &issuer_key("k2")))),
    operation!(set_issuer_key_states, Again::Same, |_w, store|
        version!(store.set_issuer_key_states(&act(2), &[("k1", KeyState::Retired)]))),
    operation!(apply_policy, Again::Harmless, |_w, store|
        version!(store.apply_policy(&act(2), "forbid (principal, action, resource);", "stop"))),
    operation!(rollback_policy, Again::Harmless, |_w, store|
        version!(store.rollback_policy(&act(2), 1, "back"))),
    operation!(revoke_token, Again::Same, |_w, store|
        version!(store.revoke_token(&act(2), "t1", 100))),
    operation!(erase_payloads, Again::Same, |_w, store|
        version!(store.erase_payloads(&act(2), "agt_1"))),
    operation!(raise_epoch, Again::Harmless, |_w, store|
        version!(store.raise_epoch(&act(2), InForce::default()))),
    operation!(register_server, Again::Refused(Refusal::NameTaken), |w, store|
        version!(store.register_server(&act(2), &server(w)))),
    operation!(set_server_state, Again::Refused(SUSPENDED_TWICE), |w, store|
        version!(store.set_server_state(&act(2), &w.server, LifeCycle::Suspended))),
    operation!(set_server_owner, Again::Same, |w, store|
        version!(store.set_server_owner(&act(2), &w.server, &owner(21, "carla").id))),
    operation!(add_server_key, Again::Refused(Refusal::KeyTaken), |w, store|
        version!(store.add_server_key(&act(2), &w.server, (key(11), "{}"), KeyHolder::Gateway))),
    operation!(retire_server_keys, Again::Same, |w, store|
        version!(store.retire_server_keys(&act(2), &w.server))),
    operation!(register_resource, Again::Refused(Refusal::NameTaken), |w, store|
        version!(store.register_resource(&act(2), &other_resource(w)))),
    operation!(set_resource_state, Again::Refused(SUSPENDED_TWICE), |w, store|
        version!(store.set_resource_state(&act(2), &w.new_resource().id, LifeCycle::Suspended))),
    operation!(set_resource_key, Again::Same, |w, store| {
        let made = ResourceKey { jkt: key(12), jwk: "{}".into() };
        version!(store.set_resource_key(&act(2), &w.new_resource().id, made)) }),
    operation!(add_operation, Again::Refused(Refusal::Resource(ResourceRefusal::OperationTaken)), |w, store|
        version!(store.add_operation(&act(2), &w.new_resource().id, operation("put")))),
    operation!(remove_operation, Again::Refused(Refusal::OperationUnknown), |w, store|
        version!(store.remove_operation(&act(2), &w.new_resource().id, "get"))),
    operation!(allow_downstream, Again::Same, |w, store|
        version!(store.allow_downstream(&act(2), &w.new_resource().id, rule(w, Class::Write)))),
    operation!(deny_downstream, Again::Refused(Refusal::DownstreamUnknown), |w, store|
        version!(store.deny_downstream(&act(2), &w.new_resource().id, &rule(w, Class::Read)))),
    operation!(set_owner, Again::Same, |w, store| {
        let group = PersonOrGroup::Group { group: name("sales") };
        let wanted = (Some(&group), Some(&owner(21, "carla").id));
        version!(store.set_owner(&act(2), &w.owner.id, wanted)) }),
    operation!(set_server_bearer, Again::Same, |w, store|
        version!(store.set_server_bearer(&act(2), &w.server, &BTreeSet::from([Class::Read])))),
    operation!(create_person, Again::Refused(Refusal::NameTaken), |w, store| {
        let id = PersonId::from_random(&id(81));
        let new = NewPerson { id, name: name("peter"), ..w.new_person() };
        version!(store.create_person(&act(2), &new)) }),
    operation!(set_person, Again::Same, |w, store| {
        let settings = PersonSettings { display_name: Some("Paula".into()), ..PersonSettings::default() };
        version!(store.set_person(&act(2), &w.person(), &settings)) }),
    operation!(set_person_state, Again::Refused(SUSPENDED_TWICE), |w, store|
        version!(store.set_person_state(&act(4), &w.person(), LifeCycle::Suspended))),
    operation!(link_person, Again::Refused(Refusal::PersonLinked), |w, store|
        version!(store.link_person(&act(4), &w.person(), &subject("2")))),
    operation!(unlink_person, Again::Refused(Refusal::PersonNotLinked), |_w, store|
        version!(store.unlink_person(&act(4), &linked()))),
    operation!(set_provided, Again::Same, |_w, store| {
        let provided = Provided { roles: BTreeSet::from([Role::Viewer]), ..Provided::default() };
        version!(store.set_provided(&act(4), &linked(), &provided)) }),
    operation!(set_password, Again::Same, |w, store|
        version!(store.set_password(&act(4), &w.person(), "$argon2id$marked-fixture"))),
    operation!(create_invitation, Again::Same, |w, store|
        version!(store.create_invitation(&act(4), &w.person(), [92; 32]))),
    operation!(redeem_invitation, Again::Refused(Refusal::CodeInvalid), |_w, store|
        version!(store.redeem_invitation(&act(4), &[91; 32], "$argon2id$marked-fixture"))),
    operation!(add_passkey, Again::Refused(Refusal::PasskeyTaken), |w, store|
        version!(store.add_passkey(&act(4), &w.new_passkey(96)))),
    operation!(remove_passkey, Again::Refused(Refusal::PasskeyUnknown), |w, store|
        version!(store.remove_passkey(&act(4), &w.person(), &w.new_passkey(95).id))),
    operation!(withdraw_passkeys, Again::Refused(Refusal::PasskeyUnknown), |w, store|
        version!(store.withdraw_passkeys(&act(4), &w.person(), None))),
    operation!(create_person_grant, Again::Refused(Refusal::IdTaken), |w, store| {
        let grant = PersonGrant { id: GrantId::from_random(&id(87)), ..w.new_person_grant(&w.person()) };
        version!(store.create_person_grant(&act(4), &grant)) }),
    operation!(revoke_person_grant, Again::Refused(Refusal::GrantRevoked), |w, store|
        version!(store.revoke_person_grant(&act(4), &w.new_person_grant(&w.person()).id))),
    operation!(put_consent, Again::Refused(Refusal::IdTaken), |w, store| {
        let consent = Consent { id: ConsentId::from_random(&id(88)), ..w.new_consent(&w.person()) };
        version!(store.put_consent(&act(4), &consent)) }),
    operation!(revoke_consent, Again::Refused(Refusal::ConsentRevoked), |w, store|
        version!(store.revoke_consent(&act(4), &w.new_consent(&w.person()).id))),
    operation!(register_public_client, Again::Refused(Refusal::NameTaken), |_w, store|
        version!(store.register_public_client(&act(4), &client(60, "editor")))),
    operation!(set_public_client, Again::Same, |_w, store| {
        let known = client(61, "viewer");
        let renamed = PublicClient { display_name: "Viewer 2".into(), ..known.client };
        version!(store.set_public_client(&act(4), &known.id, &renamed)) }),
    operation!(record_seen_tools, Again::Nothing, |w, store| {
        let tools = [seen("get"), seen("put")];
        let changed = store.record_seen_tools(&act(2), &w.server, &tools).await?;
        Ok(changed.map(|changed| changed.version)) }),
    operation!(approve_tool, Again::Same, |w, store| {
        let confirmed = Confirmed::plain([1; 32], Class::Read);
        version!(store.approve_tool(&act(2), &w.server, "get", &confirmed)) }),
    operation!(approve_tools, Again::Same, |w, store| {
        let confirmed = Confirmed::plain([1; 32], Class::Read);
        version!(store.approve_tools(&act(2), &w.server, &[("get", confirmed)])) }),
];

fn client(seed: u8, text: &str) -> NewPublicClient {
    NewPublicClient {
        id: AgentId::from_random(&id(seed)),
        name: name(text),
        owner: None,
        client: PublicClient {
            redirect_uris: vec!["http://127.0.0.1/callback".into()],
            source: ClientSource::Registered,
            display_name: "Viewer".into(),
        },
    }
}

fn owner(seed: u8, text: &str) -> NewOwner {
    NewOwner { id: OwnerId::from_random(&id(seed)), name: name(text), email: None }
}

fn agent(world: &World) -> NewAgent {
    NewAgent {
        id: AgentId::from_random(&id(22)),
        name: name("paying"),
        kind: AgentKind::Agent,
        ..world.new_agent()
    }
}

fn server(world: &World) -> NewServer {
    NewServer {
        id: ServerId::from_random(&id(23)),
        name: name("erp"),
        owner: world.owner.id.clone(),
        upstream: UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp".into() },
    }
}

fn other_resource(world: &World) -> NewResource {
    NewResource {
        id: ResourceId::from_random(&id(24)),
        name: name("paying"),
        url: "https://api.example/paying".into(),
        owner: world.owner.id.clone(),
    }
}

fn operation(text: &str) -> ResourceOperation {
    ResourceOperation {
        id: OperationId::parse(text).unwrap(),
        class: Class::Read,
        method: HttpMethod::Get,
        path: PathTemplate::parse(&format!("/{text}")).unwrap(),
    }
}

fn rule(world: &World, class: Class) -> Downstream {
    let pattern = ScopePattern::All(class);
    Downstream { server: world.server.clone(), from: pattern.clone(), to: pattern }
}

fn seen(text: &str) -> SeenTool {
    SeenTool {
        name: text.into(),
        definition: "{}".into(),
        digest: [1; 32],
        proposed_class: Class::Read,
    }
}

fn waiting(world: &World) -> Grant {
    Grant { id: GrantId::from_random(&id(8)), awaits_second: true, ..world.new_grant() }
}

fn lock(world: &World, seed: u8) -> Lock {
    Lock {
        id: LockId::from_random(&id(seed)),
        target: LockTarget::Agent { agent: world.agent.clone() },
        reason: "test".into(),
        by: String::new(),
        created_s: 0,
        expires_s: 100,
        lifted_s: None,
    }
}

fn issuer_key(kid: &str) -> IssuerKey {
    IssuerKey { kid: kid.into(), jwk: "{}".into(), state: KeyState::Active }
}
