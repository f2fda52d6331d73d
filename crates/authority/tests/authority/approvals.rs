//! Calls that wait for a person: who may say what, and what is used once.

use attorn_authority::Operation;
use attorn_jose::sha256;
use attorn_registry::{
    ApprovalAnswer, ApprovalCall, ApprovalId, ApprovalTerms, AskedCall, DecisionId, ReasonCode,
    approval_arguments,
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, Client, World};

const DECISION: &str = "dec_aaaaaaaaaaaaaaaaaaaaaaaaaa";
const PATTERNS: [&str; 4] =
    ["read:approval.list", "read:approval.show", "write:approval.approve", "write:approval.deny"];

struct Scene {
    world: World,
    operator: Client,
    agent: Client,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let operator = world.operator().await;
        world.crm(&operator).await;
        let agent = world.agent(&operator, "billing", &["irreversible:drop"]).await;
        Self { world, operator, agent }
    }

    /// Somebody else who may approve, under an owner of their own.
    async fn approver(&self, name: &str, owner: &str) -> Client {
        self.registered(name, owner, "operator", &PATTERNS).await
    }

    async fn registered(&self, name: &str, owner: &str, kind: &str, patterns: &[&str]) -> Client {
        let owners = json!({ "name": owner });
        // It may be there already.
        self.world.run(&self.operator, Operation::OwnerCreate, &[], owners).await;
        let new = json!({ "name": name, "owner": owner, "kind": kind });
        let made = self.world.done(&self.operator, Operation::AgentRegister, &[], new).await;
        let (client, _) = self.world.enroll(made["code"].as_str().unwrap()).await;
        let grant = json!({ "agent": name, "server": "admin", "patterns": patterns });
        self.world.done(&self.operator, Operation::GrantCreate, &[], grant).await;
        client
    }

    fn call(&self, text: &str, terms: ApprovalTerms) -> AskedCall {
        let snapshot = self.world.published.load();
        let (arguments, digest) = approval_arguments(Some(text)).unwrap();
        let call = ApprovalCall {
            agent: self.agent.id.clone(),
            subject: self.agent.id.to_string(),
            server: snapshot.server_named("crm").unwrap().id.clone(),
            tool: "drop".to_owned(),
            definition: sha256(br#"{"name":"drop"}"#),
            arguments: digest,
            terms,
        };
        let decision = DECISION.to_owned();
        let (actors, trace_id, named) = (None, Some("0af7651916cd43dd".to_owned()), None);
        AskedCall { call, arguments, actors, decision, trace_id, named }
    }

    async fn ask(&self, asked: &AskedCall) -> ApprovalAnswer {
        self.world.authority.ask_approval("gateway", asked.clone()).await.unwrap()
    }

    /// A request that waits.
    async fn asked(&self, terms: ApprovalTerms) -> (AskedCall, ApprovalId) {
        let asked = self.call(r#"{"id":1}"#, terms);
        let answer = self.ask(&asked).await;
        assert_eq!(answer.reason, ReasonCode::ApprovalRequired);
        (asked, answer.approval.unwrap())
    }

    async fn say(&self, who: &Client, operation: Operation, id: &ApprovalId) -> Answer {
        let body = json!({ "reason": "looked at it" });
        self.world.run(who, operation, &[id.as_str()], body).await
    }

    async fn approve(&self, who: &Client, id: &ApprovalId) -> Answer {
        self.say(who, Operation::ApprovalApprove, id).await
    }

    async fn use_up(&self, asked: &AskedCall, id: &ApprovalId) -> Result<(), ReasonCode> {
        let decision = DecisionId::from_random(&[7; 16]);
        let (authority, given) = (&self.world.authority, (id, &asked.call));
        authority.use_approval("gateway", given, decision.as_str()).await.unwrap()
    }

    async fn entries_of(&self, id: &ApprovalId) -> Vec<String> {
        let entries = self.world.entries().await;
        let of = entries.iter().filter(|entry| entry["approval"] == id.as_str());
        let kinds = of.map(|entry| entry["kind"].as_str().unwrap().to_owned());
        kinds.filter(|kind| kind.starts_with("approval.")).collect()
    }
}

fn one() -> ApprovalTerms {
    ApprovalTerms::default()
}

#[tokio::test]
async fn an_approver_sees_the_exact_call_and_the_journal_what_was_said() {
    let scene = Scene::new().await;
    let asked = scene.call("{\"id\": 1.0,\n\"to\":\"\u{202e}x\"}", one());
    let id = scene.ask(&asked).await.approval.unwrap();
    // Asked again it is the same request.
    let again = scene.ask(&asked).await;
    assert_eq!((again.approval.as_ref(), again.reason), (Some(&id), ReasonCode::ApprovalPending));
    let place = [id.as_str()];
    let shown = scene.world.run(&scene.operator, Operation::ApprovalShow, &place, json!({})).await;
    assert_eq!(shown.body["arguments"], "{\"id\":1,\"to\":\"\u{202e}x\"}");
    assert_eq!((&shown.body["agent"], &shown.body["tool"]), (&json!("billing"), &json!("drop")));
    assert_eq!((&shown.body["class"], &shown.body["needed"]), (&json!("irreversible"), &json!(1)));
    assert_eq!(
        (&shown.body["state"], &shown.body["tool_unchanged"]),
        (&json!("pending"), &json!(true))
    );
    let listed = scene.world.run(&scene.operator, Operation::ApprovalList, &[], json!({})).await;
    assert_eq!(listed.body["items"][0]["id"], id.as_str());
    let approved = scene.approve(&scene.operator, &id).await;
    assert_eq!(approved.body["state"], "approved", "{approved:?}");
    assert!(scene.world.published.load().approval_for(&asked.call, scene.world.now_s()).is_some());
    assert_eq!(scene.use_up(&asked, &id).await, Ok(()));
    assert_eq!(scene.use_up(&asked, &id).await, Err(ReasonCode::ApprovalUsed));
    let kinds = ["approval.requested", "approval.approved", "approval.used"];
    assert_eq!(scene.entries_of(&id).await, kinds);
    // No argument is in the journal, which keeps for ever what it was told.
    let entries = Value::from(scene.world.entries().await).to_string();
    let looked = scene.world.newest("admin.read").await;
    assert_eq!((&looked["tool"], &looked["approval"]), (&json!("approval.list"), &Value::Null));
    let shows = scene.world.entries().await;
    let of_show =
        |entry: &&Value| entry["tool"] == "approval.show" && entry["approval"] == id.as_str();
    assert_eq!(shows.iter().filter(of_show).count(), 1, "looking is on record");
    assert!(!entries.contains("202e") && !entries.contains('\u{202e}'));
    // The next call of the same kind needs an approval of its own.
    assert_eq!(scene.ask(&asked).await.reason, ReasonCode::ApprovalRequired);
}

#[tokio::test]
async fn nobody_approves_their_own_request() {
    let scene = Scene::new().await;
    let bob = scene.approver("bob", "finance").await;
    // The operator itself calls: as an agent at the server, and as the one that is acted for.
    for by in ["agent", "subject"] {
        let mut asked = scene.call(&format!(r#"{{"by":"{by}"}}"#), one());
        if by == "agent" {
            asked.call.agent = scene.operator.id.clone();
        } else {
            asked.call.subject = scene.operator.id.to_string();
        }
        let id = scene.ask(&asked).await.approval.unwrap();
        let own = scene.approve(&scene.operator, &id).await;
        assert_eq!(own.refusal(), (403, "approval.self"), "{by}");
        assert_ne!(scene.use_up(&asked, &id).await, Ok(()), "{by}");
        assert_eq!(scene.approve(&bob, &id).await.body["state"], "approved", "{by}");
    }
    let refused = scene.world.entries().await;
    let is_self = |entry: &&Value| entry["reason"] == "approval.self";
    assert_eq!(refused.iter().filter(is_self).count(), 2);
}

/// A person and a key of an owner who they are, are one.
#[tokio::test]
async fn who_is_acted_for_approves_with_no_key_of_theirs() {
    let scene = Scene::new().await;
    let bob = scene.approver("bob", "finance").await;
    let carla = scene.approver("carla", "legal").await;
    let new = json!({ "name": "ann" });
    let new = scene.world.done(&scene.operator, Operation::PersonInvite, &[], new).await;
    let code = sha256(new["code"].as_str().unwrap().as_bytes());
    let act = attorn_store::Act { by: "browser", now_s: scene.world.now_s() };
    scene.world.store.redeem_invitation(&act, &code, "$argon2id$marked-fixture").await.unwrap();
    scene.world.authority.publish().await.unwrap();
    let mut asked = scene.call(r#"{"id":1}"#, one());
    asked.call.subject = new["id"].as_str().unwrap().to_owned();
    let id = scene.ask(&asked).await.approval.unwrap();
    // Who the owner is, is said after the request, and counts when the word is said.
    let bound = json!({ "person": "ann" });
    scene.world.done(&scene.operator, Operation::OwnerSet, &["finance"], bound).await;
    assert_eq!(scene.approve(&bob, &id).await.refusal(), (403, "approval.self"));
    assert_eq!(scene.world.newest("admin.refused").await["reason"], "approval.self");
    assert_eq!(scene.approve(&carla, &id).await.body["state"], "approved");
    // Nor are two owners of one person two persons.
    let both = json!({ "person": "ann" });
    scene.world.done(&scene.operator, Operation::OwnerSet, &["legal"], both).await;
    let (_, id) = scene.asked(ApprovalTerms { two: true, not_owner: false }).await;
    assert_eq!(scene.approve(&bob, &id).await.body["state"], "pending");
    assert_eq!(scene.approve(&carla, &id).await.refusal(), (403, "approval.self"));
    assert_eq!(scene.approve(&scene.operator, &id).await.body["state"], "approved");
}

#[tokio::test]
async fn an_owner_is_excluded_where_a_rule_says_so() {
    let scene = Scene::new().await;
    let of_sales = scene.approver("sally", "sales").await;
    let bob = scene.approver("bob", "finance").await;
    let (_, id) = scene.asked(ApprovalTerms { two: false, not_owner: true }).await;
    assert_eq!(scene.approve(&of_sales, &id).await.refusal(), (403, "approval.self"));
    assert_eq!(scene.approve(&bob, &id).await.status, StatusCode::OK);
    let (_, id) = scene.asked(one()).await;
    assert_eq!(scene.approve(&of_sales, &id).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_second_of_two_is_somebody_else() {
    let scene = Scene::new().await;
    let bob = scene.approver("bob", "finance").await;
    let same = scene.approver("bobs-other-key", "finance").await;
    let carla = scene.approver("carla", "legal").await;
    let (asked, id) = scene.asked(ApprovalTerms { two: true, not_owner: false }).await;
    assert_eq!(scene.approve(&bob, &id).await.body["state"], "pending");
    assert_eq!(scene.use_up(&asked, &id).await, Err(ReasonCode::ApprovalPending));
    for again in [&bob, &same] {
        assert_eq!(scene.approve(again, &id).await.refusal(), (403, "approval.self"));
    }
    assert_eq!(scene.approve(&carla, &id).await.body["state"], "approved");
    assert_eq!(scene.use_up(&asked, &id).await, Ok(()));
}

#[tokio::test]
async fn an_agent_says_nothing_whatever_its_grants() {
    let scene = Scene::new().await;
    let permit = "permit (principal, action, resource in Server::\"admin\");";
    let text = format!("{}{permit}", attorn_policy::PolicySet::starter_text());
    let tag = attorn_authority::policy_tag(scene.world.published.load().policy.version);
    *scene.world.replaces.lock().unwrap() = Some(tag);
    let policy = json!({ "text": text, "reason": "agents administer" });
    scene.world.done(&scene.operator, Operation::PolicyApply, &[], policy).await;
    let bot = scene.registered("bot", "legal", "agent", &PATTERNS).await;
    let (_, id) = scene.asked(one()).await;
    assert_eq!(scene.approve(&bot, &id).await.refusal(), (403, "delegation.not_allowed"));
    // And no person speaks as a gateway.
    let call = json!({ "asked": scene.call("{}", one()) });
    let asked = scene.world.run(&scene.operator, Operation::ApprovalAsk, &[], call).await;
    assert_eq!(asked.refusal(), (403, "delegation.not_allowed"));
    assert_eq!(scene.approve(&scene.operator, &id).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_gateway_elsewhere_asks_and_uses() {
    let scene = Scene::new().await;
    let patterns = ["write:approval.ask", "write:approval.use"];
    let gateway = scene.registered("gw-1", "platform", "gateway", &patterns).await;
    let asked = scene.call(r#"{"id":1}"#, one());
    let body = json!({ "asked": asked });
    let answer = scene.world.done(&gateway, Operation::ApprovalAsk, &[], body).await;
    let id = answer["answer"]["approval"].as_str().unwrap().to_owned();
    assert_eq!(answer["answer"]["reason"], "approval.required");
    let id = ApprovalId::parse(&id).unwrap();
    let own = scene.approve(&gateway, &id).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN);
    let use_up = || json!({ "call": asked.call, "decision": DECISION });
    let place = [id.as_str()];
    let early = scene.world.done(&gateway, Operation::ApprovalUse, &place, use_up()).await;
    assert_eq!(early, json!({ "used": false, "reason": "approval.pending" }));
    scene.approve(&scene.operator, &id).await;
    let (one, two) = tokio::join!(
        scene.world.done(&gateway, Operation::ApprovalUse, &place, use_up()),
        scene.use_up(&asked, &id),
    );
    assert_ne!(one["used"] == true, two.is_ok(), "of two at once one goes through");
}

#[tokio::test]
async fn what_does_not_fit_together_is_not_asked() {
    let scene = Scene::new().await;
    let right = scene.call(r#"{"id":1}"#, one());
    let wrong: [fn(&mut AskedCall); 5] = [
        |asked| asked.arguments = r#"{"id":2}"#.to_owned(),
        |asked| asked.arguments = r#"{ "id":1}"#.to_owned(),
        |asked| asked.decision = "dec_1".to_owned(),
        |asked| asked.call.definition = [0; 32],
        |asked| asked.call.tool = "get it".to_owned(),
    ];
    for alter in wrong {
        let mut asked = right.clone();
        alter(&mut asked);
        assert!(scene.world.authority.ask_approval("gateway", asked).await.is_err());
    }
    assert_eq!(scene.ask(&right).await.reason, ReasonCode::ApprovalRequired);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(256 * 1024));
    assert_eq!(scene.ask(&scene.call(&long, one())).await.reason, ReasonCode::FrameSize);
}

#[tokio::test]
async fn an_approval_is_for_its_call_and_its_time() {
    let scene = Scene::new().await;
    let (asked, id) = scene.asked(one()).await;
    let named = |text: &str| AskedCall { named: Some(id.clone()), ..scene.call(text, one()) };
    let other = scene.ask(&named(r#"{"id":2}"#)).await;
    assert_eq!(other.reason, ReasonCode::ApprovalArgumentsChanged);
    scene.approve(&scene.operator, &id).await;
    let other = scene.call(r#"{"id":2}"#, one());
    let refused = scene.use_up(&other, &id).await;
    assert_eq!(refused, Err(ReasonCode::ApprovalArgumentsChanged));
    scene.world.pass_s(1800);
    assert_eq!(scene.use_up(&asked, &id).await, Err(ReasonCode::ApprovalExpired));
    assert_eq!(scene.ask(&named(r#"{"id":1}"#)).await.reason, ReasonCode::ApprovalExpired);
    assert_eq!(scene.approve(&scene.operator, &id).await.refusal(), (409, "approval.expired"));
    let (asked, id) = scene.asked(one()).await;
    scene.approve(&scene.operator, &id).await;
    scene.world.pass_s(1799);
    assert_eq!(scene.use_up(&asked, &id).await, Ok(()));
}

#[tokio::test]
async fn a_stop_in_between_stops_it() {
    let scene = Scene::new().await;
    let (asked, id) = scene.asked(one()).await;
    scene.approve(&scene.operator, &id).await;
    let target = json!({ "kind": "agent", "agent": "billing" });
    let lock = json!({ "target": target, "reason": "test" });
    let lock = scene.world.done(&scene.operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(scene.use_up(&asked, &id).await, Err(ReasonCode::LockActive));
    let place = [lock["id"].as_str().unwrap()];
    let reason = json!({ "reason": "test" });
    scene.world.done(&scene.operator, Operation::LockLift, &place, reason).await;
    assert_eq!(scene.use_up(&asked, &id).await, Ok(()));
}

#[tokio::test]
async fn a_no_is_no_until_its_end() {
    let scene = Scene::new().await;
    let (asked, id) = scene.asked(one()).await;
    let place = [id.as_str()];
    let silent = scene.world.run(&scene.operator, Operation::ApprovalDeny, &place, json!({})).await;
    assert_eq!(silent.status, StatusCode::BAD_REQUEST);
    let denied = scene.say(&scene.operator, Operation::ApprovalDeny, &id).await;
    assert_eq!(denied.body["state"], "denied");
    // It cannot be asked for again and again.
    let answer = scene.ask(&asked).await;
    assert_eq!(
        (answer.reason, answer.because.as_deref()),
        (ReasonCode::ApprovalDenied, Some("looked at it"))
    );
    assert_eq!(scene.approve(&scene.operator, &id).await.refusal(), (409, "approval.denied"));
    assert_eq!(scene.entries_of(&id).await, ["approval.requested", "approval.denied"]);
    scene.world.pass_s(1800);
    assert_eq!(scene.ask(&asked).await.reason, ReasonCode::ApprovalRequired);
}

/// Who is asked without end stops to read.
#[tokio::test]
async fn an_agent_cannot_flood_its_approvers() {
    let scene = Scene::new().await;
    for number in 0..8 {
        let asked = scene.call(&format!(r#"{{"id":{number}}}"#), one());
        let answer = scene.ask(&asked).await;
        assert_eq!(answer.reason, ReasonCode::ApprovalRequired, "{number}");
        // A no gives no place back: it would invite the next one.
        if number == 0 {
            scene.say(&scene.operator, Operation::ApprovalDeny, &answer.approval.unwrap()).await;
        }
    }
    let ninth = scene.call(r#"{"id":9}"#, one());
    assert_eq!(scene.ask(&ninth).await.reason, ReasonCode::RateLimited);
    // A yes does: the call is one that was wanted.
    let first = scene.ask(&scene.call(r#"{"id":1}"#, one())).await.approval.unwrap();
    scene.approve(&scene.operator, &first).await;
    assert_eq!(scene.ask(&ninth).await.reason, ReasonCode::ApprovalRequired);
}

/// Nobody uses up the places of the others, and no agent has places without end.
#[tokio::test]
async fn requests_for_one_person_leave_places_for_those_of_others() {
    let scene = Scene::new().await;
    let ask = async |person: u8, number: u8| {
        let mut asked = scene.call(&format!(r#"{{"id":{number}}}"#), one());
        asked.call.subject = attorn_registry::PersonId::from_random(&[person; 16]).to_string();
        scene.ask(&asked).await.reason
    };
    for person in 1..=8 {
        for number in 0..8 {
            assert_eq!(ask(person, number).await, ReasonCode::ApprovalRequired, "{person}");
        }
        assert_eq!(ask(person, 8).await, ReasonCode::RateLimited, "{person}");
    }
    assert_eq!(ask(9, 0).await, ReasonCode::RateLimited);
}

#[tokio::test]
async fn without_a_journal_nobody_is_asked_and_nothing_is_used() {
    let scene = Scene::new().await;
    let (asked, id) = scene.asked(one()).await;
    scene.approve(&scene.operator, &id).await;
    let (authority, call) = (scene.world.authority.clone(), asked.call.clone());
    scene.world.journal.clone().close().await;
    assert!(authority.use_approval("gateway", (&id, &call), DECISION).await.is_err());
    let other = scene.call(r#"{"id":2}"#, one());
    assert!(authority.ask_approval("gateway", other).await.is_err());
    // Nothing happened without its entry.
    let kept = scene.world.store.approval(&id).await.unwrap().unwrap();
    assert!(kept.approval.is_usable(scene.world.now_s()));
    assert_eq!(scene.world.store.approvals(Some("pending")).await.unwrap().len(), 0);
}
