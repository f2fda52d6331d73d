//! Who is kept away from an API that fails, and who is not.

use std::sync::Arc;
use std::time::Duration;

use attorn_audit::{Decision, Entry};
use attorn_enforce::Freshness;
use attorn_jose::SigningKey;
use attorn_oauth::actor::Actor;
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{Downstream, GrantId, Name, ServerId};
use http::{StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Answer, BOTH, World, ask, key, told};

const READ: &str = "read:invoice.get";
/// The API answers 504 here.
const LATE: &str = "/invoices/late";

/// Another MCP server in front of the same API, with a key of its own.
struct Other {
    id: ServerId,
    key: SigningKey,
    grant: GrantId,
}

impl Other {
    fn join(world: &World) -> Self {
        let (id, grant) = (ServerId::from_random(&[14; 16]), GrantId::from_random(&[15; 16]));
        let own = Self { id, key: key(14), grant };
        world.change(|parts| {
            let mut server = parts.servers[0].clone();
            server.id = own.id.clone();
            server.name = Name::parse("erp").unwrap();
            server.keys[0].jkt = own.key.public().thumbprint();
            server.keys[0].jwk = own.key.public().to_jwk(None);
            let mut grant = parts.grants[0].clone();
            grant.id = own.grant.clone();
            grant.server = own.id.clone();
            let mut rules = parts.resources[0].downstreams.clone();
            rules.iter_mut().for_each(|rule: &mut Downstream| rule.server = own.id.clone());
            parts.resources[0].downstreams.extend(rules);
            parts.servers.push(server);
            parts.grants.push(grant);
        });
        own
    }

    async fn ask(&self, world: &World, below: &str) -> Answer {
        let mut claims = world.claims(READ);
        claims.client_id = self.id.clone();
        claims.act = Some(Actor { sub: self.id.to_string(), act: None });
        claims.cnf = Confirmation::Jkt(self.key.public().thumbprint());
        claims.grt = Some(self.grant.clone());
        let asked = world.proven_by(&self.key, ask("GET", below), &world.issue(&claims)).await;
        world.send(asked).await
    }
}

async fn three_in_a_row(test: &str, version: Version) -> World {
    let configure = |config: &mut attorn_guard::Config| config.limits.circuit_failures = 3;
    World::with(test, version, Arc::new(Freshness::own()), configure).await
}

async fn is_late(world: &World) {
    let answer = world.ask(READ, ask("GET", LATE)).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{answer:?}");
}

#[tokio::test]
async fn a_server_that_alone_sees_an_api_fail_is_kept_away_alone() {
    for version in BOTH {
        let world = three_in_a_row("alone", version).await;
        let other = Other::join(&world);
        for _ in 0..3 {
            is_late(&world).await;
        }
        drop(world.api.take_seen());
        let answer = world.ask(READ, ask("GET", "/invoices/7")).await;
        assert_eq!(told(&world.refused(&answer).await), (503, "downstream.paused", ""));
        let answer = other.ask(&world, "/invoices/7").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        // It went well for somebody: nobody is kept away any more.
        world.passes().await;
    }
}

/// Sends the head of a request, until it is the one that finds out; its body does not come.
async fn begin(world: &World) -> TcpStream {
    let is_intent = |one: &Entry| {
        one.method.as_deref() == Some("POST") && one.decision == Some(Decision::Permit)
    };
    loop {
        let token = world.token("write:invoice.pay");
        let asked = world.proven(ask("POST", "/invoices/7/pay"), &token).await;
        let headers = asked.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers: String = headers.collect();
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: api.example\r\n{headers}content-type: application/json\r\n\
             content-length: 100\r\n\r\n",
            asked.target
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::select! {
            refused = stream.read_u8() => assert_eq!(refused.unwrap(), b'H'),
            _ = world.entries(|all| all.iter().any(is_intent)) => return stream,
        }
    }
}

#[tokio::test]
async fn a_caller_that_is_slow_keeps_nobody_from_an_api_that_is_well_again() {
    let world = three_in_a_row("slow", Version::HTTP_11).await;
    let other = Other::join(&world);
    is_late(&world).await;
    is_late(&world).await;
    assert_eq!(other.ask(&world, LATE).await.status, StatusCode::GATEWAY_TIMEOUT);
    // Two saw it: all are kept away, and the API is well again.
    let answer = other.ask(&world, "/invoices/7").await;
    assert_eq!(answer.told().1, "downstream.paused");
    let mut slow = begin(&world).await;
    let trickle = async {
        loop {
            slow.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let passes = async {
        while other.ask(&world, "/invoices/7").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    // It is a second, and far from the half minute that the slow one has.
    let passes = tokio::time::timeout(Duration::from_secs(5), passes);
    tokio::select! {
        () = trickle => (),
        passed = passes => passed.unwrap(),
    }
    world.passes().await;
}
