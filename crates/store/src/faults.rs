//! The fault table: what holds when one step on the database fails, persisted or not.
//!
//! Real parts: SQLite on a real file. A trigger fails a statement and may take the transaction
//! with it, a broken reference fails the commit, a limit of pages is a full disk, a second connection
//! holds the file, a caller leaves in the middle, and a write-ahead log is cut where a crash cuts it.
//! [`postgres`] is the same table on a server, as far as it is not about files.

mod operations;
mod place;
mod postgres;

use sqlx::{AssertSqlSafe, Connection as _};

use self::operations::{Again, OPERATIONS, Operation};
use self::place::{Place, Registry};
use crate::change::ChangeKind;
use crate::failure::{Failure, StoreError};
use crate::fixtures::act;
use crate::{InForce, Mark};

/// The whole registry without the history and its numbers: what a change does twice shows here.
const LIVE: [&str; 2] = ["changes", "registry"];

fn failed(result: &Result<Option<u64>, StoreError>) -> bool {
    matches!(result, Err(StoreError::Failed(Failure::Database(_))))
}

/// After a step that failed and left nothing: the registry is as before, and the same change
/// succeeds as if nothing had been, also after a restart.
async fn as_before(mut registry: Registry, before: &str, operation: &Operation) {
    let name = operation.name;
    assert_eq!(registry.dump(&[]).await, before, "{name}: half there");
    let version = registry.world.store.version().await.unwrap();
    registry.reopen().await;
    assert_eq!(registry.dump(&[]).await, before, "{name}: half there after a restart");
    let done = operation.run(&registry.world).await;
    assert_eq!(done.unwrap(), Some(version + 1), "{name}");
    registry.consistent().await;
}

#[tokio::test]
async fn every_kind_of_change_is_in_the_table() {
    let place = Place::new();
    let mut kinds = std::collections::BTreeSet::new();
    for operation in OPERATIONS {
        let registry = place.registry().await;
        operation.run(&registry.world).await.unwrap();
        let rows = registry.world.store.changes_after(0, 1000).await.unwrap();
        kinds.extend(rows.into_iter().map(|row| row.kind));
    }
    let known = ChangeKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
    assert_eq!(kinds, known);
}

/// Each statement that writes fails: the statement alone, or the whole transaction with it.
#[tokio::test]
async fn a_failed_statement_leaves_nothing() {
    let place = Place::new();
    for operation in OPERATIONS {
        let tables = place.written_by(operation).await;
        assert!(tables.contains(&"changes".to_owned()), "{}: {tables:?}", operation.name);
        for table in tables {
            for how in ["ABORT", "FAIL", "ROLLBACK"] {
                let registry = place.registry().await;
                let before = registry.dump(&[]).await;
                registry.arm_trigger(&table, how).await;
                let result = operation.run(&registry.world).await;
                assert!(failed(&result), "{} {table} {how}: {result:?}", operation.name);
                registry.disarm_triggers().await;
                as_before(registry, &before, operation).await;
            }
        }
    }
}

/// The commit fails and leaves nothing.
#[tokio::test]
async fn a_failed_commit_leaves_nothing() {
    let place = Place::new();
    for operation in OPERATIONS {
        let registry = place.registry().await;
        let before = registry.dump(&[]).await;
        registry.arm_commit().await;
        let result = operation.run(&registry.world).await;
        assert!(failed(&result), "{}: {result:?}", operation.name);
        registry.disarm_commit().await;
        as_before(registry, &before, operation).await;
    }
}

/// The first statement fails: the file is read-only, or somebody else writes.
#[tokio::test]
async fn a_change_that_cannot_begin_leaves_nothing() {
    let place = Place::new();
    for operation in OPERATIONS {
        let registry = place.registry().await;
        let before = registry.dump(&[]).await;
        registry.on_each("PRAGMA query_only = 1").await;
        assert!(failed(&operation.run(&registry.world).await), "{}", operation.name);
        registry.on_each("PRAGMA query_only = 0").await;
        registry.on_each("PRAGMA busy_timeout = 0").await;
        let other = place.writer(&registry).await;
        assert!(failed(&operation.run(&registry.world).await), "{}", operation.name);
        other.close().await.unwrap();
        as_before(registry, &before, operation).await;
    }
}

