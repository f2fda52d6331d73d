//! Opening the database and bringing its tables up to date.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, AssertSqlSafe, SqlSafeStr as _, Transaction};
use url::Url;

use crate::failure::Failure;
use crate::postgres::{self, PostgresAddress};

/// Readers beside the one writer.
pub(crate) const CONNECTIONS: u32 = 4;

/// The registry.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: AnyPool,
    engine: Engine,
    /// The number of the last change that was made here; see [`crate::change::Change::count_up`].
    pub(crate) newest: Arc<AtomicI64>,
}

/// How transactions begin. Everything else is one text.
#[derive(Clone, Copy, Debug)]
enum Engine {
    Postgres,
    Sqlite,
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
        let pool = open(&path_of(location)?, &MIGRATIONS, Synchronous::Full).await?;
        Ok(Self::on(pool, Engine::Sqlite))
    }

    /// Opens the registry in PostgreSQL, and makes its tables if they are not there.
    ///
    /// # Errors
    /// The database cannot be reached or used, or is of a newer version.
    pub async fn connect(address: &PostgresAddress) -> Result<Self, Failure> {
        let pool = postgres::connect(address).await?;
        postgres::migrate(&pool, &migrator(&MIGRATIONS)).await?;
        Ok(Self::on(pool, Engine::Postgres))
    }

    /// A registry that is gone with the process.
    ///
    /// # Errors
    /// The database fails.
    pub async fn in_memory() -> Result<Self, Failure> {
        Ok(Self::on(in_memory(&MIGRATIONS).await?, Engine::Sqlite))
    }

    /// Reads that belong together: they see the registry of one moment.
    pub(crate) async fn begin_read(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.engine {
            Engine::Postgres => self.pool.begin_with(postgres::READ).await,
            Engine::Sqlite => self.pool.begin().await,
        }
    }

    /// Writes of which all count or none. While they last, nobody else makes any of this kind: SQLite
    /// has one writer, and PostgreSQL one that holds the row of `registry`.
    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.engine {
            Engine::Postgres => postgres::begin_write(&self.pool).await,
            Engine::Sqlite => self.pool.begin().await,
        }
    }

    /// Closes every connection and waits for them. Changes after this fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn on(pool: AnyPool, engine: Engine) -> Self {
        Self { pool, engine, newest: Arc::default() }
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

/// Whether a change is on the disk when it is confirmed, or a moment later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Synchronous {
    Full,
    Normal,
}

impl Synchronous {
    /// What every connection is told. Changes wait five seconds for each other.
    const fn settings(self) -> &'static str {
        match self {
            Self::Full => {
                "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;
                 PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"
            }
            Self::Normal => {
                "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;
                 PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
            }
        }
    }
}

/// Opens an SQLite database.
pub(crate) async fn open(
    path: &Path,
    migrations: &[(i64, &'static str, &'static str)],
    synchronous: Synchronous,
) -> Result<AnyPool, Failure> {
    make_private(path)?;
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS);
    let pool = connect(&url_of(path)?, synchronous.settings(), pool).await?;
    migrator(migrations).run(&pool).await?;
    Ok(pool)
}

pub(crate) async fn in_memory(
    migrations: &[(i64, &'static str, &'static str)],
) -> Result<AnyPool, Failure> {
    sqlx::any::install_default_drivers();
    // The database lives in its one connection, which must therefore never be closed.
    let pool = AnyPoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect("sqlite::memory:")
        .await?;
    migrator(migrations).run(&pool).await?;
    Ok(pool)
}

/// Connections that are all told the same first.
pub(crate) async fn connect(
    url: &Url,
    settings: &'static str,
    pool: AnyPoolOptions,
) -> Result<AnyPool, sqlx::Error> {
    use sqlx::{ConnectOptions as _, Connection as _};

    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_url(url)?;
    // A pool tries again and says at last that it took too long. The first one says why.
    let mut first = options.connect().await?;
    sqlx::raw_sql(settings).execute(&mut first).await?;
    let pool = pool.after_connect(move |connection, _| {
        Box::pin(async move {
            sqlx::raw_sql(settings).execute(connection).await?;
            Ok(())
        })
    });
    let pool = pool.connect_with(options).await?;
    first.close().await?;
    Ok(pool)
}

/// The URL that stands for a file that is there, whatever characters are in its path. A URL has no `..`
/// that a link could lead elsewhere.
fn url_of(path: &Path) -> Result<Url, Failure> {
    let path = path.canonicalize()?;
    let path = path.to_str().ok_or(Failure::Unsupported)?.replace('%', "%25");
    let mut url = Url::parse("sqlite:///").map_err(|_| Failure::Unsupported)?;
    url.set_path(&path);
    Ok(url)
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

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|(version, name, sql)| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
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

    #[tokio::test]
    async fn a_path_is_what_it_says() {
        let folder = std::env::temp_dir().join(format!("attorn %20?#{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("../").join(folder.file_name().unwrap()).join("a b%.db");
        let store = Store::open(path.to_str().unwrap()).await.unwrap();
        store.close().await;
        assert!(std::fs::metadata(&path).unwrap().len() > 0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
