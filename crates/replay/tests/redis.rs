//! The shared memory over a real Redis server: one use in all, and nothing remembered wrongly when
//! the server goes, comes back, loses its keys, or is the wrong kind.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper fails its test by panicking"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attorn_net::{Random, Rate, Shutdown};
use attorn_oauth::possession::{SharedAnswer, SharedUse};
use attorn_replay::{Address, Current, SharedRate, SharedReplays, SharedTake};
use attorn_testkit::redis::RedisServer;

const EXPIRES_S: u64 = 1_065;

/// Distinct bytes, which is all that a test needs.
fn random() -> Random {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Random::new(|target| {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (at, byte) in target.iter_mut().enumerate() {
            *byte = next[at % 8];
        }
    })
}

fn start(server: &RedisServer) -> (SharedReplays, Shutdown) {
    let shutdown = Shutdown::new();
    let address = Address::parse(&server.url(), None).unwrap();
    (SharedReplays::start(address, random(), shutdown.clone()), shutdown)
}

/// The memory once it is there; `None` if it is not within two seconds.
async fn there(shared: &SharedReplays) -> Option<Current> {
    for _ in 0..200 {
        if let Some(current) = shared.current() {
            return Some(current);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

fn used(byte: u8) -> SharedUse {
    SharedUse { replay_key: [byte; 32], expires_s: EXPIRES_S }
}

/// Asks one more question of Redis than the library under test does.
async fn ask(server: &RedisServer, words: &[&str]) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async::<()>(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_uses_at_three_gateways_one_counts() {
    let server = RedisServer::start(&[]).unwrap();
    let gateways = [start(&server), start(&server), start(&server)];
    let mut currents = Vec::new();
    for (shared, _) in &gateways {
        currents.push(std::sync::Arc::new(there(shared).await.unwrap()));
    }
    for byte in 0..20 {
        let tasks: Vec<_> = (0..9)
            .map(|at| {
                let current = std::sync::Arc::clone(&currents[at % 3]);
                tokio::spawn(async move { current.burn(&used(byte)).await })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        let first = answers.iter().filter(|answer| **answer == SharedAnswer::First).count();
        let later = answers.iter().filter(|answer| **answer == SharedAnswer::Used).count();
        assert_eq!((first, later), (1, 8), "{answers:?}");
    }
}

#[tokio::test]
async fn gateways_accept_each_others_nonces() {
    let server = RedisServer::start(&[]).unwrap();
    let ((one, _), (two, _)) = (start(&server), start(&server));
    let (one, two) = (there(&one).await.unwrap(), there(&two).await.unwrap());
    let nonce = one.nonce_key().mint(1000, &[7; 12]);
    assert_eq!(two.nonce_key().check(&nonce, 1000), Ok(0));
}

#[tokio::test]
async fn a_server_that_restarts_knows_no_old_nonce() {
    let server = RedisServer::start(&[]).unwrap();
    let (shared, _shutdown) = start(&server);
    let before = there(&shared).await.unwrap();
    let nonce = before.nonce_key().mint(1000, &[7; 12]);
    assert_eq!(before.burn(&used(1)).await, SharedAnswer::First);
    let port = server.port();
    server.stop();
    // A request that began before: the answer is not acceptance.
    assert_eq!(before.burn(&used(2)).await, SharedAnswer::Unavailable);
    assert!(!shared.is_there());
    let _server = RedisServer::start_at(port, &[]).unwrap();
    let after = there(&shared).await.unwrap();
    assert!(after.nonce_key().check(&nonce, 1000).is_err(), "a proof of before must not count");
    assert_eq!(before.burn(&used(1)).await, SharedAnswer::Unavailable);
    assert_eq!(after.burn(&used(1)).await, SharedAnswer::First);
}

#[tokio::test]
async fn a_gateway_without_calls_notices_too() {
    let server = RedisServer::start(&[]).unwrap();
    let (shared, _shutdown) = start(&server);
    assert!(there(&shared).await.is_some());
    server.stop();
    let gone = async {
        while shared.is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_server_that_loses_its_keys_is_another_memory() {
    let server = RedisServer::start(&[]).unwrap();
    let (shared, _shutdown) = start(&server);
    let before = there(&shared).await.unwrap();
    assert_eq!(before.burn(&used(1)).await, SharedAnswer::First);
    let nonce = before.nonce_key().mint(1000, &[7; 12]);
    ask(&server, &["FLUSHALL"]).await;
    assert_eq!(before.burn(&used(1)).await, SharedAnswer::Unavailable);
    let after = there(&shared).await.unwrap();
    assert!(after.nonce_key().check(&nonce, 1000).is_err());
    assert_eq!(after.burn(&used(1)).await, SharedAnswer::First);
}

#[tokio::test]
async fn a_server_without_room_accepts_nothing() {
    let server = RedisServer::start(&[]).unwrap();
    let (shared, _shutdown) = start(&server);
    let current = there(&shared).await.unwrap();
    assert_eq!(current.burn(&used(1)).await, SharedAnswer::First);
    ask(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(current.burn(&used(2)).await, SharedAnswer::Unavailable);
}

#[tokio::test]
async fn a_server_that_evicts_is_not_used() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]).unwrap();
    let (shared, _shutdown) = start(&server);
    assert!(there(&shared).await.is_none());
    ask(&server, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    assert!(there(&shared).await.is_some(), "found well again");
}

#[tokio::test]
async fn a_replica_is_not_used() {
    let server = RedisServer::start(&[]).unwrap();
    let port = server.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let (shared, _shutdown) = start(&replica);
    assert!(there(&shared).await.is_none());
    let (shared, _shutdown) = start(&server);
    assert!(there(&shared).await.is_some());
}

#[tokio::test]
async fn a_password_is_asked_for_and_given() {
    let server = RedisServer::start(&["--requirepass", "secret-of-a-test"]).unwrap();
    let (shared, _shutdown) = start(&server);
    assert!(there(&shared).await.is_none());
    let password = "secret-of-a-test".to_owned().into();
    let address = Address::parse(&server.url(), Some(&password)).unwrap();
    let shared = SharedReplays::start(address, random(), Shutdown::new());
    assert!(there(&shared).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_give_one_budget_together() {
    let server = RedisServer::start(&[]).unwrap();
    let rate = Rate::new(500, 1_000);
    let began = tokio::time::Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (shared, shutdown) = start(&server);
        there(&shared).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let (budget, mut taken) = (SharedRate::new("test", rate), 0_u32);
            for _ in 0..1_500 {
                let answer = budget.take(&shared, "somebody").await;
                assert_ne!(answer, SharedTake::Unavailable);
                taken += u32::from(answer == SharedTake::Taken);
            }
            shutdown.start();
            taken
        }));
    }
    let mut taken = 0;
    for task in tasks {
        taken += task.await.unwrap();
    }
    let seconds = u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let share = 1_000 + 500 * seconds;
    assert!(taken <= share + share / 10, "{taken} of {share} in {seconds} s");
    assert!(taken >= 900, "{taken}");
}

/// How often scripts ran.
async fn scripts(server: &RedisServer) -> u64 {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut asked = redis::cmd("INFO");
    asked.arg("commandstats");
    let stats: String = asked.query_async(&mut connection).await.unwrap();
    let calls = stats.split("cmdstat_eval:calls=").nth(1).unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_is_over_the_budget_costs_no_questions() {
    let server = RedisServer::start(&[]).unwrap();
    let (shared, _shutdown) = start(&server);
    there(&shared).await.unwrap();
    let budget = SharedRate::new("test", Rate::new(1, 1));
    assert_eq!(budget.known_refusal("one").await, None);
    assert_eq!(budget.take(&shared, "one").await, SharedTake::Taken);
    let before = scripts(&server).await;
    for _ in 0..1_000 {
        budget.take(&shared, "one").await;
    }
    // A second has one budget and one refusal, and the thousand last no hundred seconds.
    let asked = scripts(&server).await - before;
    assert!(asked < 200, "{asked}");
}

#[tokio::test]
async fn a_user_without_time_has_used_proofs_and_no_rates() {
    let server = RedisServer::start(&[]).unwrap();
    let user = ["ACL", "SETUSER", "attorn", "on", ">secret-of-a-test", "~attorn:*", "+info"];
    let may = ["+get", "+set", "+eval"];
    ask(&server, &[user.as_slice(), may.as_slice()].concat()).await;
    let start = || {
        let password = "secret-of-a-test".to_owned().into();
        let url = server.url().replace("redis://", "redis://attorn@");
        let address = Address::parse(&url, Some(&password)).unwrap();
        SharedReplays::start(address, random(), Shutdown::new())
    };
    let (shared, budget) = (start(), SharedRate::new("test", Rate::new(1, 1)));
    let current = there(&shared).await.unwrap();
    assert_eq!(budget.take(&shared, "one").await, SharedTake::Unavailable);
    assert!(shared.is_there(), "used proofs are shared all the same");
    assert_eq!(current.burn(&used(1)).await, SharedAnswer::First);
    assert_eq!(current.burn(&used(1)).await, SharedAnswer::Used);
    // With it, both.
    ask(&server, &["ACL", "SETUSER", "attorn", "+time"]).await;
    let shared = start();
    there(&shared).await.unwrap();
    assert_eq!(budget.take(&shared, "one").await, SharedTake::Taken);
    // Taken back while it is in use: the rate is unknown, and used proofs are shared all the same.
    ask(&server, &["ACL", "SETUSER", "attorn", "-time"]).await;
    assert_eq!(budget.take(&shared, "two").await, SharedTake::Unavailable);
    assert!(shared.is_there());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_have_budgets_of_their_own_and_nobody_gives_without_the_server() {
    let server = RedisServer::start(&[]).unwrap();
    let (shared, _shutdown) = start(&server);
    there(&shared).await.unwrap();
    let budget = SharedRate::new("test", Rate::new(1, 1));
    assert_eq!(budget.take(&shared, "one").await, SharedTake::Taken);
    assert!(matches!(budget.take(&shared, "one").await, SharedTake::TooSoon(_)));
    assert_eq!(budget.take(&shared, "two").await, SharedTake::Taken);
    server.stop();
    assert_eq!(budget.take(&shared, "three").await, SharedTake::Unavailable);
}