/// A full disk refuses what needs room, takes nothing by halves, and is survived.
#[tokio::test]
async fn a_full_disk_is_survived() {
    let place = Place::new();
    let registry = place.registry().await;
    let store = &registry.world.store;
    let long = "x".repeat(1 << 20);
    let before = registry.dump(&[]).await;
    // Less than what is there means: not one page more.
    registry.on_each("PRAGMA max_page_count = 1").await;
    let refused = store.apply_policy(&act(9), &long, "long").await;
    assert!(matches!(refused, Err(StoreError::Failed(Failure::Database(_)))), "{refused:?}");
    assert_eq!(registry.dump(&[]).await, before);
    // What fits into the pages there are still works: a lock can be set.
    let lock = OPERATIONS.iter().find(|one| one.name == "create_lock").unwrap();
    lock.run(&registry.world).await.unwrap();
    registry.on_each("PRAGMA max_page_count = 1000000").await;
    store.apply_policy(&act(9), &long, "long").await.unwrap();
    registry.consistent().await;
}

/// Done, and the answer is lost: the caller asks again, also after a restart. It is not done twice.
#[tokio::test]
async fn a_change_whose_answer_was_lost_is_not_done_twice() {
    let place = Place::new();
    for operation in OPERATIONS {
        for restart in [false, true] {
            let mut registry = place.registry().await;
            let first = operation.run(&registry.world).await.unwrap().unwrap();
            let (all, live) = (registry.dump(&[]).await, registry.dump(&LIVE).await);
            if restart {
                registry.reopen().await;
                assert_eq!(registry.dump(&[]).await, all, "{}: lost", operation.name);
            }
            let second = operation.run(&registry.world).await;
            let name = operation.name;
            match operation.again {
                Again::Refused(expected) => {
                    let refused =
                        matches!(second, Err(StoreError::Refused(one)) if one == expected);
                    assert!(refused, "{name}: {second:?}");
                    assert_eq!(registry.dump(&[]).await, all, "{name}");
                }
                Again::Nothing => {
                    assert_eq!(second.unwrap(), None, "{name}");
                    assert_eq!(registry.dump(&[]).await, all, "{name}");
                }
                Again::Same => {
                    assert_eq!(second.unwrap(), Some(first + 1), "{name}");
                    assert_eq!(registry.dump(&LIVE).await, live, "{name}");
                }
                Again::Harmless => {
                    assert_eq!(second.unwrap(), Some(first + 1), "{name}");
                    assert_ne!(registry.dump(&[]).await, all, "{name}");
                }
            }
            registry.consistent().await;
        }
    }
}

/// The caller leaves after any number of steps: all of it is there, or nothing, and the next caller
/// finds a registry that works.
#[tokio::test]
async fn a_caller_that_leaves_leaves_no_half() {
    let place = Place::new();
    for operation in OPERATIONS {
        let registry = place.registry().await;
        let before = registry.dump(&[]).await;
        operation.run(&registry.world).await.unwrap();
        let after = registry.dump(&[]).await;
        for polls in 1.. {
            let mut registry = place.registry().await;
            let finished = place::left_after(polls, operation.run(&registry.world)).await;
            let name = operation.name;
            let found = registry.settled().await;
            assert!(found == before || found == after, "{name} after {polls}: {found}");
            // Whoever comes next is not held up by what is left of it.
            let next = registry.world.store.raise_epoch(&act(9), InForce::default()).await.unwrap();
            let raised = name == "raise_epoch" && found == after;
            assert_eq!(next.record, 1 + u64::from(raised), "{name}");
            registry.reopen().await;
            registry.consistent().await;
            if finished {
                break;
            }
        }
    }
}

