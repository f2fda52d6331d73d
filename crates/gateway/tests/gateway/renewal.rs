//! Who is stopped while something is waited for makes no call.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use attorn_audit::Entry;
use attorn_jose::CertificateThumbprint;
use attorn_net::{Peer, PeerCertificate};
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{Authentication, Binding, KeyState, LifeCycle, LockTarget, SnapshotParts};
use attorn_testkit::canary::Script;
use bytes::Bytes;
use http_body::Frame;
use serde_json::{Value, json};

use crate::world::{
    Answer, Ask, Later, NOW_S, World, agent_id, call, lock, modern, server_id, tools,
};

/// A body that comes after something happened; the head was judged before.
struct LateBody {
    happens: Option<Later>,
    bytes: Option<Bytes>,
}

impl http_body::Body for LateBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.happens.take().into_iter().for_each(|happens| happens());
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Sends a head that is right, and its body when `happens` has.
async fn ask_late(world: &World, mut ask: Ask, happens: Later) -> Answer {
    let token = world.token("read:get");
    let nonce = world.nonce(&token).await;
    ask.headers.extend(world.credentials(ask.verb, &token, &world.agent_key, Some(&nonce)));
    let body = LateBody { happens: Some(happens), bytes: Some(ask.body.clone()) };
    Answer::read(world.respond_to(ask, body).await).await
}

/// Refused for this reason: where the answer says none, the journal does, at least so many times.
async fn is_refused(world: &World, answer: &Answer, expected: &str, times: usize) {
    let json = answer.json();
    let told = [&json["result"]["_meta"]["dev.attorn/reason"], &json["error"]["data"]["reason"]];
    if let Some(told) = told.into_iter().find_map(Value::as_str) {
        assert_eq!(told, expected);
        return;
    }
    assert!(json["result"].is_null(), "{}", answer.text);
    let is_it = |one: &&Entry| one.reason.as_deref() == Some(expected);
    let noted = world.entries(|all| all.iter().filter(is_it).count() >= times);
    let noted = tokio::time::timeout(Duration::from_secs(20), noted).await;
    assert!(noted.is_ok(), "{expected} is not on record: {}", answer.text);
}

type Change = fn(&mut SnapshotParts);

#[tokio::test]
async fn a_body_that_comes_after_a_stop_calls_nothing() {
    let stops: [(&str, Change); 6] = [
        ("lock.active", |parts| parts.locks.push(lock(LockTarget::Agent { agent: agent_id() }))),
        ("lock.active", |parts| {
            let jkt = parts.agents[0].keys[0].jkt;
            parts.locks.push(lock(LockTarget::Key { jkt }));
        }),
        ("token.revoked", |parts| parts.epoch += 1),
        ("token.revoked", |parts| parts.agents[0].keys[0].state = KeyState::Retired),
        ("agent.suspended", |parts| parts.agents[0].state = LifeCycle::Suspended),
        ("agent.retired", |parts| parts.agents[0].state = LifeCycle::Retired),
    ];
    for (number, (expected, stop)) in stops.into_iter().enumerate() {
        let world = World::new(&format!("late-{number}"));
        let nothing = world.later(|_| ());
        let twin = ask_late(&world, call("get", &json!({})), nothing).await;
        assert_eq!(twin.json()["result"]["isError"], false, "{}", twin.text);
        assert_eq!(world.calls().len(), 1);
        let list = world.later(stop);
        let list = ask_late(&world, modern("tools/list", json!({}), None), list).await;
        is_refused(&world, &list, expected, 1).await;
        world.change(|_| ());
        let refused = ask_late(&world, call("get", &json!({})), world.later(stop)).await;
        is_refused(&world, &refused, expected, 2).await;
        assert!(world.calls().is_empty());
    }
}

