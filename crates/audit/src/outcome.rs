//! Which calls were allowed and never ended.
//!
//! The intent of a call is recorded before it is forwarded, its outcome after. A crash between the
//! two leaves an intent without an outcome: a finding, never silence. After a restart the owner of
//! the journal records [`crate::Outcome::Unknown`] for each.

use std::collections::HashMap;

use crate::{Decision, Entry, Kind, Outcome};

/// An intent without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Index of the intent.
    pub index: u64,
    /// The intent.
    pub entry: Entry,
}

impl Unfinished {
    /// The entry that ends the call: it names the same call, and says that nobody knows more.
    #[must_use]
    pub fn completion(&self, now_ms: u64) -> Entry {
        let mut entry = self.entry.clone();
        entry.kind = Kind::CallCompleted;
        entry.time_ms = now_ms;
        entry.decision = None;
        entry.outcome = Some(Outcome::Unknown);
        entry
    }
}

/// The permitted calls among `entries` that have no [`Kind::CallCompleted`] there, oldest first.
/// What cannot be read as an entry, or has no decision id, is passed over.
#[expect(single_use_lifetimes, reason = "the compiler cannot elide it in this place")]
pub fn unfinished<'a>(entries: impl IntoIterator<Item = (u64, &'a [u8])>) -> Vec<Unfinished> {
    let mut open: HashMap<String, Unfinished> = HashMap::new();
    for (index, bytes) in entries {
        let Ok(entry) = Entry::parse(bytes) else { continue };
        let Some(decision_id) = entry.decision_id.clone() else { continue };
        if entry.kind == Kind::CallCompleted {
            open.remove(&decision_id);
        } else if announces(entry.kind) && entry.decision == Some(Decision::Permit) {
            open.insert(decision_id, Unfinished { index, entry });
        }
    }
    let mut left: Vec<Unfinished> = open.into_values().collect();
    left.sort_by_key(|unfinished| unfinished.index);
    left
}

/// Whether an entry of this kind is written before something is forwarded: a call of a tool, a
/// resource or prompt that is read, a request to an API.
const fn announces(kind: Kind) -> bool {
    matches!(kind, Kind::CallDecided | Kind::ResourceAccessed)
}

#[cfg(test)]
mod tests {
    use super::unfinished;
    use crate::{Decision, Entry, Kind, Outcome};

    fn entry(kind: Kind, id: &str, decision: Option<Decision>) -> Vec<u8> {
        let mut entry = Entry::new(kind, 1);
        entry.decision_id = Some(id.into());
        entry.decision = decision;
        entry.to_canonical()
    }

    #[test]
    fn only_permits_without_an_outcome_are_left() {
        let log = [
            entry(Kind::CallDecided, "a", Some(Decision::Permit)),
            entry(Kind::CallDecided, "b", Some(Decision::Deny)),
            entry(Kind::CallDecided, "c", Some(Decision::Permit)),
            entry(Kind::CallCompleted, "a", None),
            b"not an entry".to_vec(),
        ];
        let left = unfinished(log.iter().enumerate().map(|(i, e)| (i as u64, e.as_slice())));
        assert_eq!(left.iter().map(|u| u.index).collect::<Vec<_>>(), [2]);
        let completion = left[0].completion(9);
        assert_eq!((completion.kind, completion.time_ms), (Kind::CallCompleted, 9));
        assert_eq!((completion.outcome, completion.decision), (Some(Outcome::Unknown), None));
        assert_eq!(completion.decision_id.as_deref(), Some("c"));
    }
}
