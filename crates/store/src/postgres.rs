//! What is different with PostgreSQL: how to reach it, how sessions are set, how changes wait.
//!
//! Not used, because engines that speak the same protocol lack them: session advisory locks, LISTEN
//! and NOTIFY. Tests run on Debian's server alone.

use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::Migrator;
use sqlx::{Any, AnyPool, Transaction};
use url::{Host, Url};

use crate::database;
use crate::failure::Failure;

/// Where the database is. Printing it shows no password.
#[derive(Clone)]
pub struct PostgresAddress(Url);

/// Why an address is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A password in the URL would stand in the configuration file.
    #[error("the password does not belong into the URL; use `password_file`")]
    Password,
    /// Settings that could take away what is relied on.
    #[error("the URL has no `?` and no `#`: TLS and durability are not for it to choose")]
    Settings,
    /// Not the form.
    #[error("the URL must be `postgres://user@host[:port]/database`")]
    Url,
}

impl PostgresAddress {
    /// Parses `postgres://user@host[:port]/database`; a host that begins with `%2F` is the folder of a
    /// socket.
    ///
    /// Anywhere but on this machine there is TLS, and the certificate must be for the host. With
    /// `roots`, a PEM file that is trusted besides the public authorities, here as well.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(
        text: &str,
        password: Option<&str>,
        roots: Option<&Path>,
    ) -> Result<Self, AddressError> {
        let mut url = Url::parse(text).map_err(|_| AddressError::Url)?;
        if url.password().is_some() {
            return Err(AddressError::Password);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Settings);
        }
        let database = url.path().strip_prefix('/').unwrap_or_default();
        let named = !url.username().is_empty() && !database.is_empty() && !database.contains('/');
        if !matches!(url.scheme(), "postgres" | "postgresql") || !named {
            return Err(AddressError::Url);
        }
        let is_here = url.host().is_some_and(|host| is_here(&host));
        // What is not said comes from `PGPORT` and the like. The driver lets us say neither that there is
        // no client certificate nor that there are no further roots or options, so `PGSSLCERT`,
        // `PGSSLKEY`, `PGSSLROOTCERT` (without `roots`), `PGOPTIONS` and `PGAPPNAME` count. What is
        // relied on is said to each session after that, by `SETTINGS`.
        let port = url.port().unwrap_or(PORT);
        url.set_port(Some(port)).map_err(|()| AddressError::Url)?;
        url.set_password(password).map_err(|()| AddressError::Url)?;
        let mode = if is_here && roots.is_none() { "disable" } else { "verify-full" };
        url.query_pairs_mut().append_pair("sslmode", mode);
        if let Some(roots) = roots {
            let roots = roots.to_str().ok_or(AddressError::Url)?;
            url.query_pairs_mut().append_pair("sslrootcert", roots);
        }
        Ok(Self(url))
    }
}

impl std::fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = &self.0;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port().unwrap_or(PORT));
        write!(f, "postgres://{}@{host}:{port}{}", url.username(), url.path())
    }
}

impl std::fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Whether nobody but this machine is on the way: loopback, or a socket.
fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let address = name.parse::<std::net::Ipv4Addr>();
            name.starts_with("%2F")
                || name.starts_with("%2f")
                || address.map_or(*name == "localhost", |address| address.is_loopback())
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// The one PostgreSQL has.
const PORT: u16 = 5432;

/// One snapshot for all statements.
pub(crate) const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Each statement sees what was committed before it: what others did while this one waited counts.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Whoever writes several things holds this row until the end.
const LOCK: &str = "SELECT version FROM registry WHERE id = 1 FOR UPDATE";

/// What every session is told. A commit is on the disk of the server when it is confirmed. A change
/// waits as long for another one as on SQLite, and one whose process is gone lets go of the row.
const SETTINGS: &str = "SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '30s';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'";

/// Writers that wait for each other each hold one.
const CONNECTIONS: u32 = 10;

/// How long to look for a server that is away.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);

/// How often something is tried that only others stood in the way of.
const ATTEMPTS_MAX: u32 = 5;