#[tokio::test]
async fn a_body_that_comes_after_the_end_of_its_token_calls_nothing() {
    let world = World::new("late-end");
    let now_s = Arc::clone(&world.now_s);
    let passes = Box::new(move || {
        now_s.fetch_add(121, Ordering::SeqCst);
    });
    let answer = ask_late(&world, call("get", &json!({})), passes).await;
    is_refused(&world, &answer, "token.expired", 1).await;
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_certificate_that_was_taken_meanwhile_calls_nothing() {
    let world = World::new("late-certificate");
    let own = CertificateThumbprint::of_der(b"own");
    let known_by = |der: &[u8]| {
        let certificates = vec![CertificateThumbprint::of_der(der)];
        move |parts: &mut SnapshotParts| {
            parts.agents[0].authentication =
                Authentication::SelfSignedTlsClientAuth { certificates };
            parts.agents[0].binding = Binding::Certificate;
        }
    };
    world.change(known_by(b"own"));
    let certificate = PeerCertificate {
        thumbprint: *own.as_bytes(),
        not_before_s: NOW_S - 100,
        not_after_s: NOW_S + 100,
        dns_names: Vec::new(),
        uris: Vec::new(),
        anchors: Vec::new(),
    };
    let peer = Peer::new("192.0.2.7:4711".parse().unwrap(), true);
    *world.peer.lock().unwrap() = Some(Peer { certificate: Some(Arc::new(certificate)), ..peer });
    let ask = async |happens: Later| {
        let mut claims = world.claims("read:get");
        claims.cnf = Confirmation::Certificate(own);
        let mut ask = call("get", &json!({}));
        ask.headers.push(("authorization".into(), format!("Bearer {}", world.issue(&claims))));
        let body = LateBody { happens: Some(happens), bytes: Some(ask.body.clone()) };
        Answer::read(world.respond_to(ask, body).await).await
    };
    let twin = ask(world.later(|_| ())).await;
    assert_eq!(twin.json()["result"]["isError"], false, "{}", twin.text);
    drop(world.calls());
    let refused = ask(world.later(known_by(b"next"))).await;
    is_refused(&world, &refused, "token.revoked", 1).await;
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_stop_while_the_server_is_looked_at_calls_nothing() {
    let world = World::new("late-look");
    let set = || call("set", &json!({}));
    assert_eq!(world.ask("write:set", set()).await.json()["result"]["isError"], false);
    drop(world.calls());
    for stop in
        [LockTarget::Agent { agent: agent_id() }, LockTarget::Server { server: server_id() }]
    {
        world.now_s.fetch_add(30, Ordering::SeqCst);
        // News of another tool, so that there is something to tell at the end of the look.
        let mut listed = tools();
        listed[3]["description"] = json!(format!("{stop:?}"));
        world.canary.set_tools(listed);
        let stops = world.later(|parts| parts.locks.push(lock(stop)));
        *world.after_look.lock().unwrap() = Some(stops);
        let refused = world.ask("write:set", set()).await;
        is_refused(&world, &refused, "lock.active", 1).await;
        assert!(world.after_look.lock().unwrap().is_none());
        assert!(world.calls().is_empty());
        world.change(|_| ());
    }
    world.now_s.fetch_add(30, Ordering::SeqCst);
    assert_eq!(world.ask("write:set", set()).await.json()["result"]["isError"], false);
}

#[tokio::test]
async fn a_stop_while_an_approval_is_used_up_calls_nothing() {
    let world = World::new("late-approval");
    let ask = async || world.ask("irreversible:drop", call("drop", &json!({ "a": 1 }))).await;
    let approved = async || {
        is_refused(&world, &ask().await, "approval.required", 1).await;
        let approvals = world.desk.approve_last();
        world.change(|parts| parts.approvals = approvals);
    };
    approved().await;
    world.desk.waits.store(true, Ordering::SeqCst);
    let meanwhile = async |happens: Later| {
        let happening = async {
            world.desk.reached.notified().await;
            happens();
            world.desk.go.notify_one();
        };
        tokio::join!(ask(), happening).0
    };
    let stops: [(&str, Change); 3] = [
        ("lock.active", |parts| {
            let jkt = parts.agents[0].keys[0].jkt;
            parts.locks.push(lock(LockTarget::Key { jkt }));
        }),
        ("lock.active", |parts| {
            let tool = "drop".to_owned();
            parts.locks.push(lock(LockTarget::Tool { server: server_id(), tool }));
        }),
        ("scope.missing", |parts| parts.grants.clear()),
    ];
    for (expected, stop) in stops {
        let refused = meanwhile(world.later(stop)).await;
        assert!(refused.json()["result"]["isError"] != false, "{}", refused.text);
        let is_it = |one: &Entry| one.reason.as_deref() == Some(expected);
        world.entries(|all| all.iter().any(is_it)).await;
        assert!(world.calls().is_empty());
        // The approval is lost; another one makes the call.
        world.desk.waits.store(false, Ordering::SeqCst);
        world.change(|parts| parts.approvals = world.desk.in_snapshot());
        approved().await;
        world.desk.waits.store(true, Ordering::SeqCst);
    }
    let made = meanwhile(world.later(|_| ())).await;
    assert_eq!(made.json()["result"]["isError"], false, "{}", made.text);
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn an_answer_that_comes_after_a_stop_is_told_to_nobody() {
    let result = json!({ "content": [{ "type": "text", "text": "secret" }] });
    let body = format!(r#"{{"jsonrpc":"2.0","id":${{id}},"result":{result}}}"#);
    for stops in [false, true] {
        let world = World::new(&format!("late-answer-{stops}"));
        let go = Arc::new(AtomicBool::new(false));
        world.canary.set_script(Some(Script {
            rpc_method: "tools/call".into(),
            bytes: format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
                .into(),
            until: Some(Arc::clone(&go)),
            ..Script::default()
        }));
        let happening = async {
            while !world.canary.saw("tools/call") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if stops {
                world.lock(LockTarget::Agent { agent: agent_id() });
            } else {
                world.change(|_| ());
            }
            go.store(true, Ordering::SeqCst);
        };
        let (answer, ()) = tokio::join!(world.ask("read:get", call("get", &json!({}))), happening);
        assert_eq!(answer.text.contains("secret"), !stops, "{}", answer.text);
        if stops {
            is_refused(&world, &answer, "lock.active", 1).await;
        }
    }
}
