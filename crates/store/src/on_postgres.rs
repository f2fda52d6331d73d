//! The tests of this crate on PostgreSQL, and what there is to test on a server alone.
//!
//! The tests of the modules run twice: as they are, and once more in a process of their own that is
//! told of a server. There each gets a database that is a copy of an empty registry.

use std::sync::{Mutex, PoisonError};

use attorn_testkit::postgres::{PostgresServer, ServerCertificate};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use tokio::sync::OnceCell;

use crate::fixtures::{World, act};
use crate::{Failure, InForce, PostgresAddress, Store, StoreError};

/// The port of the server, for the second run.
const SERVER: &str = "ATTORN_TEST_POSTGRES";
const TEMPLATE: &str = "empty_registry";

/// Databases of tests that ended. The next test takes them away.
static ENDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The database of one test.
pub(crate) struct Fresh(String);

impl Fresh {
    /// Makes one; `None` in the first run.
    pub(crate) async fn make() -> Option<(Self, Store)> {
        static MADE: OnceCell<()> = OnceCell::const_new();
        static NUMBER: Mutex<u32> = Mutex::new(0);
        let port = std::env::var(SERVER).ok()?;
        let url = |database: &str| format!("postgres://postgres@127.0.0.1:{port}/{database}");
        sqlx::any::install_default_drivers();
        let mut server = AnyConnection::connect(&url("postgres")).await.unwrap();
        MADE.get_or_init(async || {
            sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {TEMPLATE}")))
                .execute(&mut server)
                .await
                .unwrap();
            at(&url(TEMPLATE)).await.close().await;
        })
        .await;
        let name = {
            let mut number = NUMBER.lock().unwrap_or_else(PoisonError::into_inner);
            *number += 1;
            format!("test_{number}")
        };
        let ended = std::mem::take(&mut *ENDED.lock().unwrap_or_else(PoisonError::into_inner));
        let drops = ended.iter().map(|name| format!("DROP DATABASE {name} WITH (FORCE)"));
        for sql in drops.chain([format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")]) {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.unwrap();
        }
        server.close().await.unwrap();
        let store = at(&url(&name)).await;
        Some((Self(name), store))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.0);
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }
}

async fn at(url: &str) -> Store {
    Store::connect(&PostgresAddress::parse(url, None, None).unwrap()).await.unwrap()
}

pub(crate) async fn connected(server: &PostgresServer, database: &str) -> Store {
    at(&server.url(database)).await
}

#[test]
fn the_tests_of_the_modules_pass_on_postgresql() {
    let server = PostgresServer::start().unwrap();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "faults::", "--skip", "index::", "--skip", "on_postgres::"])
        .env(SERVER, server.port().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}");
    let passed = said.split("test result: ok. ").nth(1).and_then(|rest| rest.split(' ').next());
    let passed: u32 = passed.unwrap().parse().unwrap();
    assert!(passed > 80, "{said}");
    // They did run there.
    let databases = server.query("postgres", "SELECT COUNT(*) FROM pg_database").unwrap();
    assert!(databases.parse::<u32>().unwrap() > 4, "{databases}");
}

/// Two authorities begin on an empty database, and change the registry at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_lose_and_repeat_no_version() {
    const EACH: u64 = 40;
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    let (one, two) = tokio::join!(at(&url), at(&url));
    let changes = |store: &Store| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..EACH / 2 {
                let changed = store.raise_epoch(&act(1), InForce::default()).await.unwrap();
                assert_eq!(changed.version, changed.record, "a version and its epoch go together");
                seen.push(changed.version);
            }
            seen
        })
    };
    let under_way = [changes(&one), changes(&two), changes(&one), changes(&two)];
    let mut seen = Vec::new();
    for changes in under_way {
        seen.extend(changes.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=2 * EACH).collect::<Vec<_>>());
    let rows = two.changes_after(0, 1000).await.unwrap();
    assert!(rows.iter().map(|row| row.version).eq(seen));
    // What one makes is a step for the other.
    let delta = one.load_delta(2 * EACH - 3, 1).await.unwrap().unwrap();
    assert_eq!((delta.version, delta.epoch), (2 * EACH, 2 * EACH));
}

