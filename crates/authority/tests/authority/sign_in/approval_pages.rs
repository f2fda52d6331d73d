//! Calls that wait, at their pages: who sees them, who says what, and what is then approved.

use attorn_authority::Operation;
use attorn_jose::sha256;
use attorn_registry::{
    ApprovalCall, ApprovalId, ApprovalTerms, AskedCall, DecisionId, PersonId, ReasonCode, Role,
    approval_arguments,
};
use http::StatusCode;
use serde_json::json;

use super::browser::{Browser, PASSWORD, Town, location};
use crate::world::{Answer, Client, ISSUER};

const DECISION: &str = "dec_aaaaaaaaaaaaaaaaaaaaaaaaaa";
const OURS: (&str, &str) = ("origin", ISSUER);

/// An agent that may do what cannot be undone; ann, whom it acts for, and bob, who approves.
pub(super) struct Desk {
    pub(super) town: Town,
    agent: Client,
    ann: PersonId,
}

pub(super) fn one() -> ApprovalTerms {
    ApprovalTerms::default()
}

fn two() -> ApprovalTerms {
    ApprovalTerms { two: true, not_owner: false }
}

fn not_owner() -> ApprovalTerms {
    ApprovalTerms { two: false, not_owner: true }
}

impl Desk {
    pub(super) async fn new() -> Self {
        let town = Town::new().await;
        let agent = town.world.agent(&town.operator, "billing", &["irreversible:drop"]).await;
        let ann = town.world.published.load().person_named("ann").unwrap().id.clone();
        let desk = Self { town, agent, ann };
        desk.person("bob", &[Role::Approver], &[]).await;
        desk
    }

    pub(super) async fn person(&self, name: &str, roles: &[Role], groups: &[&str]) -> PersonId {
        let id = self.town.person(name, &[]).await;
        self.town.set(&id, roles, groups).await;
        id
    }

    /// A call for ann that waits.
    pub(super) async fn asked(
        &self,
        arguments: &str,
        terms: ApprovalTerms,
    ) -> (AskedCall, ApprovalId) {
        let world = &self.town.world;
        let snapshot = world.published.load();
        let server = snapshot.server_named("crm").unwrap();
        let (arguments, digest) = approval_arguments(Some(arguments)).unwrap();
        let call = ApprovalCall {
            agent: self.agent.id.clone(),
            subject: self.ann.to_string(),
            server: server.id.clone(),
            tool: "drop".to_owned(),
            definition: server.tools["drop"].digest,
            arguments: digest,
            terms,
        };
        let decision = DECISION.to_owned();
        let (actors, trace_id, named) = (None, Some("0af7651916cd43dd".to_owned()), None);
        let asked = AskedCall { call, arguments, actors, decision, trace_id, named };
        let answer = world.authority.ask_approval("gateway", asked.clone()).await.unwrap();
        assert_eq!(answer.reason, ReasonCode::ApprovalRequired);
        (asked, answer.approval.unwrap())
    }

    async fn use_up(&self, (asked, id): (&AskedCall, &ApprovalId)) -> Result<(), ReasonCode> {
        let decision = DecisionId::from_random(&[7; 16]);
        let given = (id, &asked.call);
        self.town.world.authority.use_approval("gateway", given, decision.as_str()).await.unwrap()
    }

    async fn state(&self, id: &ApprovalId) -> &'static str {
        self.town.world.store.approval(id).await.unwrap().unwrap().approval.state.as_str()
    }
}

pub(super) fn path(id: &ApprovalId) -> String {
    format!("/approvals/{id}")
}

async fn say(browser: &Browser<'_>, id: &ApprovalId, answer: &str) -> Answer {
    browser.get(&path(id)).await;
    browser.submit(&path(id), &[("answer", answer), ("reason", "looked at it")]).await
}

/// The hidden fields of a page that is open.
async fn opened(browser: &Browser<'_>, id: &ApprovalId) -> (String, String) {
    browser.get(&path(id)).await;
    (browser.hidden("form"), browser.hidden("shown"))
}

/// Sends the form of a page that was opened before.
async fn send(
    browser: &Browser<'_>,
    id: &ApprovalId,
    (token, shown): &(String, String),
    answer: &str,
) -> Answer {
    let form = [
        ("form", token.as_str()),
        ("shown", shown),
        ("answer", answer),
        ("reason", "looked at it"),
    ];
    browser.post(&path(id), &form, &[OURS]).await
}

