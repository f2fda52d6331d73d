//! An entry on a line of its own, for another system.

use serde::{Deserialize, Serialize};

use crate::encode::push_string;
use crate::ocsf;
use crate::tree::leaf_hash;

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

    /// Adds the line that stands in place of one entry that the other system refuses with `status`:
    /// where it is and what its hash is, and nothing that a caller could have put into it.
    pub fn push_refused(
        self,
        (log, index): (&str, u64),
        entry: &[u8],
        status: u16,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Entry => {
                out.extend_from_slice(b"{\"id\":");
                push_string(out, &format!("{log}#{index}"));
                out.extend_from_slice(b",\"index\":");
                out.extend_from_slice(index.to_string().as_bytes());
                out.extend_from_slice(b",\"leaf_hash\":");
                push_string(out, &leaf_hash(entry).to_base64());
                out.extend_from_slice(b",\"log\":");
                push_string(out, log);
                out.extend_from_slice(b",\"refused\":");
                out.extend_from_slice(status.to_string().as_bytes());
                out.push(b'}');
            }
            Self::Ocsf => out.extend_from_slice(&ocsf::refused(log, index, entry, status)),
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
    use serde_json::Value;

    use super::LineForm;
    use crate::tree::leaf_hash;
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

    #[test]
    fn in_place_of_an_entry_stands_where_it_is_and_nothing_of_what_it_says() {
        let tool = Some("${jndi:ldap://x}".to_owned());
        let entry = Entry { tool, ..Entry::new(Kind::CallDecided, 1) }.to_canonical();
        let line = |form: LineForm| -> Value {
            let mut out = Vec::new();
            form.push_refused(("a/b", 7), &entry, 403, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.contains("jndi"), "{text}");
            serde_json::from_str(&text).unwrap()
        };
        let leaf = leaf_hash(&entry).to_base64();
        let expected = serde_json::json!({
            "id": "a/b#7", "index": 7, "leaf_hash": leaf, "log": "a/b", "refused": 403,
        });
        assert_eq!(line(LineForm::Entry), expected);
        let event = line(LineForm::Ocsf);
        assert_eq!(event["metadata"]["uid"], "a/b#7");
        assert_eq!(event["unmapped"], serde_json::json!({ "leaf_hash": leaf, "refused": 403 }));
    }
}
