//! Characters in a tool definition that a person reviewing it would not see.

use attorn_json::Value;

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

impl TextFinding {
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
        '\u{e0000}'..='\u{e007f}' => Some(TextFinding::Tag),
        '\u{ad}'
        | '\u{34f}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{3164}' => Some(TextFinding::Invisible),
        control if control.is_control() => Some(TextFinding::Control),
        _ => None,
    }
}