async fn approve(browser: &Browser<'_>, id: &ApprovalId) -> Answer {
    say(browser, id, "approve").await
}

#[track_caller]
fn is_refused(answer: &Answer, status: StatusCode, why: &str) {
    assert_eq!(answer.status, status, "{}", answer.page);
    assert!(answer.page.contains(why), "{why}: {}", answer.page);
}

#[tokio::test]
async fn a_person_reads_the_call_and_approves_it_once() {
    let desk = Desk::new().await;
    let (asked, id) = desk.asked("{\"to\":\"\u{202e}x\",\"id\":1.0}", one()).await;
    let bob = desk.town.logged_in("bob").await;
    let list = bob.get("/approvals").await;
    assert!(list.page.contains(&path(&id)) && list.page.contains("billing"), "{}", list.page);
    let page = bob.get(&path(&id)).await;
    assert_eq!(page.status, StatusCode::OK);
    for text in ["drop", "crm", "billing", "ann", "sales", "irreversible", "gateway", "\\u{202e}"] {
        assert!(page.page.contains(text), "{text}: {}", page.page);
    }
    assert!(!page.page.contains('\u{202e}') && page.page.contains("cannot be seen"));
    let looked = desk.town.world.newest("admin.read").await;
    assert_eq!((&looked["tool"], &looked["approval"]), (&json!("approval.show"), &json!(id)));
    let who = desk.town.world.published.load().person_named("bob").unwrap().id.to_string();
    assert_eq!(looked["by"], json!(who));

    let said = approve(&bob, &id).await;
    assert_eq!(location(&said), format!("{ISSUER}{}", path(&id)));
    assert!(bob.follow(&said).await.page.contains("looked at it"));
    let entry = desk.town.world.newest("approval.approved").await;
    assert_eq!((&entry["by"], &entry["subject"]), (&json!(who), &json!(desk.ann)));
    assert_eq!((&entry["agent"], &entry["tool"]), (&json!(desk.agent.id.as_str()), &json!("drop")));
    assert_eq!(entry["detail"]["reason"], "looked at it");
    // In force, for exactly this call.
    let (snapshot, now_s) = (desk.town.world.published.load(), desk.town.world.now_s());
    assert!(snapshot.approval_for(&asked.call, now_s).unwrap().is_usable(now_s));
    let other = ApprovalCall { arguments: [9; 32], ..asked.call.clone() };
    assert!(snapshot.approval_for(&other, now_s).is_none());
    // The arguments stay out of the journal.
    assert!(!format!("{:?}", desk.town.world.entries().await).contains("202e"));
    let again = approve(&bob, &id).await;
    is_refused(&again, StatusCode::CONFLICT, "It is approved already");
}

