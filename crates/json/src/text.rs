//! Characters in a document that a person reviewing it would not see.

use std::fmt::Write as _;

use crate::Value;

/// One kind of hidden or misleading text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextFinding {
    /// Bidirectional controls: the text reads in another order than it is stored.
    Bidirectional,
    /// Control characters other than tab and line ends, such as terminal escapes.
    Control,
    /// An icon or link that is code or inline data.
    InlineUri,
    /// Characters without a width.
    Invisible,
    /// Unicode tag characters, which models read and people do not.
    Tag,
}

/// One place in a document where something hidden stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// JSON pointer to the text, hidden characters escaped.
    pub at: String,
    /// What was found there, each kind once.
    pub findings: Vec<TextFinding>,
    /// The text itself, hidden characters escaped, cut where it is long.
    pub text: String,
}

impl TextFinding {
    /// Whether the text holds something that a reader does not see. An inline icon is shown as
    /// what it is.
    #[must_use]
    pub fn hides(self) -> bool {
        match self {
            Self::Bidirectional | Self::Control | Self::Invisible | Self::Tag => true,
            Self::InlineUri => false,
        }
    }

    /// One line for the owner who is asked to approve.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Bidirectional => "text direction is overridden: it reads differently than stored",
            Self::Control => "control characters, such as terminal escapes",
            Self::InlineUri => "an icon or link is code or inline data",
            Self::Invisible => "characters without a width",
            Self::Tag => "Unicode tag characters, visible to models and not to people",
        }
    }
}

/// All findings in names and strings of a value, each once, in order.
pub fn text_findings(value: Value<'_>) -> Vec<TextFinding> {
    let mut found = Vec::new();
    collect(value, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

/// The texts of a value that hide something, the first `max` of them.
#[must_use]
pub fn hidden_places(value: Value<'_>, max: usize) -> Vec<TextPlace> {
    let mut places = Vec::new();
    find(value, &mut String::new(), max, &mut places);
    places
}

/// The text with every character that would not be seen as `\u{…}`.
#[must_use]
pub fn escape_hidden(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            // Writing into a string cannot fail.
            let _written = write!(escaped, "{}", character.escape_unicode()).is_ok();
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Whether a reader would not see a character, or would read the text around it otherwise.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    finding(character).is_some()
}

fn find(value: Value<'_>, at: &mut String, max: usize, places: &mut Vec<TextPlace>) {
    if let Some(text) = value.string() {
        note(&text, at, max, places);
    }
    let length = at.len();
    for (index, item) in value.items().into_iter().flatten().enumerate() {
        let _written = write!(at, "/{index}").is_ok();
        find(item, at, max, places);
        at.truncate(length);
    }
    for (name, member) in value.members().into_iter().flatten() {
        at.push('/');
        at.push_str(&escape_hidden(&name).replace('~', "~0").replace('/', "~1"));
        note(&name, at, max, places);
        find(member, at, max, places);
        at.truncate(length);
    }
}

fn note(text: &str, at: &str, max: usize, places: &mut Vec<TextPlace>) {
    let mut findings = Vec::new();
    inspect(text, &mut findings);
    findings.retain(|finding| finding.hides());
    findings.sort_unstable();
    findings.dedup();
    if findings.is_empty() || places.len() >= max {
        return;
    }
    let shown: String = escape_hidden(text).chars().take(SHOWN_MAX).collect();
    places.push(TextPlace { at: at.to_owned(), findings, text: shown });
}

/// Recursion is bounded by the depth limit of the message.
fn collect(value: Value<'_>, found: &mut Vec<TextFinding>) {
    if let Some(text) = value.string() {
        inspect(&text, found);
    }
    for item in value.items().into_iter().flatten() {
        collect(item, found);
    }
    for (name, member) in value.members().into_iter().flatten() {
        inspect(&name, found);
        collect(member, found);
    }
}

fn inspect(text: &str, found: &mut Vec<TextFinding>) {
    // Most text is plain ASCII without anything to find.
    if !text.is_ascii() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        found.extend(text.chars().filter_map(finding));
        found.dedup();
    }
    let start: String = text.trim_start().chars().take(11).collect::<String>().to_ascii_lowercase();
    if start.starts_with("javascript:") || start.starts_with("data:") {
        found.push(TextFinding::InlineUri);
    }
}

fn finding(character: char) -> Option<TextFinding> {
    match character {
        '\t' | '\n' | '\r' => None,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            Some(TextFinding::Bidirectional)
        }
        // Variation selectors beyond the common one carry hidden bytes as tags do.
        '\u{e0000}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}' => Some(TextFinding::Tag),
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0e}'
        | '\u{ffa0}'
        | '\u{1d173}'..='\u{1d17a}' => Some(TextFinding::Invisible),
        control if control.is_control() => Some(TextFinding::Control),
        _ => None,
    }
}

/// Characters shown of one text.
const SHOWN_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse};

    #[test]
    fn hidden_characters_are_escaped_and_nothing_else_is() {
        assert_eq!(escape_hidden("safe \u{202e}exe.txt"), "safe \\u{202e}exe.txt");
        assert_eq!(escape_hidden("a\u{e0041}\u{200b}\u{1b}"), "a\\u{e0041}\\u{200b}\\u{1b}");
        assert_eq!(escape_hidden("caf\u{e9}, \u{4e16}\u{754c}\n"), "caf\u{e9}, \u{4e16}\u{754c}\n");
        for hidden in ["\u{e0100}", "\u{fe00}", "\u{115f}", "\u{2028}"] {
            assert_ne!(escape_hidden(hidden), hidden);
        }
    }

    #[test]
    fn each_place_is_named() {
        let text = "{\"name\":\"t\",\"a\u{200b}\":[\"x\u{202e}y\"],\"icon\":\"data:,x\"}";
        let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        let places = hidden_places(document.value(), 8);
        let shown: Vec<_> = places.iter().map(|p| (p.at.as_str(), p.text.as_str())).collect();
        assert_eq!(shown, [("/a\\u{200b}", "a\\u{200b}"), ("/a\\u{200b}/0", "x\\u{202e}y")]);
        assert_eq!(places[1].findings, [TextFinding::Bidirectional]);
        assert_eq!(hidden_places(document.value(), 1).len(), 1);
    }
}
