//! Searches the journal: the index says where to look, the journal what is there.

use std::ops::Range;

use attorn_store::index::{BLOCK, Filter};
use bytes::Bytes;

use crate::indexer::{IndexError, catch_up};
use crate::shared::Shared;

/// What to look for, and where.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) filter: Filter,
    /// The first place that counts.
    pub(crate) from: u64,
    /// The first place that does not count any more.
    pub(crate) before: u64,
    /// The most hits.
    pub(crate) limit: usize,
}

impl Search {
    /// Entries with their places, newest first. What was recorded a moment ago is found.
    ///
    /// # Errors
    /// [`IndexError`] when the index or the journal cannot be read.
    pub(crate) async fn run(&self, shared: &Shared) -> Result<Vec<(u64, Bytes)>, IndexError> {
        catch_up(shared).await?;
        // What was removed is not looked for.
        let from = self.from.max(shared.journal.first());
        let end = self.before.min(shared.journal.size());
        let indexed = shared.index.next_index().await?.max(from).min(end);
        let mut found = Vec::new();
        self.take(shared, indexed..end, &mut found).await?;
        let mut before = Some(indexed);
        while let Some(at) = before
            && at > from
        {
            let page = shared.index.candidates(&self.filter, at).await?;
            for first in page.blocks {
                if found.len() >= self.limit {
                    return Ok(found);
                }
                let block = first.max(from)..first.saturating_add(BLOCK).min(indexed);
                self.take(shared, block, &mut found).await?;
            }
            before = page.before;
        }
        Ok(found)
    }

    /// Adds what counts of a range, its newest first.
    async fn take(
        &self,
        shared: &Shared,
        range: Range<u64>,
        found: &mut Vec<(u64, Bytes)>,
    ) -> Result<(), IndexError> {
        let range = range.start.max(self.from)..range.end;
        if range.is_empty() {
            return Ok(());
        }
        let entries = shared.journal.read(range.clone()).await?;
        let placed: Vec<_> = range.zip(entries).collect();
        for (place, bytes) in placed.into_iter().rev() {
            if found.len() >= self.limit {
                return Ok(());
            }
            if self.filter.holds(&bytes)? {
                found.push((place, bytes));
            }
        }
        Ok(())
    }
}
