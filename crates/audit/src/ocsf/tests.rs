use attorn_testkit::ocsf::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{VERSION, event, refused};
use crate::tree::{hex, sha256};
use crate::{Decision, Entry, Kind, Outcome};

const LOG: &str = "authority.example.com/node";

/// A call of an agent for a person.
fn call(kind: Kind) -> Entry {
    let text = |text: &str| Some(text.to_owned());
    Entry {
        actor_chain: text("agt_1"),
        agent: text("agt_1"),
        agent_key: text("k1"),
        arguments_bytes: Some(17),
        arguments_digest: text("hmac-sha256:00"),
        audience: text("https://crm.example.com/mcp"),
        class: text("read"),
        client_id: text("agt_1"),
        decision_id: text("dec_1"),
        detail: [("consent", "cns_1"), ("peer", "192.0.2.7"), ("registry_version", "4")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        grant: text("grt_1"),
        mcp_version: text("2025-06-18"),
        method: text("tools/call"),
        policy_version: text("3"),
        request_id: text("7"),
        role: text("gateway"),
        rule: text("readers"),
        scope: text("read:get_invoice"),
        server: text("srv_1"),
        subject: text("usr_1"),
        token_jti: text("jti_1"),
        tool: text("get_invoice"),
        trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
        ..Entry::new(kind, 1_700_000_000_000)
    }
}

fn value_of(entry: &Entry) -> Value {
    serde_json::from_slice(&event(LOG, 7, &entry.to_canonical())).unwrap()
}

/// What a consumer can check without knowing Attorn: the schema, and the three ways in which the
/// event stands by itself.
#[track_caller]
fn assert_whole(schema: &Schema, bytes: &[u8], entry: &[u8]) {
    let event: Value = serde_json::from_slice(bytes).unwrap();
    let faults = schema.faults(&event);
    assert!(faults.is_empty(), "{faults:?} in {event}");
    // RFC 8785: the line is the canonical form of itself.
    let document = attorn_json::parse(bytes, &attorn_json::Limits::MESSAGE).unwrap();
    assert_eq!(attorn_json::canonical(&document).unwrap(), bytes);
    assert_eq!(event["raw_data"].as_str().unwrap().as_bytes(), entry);
    assert_eq!(event["raw_data_hash"]["value"], hex(&sha256(entry)));
    let mut bare = event;
    let attestation = bare["attestation_list"][0].as_object_mut().unwrap();
    let print = attestation.remove("fingerprint").unwrap();
    let bare = bare.to_string();
    let document = attorn_json::parse(bare.as_bytes(), &attorn_json::Limits::MESSAGE).unwrap();
    let form = attorn_json::canonical(&document).unwrap();
    assert_eq!(print["value"], hex(&sha256(&form)));
}

#[test]
fn every_kind_is_an_event_of_the_schema() {
    let schema = Schema::of_1_9().unwrap();
    let outcomes = [
        Outcome::Cancelled,
        Outcome::Ok,
        Outcome::ProtocolError,
        Outcome::ToolError,
        Outcome::Unknown,
        Outcome::UpstreamError,
    ];
    for kind in Kind::ALL {
        for base in [Entry::new(kind, 1), call(kind)] {
            let with = |decision, outcome| Entry { decision, outcome, ..base.clone() };
            let decided = [Decision::Deny, Decision::Permit].map(|it| with(Some(it), None));
            let ended = outcomes.map(|outcome| with(None, Some(outcome)));
            for entry in decided.into_iter().chain(ended).chain([base.clone()]) {
                let bytes = entry.to_canonical();
                assert_whole(&schema, &event(LOG, 7, &bytes), &bytes);
            }
        }
    }
}

#[test]
fn a_refused_call_says_who_what_why_and_where_it_is_logged() {
    let reason = Some("scope.missing".to_owned());
    let refused = Entry { decision: Some(Decision::Deny), reason, ..call(Kind::CallDecided) };
    let event = value_of(&refused);
    let expected = json!({
        "/class_uid": 6003,
        "/activity_name": "Read",
        "/type_uid": 600_302,
        "/status": "Failure",
        "/status_code": "scope.missing",
        "/severity": "Low",
        "/action": "Denied",
        "/disposition": "Blocked",
        "/authorizations/0/policy": {"name": "readers", "version": "3"},
        "/actor/user": {"type": "User", "type_id": 1, "uid": "usr_1"},
        "/actor/session/uid": "jti_1",
        "/ai_agent/uid": "agt_1",
        "/delegation/uid": "cns_1",
        "/api/operation": "get_invoice",
        "/api/service/uid": "srv_1",
        "/api/version": "2025-06-18",
        "/src_endpoint": {"ip": "192.0.2.7", "uid": "agt_1"},
        "/trace/uid": "4bf92f3577b34da6a3ce929d0e0e4736",
        "/message": "call.decided: deny get_invoice (scope.missing)",
        "/metadata/correlation_uid": "dec_1",
        "/metadata/event_code": "call.decided",
        "/metadata/log_source": LOG,
        "/metadata/sequence": 7,
        "/metadata/uid": "authority.example.com/node#7",
        "/metadata/version": VERSION,
        "/time": 1_700_000_000_000_u64,
        "/unmapped/scope": "read:get_invoice",
        "/unmapped/detail/registry_version": "4",
    });
    for (path, value) in expected.as_object().unwrap() {
        assert_eq!(event.pointer(path), Some(value), "{path}");
    }
    let profiles = ["ai_operation", "security_control", "trace", "record_integrity"];
    assert_eq!(event["metadata"]["profiles"], json!(profiles));
    assert_eq!(event["api"].get("response"), None);
    assert_eq!(event["unmapped"].get("tool"), None);
}

#[test]
fn a_message_is_one_line_whatever_a_caller_calls_the_tool() {
    let check = |tool: &str, expected: &str| {
        let event = value_of(&Entry { tool: Some(tool.to_owned()), ..call(Kind::CallDecided) });
        assert_eq!(event["message"], format!("call.decided: {expected}"));
        // What is compared is the exact name.
        assert_eq!(event["api"]["operation"], tool);
    };
    check("get_invoice", "get_invoice");
    check("caf\u{e9} \u{4e16}", "caf\u{e9} \u{4e16}");
    check("x\n12:00 permit pay\r\t", "x\\u{a}12:00 permit pay\\u{d}\\u{9}");
    check("x\0\u{1b}[2K\u{85}", "x\\u{0}\\u{1b}[2K\\u{85}");
    check("\u{202e}yap\u{2066}\u{200f}", "\\u{202e}yap\\u{2066}\\u{200f}");
    check("a\u{2028}b\u{200b}\u{e0041}", "a\\u{2028}b\\u{200b}\\u{e0041}");
}

#[test]
fn an_intent_has_no_outcome_yet_and_the_end_tells_it() {
    let permit = Entry { decision: Some(Decision::Permit), ..call(Kind::CallDecided) };
    let event = value_of(&permit);
    assert_eq!((&event["status"], &event["action"]), (&json!("Unknown"), &json!("Allowed")));
    let end = |outcome, status: &str| Entry {
        downstream_status: Some(status.to_owned()),
        outcome: Some(outcome),
        ..call(Kind::CallCompleted)
    };
    let event = value_of(&end(Outcome::Ok, "200"));
    assert_eq!(event["status"], "Success");
    assert_eq!(event["api"]["response"], json!({"code": 200, "message": "ok"}));
    // Nobody knows how it ended, and no decision is told a second time.
    let event = value_of(&end(Outcome::Unknown, "gone"));
    assert_eq!(event["status"], "Unknown");
    assert_eq!(event["api"]["response"], json!({"message": "unknown"}));
    assert_eq!(event.get("action_id"), None);
}

#[test]
fn whoever_is_not_known_is_not_taken_for_the_server_that_is_asked() {
    let nobody = Entry { server: Some("srv_1".to_owned()), ..Entry::new(Kind::CallDecided, 1) };
    let event = value_of(&nobody);
    assert_eq!(event["src_endpoint"], json!({"name": "unknown"}));
    assert_eq!(event["actor"], json!({"app_name": "attorn"}));
    assert_eq!(event.get("ai_agent"), None);
    let by = Some("gateway".to_owned());
    assert_eq!(value_of(&Entry { by, ..nobody })["src_endpoint"], json!({"name": "gateway"}));
}

#[test]
fn what_a_tool_does_is_not_guessed() {
    let check = |class: Option<&str>, method: Option<&str>, name: &str| {
        let own = |text: &str| text.to_owned();
        let (class, method) = (class.map(own), method.map(own));
        let event = value_of(&Entry { class, method, ..call(Kind::ResourceAccessed) });
        assert_eq!(event["activity_name"], name, "{event}");
    };
    check(Some("read"), Some("tools/call"), "Read");
    check(Some("write"), Some("tools/call"), "write");
    check(Some("irreversible"), Some("tools/call"), "irreversible");
    check(Some("write"), Some("PATCH"), "Update");
    check(Some("irreversible"), Some("DELETE"), "Delete");
    check(None, Some("GET"), "Read");
    check(None, Some("POST"), "Unknown");
    check(None, None, "Unknown");
}

#[test]
fn what_is_administered_is_the_entity_and_not_the_actor() {
    let by = Some("first-operator".to_owned());
    let suspended = Entry { by, ..call(Kind::IdentitySuspended) };
    let event = value_of(&Entry { subject: None, ..suspended.clone() });
    assert_eq!(event["type_name"], "Entity Management: Suspend");
    assert_eq!(event["entity"], json!({"type": "Agent", "type_id": 99, "uid": "agt_1"}));
    assert_eq!(event["actor"]["user"], json!({"name": "first-operator"}));
    assert_eq!(event.get("ai_agent"), None);
    let person = value_of(&suspended);
    assert_eq!(person["entity"]["user"]["uid"], "usr_1");
    let granted = value_of(&Entry { kind: Kind::GrantRevoked, ..suspended.clone() });
    assert_eq!(granted["entity"]["uid"], "grt_1");
    let applied = value_of(&Entry { kind: Kind::PolicyApplied, ..suspended });
    assert_eq!(applied["entity"]["policy"], json!({"name": "policy set", "version": "3"}));
}

#[test]
fn bytes_that_are_no_entry_leave_as_well() {
    let schema = Schema::of_1_9().unwrap();
    let later = br#"{"kind":"token.teleported","time_ms":1}"#;
    let bytes = event(LOG, 7, later);
    assert_whole(&schema, &bytes, later);
    let told: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(told["class_uid"], 0);
    let broken: Value = serde_json::from_slice(&event(LOG, 8, &[0xff, b'{'])).unwrap();
    assert!(schema.faults(&broken).is_empty());
    assert_eq!(broken["raw_data_hash"]["value"], hex(&sha256(&[0xff, b'{'])));
}

#[test]
fn what_was_refused_is_told_in_the_schema_without_its_words() {
    let schema = Schema::of_1_9().unwrap();
    let bytes = call(Kind::CallDecided).to_canonical();
    let check = |entry: &[u8], code: Value, time: u64| {
        let told: Value = serde_json::from_slice(&refused(LOG, 7, entry, 403)).unwrap();
        assert!(schema.faults(&told).is_empty(), "{:?} in {told}", schema.faults(&told));
        assert_eq!((&told["class_uid"], &told["time"]), (&json!(0), &json!(time)));
        assert_eq!(told["metadata"].get("event_code").unwrap_or(&Value::Null), &code);
        assert_eq!(told["metadata"]["sequence"], 7);
        assert_eq!(told["raw_data_hash"]["value"], hex(&sha256(entry)));
        assert_eq!(told.get("raw_data"), None);
        assert!(!told.to_string().contains("get_invoice"), "{told}");
    };
    check(&bytes, json!("call.decided"), 1_700_000_000_000);
    check(b"{\"kind\":\"get_invoice\"}", Value::Null, 0);
}

/// The schema's check could fail: each of these is refused, and for its own reason.
#[test]
fn a_wrong_event_is_refused() {
    let schema = Schema::of_1_9().unwrap();
    let right = value_of(&Entry { decision: Some(Decision::Deny), ..call(Kind::CallDecided) });
    assert!(schema.faults(&right).is_empty());
    let check = |path: &str, name: &str, value: Option<Value>, expected: &str| {
        let mut wrong = right.clone();
        let object = wrong.pointer_mut(path).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => object.insert(name.to_owned(), value),
            None => object.remove(name),
        };
        let faults = schema.faults(&wrong);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{path}/{name}: {faults:?}");
    };
    check("", "api", None, "event.api: required");
    check("", "metadata", None, "event.metadata: required");
    check("", "src_endpoint", None, "event.src_endpoint: required");
    check("", "class_uid", Some(json!(6004)), "no class of ours");
    check("", "class_uid", Some(json!(3002)), "event.user: required");
    check("", "activity_id", Some(json!(5)), "event.activity_id: 5");
    check("", "type_uid", Some(json!(600_303)), "event.type_uid");
    check("", "category_uid", Some(json!(3)), "event.category_uid");
    check("", "activity_name", Some(json!("Update")), "event.activity_name");
    check("", "severity_id", Some(json!(7)), "7 is not listed");
    check("", "severity_id", None, "event.severity_id: required");
    check("", "status", Some(json!("Success")), "2 is `Failure`");
    check("", "status_id", Some(json!(3)), "3 is not listed");
    check("", "time", Some(json!("2026-08-03T00:00:00Z")), "event.time: no timestamp_t");
    check("", "time", Some(json!(-1)), "event.time: no timestamp_t");
    check("", "agent", Some(json!("agt_1")), "event.agent: unknown attribute");
    check("", "resources", Some(json!({})), "event.resources: no list");
    check("", "attestation_list", Some(json!([])), "event.attestation_list: no list");
    check("", "unmapped", Some(json!("text")), "event.unmapped: no object");
    check("/api", "operation", None, "event.api.operation: required");
    check("/api/request", "uid", Some(json!(7)), "event.api.request.uid: no string_t");
    check("/delegation", "uid", None, "event.delegation.uid: required");
    check("/delegation", "scopes", Some(json!([])), "event.delegation.scopes: unknown");
    check("/ai_agent", "uid", None, "event.ai_agent: none of");
    check("/src_endpoint", "ip", Some(json!("localhost")), "event.src_endpoint.ip: no ip_t");
    check("/raw_data_hash", "algorithm", Some(json!("SHA-512")), "3 is `SHA-256`");
    check("/raw_data_hash", "value", None, "event.raw_data_hash.value: required");
    check("/metadata", "version", Some(json!("1.8.0")), "metadata.version");
    // Without its profile an attribute is one that the class does not have.
    check("/metadata", "profiles", Some(json!([])), "event.ai_agent: unknown attribute");
    check("/metadata", "profiles", Some(json!(["cloud"])), "metadata.profiles: `cloud`");
}

proptest! {
    /// Values come from peers; no text and no number makes a line that is not an event.
    #[test]
    fn any_text_leaves_as_an_event(text in "\\PC{0,40}|.{0,40}", number in any::<u64>(), at in 0..60_usize) {
        let own = || Some(text.clone());
        let entry = Entry {
            agent: own(),
            by: own(),
            class: own(),
            decision_id: own(),
            detail: [("peer", own()), ("reason", own())]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
            downstream_status: own(),
            method: own(),
            outcome: Some(Outcome::ToolError),
            reason: own(),
            result_bytes: Some(number),
            subject: own(),
            tool: own(),
            ..Entry::new(Kind::ALL[at], number)
        };
        let bytes = entry.to_canonical();
        let line = event(&text, number >> 11, &bytes);
        assert_whole(&Schema::of_1_9().unwrap(), &line, &bytes);
        let told: Value = serde_json::from_slice(&line).unwrap();
        let message = told["message"].as_str().unwrap();
        assert!(!message.contains(|it: char| it.is_control() || attorn_json::is_hidden(it)));
    }
}
