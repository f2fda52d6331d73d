//! A guard in front of an API: the chain from an agent through a server to the API, its journal and
//! its trace, with the guard beside the authority and in a process of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use attorn_jose::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::delegation::{Chain, Reply, TRACE, send};
use crate::support::{ATTORN, Folder, Serving};

const INVOICE: (&str, &str) = ("GET", "/invoices/inv-1001");

/// Kinds and findings, deepest last.
fn shape(node: &Value) -> String {
    let children: Vec<String> = node["children"].as_array().unwrap().iter().map(shape).collect();
    let findings: Vec<&str> =
        node["findings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let marks: String = findings.iter().map(|one| format!("!{one}")).collect();
    format!("{}{marks}({})", node["kind"].as_str().unwrap(), children.join(","))
}

const WHOLE: &str = "token.issued(call.decided(call.completed(),\
                     token.exchanged(resource.accessed(call.completed()))))";

/// One of the chains with this trace begins with the issuance and has everything. Beside it are
/// refusals that came with the same trace.
#[track_caller]
fn assert_whole(found: &Value) {
    let roots = found["chain"].as_array().unwrap();
    let issued = roots.iter().find(|root| root["kind"] == "token.issued");
    let first = shape(issued.unwrap_or_else(|| panic!("{found}")));
    assert!(first.starts_with(WHOLE.trim_end_matches(')')), "{first}");
}

#[test]
fn the_chain_from_agent_to_api_is_enforced_and_found_by_the_name_that_the_api_gave() {
    let chain = Chain::new("guard", false);
    let evidence = chain.call();
    let token = chain.exchange(&evidence);
    let reply = chain.get(&token);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("inv-1001"));
    let request_id = reply.header("x-request-id");
    let calls = chain.api.calls();
    let seen = calls.as_array().unwrap().last().unwrap();
    assert_eq!(seen["subject"], chain.agent.as_str(), "{calls}");
    assert_eq!(seen["actors"], json!([chain.server.as_str()]));
    assert_eq!(seen["agent"], chain.agent.as_str());

    // Nobody else's key, nobody else's token, nothing else than was given.
    let thief = SigningKey::from_seed(Algorithm::EdDsa, &[9; 32]).unwrap();
    for key in [&thief, &chain.agent_key] {
        assert_eq!(chain.ask_api(key, &token, INVOICE).reason(), "possession.key_mismatch");
    }
    let own = chain.ask_api(&chain.agent_key, &evidence.token, INVOICE);
    assert_eq!((own.status, own.reason().as_str()), (401, "token.audience"));
    let pay = ("POST", "/invoices/inv-1001/pay");
    assert_eq!(chain.ask_api(&chain.server_key, &token, pay).reason(), "scope.missing");
    let other = ("GET", "/customers");
    assert_eq!(chain.ask_api(&chain.server_key, &token, other).reason(), "operation.unknown");
    let resource = format!("http://{}/invoices/mcp", chain.gateway);
    let proof = chain.proof(&chain.server_key, ("POST", &resource), Some(&token), "");
    let bearer = format!("DPoP {token}");
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", bearer.as_str()),
        ("dpop", proof.as_str()),
    ];
    let at_gateway = send(&chain.gateway, "POST", "/invoices/mcp", &headers, "{}");
    assert_eq!(at_gateway.status, 401, "{at_gateway:?}");
    let refused = |reason: &str| {
        let search = ["-o", "json", "audit", "search", "--reason", reason, "--limit", "1"];
        let found = chain.folder.attorn(&search).expect(0).json();
        found[0]["role"].as_str().unwrap().to_owned()
    };
    for reason in ["possession.key_mismatch", "scope.missing", "operation.unknown"] {
        assert_eq!(refused(reason), "guard");
    }
    assert_eq!(refused("token.audience"), "gateway");

    let trace = ["-o", "json", "audit", "trace", "--downstream-id", &request_id];
    let found = chain.folder.attorn(&trace).expect(0).json();
    assert_whole(&found);
    let shown = chain.folder.attorn(&["audit", "trace", "--downstream-id", &request_id]).expect(0);
    assert!(shown.out.contains("resource.accessed") && shown.out.contains(&request_id));
    chain.folder.attorn(&["audit", "trace", "--downstream-id", "nobody"]).expect(1);

    let export = ["audit", "export", "--downstream-id", &request_id, "--to", "case"];
    chain.folder.attorn(&export).expect(0);
    chain.folder.attorn(&["audit", "verify", "case"]).expect(0);

    // A rule about the API holds at the next request, and the refusal tells which it was.
    let rule = "@id(\"all\") permit (principal, action, resource);
        @id(\"no-invoices\") forbid (principal, action, resource in Api::\"billing\");";
    fs::write(chain.folder.path().join("hops.cedar"), rule).unwrap();
    chain.folder.attorn(&["policy", "apply", "hops.cedar", "--reason", "test"]).expect(0);
    let forbidden = chain.get(&token);
    assert_eq!((forbidden.status, forbidden.reason().as_str()), (403, "policy.forbid"));
    let told: Value = serde_json::from_str(&forbidden.body).unwrap();
    let decision = told["decision_id"].as_str().unwrap();
    let why = chain.folder.attorn(&["explain", decision]).expect(1).out;
    assert!(why.contains("no-invoices"), "{why}");
    chain.folder.attorn(&["policy", "rollback", "1", "--reason", "test is over"]).expect(0);
    assert_eq!(chain.get(&token).status, 200);

    let reason = ["--reason", "test", "--expires", "1h"];
    chain.folder.attorn(&[&["lock", "create", "resource/billing"][..], &reason].concat()).expect(0);
    let locked = chain.get(&token);
    assert_eq!((locked.status, locked.reason().as_str()), (403, "lock.active"), "{locked:?}");
    chain.serving.stop();
}

