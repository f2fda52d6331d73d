//! Servers that came from a public registry. They wait, pending, until somebody takes them with
//! everything that speaks against them.

use attorn_registry::{ImportFinding, LifeCycle, McpServer, ServerId, TransitionRefused};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::servers::{NewServer, insert_server, server_by_id};

const COLUMNS: Columns = Columns("imports");

/// What a registry said of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewImport {
    /// Its name there.
    pub source: String,
    /// Its version there.
    pub version: String,
    /// The package that runs, if one does.
    pub package: Option<String>,
    /// The document as it came.
    pub document: String,
    /// What speaks against it.
    pub findings: Vec<ImportFinding>,
}

/// A server that came from a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The server here.
    pub server: ServerId,
    /// What the registry said.
    pub told: NewImport,
    /// Who brought it.
    pub by: String,
    /// When, in Unix seconds.
    pub at_s: u64,
    /// Who took it, and when; nobody yet while it waits.
    pub accepted: Option<(String, u64)>,
}

/// What a server that came from a registry could be taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedName {
    /// The server here.
    pub server: ServerId,
    /// Its name there.
    pub source: String,
    /// The package that runs, if one does.
    pub package: Option<String>,
}

impl Store {
    /// Registers a server of a registry. It is pending, so it is neither asked nor called.
    ///
    /// # Errors
    /// As for [`Store::register_server`], or as many wait as may.
    pub async fn import_server(
        &self,
        act: &Act<'_>,
        server: &NewServer,
        told: &NewImport,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let (waiting,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM imports JOIN servers ON servers.id = imports.server
             WHERE servers.state = $1",
        )
        .bind(LifeCycle::Pending.as_str())
        .fetch_one(change.connection())
        .await?;
        if waiting >= WAITING_MAX {
            return Err(Refusal::ImportLimit.into());
        }
        let record = insert_server(&mut change, server, LifeCycle::Pending).await?;
        sqlx::query(
            "INSERT INTO imports
             (server, source, version, package, document, findings, imported_by, imported_s)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(server.id.as_str())
        .bind(&told.source)
        .bind(&told.version)
        .bind(told.package.as_deref())
        .bind(&told.document)
        .bind(COLUMNS.to_json(&told.findings)?)
        .bind(act.by)
        .bind(COLUMNS.number(act.now_s)?)
        .execute(change.connection())
        .await?;
        change.finish(ChangeKind::ServerRegistered, server.id.as_str(), record).await
    }

    /// Takes a server that waits. From now on it is one like any other: its tools wait for their
    /// approval.
    ///
    /// # Errors
    /// No such server, it did not come from a registry, it does not wait, or its owner is not
    /// active.
    pub async fn accept_import(
        &self,
        act: &Act<'_>,
        id: &ServerId,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let server = server_by_id(change.connection(), id).await?;
        let owner = server.owner.as_ref().ok_or(Refusal::OwnerUnknown)?;
        crate::owners::active_owner(change.connection(), owner).await?;
        if server.state != LifeCycle::Pending {
            let refused = TransitionRefused { from: server.state, to: LifeCycle::Active };
            return Err(Refusal::Transition(refused).into());
        }
        let taken = sqlx::query(
            "UPDATE imports SET accepted_by = $1, accepted_s = $2
             WHERE server = $3 AND accepted_by IS NULL",
        )
        .bind(act.by)
        .bind(COLUMNS.number(act.now_s)?)
        .bind(id.as_str())
        .execute(change.connection())
        .await?;
        if taken.rows_affected() != 1 {
            return Err(Refusal::ServerUnknown.into());
        }
        sqlx::query("UPDATE servers SET state = $1 WHERE id = $2")
            .bind(LifeCycle::Active.as_str())
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = McpServer { state: LifeCycle::Active, ..server };
        change.finish(ChangeKind::ServerState, id.as_str(), record).await
    }

    /// What speaks against a server, if it came from a registry.
    ///
    /// # Errors
    /// The database fails.
    pub async fn import_findings(
        &self,
        id: &ServerId,
    ) -> Result<Option<Vec<ImportFinding>>, Failure> {
        let mut connection = self.pool.acquire().await?;
        let found: Option<(String,)> =
            sqlx::query_as("SELECT findings FROM imports WHERE server = $1")
                .bind(id.as_str())
                .fetch_optional(&mut *connection)
                .await?;
        found.map(|(findings,)| COLUMNS.json(&findings)).transpose()
    }

    /// The names of every server that came from a registry, without its document.
    ///
    /// # Errors
    /// The database fails.
    pub async fn imported_names(&self) -> Result<Vec<ImportedName>, Failure> {
        let mut connection = self.pool.acquire().await?;
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as("SELECT server, source, package FROM imports")
                .fetch_all(&mut *connection)
                .await?;
        let read = |(server, source, package): (String, String, Option<String>)| {
            Ok(ImportedName { server: COLUMNS.parse(&server)?, source, package })
        };
        rows.into_iter().map(read).collect()
    }

    /// Every server that came from a registry, oldest first, with its document.
    ///
    /// # Errors
    /// The database fails.
    pub async fn imports(&self) -> Result<Vec<Import>, Failure> {
        let mut connection = self.pool.acquire().await?;
        all_imports(&mut connection).await
    }
}

async fn all_imports(connection: &mut AnyConnection) -> Result<Vec<Import>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT server, source, version, package, document, findings, imported_by, imported_s,
         accepted_by, accepted_s FROM imports ORDER BY imported_s, server",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    server: String,
    source: String,
    version: String,
    package: Option<String>,
    document: String,
    findings: String,
    imported_by: String,
    imported_s: i64,
    accepted_by: Option<String>,
    accepted_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Import, Failure> {
        let accepted_s = COLUMNS.maybe_count(self.accepted_s)?;
        Ok(Import {
            server: COLUMNS.parse(&self.server)?,
            told: NewImport {
                source: self.source,
                version: self.version,
                package: self.package,
                document: self.document,
                findings: COLUMNS.json(&self.findings)?,
            },
            by: self.imported_by,
            at_s: COLUMNS.count(self.imported_s)?,
            accepted: self.accepted_by.zip(accepted_s),
        })
    }
}

