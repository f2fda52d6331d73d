//! A file of many changes: all of it or nothing, and no more than the operator may do one by one.

use attorn_authority::Operation;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Client, World};

fn file() -> Value {
    json!({
        "owners": [{ "name": "finance" }],
        "agents": [{ "name": "ledger", "owner": "finance" }],
        "servers": [{
            "name": "books", "owner": "finance",
            "upstream": { "kind": "http", "url": "http://127.0.0.1:9/books" },
        }],
        "tools": [{ "server": "crm", "name": "get", "class": "write" }],
        "grants": [{ "agent": "ledger", "server": "crm", "patterns": ["write:get"] }],
        "policy": { "text": "@id(\"all\") permit (principal, action, resource);", "reason": "file" },
    })
}

async fn plan(world: &World, operator: &Client, file: Value) -> Value {
    world.done(operator, Operation::RegistryPlan, &[], file).await
}

async fn apply(world: &World, operator: &Client, file: Value) -> Value {
    world.done(operator, Operation::RegistryApply, &[], file).await
}

fn operations(plan: &Value) -> Vec<&str> {
    let changes = plan["changes"].as_array().unwrap();
    changes.iter().map(|change| change["operation"].as_str().unwrap()).collect()
}

fn places(faults: &Value) -> Vec<(&str, &str)> {
    let faults = faults["faults"].as_array().unwrap().iter();
    faults.map(|one| (one["at"].as_str().unwrap(), one["error"].as_str().unwrap())).collect()
}

const ALL: [&str; 6] = [
    "owner.create",
    "agent.register",
    "server.register",
    "tool.classify",
    "grant.create",
    "policy.apply",
];

#[tokio::test]
async fn a_file_is_planned_applied_and_then_changes_nothing() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let before = world.store.version().await.unwrap();
    let planned = plan(&world, &operator, file()).await;
    assert_eq!((operations(&planned), &planned["applied"]), (ALL.to_vec(), &json!(false)));
    // A plan changes nothing, and nothing of it is in force.
    assert_eq!(world.store.version().await.unwrap(), before);
    assert!(world.published.load().agent_named("ledger").is_none());
    assert_eq!(world.newest("admin.read").await["tool"], "registry.plan");

    let applied = apply(&world, &operator, file()).await;
    assert_eq!(applied["changes"], planned["changes"]);
    assert_eq!((&applied["applied"], &applied["faults"]), (&json!(true), &json!([])));
    assert_eq!(world.store.version().await.unwrap(), before + 6);
    let snapshot = world.published.load();
    let agent = snapshot.agent_named("ledger").unwrap();
    let crm = snapshot.server_named("crm").unwrap();
    assert_eq!(agent.state, attorn_registry::LifeCycle::Pending);
    assert_eq!(snapshot.counting_grants(&agent.id, &crm.id, world.now_s()).count(), 1);

    let again = apply(&world, &operator, file()).await;
    assert_eq!((operations(&again).len(), &again["unchanged"]), (0, &json!(6)));
    assert_eq!(world.store.version().await.unwrap(), before + 6);
}

#[tokio::test]
async fn each_change_has_an_entry_and_the_whole_has_one_before() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    apply(&world, &operator, file()).await;
    let entries = world.entries().await;
    let whole = entries.iter().position(|one| one["tool"] == "registry.apply").unwrap();
    let digest = attorn_jose::sha256(file().to_string().as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(entries[whole]["kind"], "admin.changed");
    assert_eq!(entries[whole]["detail"]["sha256"], digest);
    let kinds: Vec<_> = entries[whole + 1..]
        .iter()
        .filter(|one| one["decision_id"] == entries[whole]["decision_id"])
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    let registered = "identity.registered";
    let expected = [registered, registered, registered, "tool.classified", "grant.created"];
    assert_eq!(kinds[..5], expected);
    assert_eq!(kinds[5..], ["policy.applied"]);
}

