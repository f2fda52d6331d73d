//! Registries on files, all copies of one, and ways to break them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AnyPool, AssertSqlSafe, ConnectOptions as _};
use tokio::sync::OnceCell;

use super::operations::{Operation, prepare};
use crate::Store;
use crate::database::CONNECTIONS;
use crate::fixtures::World;

/// A folder with one prepared registry and its copies.
pub(super) struct Place {
    folder: PathBuf,
    copies: AtomicU32,
    everything: OnceCell<Arc<str>>,
}

/// A copy, open.
pub(super) struct Registry {
    pub(super) world: World,
    path: PathBuf,
    /// The statement that reads every row of every table, as the name of the table and text.
    everything: Arc<str>,
}

impl Place {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-store-faults-{}-{number}", std::process::id());
        // Where files are in memory a sync costs nothing; what is tested is the same.
        let memory = std::path::Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let folder = parent.join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, copies: AtomicU32::new(0), everything: OnceCell::new() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A registry that every operation can be done on once.
    pub(super) async fn registry(&self) -> Registry {
        let first = self.path("prepared.db");
        let prepared = async || {
            let world = World::at(first.to_str().unwrap()).await;
            prepare(&world).await;
            let everything = reading_everything(&world.store.pool).await;
            // The last connection puts the log into the file.
            world.store.close().await;
            everything.into()
        };
        let everything = Arc::clone(self.everything.get_or_init(prepared).await);
        let path = self.path(&format!("{}.db", self.copies.fetch_add(1, Ordering::Relaxed)));
        std::fs::copy(first, &path).unwrap();
        Registry::open(path, everything).await
    }

    /// The tables an operation writes to.
    pub(super) async fn written_by(&self, operation: &Operation) -> Vec<String> {
        let registry = self.registry().await;
        let before = registry.rows().await;
        operation.run(&registry.world).await.unwrap();
        let after = registry.rows().await;
        let tables: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        tables
            .into_iter()
            .filter(|table| before.get(*table) != after.get(*table))
            .cloned()
            .collect()
    }

    /// Another connection that holds the right to write.
    pub(super) async fn writer(&self, registry: &Registry) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&registry.path);
        let mut connection = options.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Registry {
    async fn open(path: PathBuf, everything: Arc<str>) -> Self {
        let store = Store::open(path.to_str().unwrap()).await.unwrap();
        Self { world: World::on(store), path, everything }
    }

    pub(super) async fn reopen(&mut self) {
        self.world.store.close().await;
        *self = Self::open(self.path.clone(), Arc::clone(&self.everything)).await;
    }

    /// Every row of every table but some, as text.
    pub(super) async fn dump(&self, without: &[&str]) -> String {
        let mut text = String::new();
        for (table, rows) in self.rows().await {
            if !without.contains(&table.as_str()) {
                text.push_str(&format!("{table}: {}\n", rows.join("\n")));
            }
        }
        text
    }

    async fn rows(&self) -> BTreeMap<String, Vec<String>> {
        let sql = AssertSqlSafe(self.everything.to_string());
        let all: Vec<(String, String)> =
            sqlx::query_as(sql).fetch_all(&self.world.store.pool).await.unwrap();
        let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, row) in all {
            rows.entry(table).or_default().push(row);
        }
        rows
    }

    /// Runs a statement on every connection of the pool.
    pub(super) async fn on_each(&self, sql: &'static str) {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = self.world.store.pool.acquire().await.unwrap();
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
            held.push(connection);
        }
    }

    /// Every commit of a change fails: it comes with a row that refers to nobody, and only the commit
    /// looks at that.
    pub(super) async fn arm_commit(&self) {
        self.run(
            "CREATE TABLE fault (owner TEXT REFERENCES owners (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
        self.run(
            "CREATE TRIGGER fault_commit AFTER INSERT ON changes
             BEGIN INSERT INTO fault VALUES ('nobody'); END",
        )
        .await;
    }

    pub(super) async fn disarm_commit(&self) {
        self.run("DROP TRIGGER fault_commit").await;
        self.run("DROP TABLE fault").await;
    }

    async fn run(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.world.store.pool).await.unwrap();
    }

    /// Every write to a table fails; `how` is what SQLite does with the rest of it.
    pub(super) async fn arm_trigger(&self, table: &str, how: &str) {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let sql = format!(
                "CREATE TRIGGER fault_{event} BEFORE {event} ON {table}
                 BEGIN SELECT RAISE({how}, 'fault'); END"
            );
            sqlx::query(AssertSqlSafe(sql)).execute(&self.world.store.pool).await.unwrap();
        }
    }

    pub(super) async fn disarm_triggers(&self) {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let sql = format!("DROP TRIGGER fault_{event}");
            sqlx::query(AssertSqlSafe(sql)).execute(&self.world.store.pool).await.unwrap();
        }
    }

    /// The dump after whatever is still under way: whoever may write next comes after it.
    pub(super) async fn settled(&self) -> String {
        let mut connection = self.world.store.pool.acquire().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *connection).await.unwrap();
        drop(connection);
        self.dump(&[]).await
    }

    fn log(&self) -> PathBuf {
        self.path.with_extension("db-wal")
    }

    pub(super) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |data| data.len())
    }

    /// What a crash leaves: the file, and the log as far as it got.
    pub(super) async fn copied(&self, log_bytes: u64) -> Self {
        let path = self.path.with_extension(format!("{log_bytes}.db"));
        std::fs::copy(&self.path, &path).unwrap();
        let mut log = std::fs::read(self.log()).unwrap_or_default();
        log.truncate(usize::try_from(log_bytes).unwrap());
        std::fs::write(path.with_extension("db-wal"), log).unwrap();
        Self::open(path, Arc::clone(&self.everything)).await
    }
}

/// One statement for all tables: a question for each of them is what takes the time.
async fn reading_everything(pool: &AnyPool) -> String {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT tables.name, group_concat(columns.name, ', ')
         FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' AND tables.name NOT LIKE '\\_sqlx%' ESCAPE '\\'
         GROUP BY tables.name",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let of = |(table, columns): &(String, String)| {
        format!("SELECT '{table}', json_array({columns}) FROM {table}")
    };
    let each: Vec<String> = columns.iter().map(of).collect();
    format!("{} ORDER BY 1, 2", each.join(" UNION ALL "))
}

/// Polls at most `polls` times and drops the future; says whether it had ended.
pub(super) async fn left_after<F: Future>(polls: u32, future: F) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
