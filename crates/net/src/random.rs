//! Randomness as an argument.

use std::fmt;
use std::sync::Arc;

/// A source of random bytes, handed to every edge. The binary gives the operating system's.
#[derive(Clone)]
#[expect(clippy::type_complexity, reason = "an alias would hide what the source has to do")]
pub struct Random(Arc<dyn Fn(&mut [u8]) + Send + Sync>);

impl Random {
    /// `fill` must fill its whole argument with unpredictable bytes, or not return.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// Fills `target`.
    pub fn fill(&self, target: &mut [u8]) {
        (self.0)(target);
    }

    /// `N` fresh bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0_u8; N];
        self.fill(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_the_whole_array() {
        let random = Random::new(|target| target.fill(7));
        assert_eq!(random.bytes::<3>(), [7, 7, 7]);
    }
}