#[tokio::test]
async fn one_wrong_item_leaves_all_others_undone_and_each_is_named() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let before = world.store.version().await.unwrap();
    let mut wrong = file();
    wrong["owners"] = json!([{ "name": "finance" }, { "name": "No Name" }, ["finance", null]]);
    wrong["agents"] = json!([
        { "name": "ledger", "owner": "finance" }, { "name": "x", "owner": "nobody" },
        { "name": "y", "owner": "finance", "state": "active" },
    ]);
    wrong["tools"] = json!([{ "server": "crm", "name": "none" }]);
    wrong["grants"] = json!([{ "agent": "ledger", "server": "crm", "patterns": ["always:get"] }]);
    wrong["policy"] = json!({ "text": "permit (principal" });
    let expected = [
        ("owners[1]", "request.malformed"),
        ("owners[2]", "request.malformed"),
        ("agents[1]", "request.malformed"),
        ("agents[2]", "request.malformed"),
        ("tools[0]", "tool.unknown"),
        ("grants[0]", "request.malformed"),
        ("policy", "policy.error"),
    ];
    let planned = plan(&world, &operator, wrong.clone()).await;
    assert_eq!(places(&planned), expected);
    let refused = world.run(&operator, Operation::RegistryApply, &[], wrong).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_eq!(places(&refused.body), expected);
    assert_eq!(world.store.version().await.unwrap(), before);
    assert!(world.published.load().agent_named("ledger").is_none());
    let entry = world.newest("admin.refused").await;
    assert_eq!(entry["reason"], "request.malformed");
    assert!(entry["detail"]["faults"].as_str().unwrap().contains("agents[1] request.malformed"));
}

/// A second operator who may apply files, and what else is given.
async fn second_with(world: &World, operator: &Client, more: &[&str]) -> Client {
    let patterns = [&["read:*", "write:registry.apply"], more].concat();
    operator_with(world, operator, "second", &patterns).await
}

pub(crate) async fn operator_with(
    world: &World,
    operator: &Client,
    name: &str,
    patterns: &[&str],
) -> Client {
    let new = json!({ "name": name, "owner": "administrators", "kind": "operator" });
    let made = world.done(operator, Operation::AgentRegister, &[], new).await;
    let (made, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let grant = json!({ "agent": name, "server": "admin", "patterns": patterns });
    world.done(operator, Operation::GrantCreate, &[], grant).await;
    made
}

#[tokio::test]
async fn a_file_does_no_more_than_its_operator_may_do_one_by_one() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let may = ["write:owner.create", "write:agent.register", "write:grant.create"];
    let second = second_with(&world, &operator, &may).await;
    let planned = plan(&world, &second, file()).await;
    let expected = [
        ("servers[0]", "scope.missing"),
        ("tools[0]", "scope.missing"),
        ("policy", "scope.missing"),
    ];
    assert_eq!(places(&planned), expected);
    let refused = world.run(&second, Operation::RegistryApply, &[], file()).await;
    assert_eq!(refused.refusal(), (409, "scope.missing"));
    // What is there needs no right to be left alone.
    apply(&world, &operator, file()).await;
    let unchanged = apply(&world, &second, file()).await;
    assert_eq!(unchanged["unchanged"], 6);
    // Neither for themselves nor for others more than they hold, also not step by step.
    let wider = json!({ "grants": [
        { "agent": "second", "server": "admin", "patterns": ["write:grant.create"] },
        { "agent": "second", "server": "admin", "patterns": ["write:*"] },
    ] });
    let refused = world.run(&second, Operation::RegistryApply, &[], wider).await;
    assert_eq!(refused.refusal(), (409, "delegation.widened"));
    assert_eq!(places(&refused.body), [("grants[1]", "delegation.widened")]);
}

