//! Opening the database and bringing its tables up to date.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlitePool};

use crate::failure::Failure;

/// How long a change waits for another one to end.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Readers beside the one writer.
pub(crate) const CONNECTIONS: u32 = 4;

/// The registry.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: SqlitePool,
}

const MIGRATIONS: [(i64, &str, &str); 19] = [
    (1, "registry", include_str!("../migrations/registry/0001_registry.sql")),
    (2, "server_keys", include_str!("../migrations/registry/0002_server_keys.sql")),
    (10, "arguments", include_str!("../migrations/registry/0010_arguments.sql")),
    (
        20,
        "client_certificates",
        include_str!("../migrations/registry/0020_client_certificates.sql"),
    ),
    (30, "stops", include_str!("../migrations/registry/0030_stops.sql")),
    (31, "agents_without_end", include_str!("../migrations/registry/0031_agents_without_end.sql")),
    (40, "gateway_leases", include_str!("../migrations/registry/0040_gateway_leases.sql")),
    (41, "lease_times", include_str!("../migrations/registry/0041_lease_times.sql")),
    (50, "imports", include_str!("../migrations/registry/0050_imports.sql")),
    (60, "resources", include_str!("../migrations/registry/0060_resources.sql")),
    (70, "people", include_str!("../migrations/registry/0070_people.sql")),
    (71, "owners", include_str!("../migrations/registry/0071_owners.sql")),
    (72, "accept_bearer", include_str!("../migrations/registry/0072_accept_bearer.sql")),
    (75, "codes", include_str!("../migrations/registry/0075_codes.sql")),
    (80, "approvals", include_str!("../migrations/registry/0080_approvals.sql")),
    (90, "erasures", include_str!("../migrations/registry/0090_erasures.sql")),
    (100, "provided", include_str!("../migrations/registry/0100_provided.sql")),
    (110, "used_assertions", include_str!("../migrations/registry/0110_used_assertions.sql")),
    (140, "passkeys", include_str!("../migrations/registry/0140_passkeys.sql")),
];

impl Store {
    /// Opens the registry at a path or a `sqlite:` URL, and makes it if it is not there.
    ///
    /// # Errors
    /// The file cannot be used, or is of a newer version.
    pub async fn open(location: &str) -> Result<Self, Failure> {
        // Full: a lock that was confirmed must still hold after a power failure.
        Ok(Self { pool: open(&path_of(location)?, &MIGRATIONS, SqliteSynchronous::Full).await? })
    }

    /// A registry that is gone with the process.
    ///
    /// # Errors
    /// The database fails.
    pub async fn in_memory() -> Result<Self, Failure> {
        Ok(Self { pool: in_memory(&MIGRATIONS).await? })
    }

    /// Closes every connection and waits for them. Changes after this fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn path_of(location: &str) -> Result<PathBuf, Failure> {
    let path = location.strip_prefix("sqlite:").unwrap_or(location);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains("://") || path.starts_with(':') {
        return Err(Failure::Unsupported);
    }
    Ok(PathBuf::from(path))
}

pub(crate) async fn open(
    path: &Path,
    migrations: &[(i64, &'static str, &'static str)],
    synchronous: SqliteSynchronous,
) -> Result<SqlitePool, Failure> {
    make_private(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(BUSY_MAX);
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
    migrate(&pool, migrations).await?;
    Ok(pool)
}

pub(crate) async fn in_memory(
    migrations: &[(i64, &'static str, &'static str)],
) -> Result<SqlitePool, Failure> {
    let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
    // The database lives in its one connection, which must therefore never be closed.
    let pool = SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;
    migrate(&pool, migrations).await?;
    Ok(pool)
}

/// Makes the file before SQLite does, readable by its owner alone: it names people.
fn make_private(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    Ok(())
}

async fn migrate(
    pool: &SqlitePool,
    migrations: &[(i64, &'static str, &'static str)],
) -> Result<(), Failure> {
    let migrations = migrations.iter().map(|(version, name, sql)| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect()).run(pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (location, path) in [
            ("a.db", "a.db"),
            ("/s/a.db", "/s/a.db"),
            ("sqlite:a.db", "a.db"),
            ("sqlite:///s/a", "/s/a"),
        ] {
            assert_eq!(path_of(location).unwrap(), PathBuf::from(path), "{location}");
        }
        for location in ["", "sqlite:", "postgres://host/db", "mysql://host", ":memory:"] {
            assert!(path_of(location).is_err(), "{location}");
        }
    }
}
