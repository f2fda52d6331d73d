//! What an authority has beside its node: the registry and the search index over the journal.

use std::path::Path;

use attorn_store::Store;
use attorn_store::index::AuditIndex;

use crate::exit::Failure;
use crate::outside::causes;

/// The open databases.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) store: Store,
    pub(super) index: AuditIndex,
}

impl Registry {
    /// Opens the databases in the folder of the node and makes what is missing.
    pub(super) async fn open(folder: &Path) -> Result<Self, Failure> {
        let store = Store::open(&folder.join("registry.db").display().to_string())
            .await
            .map_err(|e| Failure::usage(format!("cannot open the registry: {}", causes(&e))))?;
        let index = AuditIndex::open(&folder.join("index.db"))
            .await
            .map_err(|e| Failure::usage(format!("cannot open the index: {}", causes(&e))))?;
        Ok(Self { store, index })
    }
}