#[tokio::test]
async fn a_file_does_not_run_programs_for_who_may_only_register_addresses() {
    let world = World::new().await;
    let operator = world.operator().await;
    let second = second_with(&world, &operator, &["write:server.register"]).await;
    let upstream = json!({ "kind": "stdio", "command": "/bin/true" });
    let server = json!({ "name": "tool", "owner": "administrators", "upstream": upstream });
    let file = json!({ "servers": [server.clone()] });
    let refused = world.run(&second, Operation::RegistryApply, &[], file.clone()).await;
    assert_eq!(refused.refusal(), (409, "scope.missing"));
    for operation in [Operation::ServerRegister, Operation::ServerRegisterCommand] {
        let refused = world.run(&second, operation, &[], server.clone()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        assert_eq!(world.newest("admin.refused").await["reason"], "scope.missing");
    }
    assert!(world.published.load().server_named("tool").is_none());
    // The twins: an address by the one scope, a program by the other.
    let address = json!({ "kind": "http", "url": "http://127.0.0.1:9/mcp" });
    let by_address = json!({ "name": "one", "owner": "administrators", "upstream": address });
    world.done(&second, Operation::ServerRegister, &[], by_address).await;
    apply(&world, &operator, file).await;
    assert!(world.published.load().server_named("tool").is_some());
}

#[tokio::test]
async fn what_exists_otherwise_is_a_fault_where_nothing_changes_it() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    apply(&world, &operator, file()).await;
    let retired = json!({ "reason": "test" });
    world.done(&operator, Operation::AgentRetire, &["ledger"], retired).await;
    let upstream = json!({ "kind": "http", "url": "http://127.0.0.1:9/other" });
    let other = json!({
        "owners": [{ "name": "finance", "email": "finance@example.com" }],
        "agents": [{ "name": "first-operator", "owner": "administrators" },
                   { "name": "ledger", "owner": "finance" }],
        "servers": [{ "name": "books", "owner": "finance", "upstream": upstream },
                    { "name": "books", "owner": "sales" },
                    { "name": "none", "owner": "sales" },
                    { "name": "admin", "owner": "sales", "upstream": { "kind": "builtin" } }],
    });
    let planned = plan(&world, &operator, other).await;
    let seen: Vec<_> = places(&planned).into_iter().map(|(at, _)| at).collect();
    let expected = [
        "owners[0]",
        "agents[0]",
        "agents[1]",
        "servers[0]",
        "servers[1]",
        "servers[2]",
        "servers[3]",
    ];
    assert_eq!(seen, expected);
    assert_eq!(planned["faults"][0]["message"], "`email` of what exists cannot be changed");
}

#[tokio::test]
async fn nothing_is_taken_away_unless_it_is_asked_for() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    world.agent(&operator, "billing", &["read:get"]).await;
    let agents = json!([{ "name": "billing", "owner": "sales" }]);
    let kept = apply(&world, &operator, json!({ "agents": agents })).await;
    assert_eq!(operations(&kept).len(), 0);
    let with_it = json!({
        "agents": agents, "prune": true,
        "grants": [{ "agent": "billing", "server": "crm", "patterns": ["read:get"] }],
    });
    assert_eq!(operations(&apply(&world, &operator, with_it).await).len(), 0);
    let without = json!({ "agents": agents, "prune": true });
    let pruned = apply(&world, &operator, without.clone()).await;
    assert_eq!(operations(&pruned), ["grant.revoke"]);
    assert_eq!(pruned["changes"][0]["at"], "prune");
    assert_eq!(world.newest("grant.revoked").await["detail"]["reason"], "not in the file");
    assert_eq!(operations(&apply(&world, &operator, without).await).len(), 0);
}

#[tokio::test]
async fn a_waiting_tool_is_approved_by_its_digest_alone() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let server = world.published.load().server_named("crm").unwrap().id.clone();
    let act = attorn_store::Act { by: "gateway", now_s: world.now_s() };
    let definition = r#"{"name":"new"}"#;
    let seen = attorn_store::SeenTool {
        name: "new".to_owned(),
        definition: definition.to_owned(),
        digest: attorn_jose::sha256(definition.as_bytes()),
        proposed_class: attorn_registry::Class::Read,
    };
    world.store.record_seen_tools(&act, &server, &[seen]).await.unwrap();
    world.authority.publish().await.unwrap();
    let tool = |digest: Value| json!({ "tools": [{ "server": "crm", "name": "new", "class": "read", "digest": digest }] });
    for (digest, reason) in
        [(Value::Null, "tool.unconfirmed"), (json!("00"), "tool.definition_changed")]
    {
        let planned = plan(&world, &operator, tool(digest)).await;
        assert_eq!(places(&planned), [("tools[0]", reason)]);
    }
    let waiting = world.done(&operator, Operation::ToolDiff, &["crm"], Value::Null).await;
    let right = tool(waiting["items"][0]["digest"].clone());
    assert_eq!(operations(&apply(&world, &operator, right.clone()).await), ["tool.approve"]);
    assert_eq!(operations(&apply(&world, &operator, right).await).len(), 0);
}

#[tokio::test]
async fn two_items_for_the_same_agent_or_tool_are_a_fault() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let server = world.published.load().server_named("crm").unwrap().id.to_string();
    let twice = json!({
        "agents": [{ "name": "ledger", "owner": "sales" }, { "name": "ledger", "owner": "sales" }],
        "tools": [{ "server": "crm", "name": "get", "class": "read" },
                  { "server": "crm", "name": "drop", "class": "irreversible" },
                  { "server": server, "name": "get", "class": "write" }],
    });
    let planned = plan(&world, &operator, twice).await;
    let expected = [("agents[1]", "request.malformed"), ("tools[2]", "request.malformed")];
    assert_eq!(places(&planned), expected);
}

