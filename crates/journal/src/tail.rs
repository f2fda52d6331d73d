//! The newest entries in memory: written, but not yet in a full tile.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

/// The newest entries. The writer adds at the end, the integrator drops at the front.
#[derive(Debug)]
pub(crate) struct Tail(RwLock<Inner>);

#[derive(Debug)]
struct Inner {
    first: u64,
    bytes: usize,
    entries: VecDeque<Bytes>,
}

impl Tail {
    /// Begins with entry `first`.
    pub(crate) fn new(first: u64, entries: Vec<Bytes>) -> Self {
        let bytes = entries.iter().map(Bytes::len).sum();
        Self(RwLock::new(Inner { first, bytes, entries: entries.into() }))
    }

    pub(crate) fn append(&self, entries: impl Iterator<Item = Bytes>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            inner.bytes += entry.len();
            inner.entries.push_back(entry);
        }
    }

    /// The entries of `range` that are here, or `None` if the range begins before them.
    pub(crate) fn range(&self, range: Range<u64>) -> Option<Vec<Bytes>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(range.start.checked_sub(inner.first)?).ok()?;
        let count = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        Some(inner.entries.iter().skip(skip).take(count).cloned().collect())
    }

    /// Drops the entries before `index`.
    pub(crate) fn drop_before(&self, index: u64) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        while inner.first < index {
            let Some(entry) = inner.entries.pop_front() else { break };
            inner.bytes -= entry.len();
            inner.first += 1;
        }
    }

    /// Memory the entries take.
    pub(crate) fn bytes(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).bytes
    }
}
