//! What others wrote, on every page that shows it: it is text there, whatever it looks like.
//!
//! A browser looks at the same in `cargo xtask interop pages`.

use attorn_audit::{Decision, Entry, Kind};
use attorn_authority::Registration;
use attorn_jose::sha256;
use attorn_journal::Durability;
use attorn_registry::{AgentId, Class, Name, PublicClient, Role};
use attorn_store::SeenTool;
use http::StatusCode;
use serde_json::json;

use super::approval_pages::{Desk, one, path};
use super::browser::{Browser, Town};
use crate::world::Answer;

/// Ends what HTML could have begun: a title, a text box, an attribute in each kind of quotes.
const BREAKS_OUT: &str = "zz1</title></textarea><script>alert(1)</script>";
const IN_QUOTES: &str = "zz2\"><img src=https://tracker.example/a onerror=alert(1)>";
const IN_OTHER_QUOTES: &str = "zz3' autofocus onfocus='alert(1)' x='<svg onload=alert(1)>";
const LEADS_AWAY: &str = "zz4{{7*7}}<a href=javascript:alert(1)>zz</a><iframe srcdoc=x>";
/// What is never there unless one of them is more than text. Our pages hold none of it by themselves.
const RAW: [&str; 9] = [
    "</title></textarea",
    "</textarea><script",
    "<script",
    "<img",
    "<svg",
    "<iframe",
    "' autofocus",
    "<a href=javascript",
    "zz449",
];

fn all() -> String {
    [BREAKS_OUT, IN_QUOTES, IN_OTHER_QUOTES, LEADS_AWAY].concat()
}

