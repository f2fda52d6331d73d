//! What a tool does to the flow of information, as its owner says. Each alone is harmless; an
//! agent that joins all three can be talked into carrying secrets out.

use std::ops::BitOr;

use serde::{Deserialize, Serialize};

/// The effects of a tool, or of everything an agent may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effects {
    /// Its results hold what not everybody may know.
    #[serde(default)]
    pub reads_private: bool,
    /// Its results hold what strangers wrote.
    #[serde(default)]
    pub takes_untrusted: bool,
    /// Its arguments reach somebody outside.
    #[serde(default)]
    pub sends_outside: bool,
}

impl Effects {
    /// Whether private data, untrusted content and a way out come together.
    #[must_use]
    pub fn joins_all(self) -> bool {
        self.reads_private && self.takes_untrusted && self.sends_outside
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The names of the effects that are set.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (self.reads_private, "reads_private"),
            (self.takes_untrusted, "takes_untrusted"),
            (self.sends_outside, "sends_outside"),
        ];
        all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
    }
}

impl BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            reads_private: self.reads_private || other.reads_private,
            takes_untrusted: self.takes_untrusted || other.takes_untrusted,
            sends_outside: self.sends_outside || other.sends_outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_are_no_finding() {
        let reads = Effects { reads_private: true, ..Effects::default() };
        let takes = Effects { takes_untrusted: true, ..Effects::default() };
        let sends = Effects { sends_outside: true, ..Effects::default() };
        for two in [reads | takes, reads | sends, takes | sends] {
            assert!(!two.joins_all());
        }
        assert!((reads | takes | sends).joins_all());
        assert_eq!((reads | sends).names(), ["reads_private", "sends_outside"]);
        assert!(Effects::default().is_empty() && !reads.is_empty());
    }
}
