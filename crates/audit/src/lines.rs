//! An entry on a line of its own, for another system.

use serde::{Deserialize, Serialize};

use crate::encode::push_string;
use crate::ocsf;

/// What stands on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineForm {
    /// The entry as it was logged: `{"entry":{…},"id":"<log>#<index>","index":7,"log":"<log>"}`.
    #[default]
    Entry,
    /// One event of OCSF 1.9.0, which has the logged entry in it.
    Ocsf,
}

impl LineForm {
    /// Adds the line of one entry, with its end. The same entry at the same place of the same log has
    /// the same line, always.
    pub fn push(self, (log, index): (&str, u64), entry: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Entry => {
                out.extend_from_slice(b"{\"entry\":");
                // RFC 8785 bytes: no line break can be in them.
                out.extend_from_slice(entry);
                out.extend_from_slice(b",\"id\":");
                push_string(out, &format!("{log}#{index}"));
                out.extend_from_slice(b",\"index\":");
                out.extend_from_slice(index.to_string().as_bytes());
                out.extend_from_slice(b",\"log\":");
                push_string(out, log);
                out.push(b'}');
            }
            Self::Ocsf => out.extend_from_slice(&ocsf::event(log, index, entry)),
        }
        out.push(b'\n');
    }

    /// How many bytes the line of an entry with so many may take, about.
    #[must_use]
    pub const fn weight(self, entry_bytes: usize) -> usize {
        match self {
            Self::Entry => entry_bytes,
            // The entry itself, escaped; what has no attribute, once more; and the attributes.
            Self::Ocsf => entry_bytes.saturating_mul(3).saturating_add(2048),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LineForm;
    use crate::{Entry, Kind};

    #[test]
    fn each_form_is_one_line() {
        let entry = Entry::new(Kind::TokenIssued, 1).to_canonical();
        for form in [LineForm::Entry, LineForm::Ocsf] {
            let mut out = Vec::new();
            form.push(("a/b", 7), &entry, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(text.ends_with("}\n") && text.contains("a/b#7"), "{text}");
            assert!(text.len() <= form.weight(entry.len()) + 64, "{}", text.len());
        }
    }
}
