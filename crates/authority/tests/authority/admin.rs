//! The guard of the admin API, for every operation.

use attorn_authority::Operation;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::world::{ADMIN, CRM, Client, World};

fn some_segments(operation: Operation) -> Vec<&'static str> {
    vec!["x"; operation.row().path.matches('{').count()]
}

#[tokio::test]
async fn no_operation_is_open_to_strangers() {
    let world = World::new().await;
    for operation in Operation::ALL {
        let path = operation.path_of(&some_segments(*operation));
        let request = Request::builder().method(operation.row().method.as_str()).uri(path);
        let answer = world.admin(request.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", operation.row().id);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(&format!("scope=\"{}\"", operation.scope())), "{challenge}");
        assert!(challenge.contains(&format!("{ADMIN}/.well-known/oauth-protected-resource/admin")));
        assert!(!challenge.contains("error="), "{challenge}");
    }
    assert_eq!(world.newest("token.refused").await["reason"], "token.missing");
}

#[tokio::test]
async fn no_operation_runs_without_its_own_scope() {
    let world = World::new().await;
    let operator = world.operator().await;
    let resource = format!("{ADMIN}/admin");
    for operation in Operation::ALL {
        let own = operation.scope();
        let others = Operation::ALL.iter().map(|other| other.scope()).filter(|scope| *scope != own);
        let others: Vec<_> = others.map(|scope| scope.to_string()).collect();
        let answer = world.ask_token(&operator, Some(&resource), Some(&others.join(" "))).await;
        let token = answer.text("access_token").to_owned();
        let segments = some_segments(*operation);
        let call = (segments.as_slice(), json!({}));
        let answer = world.run_with(&operator, &token, *operation, call).await;
        assert_eq!(answer.refusal(), (403, "insufficient_scope"), "{}", operation.row().id);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(&format!("scope=\"{own}\"")), "{challenge}");
    }
    let refused = world.newest("admin.refused").await;
    assert_eq!(
        (&refused["reason"], &refused["decision"]),
        (&json!("scope.missing"), &json!("deny"))
    );
}

