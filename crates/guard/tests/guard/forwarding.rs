//! Hosts, sizes, and APIs that do not answer as they should.

use attorn_audit::{Entry, Outcome};
use attorn_guard::BodyBytes;
use attorn_net::Rate;
use attorn_registry::Ancestor;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use attorn_enforce::Freshness;
use attorn_guard::UpstreamUrl;

use crate::world::{Answer, Ask, BOTH, World, ask, told};

const READ: &str = "read:invoice.get";

fn ended(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.outcome.is_some())
}

async fn outcome(world: &World) -> (Option<Outcome>, Option<String>, Option<String>) {
    let entry = world.entries(ended).await.pop().unwrap();
    (entry.outcome, entry.reason, entry.downstream_status)
}

#[tokio::test]
async fn a_request_for_another_host_is_not_ours() {
    for version in BOTH {
        let world = World::new("hosts", version).await;
        for host in ["evil.example", "api.example:8443", "api.example.evil"] {
            let answer = world.send(ask("GET", "/invoices/7").with("host", host)).await;
            let refused = world.refused(&answer).await;
            assert_eq!(told(&refused), (421, "frame.origin", ""), "{host}");
        }
        let asked = ask("GET", "/invoices/7").with("host", "guard.internal:7810");
        assert_eq!(world.ask(READ, asked).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_body_has_a_greatest_size() {
    for version in BOTH {
        let fresh = Arc::new(Freshness::own());
        let world = World::with("sizes", version, fresh, |config| {
            config.body_bytes_max = BodyBytes::try_from(10).unwrap();
        });
        let world = world.await;
        let pay = |bytes: usize| Ask {
            body: Bytes::from(vec![b'x'; bytes]),
            ..ask("POST", "/invoices/7/pay")
        };
        let answer = world.ask("write:invoice.pay", pay(11)).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (413, "frame.size", ""));
        let answer = world.ask("write:invoice.pay", pay(10)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

/// A body that says nothing of its length is cut where it becomes too long.
#[tokio::test]
async fn a_body_without_a_length_is_cut() {
    let fresh = Arc::new(Freshness::own());
    let world = World::with("chunks", http::Version::HTTP_11, fresh, |config| {
        config.body_bytes_max = BodyBytes::try_from(10).unwrap();
    });
    let world = world.await;
    let asked =
        world.proven(ask("POST", "/invoices/7/pay"), &world.token("write:invoice.pay")).await;
    let headers: String =
        asked.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let text = format!(
        "POST {} HTTP/1.1\r\nhost: api.example\r\nAttorn_SUBJECT: eve\r\n{headers}\
         transfer-encoding: chunked\r\n\r\n20\r\n{}\r\n0\r\n\r\n",
        asked.target,
        "x".repeat(32),
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut bytes = [0; 1024];
    while !answer.contains("decision_id") {
        let read = stream.read(&mut bytes).await.unwrap();
        assert_ne!(read, 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("frame.size"), "{answer}");
    assert!(world.api.take_seen().iter().all(|seen| seen.body.len() <= 10));
    let (how, reason, status) = outcome(&world).await;
    assert_eq!(
        (how, reason.as_deref(), status),
        (Some(Outcome::Cancelled), Some("frame.size"), None)
    );
}

#[tokio::test]
async fn an_api_that_is_not_there_is_told_and_on_record() {
    for version in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let world = World::with("nobody", version, Arc::new(Freshness::own()), |config| {
            config.upstream = UpstreamUrl::parse(&nobody).unwrap();
        });
        let world = world.await;
        let answer = world.ask(READ, ask("GET", "/invoices/7")).await;
        assert_eq!(told(&answer.told()), (502, "downstream.unreachable", ""));
        let (how, reason, _) = outcome(&world).await;
        assert_eq!(
            (how, reason.as_deref()),
            (Some(Outcome::UpstreamError), Some("downstream.unreachable"))
        );
    }
}

/// An API that says how long its answer is and stops before.
#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one() {
    for version in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let breaking = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            let part = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nx-request-id: r-1\r\n\r\npart";
            stream.write_all(part.as_bytes()).await.unwrap();
        });
        let world = World::with("breaks", version, Arc::new(Freshness::own()), |config| {
            config.upstream = UpstreamUrl::parse(&breaking).unwrap();
        });
        let world = world.await;
        let asked = world.proven(ask("GET", "/invoices/7"), &world.token(READ)).await;
        let answer = world.respond(asked).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.into_body().collect().await.is_err());
        let entry = world.entries(ended).await.pop().unwrap();
        assert_eq!(entry.outcome, Some(Outcome::UpstreamError));
        assert_eq!(entry.downstream_request_id.as_deref(), Some("r-1"));
        assert_eq!(
            (entry.downstream_status.as_deref(), entry.result_bytes),
            (Some("200"), Some(4))
        );
    }
}

#[tokio::test]
async fn what_the_api_refuses_is_its_own_answer() {
    for version in BOTH {
        let world = World::new("absent", version).await;
        let answer = world.ask(READ, ask("GET", "/invoices/absent")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (404, "an invoice"));
        let (how, reason, status) = outcome(&world).await;
        assert_eq!((how, reason, status.as_deref()), (Some(Outcome::Ok), None, Some("404")));
    }
}

#[tokio::test]
async fn a_server_that_asks_too_often_is_told_when_to_come_again() {
    for version in BOTH {
        let world = World::with("rates", version, Arc::new(Freshness::own()), |config| {
            config.limits.server = Rate::new(1, 2);
        });
        let world = world.await;
        // What has no nonce takes nothing from the share.
        let asked = [world.token(READ), world.token(READ), world.token(READ)];
        let mut sent = Vec::new();
        for token in &asked {
            sent.push(world.proven(ask("GET", "/invoices/7"), token).await);
        }
        let third = sent.pop().unwrap();
        for ask in sent {
            assert_eq!(world.send(ask).await.status, StatusCode::OK);
        }
        drop(
            world.entries(|all| all.iter().filter(|one| one.outcome.is_some()).count() == 2).await,
        );
        drop(world.api.take_seen());
        let answer = world.send(third).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (429, "rate.limited", ""));
        assert_eq!(world.newest().await.detail["limit"], "server");
        assert!(!answer.header("retry-after").is_empty());
    }
}