/// Asks until the reason is the one wanted, 50 times a second.
#[track_caller]
fn until(wanted: &str, within_s: u32, ask: impl Fn() -> Reply) {
    let mut tries = 0..within_s * 50;
    loop {
        let reply = ask();
        if reply.reason() == wanted || (wanted == "ok" && reply.status == 200) {
            return;
        }
        assert!(tries.next().is_some(), "{reply:?} instead of {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts `attorn guard` in a folder of its own; gives the key of its log.
fn guard_alone(chain: &Chain, at: &Folder) -> (Serving, String) {
    let run = |arguments: &[&str]| chain.folder.attorn(arguments).expect(0);
    run(&["gateway", "register", "guard-1", "--owner", "finance", "--code-file", "guard.code"]);
    let profile = at.path().join("profile").display().to_string();
    let issuer = chain.issuer();
    run(&["--profile", &profile, "enroll", "--url", &issuer, "--code", "@guard.code"]);
    let (url, upstream) =
        (format!("http://{}/billing", chain.guard), format!("http://{}", chain.api.address));
    let mut command = Command::new(ATTORN);
    command.args(["guard", &url, "--upstream", &upstream, "--listen", &chain.guard]);
    command.args(["--profile", &profile]).current_dir(at.path());
    let serving = Serving::started(&mut command);
    let key = log_key(&at.path().join("guard-state"));
    (serving, key)
}

/// The public key of the log in a state folder.
fn log_key(state: &Path) -> String {
    let secret = fs::read_to_string(state.join("journal.key")).unwrap();
    let signer = attorn_audit::note::NoteSigner::from_skey(secret.trim_end()).unwrap();
    signer.verifier().to_vkey()
}

#[test]
fn a_guard_alone_follows_keeps_its_own_journal_and_refuses_when_cut_off() {
    let chain = Chain::new("guard-alone", true);
    let at = Folder::new("guard-alone-1");
    let (guard, key) = guard_alone(&chain, &at);
    assert!(key.contains("/guard/guard-1+"), "{key}");
    let token = chain.exchange(&chain.call());
    until("ok", 10, || chain.get(&token));
    let reply = chain.get(&token);
    let request_id = reply.header("x-request-id");

    // The authority's journal alone does not know what the API called it.
    chain.folder.attorn(&["audit", "trace", "--downstream-id", &request_id]).expect(1);
    let journal = at.path().join("guard-state/journal").display().to_string();
    let with = ["--journal", &journal, "--key", &key];
    let trace = [&["-o", "json", "audit", "trace", "--downstream-id", &request_id][..], &with];
    let found = chain.folder.attorn(&trace.concat()).expect(0).json();
    assert_whole(&found);
    assert_eq!(found["remarks"], json!([]));
    let logs = found.to_string();
    assert!(logs.contains("/guard/guard-1") && logs.contains("/node/1"), "{logs}");

    // A lock reaches it, and what is cut off refuses. Its own journal knows both.
    let expires = ["--reason", "test", "--expires", "1h"];
    let lock = [&["lock", "create", "agent/reader"][..], &expires].concat();
    chain.folder.attorn(&lock).expect(0);
    until("lock.active", 2, || chain.get(&token));

    // One export for each log, that verify by themselves.
    let export = [&["audit", "export", "--downstream-id", &request_id, "--to", "case"][..], &with];
    chain.folder.attorn(&export.concat()).expect(0);
    let case = chain.folder.path().join("case");
    let mut files: Vec<_> = fs::read_dir(&case).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    chain.folder.attorn(&["audit", "verify", "case"]).expect(0);
    let node_key = log_key(&chain.folder.path().join("state"));
    let pinned = ["audit", "verify", "case", "--key", &key, "--key", &node_key];
    chain.folder.attorn(&pinned).expect(0);
    // And they are the whole chain, without asking anybody.
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let offline = ["--offline", "--journal", &files[0], "--journal", &files[1]];
    let trace = [&["-o", "json", "audit", "trace", TRACE][..], &offline].concat();
    let offline = chain.folder.attorn(&trace).expect(0).json();
    assert_whole(&offline);
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        // One byte of the last entry.
        let place = text.rfind("\"trace_id\":\"").unwrap() + "\"trace_id\":\"".len();
        let mut bytes = text.clone().into_bytes();
        bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
        fs::write(file, bytes).unwrap();
        let ended = chain.folder.attorn(&["audit", "verify", "case"]).expect(4);
        let log = if file.contains("guard-1") { "/guard/guard-1" } else { "/node/1" };
        assert!(ended.err.contains(log) && ended.err.contains("entry "), "{}", ended.err);
        fs::write(file, text).unwrap();
    }

    chain.serving.kill();
    let get = || {
        let headers = [("host", chain.guard.as_str())];
        send(&chain.guard, "GET", "/billing/invoices/inv-1001", &headers, "")
    };
    until("authority.stale", 20, get);
    guard.stop();
}