/// Servers that wait. Each holds its document, and is one to read for whoever accepts.
const WAITING_MAX: i64 = 256;

#[cfg(test)]
mod tests {
    use attorn_registry::ReasonCode;

    use super::*;
    use crate::fixtures::{World, act, id, name};

    fn told() -> NewImport {
        NewImport {
            source: "com.example/weather".into(),
            version: "1.2.0".into(),
            package: None,
            document: "{}".into(),
            findings: vec![ImportFinding::NamespaceUnproven],
        }
    }

    #[tokio::test]
    async fn an_import_waits_until_it_is_taken() {
        let world = World::new().await;
        let store = &world.store;
        let server = ServerId::from_random(&id(60));
        let new = NewServer { id: server.clone(), name: name("weather"), ..world.new_server() };
        let record = store.import_server(&act(1), &new, &told()).await.unwrap().record;
        assert_eq!(record.state, LifeCycle::Pending);
        let snapshot = store.load_snapshot(2000).await.unwrap();
        let found = snapshot.server(&server).unwrap();
        assert_eq!(snapshot.verify_server(found), Err(ReasonCode::ServerPending));
        let waiting = store.imports().await.unwrap();
        assert_eq!((&waiting[0].told, &waiting[0].accepted), (&told(), &None));
        store.accept_import(&act(3), &server).await.unwrap();
        let snapshot = store.load_snapshot(4000).await.unwrap();
        assert_eq!(snapshot.verify_server(snapshot.server(&server).unwrap()), Ok(()));
        let found = store.import_findings(&server).await.unwrap();
        assert_eq!(found, Some(told().findings));
        assert_eq!(store.import_findings(&world.server).await.unwrap(), None);
        let NewImport { source, package, .. } = told();
        let named = [ImportedName { server: server.clone(), source, package }];
        assert_eq!(store.imported_names().await.unwrap(), named);
        let taken = store.imports().await.unwrap();
        assert_eq!(taken[0].accepted, Some(("own_test".to_owned(), 3)));
        let again = store.accept_import(&act(4), &server).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::Transition(_)))));
        // One that was registered here was never waiting.
        assert!(store.accept_import(&act(5), &world.server).await.is_err());
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let world = World::new().await;
        let store = &world.store;
        let new = |number: i64| {
            let mut random = id(61);
            random[..8].copy_from_slice(&number.to_be_bytes());
            let name = name(&format!("s{number}"));
            NewServer { id: ServerId::from_random(&random), name, ..world.new_server() }
        };
        for number in 0..WAITING_MAX {
            store.import_server(&act(1), &new(number), &told()).await.unwrap();
        }
        let one_more = store.import_server(&act(1), &new(WAITING_MAX), &told()).await;
        assert!(matches!(one_more, Err(StoreError::Refused(Refusal::ImportLimit))));
        store.accept_import(&act(2), &new(0).id).await.unwrap();
        store.import_server(&act(3), &new(WAITING_MAX), &told()).await.unwrap();
    }
}