/// RFC 9110 section 15.5.5: a cache may keep that something is not there unless it is told not to.
#[tokio::test]
async fn what_is_no_operation_is_not_there_and_not_kept() {
    let world = World::new().await;
    for (method, path, status) in [
        ("GET", "/admin/v1/debug", StatusCode::NOT_FOUND),
        ("POST", "/", StatusCode::NOT_FOUND),
        ("DELETE", "/admin/v1/audit/entries/0", StatusCode::METHOD_NOT_ALLOWED),
        ("PUT", "/admin/v1/policy", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
        let answer = world.admin(request).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{method} {path}");
        let allowed = answer.headers.contains_key("allow");
        assert_eq!(allowed, status == StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

async fn try_status(
    world: &World,
    client: &Client,
    authorization: &str,
    proof: Option<String>,
) -> (u16, String) {
    let mut request = Request::get("/admin/v1/status").header("authorization", authorization);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    let answer = world.admin(request.body(Full::default()).unwrap()).await;
    let _ = client;
    let (status, error) = answer.refusal();
    (status, error.to_owned())
}

#[tokio::test]
async fn a_stolen_token_is_worth_nothing() {
    let world = World::new().await;
    let operator = world.operator().await;
    let thief = Client { id: operator.id.clone(), key: crate::world::new_key() };
    let token = world.token(&operator, &format!("{ADMIN}/admin")).await;
    let nonce = world.nonce(&operator).await;
    let place = ("GET", "https://admin.example/admin/v1/status");
    let proof = |client: &Client, place, nonce: Option<&str>| {
        Some(world.proof_for(client, place, Some(&token), nonce))
    };
    let dpop = format!("DPoP {token}");
    let bearer = format!("Bearer {token}");
    let check = async |authorization: &str, proof, expected: (u16, &str)| {
        let seen = try_status(&world, &operator, authorization, proof).await;
        assert_eq!((seen.0, seen.1.as_str()), expected);
    };
    check(&bearer, None, (401, "invalid_token")).await;
    check(&dpop, None, (401, "invalid_dpop_proof")).await;
    check(&dpop, proof(&thief, place, Some(&nonce)), (401, "invalid_dpop_proof")).await;
    check(&dpop, proof(&operator, place, None), (401, "use_dpop_nonce")).await;
    let elsewhere = ("GET", "https://evil.example/admin/v1/status");
    check(&dpop, proof(&operator, elsewhere, Some(&nonce)), (401, "invalid_dpop_proof")).await;
    let once = proof(&operator, place, Some(&nonce));
    check(&dpop, once.clone(), (200, "")).await;
    check(&dpop, once, (401, "invalid_dpop_proof")).await;
    assert_eq!(world.newest("possession.failed").await["reason"], "possession.replayed");
}

#[tokio::test]
async fn tokens_for_servers_and_for_administration_are_not_exchangeable() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &["read:get"]).await;
    let token = world.token(&agent, CRM).await;
    let answer = world.run_with(&agent, &token, Operation::Status, (&[], Value::Null)).await;
    assert_eq!(answer.refusal(), (401, "invalid_token"));
}

#[tokio::test]
async fn a_token_ends_with_its_operator() {
    let world = World::new().await;
    let operator = world.operator().await;
    let new = json!({ "name": "second", "owner": "administrators", "kind": "operator" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let (second, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let grant = json!({ "agent": "second", "server": "admin", "patterns": ["read:*"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let token = world.token(&second, &format!("{ADMIN}/admin")).await;
    let ask = async || world.run_with(&second, &token, Operation::Whoami, (&[], Value::Null)).await;
    assert_eq!(ask().await.body["name"], "second");
    let reason = json!({ "reason": "left" });
    world.done(&operator, Operation::AgentSuspend, &["second"], reason).await;
    assert_eq!(ask().await.refusal(), (401, "invalid_token"));
    assert_eq!(world.newest("admin.refused").await["reason"], "agent.suspended");
}

#[tokio::test]
async fn an_agent_does_not_administer_even_with_a_grant() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &[]).await;
    let grant = json!({ "agent": "billing", "server": "admin", "patterns": ["read:status"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let answer = world.run(&agent, Operation::Status, &[], Value::Null).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(world.newest("admin.refused").await["reason"], "policy.no_permit");
}

#[tokio::test]
async fn a_change_is_recorded_before_and_after() {
    let world = World::new().await;
    let operator = world.operator().await;
    let owner = json!({ "name": "sales", "email": "sales@example.com" });
    let made = world.done(&operator, Operation::OwnerCreate, &[], owner).await;
    assert_eq!(made["state"], "active");
    let entries = world.entries().await;
    let at = |kind: &str| {
        let found =
            entries.iter().rposition(|one| one["kind"] == kind && one["by"] == "first-operator");
        found.unwrap()
    };
    let (intent, fact) = (at("admin.changed"), at("identity.registered"));
    assert!(intent < fact);
    assert_eq!(entries[intent]["tool"], "owner.create");
    assert_eq!(entries[intent]["scope"], "write:owner.create");
    assert_eq!(entries[intent]["decision_id"], entries[fact]["decision_id"]);
    assert_eq!(entries[fact]["owner"], made["id"]);
}

#[tokio::test]
async fn refusals_of_the_registry_are_told_and_recorded() {
    let world = World::new().await;
    let operator = world.operator().await;
    let check = async |operation, segments: &[&str], body: Value, expected: u16| {
        let answer = world.run(&operator, operation, segments, body).await;
        assert_eq!(answer.status.as_u16(), expected, "{answer:?}");
        let entry = world.newest("admin.refused").await;
        assert_eq!(answer.body["error"], entry["reason"]);
        assert!(answer.body["message"].is_string());
    };
    check(Operation::OwnerCreate, &[], json!({ "name": "administrators" }), 409).await;
    check(Operation::OwnerCreate, &[], json!({ "name": "No Name" }), 400).await;
    check(Operation::OwnerCreate, &[], json!({ "nme": "sales" }), 400).await;
    check(Operation::OwnerCreate, &[], json!([]), 400).await;
    check(Operation::AgentShow, &["nobody"], Value::Null, 404).await;
    check(Operation::AgentSuspend, &["nobody"], json!({ "reason": "x" }), 404).await;
    check(Operation::AgentSuspend, &["first-operator"], json!({ "reason": "" }), 400).await;
    check(Operation::ServerSuspend, &["admin"], json!({ "reason": "x" }), 409).await;
    let policies = json!({ "text": "permit (principal, action" });
    check(Operation::PolicyApply, &[], policies, 400).await;
    let target = json!({ "kind": "server", "server": "admin" });
    check(Operation::LockCreate, &[], json!({ "target": target, "reason": "x" }), 409).await;
}

#[tokio::test]
async fn nothing_changes_without_a_journal() {
    let world = World::new().await;
    let operator = world.operator().await;
    let token = world.token(&operator, &format!("{ADMIN}/admin")).await;
    let nonce = world.nonce(&operator).await;
    let before = world.store.version().await.unwrap();
    world.journal.clone().close().await;
    let place = ("POST", "https://admin.example/admin/v1/owners");
    let proof = world.proof_for(&operator, place, Some(&token), Some(&nonce));
    let request = Request::post("/admin/v1/owners")
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
        .body(Full::from(r#"{"name":"sales"}"#))
        .unwrap();
    let answer = world.admin(request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.store.version().await.unwrap(), before);
}

#[tokio::test]
async fn policies_are_tested_applied_and_rolled_back() {
    let world = World::new().await;
    let operator = world.operator().await;
    let starter = world.done(&operator, Operation::PolicyShow, &[], Value::Null).await;
    assert_eq!(starter["version"], 1);
    let text = "@id(\"none\") forbid (principal, action, resource);";
    let asked = json!({ "text": text });
    let valid = world.done(&operator, Operation::PolicyValidate, &[], asked).await;
    assert_eq!(valid, json!({ "valid": true, "rules": ["none"] }));
    let change = json!({ "text": text, "reason": "stop" });
    let applied = world.done(&operator, Operation::PolicyApply, &[], change).await;
    assert_eq!(applied["version"], 2);
    // A rule for MCP servers does not lock operators out.
    let back = json!({ "version": 1, "reason": "refused too much" });
    let rolled = world.done(&operator, Operation::PolicyRollback, &[], back).await;
    assert_eq!(rolled["version"], 3);
    assert_eq!(rolled["text"], starter["text"]);
    let history = world.done(&operator, Operation::PolicyHistory, &[], Value::Null).await;
    let versions = history["items"].as_array().unwrap();
    assert_eq!(versions.len(), 3);
    assert_eq!((&versions[0]["version"], &versions[0]["active"]), (&json!(3), &json!(true)));
    assert_eq!(versions[0]["by"], "first-operator");
}

/// Two people read version 1 and edit it; the second one hears of the first.
#[tokio::test]
async fn of_two_who_edit_the_policies_the_second_hears_of_the_first() {
    let world = World::new().await;
    let operator = world.operator().await;
    let named = |tag: Option<&str>| *world.replaces.lock().unwrap() = tag.map(str::to_owned);
    let apply = async |text: &str| {
        let body = json!({ "text": text, "reason": "edit" });
        world.run(&operator, Operation::PolicyApply, &[], body).await
    };
    let (mine, theirs) = (
        "@id(\"a\") permit (principal, action, resource);",
        "@id(\"b\") permit (principal, action, resource);",
    );
    let seen = world.run(&operator, Operation::PolicyShow, &[], Value::Null).await;
    let seen = seen.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(seen, attorn_authority::policy_tag(1));
    named(None);
    let missing = apply(mine).await;
    assert_eq!((missing.status.as_u16(), missing.text("error")), (428, "request.precondition"));
    assert_eq!(world.newest("admin.refused").await["reason"], "request.precondition");
    named(Some(&seen));
    let first = apply(mine).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.headers["etag"], attorn_authority::policy_tag(2).as_str());
    let second = apply(theirs).await;
    assert_eq!((second.status.as_u16(), second.text("error")), (412, "request.precondition"));
    assert_eq!(world.newest("admin.refused").await["reason"], "request.precondition");
    let back = json!({ "version": 1, "reason": "test" });
    let rolled = world.run(&operator, Operation::PolicyRollback, &[], back).await;
    assert_eq!(rolled.status.as_u16(), 412);
    let now = world.done(&operator, Operation::PolicyShow, &[], Value::Null).await;
    assert_eq!((&now["version"], &now["text"]), (&json!(2), &json!(mine)));
    // Having looked again, they replace what they saw.
    named(Some(&attorn_authority::policy_tag(2)));
    assert_eq!(apply(theirs).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_changed_tool_waits_for_its_owner() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let server = world.published.load().server_named("crm").unwrap().id.clone();
    let act = attorn_store::Act { by: "gateway", now_s: world.now_s() };
    let changed = attorn_store::SeenTool {
        name: "get".to_owned(),
        definition: r#"{"description":"now with more","name":"get"}"#.to_owned(),
        digest: [9; 32],
        proposed_class: attorn_registry::Class::Irreversible,
    };
    world.store.record_seen_tools(&act, &server, &[changed]).await.unwrap();
    world.authority.publish().await.unwrap();
    let diff = world.done(&operator, Operation::ToolDiff, &["crm"], Value::Null).await;
    let waiting = &diff["items"][0];
    assert_eq!((&waiting["name"], &waiting["state"]), (&json!("get"), &json!("changed")));
    assert_eq!(waiting["approved_definition"], json!({ "name": "get" }));
    assert_eq!(waiting["definition"]["description"], "now with more");
    let stale = json!({ "class": "read", "digest": "00" });
    let answer = world.run(&operator, Operation::ToolApprove, &["crm", "get"], stale).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    let looked_at = json!({ "class": "read", "digest": waiting["digest"] });
    let approved = world.done(&operator, Operation::ToolApprove, &["crm", "get"], looked_at).await;
    assert_eq!((&approved["state"], &approved["class"]), (&json!("approved"), &json!("read")));
}

#[tokio::test]
async fn what_a_gateway_should_not_have_told_hides_no_change_of_another_tool() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let server = world.published.load().server_named("crm").unwrap().id.clone();
    let tool = |name: &str, definition: &str, class: &str| json!({ "name": name, "definition": definition, "proposed_class": class });
    let listed = [
        tool("nul\0", "{}", "read"),
        tool("line\n", "{}", "read"),
        tool("", "{}", "read"),
        tool("list", "[]", "read"),
        tool("raw", "{\0}", "read"),
        tool("class", "{}", "harmless"),
        tool("get", r#"{"description":"now with more","name":"get"}"#, "read"),
    ];
    let listed = json!({ "tools": listed });
    let place = [server.as_str()];
    let taken = world.done(&operator, Operation::ServerSeen, &place, listed.clone()).await;
    assert_eq!(taken, json!({ "new": 1 }));
    let snapshot = world.published.load();
    let tools = &snapshot.server_named("crm").unwrap().tools;
    assert_eq!(tools["get"].state(), attorn_registry::ToolState::Changed);
    assert_eq!(tools.len(), 2);
    let told = world.newest("tool.changed").await;
    assert_eq!((&told["tool"], &told["server"]), (&json!("get"), &json!(server.as_str())));
    // Told once.
    let again = world.done(&operator, Operation::ServerSeen, &place, listed).await;
    assert_eq!(again, json!({ "new": 0 }));
}

#[tokio::test]
async fn no_lock_takes_away_the_means_to_lift_it() {
    let world = World::new().await;
    let operator = world.operator().await;
    let lock = async |tool: &str| {
        let target = json!({ "kind": "tool", "server": "admin", "tool": tool });
        let lock = json!({ "target": target, "reason": "test" });
        world.run(&operator, Operation::LockCreate, &[], lock).await.status
    };
    assert_eq!(lock("lock.lift").await, StatusCode::CONFLICT);
    assert_eq!(lock("owner.create").await, StatusCode::OK);
    let answer = world.run(&operator, Operation::OwnerCreate, &[], json!({ "name": "x" })).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn secrets_of_an_upstream_are_neither_shown_nor_recorded() {
    let world = World::new().await;
    let operator = world.operator().await;
    let upstreams = [
        json!({ "kind": "http", "url": "http://127.0.0.1:9/mcp?key=s3cret" }),
        json!({ "kind": "stdio", "command": "run", "env": { "KEY": "s3cret" } }),
    ];
    let operations = [Operation::ServerRegister, Operation::ServerRegisterCommand];
    for ((name, upstream), operation) in ["one", "two"].into_iter().zip(upstreams).zip(operations) {
        let new = json!({ "name": name, "owner": "administrators", "upstream": upstream });
        let made = world.done(&operator, operation, &[], new).await;
        let shown = world.done(&operator, Operation::ServerShow, &[name], Value::Null).await;
        for told in [&made, &shown, &world.newest("identity.registered").await] {
            assert!(!told.to_string().contains("s3cret"), "{told}");
            assert!(told.to_string().contains("127.0.0.1:9/mcp") || name == "two", "{told}");
        }
    }
}