/// The limit that the entry of a refusal names.
async fn limit(world: &World, answer: &Answer) -> String {
    let is_it =
        |one: &&Entry| one.decision_id.as_ref().is_some_and(|id| answer.text.contains(id.as_str()));
    let entries = world.entries(|all| all.iter().any(|one| is_it(&one))).await;
    entries.iter().find(is_it).unwrap().detail["limit"].clone()
}

/// Sends up to so many, with tokens that differ by `change`, and gives the limit that refuses.
async fn beyond_its_share(world: &World, count: u8, change: impl Fn(u8, &mut Ancestor)) -> String {
    for number in 0..count {
        let mut claims = world.claims(READ);
        change(number, claims.parent.as_mut().unwrap());
        let answer = world.ask_with(&world.issue(&claims), ask("GET", "/invoices/7")).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(!answer.header("retry-after").is_empty());
            return limit(world, &answer).await;
        }
    }
    "none".to_owned()
}

#[tokio::test]
async fn an_agent_and_each_of_its_keys_have_shares_of_a_server() {
    let key = |byte: u8| crate::world::key(byte).public().thumbprint();
    for version in BOTH {
        let limited = |config: &mut attorn_guard::Config| config.limits.agent = Rate::new(1, 2);
        let fresh = || Arc::new(Freshness::own());
        let world = World::with("agent-rate", version, fresh(), limited).await;
        assert_eq!(beyond_its_share(&world, 30, |_, _| ()).await, "agent");
        let limited = |config: &mut attorn_guard::Config| config.limits.key = Rate::new(1, 2);
        let world = World::with("key-rate", version, fresh(), limited).await;
        assert_eq!(beyond_its_share(&world, 30, |_, _| ()).await, "key");
        // Another key has another share, whether or not it counts in the end.
        let other = |number, parent: &mut Ancestor| parent.key = key(40 + number);
        assert_eq!(beyond_its_share(&world, 5, other).await, "none");
    }
}

/// An API that is gone is left alone for a moment; nothing is recorded as permitted meanwhile.
#[tokio::test]
async fn an_api_that_fails_in_a_row_is_left_alone() {
    for version in BOTH {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let world = World::with("circuit", version, Arc::new(Freshness::own()), |config| {
            config.upstream = UpstreamUrl::parse(&format!("http://{address}/v1")).unwrap();
            config.limits.circuit_failures = 3;
        });
        let world = world.await;
        for _ in 0..3 {
            let answer = world.ask(READ, ask("GET", "/invoices/7")).await;
            assert_eq!(answer.told().1, "downstream.unreachable");
        }
        let answer = world.ask(READ, ask("GET", "/invoices/7")).await;
        let refused = world.refused(&answer).await;
        assert_eq!(told(&refused), (503, "downstream.paused", ""));
        assert_eq!(limit(&world, &answer).await, "circuit");
        assert!(!answer.header("retry-after").is_empty());
        // Who may not ask is told the same as ever.
        let answer = world.ask(READ, ask("GET", "/none")).await;
        assert_eq!(answer.told().1, "operation.unknown");
    }
}

#[tokio::test]
async fn what_an_api_says_no_to_does_not_close_it() {
    let world = World::with("circuit-no", BOTH[0], Arc::new(Freshness::own()), |config| {
        config.limits.circuit_failures = 1;
    });
    let world = world.await;
    for below in ["/invoices/absent", "/invoices/7", "/invoices/absent"] {
        let answer = world.ask(READ, ask("GET", below)).await;
        assert_ne!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    }
}
