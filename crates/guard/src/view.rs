//! The snapshot in force together with the issuer's keys, parsed once. A request takes one view and
//! decides everything on it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use attorn_enforce::keys::verifying;
use attorn_oauth::access_token::IssuerKeys;
use attorn_registry::{Published, Snapshot};

/// One consistent picture.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) keys: IssuerKeys,
}

/// Follows the published snapshot.
#[derive(Debug)]
pub(crate) struct Views {
    published: Arc<Published>,
    current: ArcSwap<View>,
}

impl Views {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        let current = ArcSwap::from_pointee(View::of(published.load()));
        Self { published, current }
    }

    /// The view of the snapshot in force. Two requests that see it first may both make it, and what
    /// each decides on is in force.
    pub(crate) fn current(&self) -> Arc<View> {
        let snapshot = self.published.load();
        let view = self.current.load_full();
        if Arc::ptr_eq(&view.snapshot, &snapshot) {
            return view;
        }
        let is_same = view.snapshot.issuer_keys == snapshot.issuer_keys;
        let view = Arc::new(if is_same {
            View { keys: view.keys.clone(), snapshot }
        } else {
            View::of(snapshot)
        });
        self.current.store(Arc::clone(&view));
        view
    }
}

impl View {
    fn of(snapshot: Arc<Snapshot>) -> Self {
        Self { keys: verifying(&snapshot.issuer_keys), snapshot }
    }
}