/// What is several statements waits for what is: a family that ends takes the tokens it gave.
#[tokio::test]
async fn whoever_writes_waits_for_who_writes() {
    let server = PostgresServer::start().unwrap();
    let world = World::with(connected(&server, "postgres").await).await;
    let (one, two) = (&world.store, connected(&server, "postgres").await);
    let held = one.begin_write().await.unwrap();
    let change = async {
        two.raise_epoch(&act(1), InForce::default()).await.unwrap();
        two.end_sessions_of(&world.person(), 1).await.unwrap();
    };
    let mut change = std::pin::pin!(change);
    let pause = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(pause, &mut change).await.is_err());
    // Who reads does not wait.
    let version = two.load_snapshot(1).await.unwrap().version;
    held.commit().await.unwrap();
    change.await;
    assert_eq!(two.version().await.unwrap(), version + 1);
}

/// Power fails: what was confirmed is there, and the same process goes on when the server is back.
#[tokio::test]
async fn a_server_that_comes_back_has_what_it_confirmed() {
    let mut server = PostgresServer::start().unwrap();
    let world = World::with(connected(&server, "postgres").await).await;
    let store = &world.store;
    let changed = store.create_grant(&act(2), &world.new_grant()).await.unwrap();
    server.crash().unwrap();
    let failed = store.raise_epoch(&act(3), InForce::default()).await;
    assert!(matches!(failed, Err(StoreError::Failed(Failure::Database(_)))), "{failed:?}");
    assert!(store.version().await.is_err());
    server.start_again().unwrap();
    assert_eq!(store.version().await.unwrap(), changed.version);
    assert_eq!(store.grants().await.unwrap().len(), 1);
    let next = store.raise_epoch(&act(4), InForce::default()).await.unwrap();
    assert_eq!(next.version, changed.version + 1);
}

#[tokio::test]
async fn what_is_confirmed_is_on_the_disk() {
    let server = PostgresServer::start_with(None, "synchronous_commit = off").unwrap();
    let store = connected(&server, "postgres").await;
    for _ in 0..2 {
        let mut connection = store.pool.acquire().await.unwrap();
        let (value,): (String,) = sqlx::query_as("SELECT current_setting('synchronous_commit')")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(value, "on");
    }
    let server = PostgresServer::start_with(None, "fsync = off").unwrap();
    let address = PostgresAddress::parse(&server.url("postgres"), None, None).unwrap();
    assert!(matches!(Store::connect(&address).await, Err(Failure::Unsafe)));
}

/// A password over TLS, from a server whose certificate must be known and for its name.
#[tokio::test]
async fn the_server_is_known_and_so_is_the_user() {
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let tls = ServerCertificate { chain: &chain, key: &key };
    let server = PostgresServer::start_with(Some(tls), "").unwrap();
    server.query("postgres", "CREATE ROLE attorn LOGIN PASSWORD 's3cret-of-a-test'").unwrap();
    server.query("postgres", "CREATE DATABASE attorn OWNER attorn").unwrap();
    let folder = std::env::temp_dir().join(format!("attorn-postgres-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (known, unknown) = (folder.join("known.pem"), folder.join("unknown.pem"));
    std::fs::write(&known, &chain).unwrap();
    std::fs::write(&unknown, other.cert.pem()).unwrap();
    let connect = async |host: &str, password: &str, roots: &std::path::Path| {
        let url = format!("postgres://attorn@{host}:{}/attorn", server.port());
        let address = PostgresAddress::parse(&url, Some(password), Some(roots)).unwrap();
        Store::connect(&address).await
    };
    let store = connect("localhost", "s3cret-of-a-test", &known).await.unwrap();
    let (encrypted,): (bool,) =
        sqlx::query_as("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&store.pool)
            .await
            .unwrap();
    assert!(encrypted);
    assert!(!format!("{store:?}").contains("s3cret"));
    let refused = [
        connect("localhost", "s3cret-of-a-test", &unknown).await,
        connect("127.0.0.1", "s3cret-of-a-test", &known).await,
        connect("localhost", "s3cret-of-another", &known).await,
    ];
    for refused in refused {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Failure::Database(_)), "{refused:?}");
        assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
