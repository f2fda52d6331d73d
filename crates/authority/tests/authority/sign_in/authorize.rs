//! The authorization request: what is shown, what is sent, what waits for whom.

use attorn_registry::{AgentId, LifeCycle};
use http::StatusCode;
use serde_json::json;

use super::browser::{Browser, CALLBACK, Town, location, parameter};
use crate::world::{CRM, ISSUER, World, form_request, new_key};
use attorn_authority::Operation;

#[tokio::test]
async fn without_the_part_of_the_configuration_nothing_is_there() {
    let world = World::new().await;
    for path in ["/login", "/consent", "/invite", "/sessions", "/style.css"] {
        assert_eq!(world.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/par", "/register", "/logout"] {
        assert_eq!(world.post_form(path, &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.get("/authorize").await.refusal(), (400, "unsupported_response_type"));
    let metadata = world.get("/.well-known/oauth-authorization-server").await.body;
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert!(metadata.get("code_challenge_methods_supported").is_none());
    for grant in ["authorization_code", "refresh_token"] {
        let form = [("grant_type", grant), ("client_id", "agt_a"), ("code", "c")];
        let refused = world.post_form("/token", &form).await;
        assert_eq!(refused.refusal(), (400, "unsupported_grant_type"), "{grant}");
    }
}

#[tokio::test]
async fn with_it_clients_are_told() {
    let town = Town::new().await;
    let metadata = town.world.get("/.well-known/oauth-authorization-server").await.body;
    assert_eq!(metadata["authorization_endpoint"], format!("{ISSUER}/authorize"));
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert!(metadata.get("registration_endpoint").is_none());
    let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
    assert!(methods.contains(&json!("none")));
}

/// What is shown instead of sent, and its reason.
async fn shown(town: &Town, changes: &[(&str, &str)], reason: &str) {
    let browser = Browser::new(&town.world);
    let answer = browser.get(&format!("/authorize?{}", town.query(changes))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
    assert!(answer.headers.get("location").is_none(), "{changes:?}");
    assert_eq!(town.reason("consent.refused").await, reason, "{changes:?}");
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_the_clients() {
    let town = Town::new().await;
    let agent = AgentId::from_random(&[9; 16]).to_string();
    shown(&town, &[("client_id", "")], "client.unknown").await;
    shown(&town, &[("client_id", &agent)], "client.unknown").await;
    // One that has an identity, and may not ask people.
    let machine = town.world.agent(&town.operator, "machine", &["read:*"]).await;
    shown(&town, &[("client_id", machine.id.as_str())], "client.unknown").await;
    shown(&town, &[("client_id", "https://client.example/app")], "client.unknown").await;
    for uri in
        ["", "https://evil.example/cb", "http://127.0.0.1:7777/other", "https://client.example/cb/"]
    {
        shown(&town, &[("redirect_uri", uri)], "redirect.mismatch").await;
    }
    shown(&town, &[("request", "e30.e30.")], "request.malformed").await;
    shown(&town, &[("request_uri", "http://169.254.169.254/")], "request.malformed").await;
    // A client that was stopped.
    let id = AgentId::parse(&town.client_id).unwrap();
    let suspended = LifeCycle::Suspended;
    town.world.store.set_agent_state(&town.act(), &id, suspended).await.unwrap();
    town.world.authority.publish().await.unwrap();
    shown(&town, &[], "agent.suspended").await;
    // Its twin passes.
    town.world.store.set_agent_state(&town.act(), &id, LifeCycle::Active).await.unwrap();
    town.world.authority.publish().await.unwrap();
    let browser = Browser::new(&town.world);
    let answer = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    assert!(location(&answer).starts_with(&format!("{ISSUER}/login?waiting=")));
}

#[tokio::test]
async fn a_repeated_parameter_is_shown() {
    let town = Town::new().await;
    let browser = Browser::new(&town.world);
    let query = format!("{}&scope=read%3Aget", town.query(&[]));
    let answer = browser.get(&format!("/authorize?{query}")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(town.reason("consent.refused").await, "request.malformed");
}

#[tokio::test]
async fn other_errors_go_to_the_client_with_state_and_issuer() {
    let town = Town::new().await;
    let browser = Browser::new(&town.world);
    for (changes, error) in [
        ([("response_type", "token")], "unsupported_response_type"),
        ([("response_mode", "fragment")], "invalid_request"),
        ([("code_challenge", "")], "invalid_request"),
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("scope", "read:*")], "invalid_scope"),
        ([("resource", "")], "invalid_target"),
        ([("resource", "https://gw.example/none/mcp")], "invalid_target"),
        ([("resource", "https://admin.example/admin")], "invalid_target"),
        ([("prompt", "none")], "login_required"),
    ] {
        let answer = browser.get(&format!("/authorize?{}", town.query(&changes))).await;
        let to = location(&answer);
        assert!(to.starts_with(&format!("{CALLBACK}?error=")), "{changes:?}: {to}");
        assert_eq!(parameter(&to, "error").as_deref(), Some(error), "{changes:?}");
        assert_eq!(parameter(&to, "state").as_deref(), Some("s-1"));
        assert_eq!(parameter(&to, "iss").as_deref(), Some(ISSUER));
        assert!(parameter(&to, "code").is_none());
    }
    let logged_in = town.logged_in("ann").await;
    let asked = town.query(&[("prompt", "none")]);
    let answer = logged_in.get(&format!("/authorize?{asked}")).await;
    assert_eq!(parameter(&location(&answer), "error").as_deref(), Some("consent_required"));
}

#[tokio::test]
async fn a_request_waits_for_the_browser_that_began_it() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    town.person("eve", &["read:*"]).await;
    let other = town.logged_in("eve").await;
    let answer = other.follow(&asked).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.page);
    // Its twin: the same address in the browser that began it.
    let answer = browser.follow(&asked).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.page.contains("The desk") && answer.page.contains("127.0.0.1:7777"));
}

#[tokio::test]
async fn what_a_person_cannot_give_is_left_out() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let asked = town.query(&[("scope", "read:get write:put irreversible:drop")]);
    let consent = browser.get(&format!("/authorize?{asked}")).await;
    let consent = browser.follow(&consent).await;
    assert!(consent.page.contains("read:get") && consent.page.contains("irreversible:drop"));
    assert!(!consent.page.contains("write:put"));
    // What cannot be undone stands apart and is not chosen beforehand.
    assert!(consent.page.contains(r#"<fieldset class="irreversible">"#));
    let ticked = browser.choices(&consent);
    assert_eq!(ticked, [("scope.0".to_owned(), "read:get".to_owned())]);
    let none = town.query(&[("scope", "write:put")]);
    let answer = browser.get(&format!("/authorize?{none}")).await;
    let answer = browser.follow(&answer).await;
    assert_eq!(parameter(&location(&answer), "error").as_deref(), Some("invalid_scope"));
    // Somebody who has nothing here cannot tell the server from one that is not there.
    town.person("eve", &[]).await;
    let other = town.logged_in("eve").await;
    let answer = other.get(&format!("/authorize?{}", town.query(&[]))).await;
    let answer = other.follow(&answer).await;
    assert_eq!(parameter(&location(&answer), "error").as_deref(), Some("invalid_target"));
}

#[tokio::test]
async fn a_step_up_adds_to_what_was_given_and_shows_the_difference() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    town.redeemed(&town.code(&browser, &[]).await).await;
    let asked = town.query(&[("scope", "irreversible:drop")]);
    let consent = browser.get(&format!("/authorize?{asked}")).await;
    let consent = browser.follow(&consent).await;
    assert!(consent.page.contains("(1 allowed before)"), "{}", consent.page);
    assert_eq!(consent.page.matches(r#"class="new""#).count(), 1);
    let form = [("scope.0", "read:get"), ("scope.1", "irreversible:drop"), ("decision", "allow")];
    let allowed = browser.submit("/consent", &form).await;
    let code = parameter(&location(&allowed), "code").unwrap();
    let token = town.redeemed(&code).await;
    assert_eq!(token.text("scope"), "read:get irreversible:drop");
}

#[tokio::test]
async fn a_pushed_request_is_used_once_by_its_client() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let push = async || {
        let query = town.query(&[]);
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let pushed = town.world.public(form_request("/par", &form, None)).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.page);
        assert_eq!(pushed.body["expires_in"], 60);
        pushed.text("request_uri").to_owned()
    };
    let open = async |request_uri: &str, client_id: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        // What else is said does not count.
        query.extend_pairs([
            ("client_id", client_id),
            ("request_uri", request_uri),
            ("redirect_uri", "https://evil.example/cb"),
            ("scope", "irreversible:drop"),
        ]);
        browser.get(&format!("/authorize?{}", query.finish())).await
    };
    let request_uri = push().await;
    let asked = open(&request_uri, &town.client_id).await;
    let consent = browser.follow(&asked).await;
    assert!(consent.page.contains("read:get") && !consent.page.contains("irreversible:drop"));
    assert!(!consent.page.contains("evil.example"));
    // Used.
    assert_eq!(open(&request_uri, &town.client_id).await.status, StatusCode::BAD_REQUEST);
    // Another client.
    let other = town.client("other", &[CALLBACK]).await;
    let request_uri = push().await;
    assert_eq!(open(&request_uri, &other).await.status, StatusCode::BAD_REQUEST);
    // Too old.
    let request_uri = push().await;
    town.world.pass_s(60);
    assert_eq!(open(&request_uri, &town.client_id).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_push_is_held_to_the_same_rules() {
    let town = Town::new().await;
    let push = async |changes: &[(&str, &str)], proof: Option<&str>| {
        let query = town.query(changes);
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        town.world.public(form_request("/par", &form, proof)).await
    };
    assert_eq!(push(&[("client_id", "agt_x")], None).await.refusal(), (401, "invalid_client"));
    let elsewhere = [("redirect_uri", "https://evil.example/cb")];
    assert_eq!(push(&elsewhere, None).await.refusal(), (400, "invalid_request"));
    assert_eq!(push(&[("code_challenge", "")], None).await.refusal(), (400, "invalid_request"));
    let inner = [("request_uri", "urn:ietf:params:oauth:request_uri:x")];
    assert_eq!(push(&inner, None).await.refusal(), (400, "invalid_request"));
    assert_eq!(push(&[("client_secret", "s")], None).await.refusal(), (401, "invalid_client"));
    // The parameter and the proof name different keys.
    let nonce = town.nonce().await;
    let proof = town.proof(&town.key, "/par", &nonce);
    let other = new_key().public().thumbprint().to_string();
    let refused = push(&[("dpop_jkt", &other)], Some(&proof)).await;
    assert_eq!(refused.refusal(), (400, "invalid_request"));
    assert_eq!(town.reason("consent.refused").await, "possession.key_mismatch");
    let own = town.key.public().thumbprint().to_string();
    let proof = town.proof(&town.key, "/par", &nonce);
    assert_eq!(push(&[("dpop_jkt", &own)], Some(&proof)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_lock_on_the_person_or_server_stops_a_request_that_waits() {
    let town = Town::new().await;
    let browser = town.logged_in("ann").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    browser.follow(&asked).await;
    let lock = json!({ "target": { "kind": "server", "server": "crm" }, "reason": "test" });
    let locked = town.world.run(&town.operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(locked.status, StatusCode::OK, "{}", locked.page);
    let refused =
        browser.submit("/consent", &[("scope.0", "read:get"), ("decision", "allow")]).await;
    let to = location(&refused);
    assert_eq!(parameter(&to, "error").as_deref(), Some("invalid_target"), "{to}");
    assert_eq!(CRM, "https://gw.example/crm/mcp");
}
