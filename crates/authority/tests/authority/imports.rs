//! Servers of a public registry: nothing of them is used before somebody names what speaks against
//! them.

use attorn_authority::Operation;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, import_key};

const HASH: &str = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

fn document(name: &str) -> String {
    json!({
        "name": name, "description": "A server", "version": "1.0.0",
        "remotes": [{ "type": "streamable-http", "url": "http://127.0.0.1:9/mcp" }],
        "packages": [{ "registryType": "mcpb", "identifier": "https://example.com/w.mcpb",
                       "version": "1.0.0", "fileSha256": HASH, "transport": { "type": "stdio" } }],
    })
    .to_string()
}

/// What a key of `com.example` says of a document.
fn proof(document: &str) -> String {
    let digest = attorn_jose::sha256(document.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let read = attorn_registry::ServerDocument::parse(document).unwrap();
    import_key().sign(&read.proof_text(&digest))
}

fn findings(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().unwrap().iter();
    findings.map(|one| one["finding"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_import_waits_with_its_findings_and_each_has_to_be_named() {
    let world = World::new().await;
    let operator = world.operator().await;
    let new = json!({ "document": document("com.example/weather"), "owner": "administrators" });
    let made = world.done(&operator, Operation::ServerImport, &[], new).await;
    assert_eq!(findings(&made), ["namespace_unproven"]);
    assert_eq!(
        (&made["server"]["state"], &made["server"]["name"]),
        (&"pending".into(), &"weather".into())
    );
    let entry = world.newest("identity.registered").await;
    assert_eq!(entry["detail"]["findings"], "namespace_unproven");
    assert_eq!(entry["detail"]["source"], "com.example/weather 1.0.0");

    let asked = json!({ "agent": "first-operator", "server": "weather", "tool": "x" });
    let answer = world.done(&operator, Operation::AccessCanI, &[], asked).await;
    assert_eq!(
        (&answer["allowed"], &answer["steps"][1]["outcome"]),
        (&false.into(), &"fail".into())
    );
    for (operation, body) in [
        (Operation::ServerResume, json!({})),
        (Operation::ServerAccept, json!({ "reason": "x" })),
        (Operation::ServerAccept, json!({ "reason": "x", "findings": ["withdrawn"] })),
        (
            Operation::ServerAccept,
            json!({ "reason": "x", "findings": ["namespace_unproven", "withdrawn"] }),
        ),
    ] {
        let refused = world.run(&operator, operation, &["weather"], body).await;
        assert_eq!(refused.refusal(), (409, "server.pending"));
        assert_eq!(world.newest("admin.refused").await["reason"], "server.pending");
    }
    let silent = json!({ "reason": " ", "findings": ["namespace_unproven"] });
    let refused = world.run(&operator, Operation::ServerAccept, &["weather"], silent).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);

    let taken = json!({ "reason": "asked them", "findings": ["namespace_unproven"] });
    let taken = world.done(&operator, Operation::ServerAccept, &["weather"], taken).await;
    assert_eq!(taken["state"], "active");
    let entry = world.newest("admin.changed").await;
    assert_eq!(entry["detail"]["accepted"], "namespace_unproven");
    let listed = world.done(&operator, Operation::ImportList, &[], Value::Null).await;
    assert_eq!(listed["items"][0]["accepted_by"], "first-operator");
}

#[tokio::test]
async fn a_signed_document_and_the_right_package_leave_nothing_to_name() {
    let world = World::new().await;
    let operator = world.operator().await;
    let document = document("com.example/weather");
    let import = async |name: &str, sha256: &str, proof: &str| {
        let command = json!({ "kind": "stdio", "command": "/opt/weather" });
        let new = json!({
            "document": document, "owner": "administrators", "name": name, "command": command,
            "package_sha256": sha256, "proof": proof,
        });
        world.done(&operator, Operation::ServerImport, &[], new).await
    };
    assert_eq!(findings(&import("first", HASH, &proof(&document)).await), Vec::<&str>::new());
    let taken = json!({ "reason": "ours" });
    world.done(&operator, Operation::ServerAccept, &["first"], taken).await;
    // A note over another document, and a package of other bytes: anybody can claim the name.
    let other = proof(&document.replace("1.0.0", "1.0.1"));
    let found = import("second", &"0".repeat(64), &other).await;
    let expected = ["looks_like_approved", "namespace_unproven", "package_hash_differs"];
    assert_eq!(findings(&found), expected);
}

#[tokio::test]
async fn a_name_like_that_of_an_approved_server_is_found() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let import = async |source: &str, name: &str| {
        let document = document(source);
        let new = json!({
            "proof": proof(&document), "document": document, "owner": "sales", "name": name,
        });
        world.done(&operator, Operation::ServerImport, &[], new).await
    };
    assert_eq!(findings(&import("com.example/crm", "other").await), ["looks_like_approved"]);
    assert_eq!(findings(&import("com.example/weather", "c-r-m").await), ["looks_like_approved"]);
    assert_eq!(findings(&import("com.example/maps", "maps").await), Vec::<&str>::new());
    // One that waits is no model to be like.
    assert_eq!(findings(&import("com.example/maps2", "maps-2").await), Vec::<&str>::new());
    // The same document once more, by nobody in particular: a copy claims the name of its model.
    let taken = json!({ "reason": "ours" });
    world.done(&operator, Operation::ServerAccept, &["maps"], taken).await;
    assert_eq!(findings(&import("com.example/maps", "charts").await), Vec::<&str>::new());
    let copy =
        json!({ "document": document("com.example/maps"), "owner": "sales", "name": "plans" });
    let copy = world.done(&operator, Operation::ServerImport, &[], copy).await;
    assert_eq!(findings(&copy), ["looks_like_approved", "namespace_unproven"]);
}

#[tokio::test]
async fn an_import_runs_no_programs_for_who_may_not() {
    let world = World::new().await;
    let operator = world.operator().await;
    let new = json!({ "name": "second", "owner": "administrators", "kind": "operator" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let (second, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let patterns = ["read:*", "write:server.import", "write:server.accept"];
    let grant = json!({ "agent": "second", "server": "admin", "patterns": patterns });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let with = |command: Value| {
        json!({ "document": document("com.example/weather"), "owner": "administrators",
                "command": command })
    };
    let program = json!({ "kind": "stdio", "command": "/bin/true" });
    let refused = world.run(&second, Operation::ServerImport, &[], with(program.clone())).await;
    assert_eq!(refused.refusal(), (403, "scope.missing"));
    // Brought by somebody who may, it is still not started by somebody who may not.
    world.done(&operator, Operation::ServerImport, &[], with(program)).await;
    let findings = ["namespace_unproven", "package_not_compared"];
    let taken = json!({ "reason": "x", "findings": findings });
    let refused = world.run(&second, Operation::ServerAccept, &["weather"], taken.clone()).await;
    assert_eq!(refused.refusal(), (403, "scope.missing"));
    world.done(&operator, Operation::ServerAccept, &["weather"], taken).await;
}

#[tokio::test]
async fn an_import_reaches_no_address_for_who_may_not() {
    let world = World::new().await;
    let operator = world.operator().await;
    let new = json!({ "name": "second", "owner": "administrators", "kind": "operator" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let (second, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let give = async |patterns: &[&str]| {
        let grant = json!({ "agent": "second", "server": "admin", "patterns": patterns });
        world.done(&operator, Operation::GrantCreate, &[], grant).await;
    };
    give(&["read:*", "write:server.import", "write:server.accept"]).await;
    let new = |name: &str| {
        json!({ "document": document("com.example/weather"), "owner": "administrators",
                "name": name })
    };
    let refused = world.run(&second, Operation::ServerImport, &[], new("one")).await;
    assert_eq!(refused.refusal(), (403, "scope.missing"));
    world.done(&operator, Operation::ServerImport, &[], new("one")).await;
    let taken = json!({ "reason": "x", "findings": ["namespace_unproven"] });
    let refused = world.run(&second, Operation::ServerAccept, &["one"], taken.clone()).await;
    assert_eq!(refused.refusal(), (403, "scope.missing"));
    // The twin, by the scope of addresses.
    give(&["write:server.register"]).await;
    world.done(&second, Operation::ServerAccept, &["one"], taken).await;
    world.done(&second, Operation::ServerImport, &[], new("maps")).await;
}

#[tokio::test]
async fn what_is_no_document_is_refused() {
    let world = World::new().await;
    let operator = world.operator().await;
    let import = async |new: Value| world.run(&operator, Operation::ServerImport, &[], new).await;
    let package_only = document("com.example/weather").replace("streamable-http", "sse");
    for new in [
        json!({ "document": "{}", "owner": "administrators" }),
        json!({ "document": document("weather"), "owner": "administrators" }),
        json!({ "document": package_only, "owner": "administrators" }),
        json!({ "document": document("com.example/w"), "owner": "administrators", "name": "A b" }),
        json!({ "document": document("com.example/w"), "owner": "administrators",
                "package_sha256": HASH }),
        json!({ "document": document("com.example/w"), "owner": "administrators", "package": "none",
                "command": { "kind": "stdio", "command": "/bin/true" } }),
    ] {
        let refused = import(new).await;
        assert_eq!(refused.refusal(), (400, "request.malformed"), "{refused:?}");
    }
}
