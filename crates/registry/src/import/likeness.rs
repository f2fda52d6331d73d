//! Whether one name could be taken for another by somebody who reads quickly.
//!
//! Letters that look alike count as the same, separators do not count, and one slip of a key is
//! allowed in a name of five letters, two in one of nine: a letter more, less, another one, or two
//! that changed places. Shorter names have to look the same. It finds too much rather than too
//! little, and only ASCII reaches it.

/// Whether `one` is, or could be taken for, `other`.
pub(super) fn looks_like(one: &str, other: &str) -> bool {
    let (one, other) = (skeleton(one), skeleton(other));
    if one == other {
        return true;
    }
    let slips = match one.len().max(other.len()) {
        0..=4 => 0,
        5..=8 => 1,
        _ => 2,
    };
    one.len().abs_diff(other.len()) <= slips && distance(&one, &other) <= slips
}

/// A name as it looks: one case, one letter for those that look alike, and no separators.
fn skeleton(name: &str) -> Vec<u8> {
    let lower = name.to_ascii_lowercase();
    let joined = lower.replace("rn", "m").replace("vv", "w").replace("cl", "d");
    let letters = joined.bytes().filter(u8::is_ascii_alphanumeric);
    letters
        .map(|byte| match byte {
            b'0' => b'o',
            b'1' | b'i' => b'l',
            b'3' => b'e',
            b'5' => b's',
            other => other,
        })
        .collect()
}

/// How many slips lead from one to the other: optimal string alignment.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut now = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let at = |list: &[usize], index: usize| list.get(index).copied().unwrap_or(usize::MAX);
            let replaced = at(&last, column) + usize::from(a != b);
            let mut best = replaced.min(at(&last, column + 1) + 1).min(at(&now, column) + 1);
            let swapped = row > 0
                && column > 0
                && one.get(row - 1) == Some(b)
                && other.get(column - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, column - 1).saturating_add(1));
            }
            now.push(best);
        }
        before = std::mem::replace(&mut last, now);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_lookalikes_are_seen() {
        for (one, other) in [
            ("postmark-mcp", "postmark-mcp"),
            ("postmark-mcp", "postmark_mcp"),
            ("postmark-mcp", "postrnark-mcp"),
            ("postmark-mcp", "p0stmark-mcp"),
            ("postmark-mcp", "Postmark-MCP"),
            ("postmark-mcp", "postmrak-mcp"),
            ("postmark-mcp", "postmarks-mcp"),
            ("postmark-mcp", "posmark-mcp"),
            ("invoices", "lnvoices"),
            ("invoices", "invoice"),
            ("crm", "c-r-m"),
        ] {
            assert!(looks_like(one, other) && looks_like(other, one), "{one} {other}");
        }
    }

    #[test]
    fn other_names_are_other_names() {
        for (one, other) in [
            ("crm", "cms"),
            ("crm", "crm2"),
            ("time", "timer-of-ann"),
            ("postmark-mcp", "mailgun-mcp"),
            ("invoices", "voices-of"),
            ("", "crm"),
        ] {
            assert!(!looks_like(one, other) && !looks_like(other, one), "{one} {other}");
        }
    }

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("abc", "abd", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
        }
    }
}
