//! What an authority has beside its node: the registry and the search index over the journal.

use attorn_store::index::AuditIndex;
use attorn_store::{PostgresAddress, Store};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::exit::Failure;
use crate::files;
use crate::outside::causes;

/// The open databases.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) store: Store,
    pub(super) index: AuditIndex,
}

impl Registry {
    /// Opens the databases in the folder of the node and makes what is missing. The registry can be
    /// elsewhere.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        let store = match &config.registry {
            Some(registry) => connect(registry).await?,
            None => Store::open(&config.state.join("registry.db").display().to_string())
                .await
                .map_err(|e| Failure::usage(format!("cannot open the registry: {}", causes(&e))))?,
        };
        let index = AuditIndex::open(&config.state.join("index.db"))
            .await
            .map_err(|e| Failure::usage(format!("cannot open the index: {}", causes(&e))))?;
        Ok(Self { store, index })
    }
}

async fn connect(registry: &attorn_store::Config) -> Result<Store, Failure> {
    let password = registry.password_file.as_deref().map(files::read_private).transpose()?;
    let password = password.map(Zeroizing::new);
    let password = password.as_ref().map(|text| text.trim_end());
    let address = PostgresAddress::parse(&registry.url, password, registry.roots.as_deref())
        .map_err(|e| Failure::usage(format!("`registry.url`: {e}")))?;
    Store::connect(&address).await.map_err(|e| {
        Failure::unreachable(format!("cannot open the registry at {address}: {}", causes(&e)))
            .next(format!("psql {address}"))
    })
}
