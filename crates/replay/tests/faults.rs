//! One burn over a real Redis server, with a fault in between.
//!
//! | What happens | Answer | In the memory? | The same proof again |
//! |---|---|---|---|
//! | nothing | first | yes | used |
//! | the connection ends before the request arrives | unavailable | no | first |
//! | it is done, and the connection ends before the answer | unavailable | yes | used |
//! | it is done, and no answer comes | unavailable | yes | used |
//!
//! No answer is ever taken for a first use, and what was done counts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper fails its test by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use attorn_net::{Random, Shutdown};
use attorn_oauth::possession::{SharedAnswer, SharedUse};
use attorn_replay::{Address, Current, SharedReplays};
use attorn_testkit::redis::RedisServer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    RequestLost,
    AnswerLost,
    Silence,
}

/// Stands between a gateway and Redis, and does what it is told.
#[derive(Clone, Debug)]
struct Relay {
    fault: Arc<AtomicU8>,
    port: u16,
}

impl Relay {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Self { fault: Arc::new(AtomicU8::new(Fault::None as u8)), port };
        let serving = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::spawn(serving.clone().between(client, server));
            }
        });
        relay
    }

    fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault.load(Ordering::SeqCst) == fault as u8
    }

    /// Both ways, until one ends: then the connection does.
    async fn between(self, client: TcpStream, server: TcpStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.pass(from_client, to_server, Fault::RequestLost) => {}
            () = self.pass(from_server, to_client, Fault::AnswerLost) => {}
        }
    }

    async fn pass(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        lost: Fault,
    ) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if self.has(lost) {
                return;
            }
            if self.has(Fault::Silence) && lost == Fault::AnswerLost {
                continue;
            }
            to.write_all(bytes.get(..count).unwrap()).await.unwrap();
        }
    }
}

/// The memory once it is there: within ten seconds, since it pauses between two looks.
async fn there(shared: &SharedReplays) -> Current {
    for _ in 0..1000 {
        if let Some(current) = shared.current() {
            return current;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no memory");
}

/// Whether Redis knows a used proof beside the one that each start tries. Asked without the relay.
async fn is_remembered(server: &RedisServer) -> bool {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("attorn:used:*").query_async(&mut connection).await.unwrap();
    keys.iter().any(|key| key != "attorn:used:probe")
}

async fn check(fault: Fault, answer: SharedAnswer, remembered: bool, again: SharedAnswer) {
    let server = RedisServer::start(&[]).unwrap();
    let relay = Relay::start(server.port()).await;
    let address = Address::parse(&format!("redis://127.0.0.1:{}", relay.port), None).unwrap();
    let random = Random::new(|target| target.fill(7));
    let shared = SharedReplays::start(address, random, Shutdown::new());
    let current = there(&shared).await;
    let burned = SharedUse { replay_key: [1; 32], expires_s: 1_065 };
    relay.set(fault);
    assert_eq!(current.burn(&burned).await, answer, "{fault:?}");
    assert_eq!(shared.is_there(), fault == Fault::None, "{fault:?}");
    relay.set(Fault::None);
    assert_eq!(is_remembered(&server).await, remembered, "{fault:?}");
    assert_eq!(there(&shared).await.burn(&burned).await, again, "{fault:?}");
}

#[tokio::test]
async fn a_proof_that_is_burned_is_first_once() {
    check(Fault::None, SharedAnswer::First, true, SharedAnswer::Used).await;
}

#[tokio::test]
async fn a_request_that_is_lost_burns_nothing_and_is_no_first_use() {
    check(Fault::RequestLost, SharedAnswer::Unavailable, false, SharedAnswer::First).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_first_use_and_the_proof_is_burned() {
    check(Fault::AnswerLost, SharedAnswer::Unavailable, true, SharedAnswer::Used).await;
    check(Fault::Silence, SharedAnswer::Unavailable, true, SharedAnswer::Used).await;
}
