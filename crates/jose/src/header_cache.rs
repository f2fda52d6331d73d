//! Remembers parsed headers by their exact text.
//!
//! A client sends the same DPoP header, with the same key, in every proof. Parsing the key costs
//! about as much as all other parsing of a call together, and its result depends on the text alone,
//! so a hit is exactly what parsing again would give. Only headers of verified signatures are
//! remembered: nobody fills the cache without doing the work of signing.
//!
//! Not a security boundary: a full part is emptied, which costs time and nothing else.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use crate::header::Header;

const PARTS: usize = 16;

type Part = RwLock<HashMap<Box<str>, Arc<Header>>>;

/// Parsed headers of verified tokens and proofs, by header text.
pub struct HeaderCache {
    hasher: RandomState,
    parts: [Part; PARTS],
    part_entries_max: usize,
}

impl HeaderCache {
    /// A cache of about `entries_max` headers, each some 1.5 KiB with its key.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| RwLock::default()),
            part_entries_max: entries_max.div_ceil(PARTS),
        }
    }

    pub(crate) fn find(&self, text: &str) -> Option<Arc<Header>> {
        let part = self.part(text)?.read().unwrap_or_else(PoisonError::into_inner);
        part.get(text).cloned()
    }

    pub(crate) fn remember(&self, text: &str, header: &Arc<Header>) {
        let Some(part) = self.part(text) else { return };
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= self.part_entries_max {
            part.clear();
        }
        part.insert(text.into(), Arc::clone(header));
    }

    fn part(&self, text: &str) -> Option<&Part> {
        let parts = u64::try_from(PARTS).unwrap_or(1);
        let index = usize::try_from(self.hasher.hash_one(text) % parts).ok()?;
        self.parts.get(index)
    }
}

impl std::fmt::Debug for HeaderCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeaderCache(at most {} per part)", self.part_entries_max)
    }
}
