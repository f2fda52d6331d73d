//! Bytes of request bodies in memory, all callers together.
//!
//! A body has a limit of its own, and so has a caller. Many callers with one large body each would
//! still take all memory there is, and the operating system would end the process with everything
//! it serves. So the sum has a limit too; a body that goes beyond it is refused, and its caller
//! comes again.
//!
//! Not counted: what a server answers. Each answer has a limit, and so have the calls under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use attorn_enforce::limited::Limited;
use attorn_telemetry::Limit;

/// What is held, and how much may be.
#[derive(Clone, Debug)]
pub(crate) struct HeldBytes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: AtomicUsize,
    max: usize,
}

/// The bytes of one body. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    of: HeldBytes,
    bytes: usize,
}

impl HeldBytes {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Inner { held: AtomicUsize::new(0), max }))
    }

    /// Begins with nothing.
    pub(crate) fn begin(&self) -> Holding {
        Holding { of: self.clone(), bytes: 0 }
    }
}

impl Holding {
    /// Takes room for more bytes, before they are kept.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Limited> {
        let inner = &self.of.0;
        let before = inner.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > inner.max {
            inner.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Limited { limit: Limit::Memory, wait: Duration::ZERO });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.of.0.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_what_there_is_and_give_it_back() {
        let held = HeldBytes::new(100);
        let mut first = held.begin();
        first.add(60).unwrap();
        let mut second = held.begin();
        second.add(40).unwrap();
        assert_eq!(second.add(1).unwrap_err().limit, Limit::Memory);
        // What was refused is not held.
        drop(first);
        second.add(60).unwrap();
        assert!(held.begin().add(1).is_err());
        drop(second);
        assert!(held.begin().add(100).is_ok());
    }
}
