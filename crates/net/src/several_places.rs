//! One credential from two places: what was seen of it, and what becomes of it.
//!
//! A place is a network address as [`crate::place`] counts it. Two of them within the life of a
//! token are two workloads with one key, or one that moved: the address alone cannot tell.
//!
//! Not implemented: comparing autonomous systems or attestations. Behind a proxy everybody comes
//! from its address.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What becomes of a credential that is used from two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeveralPlaces {
    /// Nobody looks.
    Off,
    /// It is recorded, once for each life of a token.
    #[default]
    Record,
    /// It is recorded, and refused from the second place.
    Refuse,
}

/// Where a credential was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    place: IpAddr,
    last_s: u64,
    told_s: Option<u64>,
}

/// A use from another place than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The place before.
    pub before: IpAddr,
    /// Whether it was not told of lately.
    pub is_news: bool,
}

impl Sighting {
    /// The first use.
    #[must_use]
    pub fn new(place: IpAddr, now_s: u64) -> Self {
        Self { place, last_s: now_s, told_s: None }
    }

    /// A further use. The first place keeps the credential until it was silent for `within_s`.
    pub fn note(&mut self, place: IpAddr, now_s: u64, within_s: u64) -> Option<Elsewhere> {
        if place == self.place {
            self.last_s = now_s;
            return None;
        }
        if now_s.abs_diff(self.last_s) >= within_s {
            *self = Self::new(place, now_s);
            return None;
        }
        let is_news = self.told_s.is_none_or(|told_s| now_s.abs_diff(told_s) >= within_s);
        if is_news {
            self.told_s = Some(now_s);
        }
        Some(Elsewhere { before: self.place, is_news })
    }

    /// Whether it still says something.
    #[must_use]
    pub fn is_recent(&self, now_s: u64, within_s: u64) -> bool {
        now_s.abs_diff(self.last_s) < within_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_second_place_is_told_of_once_in_a_while() {
        let (one, two) = (at("192.0.2.1"), at("192.0.2.2"));
        let mut seen = Sighting::new(one, 100);
        assert_eq!(seen.note(one, 150, 120), None);
        assert_eq!(seen.note(two, 151, 120), Some(Elsewhere { before: one, is_news: true }));
        assert_eq!(seen.note(two, 152, 120), Some(Elsewhere { before: one, is_news: false }));
        assert_eq!(seen.note(one, 260, 120), None);
        assert_eq!(seen.note(two, 271, 120), Some(Elsewhere { before: one, is_news: true }));
    }

    #[test]
    fn who_moves_is_taken_after_a_while() {
        let (one, two) = (at("192.0.2.1"), at("192.0.2.2"));
        let mut seen = Sighting::new(one, 100);
        assert!(seen.note(two, 219, 120).is_some());
        assert_eq!(seen.note(two, 220, 120), None);
        assert_eq!(seen.note(one, 221, 120), Some(Elsewhere { before: two, is_news: true }));
        assert!(seen.is_recent(339, 120) && !seen.is_recent(340, 120));
    }
}