#[tokio::test]
async fn an_approved_call_is_made_once() {
    let desk = Desk::new().await;
    let (mut asked, _) = desk.asked(r#"{"id":1}"#, one()).await;
    // Ann gave the agent nothing, so it acts for itself.
    asked.call.subject = desk.agent.id.to_string();
    let world = &desk.town.world;
    let id = world.authority.ask_approval("gateway", asked.clone()).await.unwrap();
    let id = id.approval.unwrap();
    assert_eq!(desk.use_up((&asked, &id)).await, Err(ReasonCode::ApprovalPending));
    let bob = desk.town.logged_in("bob").await;
    let open = opened(&bob, &id).await;
    send(&bob, &id, &open, "approve").await;
    assert_eq!(desk.use_up((&asked, &id)).await, Ok(()));
    assert_eq!(desk.use_up((&asked, &id)).await, Err(ReasonCode::ApprovalUsed));
    for answer in ["approve", "deny"] {
        is_refused(&send(&bob, &id, &open, answer).await, StatusCode::CONFLICT, "It was used");
        assert_eq!(desk.town.reason("admin.refused").await, "approval.used");
    }
}

#[tokio::test]
async fn nobody_approves_what_is_done_for_them() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    desk.town.set(&desk.ann, &[Role::Approver], &[]).await;
    let ann = desk.town.logged_in("ann").await;
    let page = ann.get(&path(&id)).await;
    assert!(page.page.contains("You cannot approve this: nobody approves their own request"));
    assert!(!page.page.contains(r#"value="approve""#), "{}", page.page);
    let list = ann.get("/approvals").await;
    assert!(list.page.contains("Nothing waits for you"), "{}", list.page);
    // The button is not there, and who sends it all the same is refused.
    let own = approve(&ann, &id).await;
    is_refused(&own, StatusCode::FORBIDDEN, "Nobody approves their own request");
    let refused = desk.town.world.newest("admin.refused").await;
    assert_eq!(
        (&refused["reason"], &refused["tool"], &refused["by"]),
        (&json!("approval.self"), &json!("approval.approve"), &json!(desk.ann))
    );
    assert_eq!(desk.state(&id).await, "pending");
    // Its twin is somebody else.
    let bob = desk.town.logged_in("bob").await;
    assert_eq!(approve(&bob, &id).await.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.state(&id).await, "approved");
}

#[tokio::test]
async fn an_owner_is_known_by_the_person_they_are() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, not_owner()).await;
    let bob = desk.town.logged_in("bob").await;
    // A person has to have used their code before an owner can be them.
    drop(desk.town.logged_in("ann").await);
    let bind = async |body| {
        let (world, operator) = (&desk.town.world, &desk.town.operator);
        world.done(operator, Operation::OwnerSet, &["sales"], body).await;
    };
    // The agent's owner is a name alone.
    let unknown = approve(&bob, &id).await;
    is_refused(&unknown, StatusCode::FORBIDDEN, "An owner is bound to nobody");
    bind(json!({ "person": "bob" })).await;
    let owner = approve(&bob, &id).await;
    is_refused(&owner, StatusCode::FORBIDDEN, "Nobody approves their own request");
    bind(json!({ "person": "ann" })).await;
    assert_eq!(approve(&bob, &id).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn two_approvers_are_two_persons_at_pages_and_by_key() {
    let desk = Desk::new().await;
    desk.person("carla", &[Role::Approver], &[]).await;
    let (world, operator) = (&desk.town.world, &desk.town.operator);
    let bob = desk.town.logged_in("bob").await;
    let (_, id) = desk.asked(r#"{"id":1}"#, two()).await;
    approve(&bob, &id).await;
    assert_eq!(desk.state(&id).await, "pending");
    let same = approve(&bob, &id).await;
    is_refused(&same, StatusCode::FORBIDDEN, "The second approver is somebody else");
    let carla = desk.town.logged_in("carla").await;
    approve(&carla, &id).await;
    assert_eq!(desk.state(&id).await, "approved");

    // A key of an owner who is nobody in particular, who is bob, and who is ann.
    let new = json!({ "name": "keys" });
    world.done(operator, Operation::OwnerCreate, &[], new).await;
    let new = json!({ "name": "key", "owner": "keys", "kind": "operator" });
    let made = world.done(operator, Operation::AgentRegister, &[], new).await;
    let (key, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let grant =
        json!({ "agent": "key", "server": "admin", "patterns": ["write:approval.approve"] });
    world.done(operator, Operation::GrantCreate, &[], grant).await;
    let by_key = async |id: &ApprovalId| {
        let reason = json!({ "reason": "looked at it" });
        world.run(&key, Operation::ApprovalApprove, &[id.as_str()], reason).await
    };
    let (_, id) = desk.asked(r#"{"id":2}"#, two()).await;
    approve(&bob, &id).await;
    assert_eq!(by_key(&id).await.refusal(), (403, "approval.self"));
    let (_, by_key_first) = desk.asked(r#"{"id":3}"#, two()).await;
    assert_eq!(by_key(&by_key_first).await.body["state"], "pending");
    let unknown = approve(&bob, &by_key_first).await;
    is_refused(&unknown, StatusCode::FORBIDDEN, "An owner is bound to nobody");
    let bind = async |person: &str| {
        let body = json!({ "person": person });
        world.done(operator, Operation::OwnerSet, &["keys"], body).await;
    };
    bind("bob").await;
    assert_eq!(by_key(&id).await.refusal(), (403, "approval.self"));
    // Whose the key is was said after its word: the word stays what it was.
    let still = approve(&carla, &by_key_first).await;
    is_refused(&still, StatusCode::FORBIDDEN, "An owner is bound to nobody");
    bind("carla").await;
    assert_eq!(by_key(&id).await.body["state"], "approved");
}

#[tokio::test]
async fn only_the_role_opens_the_pages() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| !role.may_approve()).collect();
    let eve = desk.person("eve", &roles, &[]).await;
    let browser = desk.town.logged_in("eve").await;
    let unknown = ApprovalId::from_random(&[3; 16]);
    let mut answers = Vec::new();
    for path in ["/approvals".to_owned(), path(&id), path(&unknown)] {
        let refused = browser.get(&path).await;
        is_refused(&refused, StatusCode::FORBIDDEN, "role approver");
        assert_eq!(desk.town.reason("admin.refused").await, "role.missing");
        answers.push(refused.page);
    }
    // Whether there is such a request does not show.
    assert_eq!(answers[1], answers[2]);
    let sent = browser.post(&path(&id), &[("answer", "deny")], &[OURS]).await;
    assert_eq!(sent.status, StatusCode::FORBIDDEN);
    // Who is acted for may look, and no more.
    let ann = desk.town.logged_in("ann").await;
    let own = ann.get(&path(&id)).await;
    assert!(own.page.contains("Somebody with the role approver"), "{}", own.page);
    assert!(!own.page.contains("<form"), "{}", own.page);
    assert_eq!(ann.get("/approvals").await.status, StatusCode::FORBIDDEN);
    assert_eq!(desk.state(&id).await, "pending");
    // The twin: the role is given, and nothing else.
    desk.town.set(&eve, &[Role::Approver], &[]).await;
    assert_eq!(browser.get("/approvals").await.status, StatusCode::OK);
    assert_eq!(browser.get(&path(&unknown)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(desk.town.reason("admin.refused").await, "request.malformed");
    assert_eq!(approve(&browser, &id).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_role_that_is_taken_away_counts_for_a_page_that_is_open() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    let bob = desk.town.logged_in("bob").await;
    bob.get(&path(&id)).await;
    let person = desk.town.world.published.load().person_named("bob").unwrap().id.clone();
    desk.town.set(&person, &[], &[]).await;
    let form = [("answer", "approve"), ("reason", "looked at it")];
    let refused = bob.submit(&path(&id), &form).await;
    is_refused(&refused, StatusCode::FORBIDDEN, "role approver");
    assert_eq!(desk.state(&id).await, "pending");
    desk.town.set(&person, &[Role::Approver], &[]).await;
    assert_eq!(
        bob.submit(&path(&id), &form).await.status,
        StatusCode::FORBIDDEN,
        "no form is shown"
    );
    assert_eq!(approve(&bob, &id).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_was_shown_is_what_is_approved() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    let (_, other) = desk.asked(r#"{"id":2}"#, one()).await;
    let bob = desk.town.logged_in("bob").await;
    let (token, shown) = opened(&bob, &id).await;
    let send = async |id: &ApprovalId, shown: &str| {
        send(&bob, id, &(token.clone(), shown.to_owned()), "approve").await
    };
    // The form of one call does not approve another, and none approves without what was shown.
    for (id, shown) in [(&other, shown.as_str()), (&id, ""), (&id, "AAAA")] {
        let refused = send(id, shown).await;
        is_refused(&refused, StatusCode::PRECONDITION_FAILED, "changed since you looked");
        assert_eq!(desk.town.reason("admin.refused").await, "request.precondition");
        assert_eq!(desk.state(id).await, "pending");
    }
    // The tool changes while somebody reads.
    let server = desk.town.world.published.load().server_named("crm").unwrap().id.clone();
    let seen = attorn_store::SeenTool {
        name: "drop".to_owned(),
        definition: r#"{"name":"drop","title":"Drop all"}"#.to_owned(),
        digest: sha256(br#"{"name":"drop","title":"Drop all"}"#),
        proposed_class: attorn_registry::Class::Write,
    };
    let world = &desk.town.world;
    world.store.record_seen_tools(&desk.town.act(), &server, &[seen]).await.unwrap();
    world.authority.publish().await.unwrap();
    let refused = send(&id, &shown).await;
    is_refused(&refused, StatusCode::PRECONDITION_FAILED, "The tool changed since");
    assert_eq!(desk.state(&id).await, "pending");
    // The twin reads it again.
    assert_eq!(approve(&bob, &id).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_of_another_page_browser_or_site_says_nothing() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    let bob = desk.town.logged_in("bob").await;
    bob.get(&path(&id)).await;
    let (token, shown) = (bob.hidden("form"), bob.hidden("shown"));
    bob.get("/sessions").await;
    let of_sessions = bob.hidden("form");
    desk.person("carla", &[Role::Approver], &[]).await;
    let carla = desk.town.logged_in("carla").await;
    carla.get(&path(&id)).await;
    let of_carla = carla.hidden("form");
    let forged = async |token: &str, headers: &[(&'static str, &str)]| {
        let form =
            [("form", token), ("shown", &shown), ("answer", "approve"), ("reason", "looked at it")];
        let answer = bob.post(&path(&id), &form, headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token} {headers:?}");
        assert_eq!(desk.town.reason("admin.refused").await, "form.forged");
    };
    forged(&of_sessions, &[OURS]).await;
    forged(&of_carla, &[OURS]).await;
    forged("", &[OURS]).await;
    forged(&token, &[]).await;
    forged(&token, &[("origin", "https://evil.example")]).await;
    forged(&token, &[OURS, ("sec-fetch-site", "cross-site")]).await;
    assert_eq!(desk.state(&id).await, "pending");
    // The twin.
    let form =
        [("form", token.as_str()), ("shown", &shown), ("answer", "approve"), ("reason", "read")];
    assert_eq!(bob.post(&path(&id), &form, &[OURS]).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_no_needs_a_reason_and_stays_a_no() {
    let desk = Desk::new().await;
    let (asked, id) = desk.asked(r#"{"id":1}"#, one()).await;
    let bob = desk.town.logged_in("bob").await;
    bob.get(&path(&id)).await;
    let silent = bob.submit(&path(&id), &[("answer", "deny"), ("reason", " ")]).await;
    is_refused(&silent, StatusCode::BAD_REQUEST, "a reason is required");
    let long = "x".repeat(501);
    let long = bob.submit(&path(&id), &[("answer", "deny"), ("reason", &long)]).await;
    is_refused(&long, StatusCode::BAD_REQUEST, "The reason is too long");
    assert_eq!(desk.state(&id).await, "pending");
    let open = opened(&bob, &id).await;
    assert_eq!(send(&bob, &id, &open, "deny").await.status, StatusCode::SEE_OTHER);
    let entry = desk.town.world.newest("approval.denied").await;
    assert_eq!(entry["detail"]["reason"], "looked at it");
    let answer = desk.town.world.authority.ask_approval("gateway", asked).await.unwrap();
    assert_eq!(answer.reason, ReasonCode::ApprovalDenied);
    is_refused(&send(&bob, &id, &open, "approve").await, StatusCode::CONFLICT, "It was denied");
    assert!(!bob.get(&path(&id)).await.page.contains("<form"));
}

#[tokio::test]
async fn what_is_past_its_end_is_not_approved() {
    let desk = Desk::new().await;
    let bob = desk.town.logged_in("bob").await;
    let rest = async |seconds: u64| {
        // A session that nobody uses ends before.
        bob.get("/approvals").await;
        desk.town.world.pass_s(seconds);
    };
    let (_, late) = desk.asked(r#"{"id":1}"#, one()).await;
    let open = opened(&bob, &late).await;
    rest(1700).await;
    rest(100).await;
    let refused = send(&bob, &late, &open, "approve").await;
    is_refused(&refused, StatusCode::CONFLICT, "It is past its end");
    assert_eq!(desk.town.reason("admin.refused").await, "approval.expired");
    let page = bob.get(&path(&late)).await;
    assert!(page.page.contains("It is past its end") && !page.page.contains("<form"));
    // Its twin, a second before the end.
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    let open = opened(&bob, &id).await;
    rest(1700).await;
    rest(99).await;
    assert_eq!(send(&bob, &id, &open, "approve").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn whoever_logs_in_comes_to_the_page_they_asked_for() {
    let desk = Desk::new().await;
    let (_, id) = desk.asked(r#"{"id":1}"#, one()).await;
    drop(desk.town.logged_in("bob").await);
    let browser = Browser::new(&desk.town.world);
    let sent = browser.get(&path(&id)).await;
    assert_eq!(location(&sent), format!("{ISSUER}/login"));
    browser.follow(&sent).await;
    let form = [("name", "bob"), ("password", PASSWORD)];
    let logged_in = browser.submit("/login", &form).await;
    assert_eq!(location(&logged_in), format!("{ISSUER}{}", path(&id)));
    // Once, and in no other browser.
    assert_eq!(location(&browser.log_in("bob", PASSWORD).await), format!("{ISSUER}/sessions"));
    browser.submit("/logout", &[]).await;
    let other = Browser::new(&desk.town.world);
    other.get("/approvals").await;
    let third = Browser::new(&desk.town.world);
    assert_eq!(location(&third.log_in("bob", PASSWORD).await), format!("{ISSUER}/sessions"));
    // An address of another place is never remembered.
    let fourth = Browser::new(&desk.town.world);
    fourth.get("/login?next=https://evil.example").await;
    fourth.get("//evil.example/approvals").await;
    assert_eq!(location(&fourth.log_in("bob", PASSWORD).await), format!("{ISSUER}/sessions"));
}
