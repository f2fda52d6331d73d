//! Feeds the search index from the journal. The journal is the record; the index can be lost.

use std::sync::Arc;
use std::time::Duration;

use attorn_journal::ReadError;
use attorn_net::Shutdown;
use attorn_store::Failure;
use attorn_store::index::BLOCK;

use crate::shared::Shared;

/// Why a batch is not indexed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("the journal cannot be read")]
    Journal(#[from] ReadError),
    #[error("the index cannot be written")]
    Index(#[from] Failure),
}

/// Follows the journal until the shutdown, a pause behind it: many entries in one transaction cost
/// the calls far less than one each. A search does not wait for it, see [`catch_up`].
pub(crate) async fn run(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut size = shared.journal.subscribe();
    loop {
        if let Err(error) = catch_up(&shared).await {
            tracing::error!(%error, "the search index is behind");
        } else {
            tokio::select! {
                () = shutdown.started() => return,
                grown = size.changed() => if grown.is_err() { return },
            }
        }
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Indexes the whole blocks that the journal holds by now. Also called before a search, which then
/// has less than a block to read beside them.
pub(crate) async fn catch_up(shared: &Shared) -> Result<(), IndexError> {
    let _alone = shared.indexing.lock().await;
    let first = shared.journal.first();
    if first > 0 {
        shared.index.forget_before(first).await?;
    }
    loop {
        let next = shared.index.next_index().await?.max(first);
        let whole = shared.journal.size() / BLOCK * BLOCK;
        let end = whole.min(next.saturating_add(BATCH));
        if next >= end {
            return Ok(());
        }
        let entries = shared.journal.read(next..end).await?;
        shared.index.insert(next, &entries).await?;
    }
}

/// Entries of one transaction.
const BATCH: u64 = 32 * BLOCK;
const PAUSE: Duration = Duration::from_secs(1);
