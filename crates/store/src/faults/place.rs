//! Registries on files, all copies of one, and ways to break them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::operations::{Operation, prepare};
use crate::Store;
use crate::database::CONNECTIONS;
use crate::fixtures::World;

/// A folder with one prepared registry and its copies.
pub(super) struct Place {
    folder: PathBuf,
    copies: AtomicU32,
}

/// A copy, open.
pub(super) struct Registry {
    pub(super) world: World,
    path: PathBuf,
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
        Self { folder, copies: AtomicU32::new(0) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A registry that every operation can be done on once.
    pub(super) async fn registry(&self) -> Registry {
        let first = self.path("prepared.db");
        if !first.exists() {
            let world = World::at(first.to_str().unwrap()).await;
            prepare(&world).await;
            // The last connection puts the log into the file.
            world.store.close().await;
        }
        let path = self.path(&format!("{}.db", self.copies.fetch_add(1, Ordering::Relaxed)));
        std::fs::copy(first, &path).unwrap();
        Registry::open(path).await
    }

    /// The tables an operation writes to.
    pub(super) async fn written_by(&self, operation: &Operation) -> Vec<String> {
        let registry = self.registry().await;
        let tables = registry.tables().await;
        let mut before = Vec::new();
        for table in &tables {
            before.push(registry.rows(table).await);
        }
        operation.run(&registry.world).await.unwrap();
        let mut written = Vec::new();
        for (table, before) in tables.into_iter().zip(before) {
            if registry.rows(&table).await != before {
                written.push(table);
            }
        }
        written
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
    async fn open(path: PathBuf) -> Self {
        let store = Store::open(path.to_str().unwrap()).await.unwrap();
        Self { world: World::on(store), path }
    }

    pub(super) async fn reopen(&mut self) {
        self.world.store.close().await;
        *self = Self::open(self.path.clone()).await;
    }

    /// Every row of every table but some, as text.
    pub(super) async fn dump(&self, without: &[&str]) -> String {
        let mut text = String::new();
        for table in self.tables().await {
            if !without.contains(&table.as_str()) {
                text.push_str(&format!("{table}: {}\n", self.rows(&table).await));
            }
        }
        text
    }

    async fn tables(&self) -> Vec<String> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx%'
             ESCAPE '\\' ORDER BY name",
        )
        .fetch_all(&self.world.store.pool)
        .await
        .unwrap();
        rows.into_iter().map(|(name,)| name).collect()
    }

    async fn rows(&self, table: &str) -> String {
        let columns: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM pragma_table_info($1) ORDER BY cid")
                .bind(table)
                .fetch_all(&self.world.store.pool)
                .await
                .unwrap();
        let columns: Vec<_> = columns.into_iter().map(|(name,)| name).collect();
        let row = format!("json_array({})", columns.join(", "));
        let sql = format!("SELECT {row} FROM {table} ORDER BY 1");
        let rows: Vec<(String,)> =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&self.world.store.pool).await.unwrap();
        rows.into_iter().map(|(row,)| row).collect::<Vec<_>>().join("\n")
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
        Self::open(path).await
    }
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