#[tokio::test]
async fn a_plan_tells_nobody_what_they_may_not_see() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let server = |secret: &str| {
        json!({ "name": "books", "owner": "sales", "upstream": {
            "kind": "http", "url": format!("http://127.0.0.1:9/books?key={secret}") } })
    };
    world.done(&operator, Operation::ServerRegister, &[], server("right")).await;
    let second = second_with(&world, &operator, &[]).await;
    for secret in ["right", "wrong"] {
        let planned = plan(&world, &second, json!({ "servers": [server(secret)] })).await;
        assert_eq!(places(&planned), [("servers[0]", "scope.missing")], "{secret}");
    }
    // Nor what is there at all, for who may neither look nor make it.
    let third = operator_with(&world, &operator, "third", &["read:registry.plan"]).await;
    let mut known = file();
    known["owners"] = json!([{ "name": "sales" }, { "name": "nobody" }]);
    known["agents"] =
        json!([{ "name": "second", "owner": "sales" }, { "name": "no", "owner": "no" }]);
    let planned = plan(&world, &third, known).await;
    let faults = places(&planned);
    assert_eq!(faults.len(), 8, "{faults:?}");
    assert!(faults.iter().all(|(_, reason)| *reason == "scope.missing"), "{faults:?}");
    // The twin: who may register it may compare it.
    let planned = plan(&world, &operator, json!({ "servers": [server("right")] })).await;
    assert_eq!(planned["unchanged"], 1);
    let planned = plan(&world, &operator, json!({ "servers": [server("wrong")] })).await;
    assert_eq!(places(&planned), [("servers[0]", "request.malformed")]);
}

#[tokio::test]
async fn changes_and_what_is_pruned_are_bounded_together() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agents = json!([{ "name": "billing", "owner": "sales" }]);
    let grants: Vec<_> = (0..300)
        .map(|n| json!({ "agent": "billing", "server": "crm", "patterns": [format!("read:t{n}")] }))
        .collect();
    apply(&world, &operator, json!({ "agents": agents, "grants": grants })).await;
    let before = world.store.version().await.unwrap();
    let owners: Vec<_> = (0..201).map(|n| json!({ "name": format!("o{n}") })).collect();
    let prune = |owners: &[Value]| json!({ "agents": agents, "owners": owners, "prune": true });
    for operation in [Operation::RegistryPlan, Operation::RegistryApply] {
        let refused = world.run(&operator, operation, &[], prune(&owners)).await;
        assert_eq!(refused.refusal(), (400, "request.malformed"));
    }
    assert_eq!(world.store.version().await.unwrap(), before);
    let most = apply(&world, &operator, prune(&owners[..200])).await;
    assert_eq!(operations(&most).len(), 500);
}

/// Who may only look must not keep a lock waiting.
#[tokio::test]
async fn a_plan_gives_way_to_a_lock_and_there_is_one_at_a_time() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    world.agent(&operator, "billing", &[]).await;
    let owners: Vec<_> = (0..499).map(|n| json!({ "name": format!("o{n}") })).collect();
    let token = world.token(&operator, "https://admin.example/admin").await;
    let request = async || {
        let file = json!({ "owners": owners });
        world.request(&operator, &token, Operation::RegistryPlan, (&[], file)).await
    };
    let (first, second) = (request().await, request().await);
    let is_over = std::cell::Cell::new(false);
    let planned = async {
        let answers = tokio::join!(world.admin(first), world.admin(second));
        is_over.set(true);
        [answers.0, answers.1]
    };
    let locked = async {
        let mut locks = 0;
        while !is_over.get() {
            let target = json!({ "kind": "agent", "agent": "billing" });
            let lock = json!({ "target": target, "reason": "runs wild" });
            world.done(&operator, Operation::LockCreate, &[], lock).await;
            locks += 1;
        }
        locks
    };
    let (planned, locks) = tokio::join!(planned, locked);
    for answer in &planned {
        assert_eq!(answer.refusal(), (429, "rate.limited"), "{locks} locks");
    }
    let mut told = planned.each_ref().map(|answer| answer.text("message"));
    told.sort_unstable();
    let gave_way = "a lock or a revocation came first, so nothing was done; ask again";
    assert_eq!(told, [gave_way, "another plan is being made; ask again"]);
    // Alone it is done.
    let alone = plan(&world, &operator, json!({ "owners": owners })).await;
    assert_eq!(operations(&alone).len(), 499);
}