/// # Errors
/// The server cannot be reached, or may lose what it confirmed.
pub(crate) async fn connect(address: &PostgresAddress) -> Result<AnyPool, Failure> {
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_MAX);
    let pool = database::connect(&address.0, SETTINGS, pool).await?;
    // Absent where an engine knows no such setting.
    let (fsync,): (Option<String>,) =
        sqlx::query_as("SELECT current_setting('fsync', true)").fetch_one(&pool).await?;
    if fsync.as_deref() == Some("off") { Err(Failure::Unsafe) } else { Ok(pool) }
}

/// Brings the tables up to date, in one transaction.
///
/// Of two authorities that start at once one makes them. The other fails on what is there already, and
/// has nothing left to do the next time.
pub(crate) async fn migrate(pool: &AnyPool, migrator: &Migrator) -> Result<(), Failure> {
    let mut attempts = 1..ATTEMPTS_MAX;
    loop {
        let mut transaction = pool.begin().await?;
        match migrator.run_direct(None, &mut *transaction, false).await {
            Ok(()) => return Ok(transaction.commit().await?),
            Err(error) if attempts.next().is_none() => return Err(error.into()),
            Err(_perhaps_made_meanwhile) => transaction.rollback().await?,
        }
    }
}

/// Begins a transaction that no other one of its kind runs beside, by one lock on one row: then nothing
/// that was read can change before it is written, and there is no serialization failure to repeat a
/// change for. Engines that are always serializable may still give one here, where it costs nothing.
pub(crate) async fn begin_write(pool: &AnyPool) -> Result<Transaction<'static, Any>, sqlx::Error> {
    let mut attempts = 1..ATTEMPTS_MAX;
    loop {
        let mut transaction = pool.begin_with(WRITE).await?;
        match sqlx::query(LOCK).execute(&mut *transaction).await {
            Ok(_locked) => return Ok(transaction),
            Err(error) if is_serialization_failure(&error) && attempts.next().is_some() => {
                transaction.rollback().await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// SQLSTATE 40001.
fn is_serialization_failure(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("40001")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresAddress, AddressError> {
        PostgresAddress::parse(text, Some("s3cret/of a:test@"), None)
    }

    #[test]
    fn away_from_here_there_is_tls() {
        for (text, mode) in [
            ("postgres://attorn@127.0.0.1:5433/attorn", "disable"),
            ("postgresql://attorn@localhost/attorn", "disable"),
            ("postgres://attorn@[::1]/attorn", "disable"),
            ("postgres://attorn@%2Frun%2Fpostgresql/attorn", "disable"),
            ("postgres://attorn@db.example/attorn", "verify-full"),
            ("postgres://attorn@10.0.0.1/attorn", "verify-full"),
            ("postgres://attorn@localhost.example/attorn", "verify-full"),
        ] {
            let url = parse(text).unwrap().0;
            assert!(url.as_str().ends_with(&format!("?sslmode={mode}")), "{text}: {mode}");
            assert!(url.port().is_some());
        }
        let roots = Some(Path::new("/etc/a b.pem"));
        let url = PostgresAddress::parse("postgres://a@localhost/b", None, roots).unwrap().0;
        assert_eq!(url.query(), Some("sslmode=verify-full&sslrootcert=%2Fetc%2Fa+b.pem"));
    }

    #[test]
    fn a_password_is_taken_from_its_file_and_not_shown() {
        let address = parse("postgres://attorn@db.example/attorn").unwrap();
        assert_eq!(address.0.password(), Some("s3cret%2Fof%20a%3Atest%40"));
        assert_eq!(format!("{address:?}"), "postgres://attorn@db.example:5432/attorn");
        let refused = |text| parse(text).unwrap_err();
        assert_eq!(refused("postgres://attorn:x@db.example/attorn"), AddressError::Password);
    }

    #[test]
    fn other_forms_are_refused() {
        let refused = |text| parse(text).unwrap_err();
        for text in [
            "postgres://db.example/attorn",
            "postgres://attorn@db.example",
            "postgres://attorn@db.example/",
            "postgres://attorn@db.example/a/b",
            "postgres://attorn@/attorn",
            "mysql://attorn@db.example/attorn",
            "registry.db",
        ] {
            assert_eq!(refused(text), AddressError::Url, "{text}");
        }
        let weaker = "postgres://attorn@db.example/attorn?sslmode=disable";
        assert_eq!(refused(weaker), AddressError::Settings);
    }
}
