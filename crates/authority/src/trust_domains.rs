//! The SPIFFE trust domains whose JWT-SVIDs count, replaced while requests run.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use attorn_jose::PublicKey;

/// Keys of JWT-SVIDs by trust domain and `kid`. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct TrustDomains(Arc<ArcSwap<HashMap<String, HashMap<String, PublicKey>>>>);

impl TrustDomains {
    /// Puts these domains in force and ends all others.
    pub fn replace(&self, domains: HashMap<String, HashMap<String, PublicKey>>) {
        self.0.store(Arc::new(domains));
    }

    /// The keys of one domain; none for a domain that nobody configured.
    pub(crate) fn keys(&self, domain: &str) -> HashMap<String, PublicKey> {
        self.0.load().get(domain).cloned().unwrap_or_default()
    }
}
