//! The snapshot in force together with what is made from it once: parsed issuer keys and compiled
//! policies. A request takes one view and decides everything on it.
//!
//! Not here: judging the age of a snapshot, which [`crate::Freshness`] does.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use attorn_oauth::access_token::IssuerKeys;
use attorn_policy::PolicySet;
use attorn_registry::{McpServer, PolicySource, Published, Snapshot};

use crate::keys::verifying;

/// One consistent picture.
#[derive(Debug)]
pub struct View {
    /// What the registry says.
    pub snapshot: Arc<Snapshot>,
    /// The issuer's keys that may verify.
    pub keys: IssuerKeys,
    /// Counts up whenever `keys` changes: a token verified under other keys is verified again.
    pub keys_generation: u64,
    /// `None` when the text does not compile: then nothing is permitted.
    pub policies: Option<Arc<PolicySet>>,
}

impl View {
    /// The server of this name, if it is one a gateway stands in front of.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&McpServer> {
        // The admin API enforces itself.
        self.snapshot.server_named(name).filter(|server| !server.is_builtin())
    }
}

/// Follows the published snapshot.
#[derive(Debug)]
pub struct Views {
    published: Arc<Published>,
    current: ArcSwap<View>,
    building: Mutex<()>,
}

impl Views {
    /// Begins with the snapshot in force.
    #[must_use]
    pub fn new(published: Arc<Published>) -> Self {
        let snapshot = published.load();
        let keys = verifying(&snapshot.issuer_keys);
        let policies = compile(&snapshot.policy);
        let current = ArcSwap::from_pointee(View { snapshot, keys, keys_generation: 0, policies });
        Self { published, current, building: Mutex::new(()) }
    }

    /// The view of the snapshot in force. Builds it if this is the first request that sees it.
    #[must_use]
    pub fn current(&self) -> Arc<View> {
        let snapshot = self.published.load();
        let view = self.current.load_full();
        if Arc::ptr_eq(&view.snapshot, &snapshot) { view } else { self.build() }
    }

    fn build(&self) -> Arc<View> {
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        // Loaded again under the lock, so that a late builder cannot put an older one in force.
        let snapshot = self.published.load();
        let old = self.current.load_full();
        if Arc::ptr_eq(&old.snapshot, &snapshot) {
            return old;
        }
        let same_keys = old.snapshot.issuer_keys == snapshot.issuer_keys;
        let same_policy = old.snapshot.policy == snapshot.policy;
        let view = Arc::new(View {
            keys: if same_keys { old.keys.clone() } else { verifying(&snapshot.issuer_keys) },
            keys_generation: old.keys_generation + u64::from(!same_keys),
            policies: if same_policy { old.policies.clone() } else { compile(&snapshot.policy) },
            snapshot,
        });
        self.current.store(Arc::clone(&view));
        view
    }
}

/// The policies in force.
fn compile(source: &PolicySource) -> Option<Arc<PolicySet>> {
    PolicySet::compile(source)
        .inspect_err(|error| {
            tracing::error!(%error, version = source.version, "the policies do not compile");
        })
        .ok()
        .map(Arc::new)
}
