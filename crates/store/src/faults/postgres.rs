//! The fault table on a server: the same operations, each on a copy of one prepared database.

use attorn_testkit::postgres::PostgresServer;
use sqlx::AssertSqlSafe;

use super::failed;
use super::operations::{Again, OPERATIONS, Operation, prepare};
use super::place::left_after;
use crate::failure::StoreError;
use crate::fixtures::{World, act};
use crate::on_postgres::connected;
use crate::{InForce, Store};

const PREPARED: &str = "prepared";

/// A server with a database that every operation can be done on once.
async fn prepared() -> PostgresServer {
    let server = PostgresServer::start().unwrap();
    server.query("postgres", &format!("CREATE DATABASE {PREPARED}")).unwrap();
    let world = World::with(connected(&server, PREPARED).await).await;
    prepare(&world).await;
    world.store.close().await;
    server
}

/// A copy of it, in place of the last one.
async fn copy(server: &PostgresServer) -> World {
    server.query("postgres", "DROP DATABASE IF EXISTS one WITH (FORCE)").unwrap();
    server.query("postgres", &format!("CREATE DATABASE one TEMPLATE {PREPARED}")).unwrap();
    World::on(connected(server, "one").await)
}

/// Every row of every table but some, as text.
async fn dump(store: &Store, without: &[&str]) -> String {
    let tables: Vec<(String,)> = sqlx::query_as(
        "SELECT table_name::text FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' ORDER BY 1",
    )
    .fetch_all(&store.pool)
    .await
    .unwrap();
    let tables = tables.iter().filter(|(name,)| !without.contains(&name.as_str()));
    let rows = tables.map(|(name,)| {
        format!(
            "SELECT '{name}: ' || COALESCE(STRING_AGG(t::text, ' ' ORDER BY t::text), '') FROM {name} t"
        )
    });
    let sql = rows.collect::<Vec<_>>().join(" UNION ALL ");
    let rows: Vec<(String,)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&store.pool).await.unwrap();
    rows.into_iter().map(|(row,)| row).collect::<Vec<_>>().join("\n")
}

async fn run(store: &Store, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&store.pool).await.unwrap();
}

const FAULT: &str = "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''fault''; END'";
const STATEMENT_FAILS: &str =
    "CREATE TRIGGER fault BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION fault()";
const COMMIT_FAILS: &str = "CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON changes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault()";
const NOTHING_FAILS: &str = "DROP TRIGGER fault ON changes";

/// The last statement fails, then the commit: nothing is left. Then it is done, and asked for again.
#[tokio::test]
async fn every_change_is_whole_or_not_there_and_not_done_twice() {
    let server = prepared().await;
    for operation in OPERATIONS {
        let world = copy(&server).await;
        let store = &world.store;
        let before = dump(store, &[]).await;
        run(store, FAULT).await;
        for fault in [STATEMENT_FAILS, COMMIT_FAILS] {
            run(store, fault).await;
            let result = operation.run(&world).await;
            assert!(failed(&result), "{} {fault}: {result:?}", operation.name);
            run(store, NOTHING_FAILS).await;
            assert_eq!(dump(store, &[]).await, before, "{} {fault}: half there", operation.name);
        }
        let version = store.version().await.unwrap();
        assert_eq!(operation.run(&world).await.unwrap(), Some(version + 1), "{}", operation.name);
        asked_again(&world, operation, version + 1).await;
        store.load_snapshot(10_000).await.unwrap();
        store.close().await;
    }
}

async fn asked_again(world: &World, operation: &Operation, first: u64) {
    let (store, name) = (&world.store, operation.name);
    let (all, live) = (dump(store, &[]).await, dump(store, &super::LIVE).await);
    let second = operation.run(world).await;
    match operation.again {
        Again::Refused(expected) => {
            assert!(matches!(second, Err(StoreError::Refused(one)) if one == expected), "{name}");
            assert_eq!(dump(store, &[]).await, all, "{name}");
        }
        Again::Nothing => {
            assert_eq!(second.unwrap(), None, "{name}");
            assert_eq!(dump(store, &[]).await, all, "{name}");
        }
        Again::Same => {
            assert_eq!(second.unwrap(), Some(first + 1), "{name}");
            assert_eq!(dump(store, &super::LIVE).await, live, "{name}");
        }
        Again::Harmless => {
            assert_eq!(second.unwrap(), Some(first + 1), "{name}");
            assert_ne!(dump(store, &[]).await, all, "{name}");
        }
    }
}

/// Somebody else holds the row for longer than anybody waits.
#[tokio::test]
async fn a_change_that_cannot_begin_leaves_nothing() {
    let server = prepared().await;
    let world = copy(&server).await;
    let store = &world.store;
    let before = dump(store, &[]).await;
    let lock = OPERATIONS.iter().find(|one| one.name == "create_lock").unwrap();
    let held = store.begin_write().await.unwrap();
    assert!(failed(&lock.run(&world).await));
    drop(held);
    assert_eq!(dump(store, &[]).await, before);
    lock.run(&world).await.unwrap();
}

/// The caller leaves after any number of steps: all of it is there, or nothing, and the next caller
/// is not held up by what is left of it.
#[tokio::test]
async fn a_caller_that_leaves_leaves_no_half() {
    let server = prepared().await;
    let world = copy(&server).await;
    let (store, act) = (&world.store, act(9));
    let (nobody, mut left_early) = (InForce::default(), 0);
    for polls in 1.. {
        let before = store.in_force().await.unwrap();
        let finished = left_after(polls, store.raise_epoch(&act, nobody)).await;
        let next = store.raise_epoch(&act, nobody).await.unwrap();
        let done = next.record - before.epoch;
        assert!((1..=2).contains(&done), "after {polls}: {done}");
        assert_eq!(next.version, before.version + done, "after {polls}");
        if finished {
            break;
        }
        left_early += 1;
    }
    // How often depends on how much of an answer comes at once.
    assert!(left_early > 0);
    let version = store.version().await.unwrap();
    assert_eq!(
        u64::try_from(store.changes_after(0, 10_000).await.unwrap().len()).unwrap(),
        version
    );
}