/// HTML Standard, section 13.3: what is written for each character that could begin something else.
fn escaped(text: &str) -> String {
    let pairs = [('&', "&#38;"), ('<', "&#60;"), ('>', "&#62;"), ('"', "&#34;"), ('\'', "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(*from, to))
}

/// The page shows these texts, each as it was written.
#[track_caller]
fn shows(page: &Answer, texts: &[&str]) {
    // The one script of ours, on pages with passkeys, whose policy knows it.
    let foreign = page.page.replace("<script src=\"/passkeys.js\" defer></script>", "");
    let ours = if foreign == page.page { "" } else { " script-src 'self'; connect-src 'self';" };
    for raw in RAW {
        assert!(!foreign.contains(raw), "`{raw}`: {}", page.page);
    }
    for text in texts {
        assert!(page.page.contains(&escaped(text)), "`{text}`: {}", page.page);
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    let begin = format!("default-src 'none';{ours} style-src 'self';");
    assert!(policy.starts_with(&begin), "{policy}");
}

/// Both tools in such words, and the application that ann uses under such a name.
async fn written(town: &Town) {
    let snapshot = town.world.published.load();
    let server = snapshot.server_named("crm").unwrap().id.clone();
    let definition = |name: &str| {
        let icon = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>";
        let definition = json!({
            "name": name,
            "title": BREAKS_OUT,
            "description": all(),
            "icons": [
                { "src": icon }, { "src": "javascript:alert(1)" },
                { "src": "https://tracker.example/zz5.png" }, { "src": "data:text/html,<b>zz5" },
            ],
            "annotations": { "title": IN_QUOTES, "destructiveHint": true },
        });
        let definition = definition.to_string();
        let digest = sha256(definition.as_bytes());
        SeenTool { name: name.to_owned(), definition, digest, proposed_class: Class::Write }
    };
    let seen = ["get", "drop"].map(definition);
    town.world.store.record_seen_tools(&town.act(), &server, &seen).await.unwrap();
    town.world.authority.publish().await.unwrap();
    for (tool, class) in [("get", "read"), ("drop", "irreversible")] {
        let (approve, class) = (attorn_authority::Operation::ToolApprove, json!({"class": class}));
        town.world.done(&town.operator, approve, &["crm", tool], class).await;
    }
    let id = AgentId::parse(&town.client_id).unwrap();
    let client = town.world.store.agent(&id).await.unwrap().client.unwrap();
    let client = PublicClient { display_name: IN_QUOTES.to_owned(), ..client };
    town.world.store.set_public_client(&town.act(), &id, &client).await.unwrap();
    town.world.authority.publish().await.unwrap();
}

#[tokio::test]
async fn an_application_and_its_tools_are_text_where_a_person_is_asked() {
    let town = Town::new().await;
    written(&town).await;
    let asked = format!("/authorize?{}", town.query(&[("scope", "read:get irreversible:drop")]));
    let stranger = Browser::new(&town.world);
    let asks = stranger.get(&asked).await;
    shows(&stranger.follow(&asks).await, &[IN_QUOTES]);
    let ann = town.logged_in("ann").await;
    let asks = ann.get(&asked).await;
    let consent = ann.follow(&asks).await;
    shows(&consent, &[IN_QUOTES, BREAKS_OUT]);
    assert!(!consent.page.contains("zz5"), "no icon is shown: {}", consent.page);
    town.redeemed(&town.code(&ann, &[]).await).await;
    shows(&ann.get("/consents").await, &[IN_QUOTES]);
    // Names of ours cannot be written so at all.
    for name in [BREAKS_OUT, IN_QUOTES, IN_OTHER_QUOTES, LEADS_AWAY] {
        assert!(Name::parse(name).is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_name_that_comes_by_registration_is_text_too() {
    let mut town = Town::configured(|clients| clients.registration = Registration::Open).await;
    let body = json!({
        "redirect_uris": [super::browser::CALLBACK], "client_name": BREAKS_OUT,
        "logo_uri": "https://tracker.example/zz5.png", "client_uri": "javascript:alert(1)",
    });
    let request = http::Request::post("/register").header("content-type", "application/json");
    let request = request.body(http_body_util::Full::from(body.to_string())).unwrap();
    let registered = town.world.public(request).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.page);
    // It comes back as it is, and says that it is JSON and nothing else.
    assert_eq!(registered.headers["content-type"], "application/json");
    assert_eq!(registered.headers["x-content-type-options"], "nosniff");
    town.client_id = registered.text("client_id").to_owned();
    let ann = town.logged_in("ann").await;
    let asks = ann.get(&format!("/authorize?{}", town.query(&[]))).await;
    let consent = ann.follow(&asks).await;
    shows(&consent, &[BREAKS_OUT]);
    assert!(!consent.page.contains("zz5") && !consent.page.contains("javascript:"));
}

#[tokio::test]
async fn a_call_is_text_where_it_is_approved_and_what_is_said_of_it() {
    let desk = Desk::new().await;
    written(&desk.town).await;
    let arguments = json!({ "note": all(), IN_QUOTES: [BREAKS_OUT] }).to_string();
    let (_, id) = desk.asked(&arguments, one()).await;
    let bob = desk.town.logged_in("bob").await;
    shows(&bob.get("/approvals").await, &["drop"]);
    let page = bob.get(&path(&id)).await;
    shows(&page, &[&all(), BREAKS_OUT, IN_OTHER_QUOTES, LEADS_AWAY]);
    assert!(page.page.contains("zz2\\&#34;&#62;&#60;img"), "a member: {}", page.page);
    assert!(!page.page.contains("zz5"), "no icon is shown: {}", page.page);
    // Back in its text box after something went wrong, and then where everybody reads it.
    let said = all();
    let form = [
        ("form", bob.hidden("form")),
        ("shown", "x".repeat(43)),
        ("answer", "deny".to_owned()),
        ("reason", said.clone()),
    ];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let again = bob.post(&path(&id), &form, &[("origin", crate::world::ISSUER)]).await;
    assert_eq!(again.status, StatusCode::PRECONDITION_FAILED, "{}", again.page);
    shows(&again, &[&said]);
    bob.get(&path(&id)).await;
    let denied = bob.submit(&path(&id), &[("answer", "deny"), ("reason", &said)]).await;
    assert_eq!(denied.status, StatusCode::SEE_OTHER, "{}", denied.page);
    shows(&bob.get(&path(&id)).await, &[&said]);
    desk.person("eve", &[Role::Auditor], &[]).await;
    let eve = desk.town.logged_in("eve").await;
    shows(&eve.get(&format!("/traces/{id}")).await, &[&said, "approval.denied"]);
}

#[tokio::test]
async fn what_is_on_record_is_text_where_it_is_looked_up() {
    let desk = Desk::new().await;
    let town = &desk.town;
    // As a server, an API, an agent or a proxy could have had it written.
    let some = || Some(all());
    let mut entry = Entry {
        agent: some(),
        audience: some(),
        by: some(),
        decision: Some(Decision::Permit),
        decision_id: Some("dec_aaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned()),
        downstream_request_id: some(),
        downstream_resource: some(),
        downstream_status: some(),
        exchanged_jti: some(),
        reason: some(),
        rule: some(),
        scope: some(),
        server: some(),
        subject: some(),
        token_jti: some(),
        tool: some(),
        trace_id: some(),
        ..Entry::new(Kind::CallDecided, town.world.now_s() * 1000)
    };
    entry.detail.insert("reason".to_owned(), all());
    entry.detail.insert("peer".to_owned(), all());
    entry.detail.insert("user_agent".to_owned(), all());
    town.world.journal.append(entry.to_canonical(), Durability::Fsync).await.unwrap();
    desk.person("eve", &[Role::Auditor], &[]).await;
    let eve = town.logged_in("eve").await;
    shows(&eve.get("/traces/dec_aaaaaaaaaaaaaaaaaaaaaaaaaa").await, &[&all(), "call.decided"]);
    shows(&eve.get("/traces").await, &[&all()]);
    // What is looked for comes back in its text box.
    let none = eve.get("/traces/zz6%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    shows(&none, &["zz6\"><script>alert(1)</script>"]);
}