/// A crash at any byte of the write-ahead log: all of the change is there, or nothing of it.
#[tokio::test]
async fn a_log_that_was_cut_holds_all_or_nothing() {
    let place = Place::new();
    for operation in OPERATIONS {
        let registry = place.registry().await;
        let (before, start) = (registry.dump(&[]).await, registry.log_bytes());
        operation.run(&registry.world).await.unwrap();
        let (after, end) = (registry.dump(&[]).await, registry.log_bytes());
        assert!(start < end, "{}: {start} {end}", operation.name);
        // Frames are 24 and 4096 bytes; cuts fall on their ends and into them.
        let cuts = (start..end).step_by(1373).chain((start..end).step_by(4120)).chain([end - 1]);
        for cut in cuts {
            let crashed = registry.copied(cut).await;
            assert_eq!(crashed.dump(&[]).await, before, "{} cut at {cut}", operation.name);
        }
        // Written, and not acknowledged: it counts after the crash, and the answer is lost.
        let crashed = registry.copied(end).await;
        assert_eq!(crashed.dump(&[]).await, after, "{}", operation.name);
        crashed.consistent().await;
    }
}

/// Steps on the mark. It lags, never leads, and never goes back.
#[tokio::test]
async fn the_mark_never_leads_the_registry() {
    let place = Place::new();
    let registry = place.registry().await;
    let path = place.path("registry.mark");
    let mark = Mark::open(path.clone()).unwrap();
    mark.raise(registry.world.store.in_force().await.unwrap()).unwrap();
    let old = mark.at();
    let next = InForce { version: old.version + 1, epoch: old.epoch + 1 };
    let new = path.with_extension("new");
    // It cannot be opened; it cannot be written (no space); it cannot be put in place.
    std::fs::create_dir(&new).unwrap();
    assert!(mark.raise(next).is_err());
    std::fs::remove_dir(&new).unwrap();
    #[cfg(target_os = "linux")]
    {
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        assert!(mark.raise(next).is_err());
        std::fs::remove_file(&new).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(mark.raise(next).is_err());
    assert_eq!(mark.at(), old);
    // Unreadable or broken: nothing starts on it.
    assert!(Mark::open(path.clone()).is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, &kept).unwrap();
    assert_eq!(Mark::open(path.clone()).unwrap().at(), old);
    // Put in place although an error was told: the next start reads it, and an old one is not put
    // over it.
    std::fs::write(&path, format!("{} {}\n", next.version, next.epoch)).unwrap();
    let again = Mark::open(path.clone()).unwrap();
    assert_eq!(again.at(), next);
    again.raise(old).unwrap();
    assert_eq!(Mark::open(path).unwrap().at(), next);
    assert!(old.is_behind(next) && !next.is_behind(old));
    // The registry goes beyond it, whatever was restored.
    let act = act(9);
    let raised = registry.world.store.raise_epoch(&act, next).await.unwrap();
    assert!(raised.version > next.version && raised.record > next.epoch);
}

impl Registry {
    /// Every row of `changes` is there, once, and the version is the last of them.
    async fn consistent(&self) {
        let mut connection = self.world.store.pool.acquire().await.unwrap();
        let ask = async |connection: &mut sqlx::AnyConnection, sql: &'static str| {
            let (value,): (String,) =
                sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap();
            value
        };
        let last = "SELECT MAX(version) || ' ' || COUNT(*) FROM changes";
        let now = "SELECT version || ' ' || version FROM registry";
        assert_eq!(ask(&mut connection, last).await, ask(&mut connection, now).await);
        assert_eq!(ask(&mut connection, "PRAGMA integrity_check").await, "ok");
        let broken: Vec<(String,)> =
            sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        assert!(broken.is_empty(), "{broken:?}");
        drop(connection);
        self.world.store.load_snapshot(10_000).await.unwrap();
    }
}
