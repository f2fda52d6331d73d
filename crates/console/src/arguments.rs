//! The arguments of a call, to be read by a person: every token as it will be sent, each member on
//! a line of its own.
//!
//! Nothing is parsed into values and written again: a second reader could read otherwise. Line breaks
//! and spaces are added between tokens, and each string is kept apart from the text around it, so that
//! letters that run from right to left turn no other.

use crate::visible::Visible;

/// Arguments as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub(crate) lines: Vec<Line>,
    /// The text in one piece.
    pub(crate) whole: Visible,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) indent: String,
    pub(crate) tokens: Vec<Token>,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: Visible,
    pub(crate) kind: TokenKind,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Mark,
    Text,
    Word,
}

impl Arguments {
    /// `text` is JSON without white space between its tokens (RFC 8785). What is not is shown too:
    /// no character is left out.
    #[must_use]
    pub fn of(text: &str, is_hidden: fn(char) -> bool) -> Self {
        let mut written = Writer { lines: vec![Line::default()], depth: 0, is_hidden };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (token, left) = rest.split_at(length(first, rest));
            written.put(first, token, left);
            rest = left;
        }
        Self { lines: written.lines, whole: Visible::of(text, is_hidden) }
    }

    /// Whether something in them cannot be seen.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.whole.hides()
    }

    /// Whether they are forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }
}

struct Writer {
    lines: Vec<Line>,
    depth: usize,
    is_hidden: fn(char) -> bool,
}

impl Writer {
    fn put(&mut self, first: char, token: &str, left: &str) {
        let is_closed_at_once = left.starts_with(['}', ']']);
        match first {
            '{' | '[' => {
                self.push(token, TokenKind::Mark);
                self.depth += 1;
                if !is_closed_at_once {
                    self.new_line();
                }
            }
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                let was_opened = self.lines.last().and_then(|line| line.tokens.last());
                let was_opened = was_opened.is_some_and(Token::opens);
                if !was_opened {
                    self.new_line();
                }
                self.push(token, TokenKind::Mark);
            }
            ',' => {
                self.push(token, TokenKind::Mark);
                self.new_line();
            }
            ':' => self.push(": ", TokenKind::Mark),
            '"' => self.push(token, TokenKind::Text),
            _ => self.push(token, TokenKind::Word),
        }
    }

    fn push(&mut self, text: &str, kind: TokenKind) {
        let text = Visible::of(text, self.is_hidden);
        if let Some(line) = self.lines.last_mut() {
            line.tokens.push(Token { text, kind });
        }
    }

    fn new_line(&mut self) {
        let indent = "  ".repeat(self.depth.min(DEPTH_SHOWN_MAX));
        self.lines.push(Line { indent, tokens: Vec::new() });
    }
}

impl Token {
    pub(crate) fn class(&self) -> &'static str {
        match self.kind {
            TokenKind::Mark => "mark-token",
            TokenKind::Text => "text-token",
            TokenKind::Word => "word-token",
        }
    }

    fn opens(&self) -> bool {
        let text = self.text.pieces.first().map(|piece| piece.text.as_str());
        self.kind == TokenKind::Mark && matches!(text, Some("{" | "["))
    }
}

/// Bytes of the token that begins a text; at least its first character.
fn length(first: char, text: &str) -> usize {
    match first {
        '"' => string_length(text),
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        _ => text.find(['"', '{', '}', '[', ']', ',', ':']).unwrap_or(text.len()),
    }
}

/// RFC 8259 section 7: up to the first quotation mark that no reverse solidus stands before.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Deeper lines are not moved further to the right.
const DEPTH_SHOWN_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let arguments = Arguments::of(text, |c| c == '\u{202e}');
        let token = |token: &Token| -> String {
            token.text.pieces.iter().map(|piece| piece.text.as_str()).collect()
        };
        let line =
            |line: &Line| line.indent.clone() + &line.tokens.iter().map(token).collect::<String>();
        arguments.lines.iter().map(line).collect()
    }

    #[test]
    fn each_member_has_a_line() {
        assert_eq!(
            shown(r#"{"a":1,"b":{"c":[true,null]},"d":{},"e":[]}"#),
            [
                "{",
                r#"  "a": 1,"#,
                r#"  "b": {"#,
                r#"    "c": ["#,
                "      true,",
                "      null",
                "    ]",
                "  },",
                r#"  "d": {},"#,
                r#"  "e": []"#,
                "}",
            ]
        );
        assert_eq!(shown("{}"), ["{}"]);
    }

    #[test]
    fn strings_stay_whole_whatever_is_in_them() {
        let text = r#"{"a":"x\",{}[]:\\","b\"":"\\\""}"#;
        assert_eq!(shown(text), ["{", r#"  "a": "x\",{}[]:\\","#, r#"  "b\"": "\\\"""#, "}"]);
        assert_eq!(shown("{\"a\":\"\u{202e}x\"}")[1], "  \"a\": \"\\u{202e}x\"");
    }

    #[test]
    fn nothing_is_left_out_of_what_is_no_json() {
        for text in ["", "\"abc", "{{{", "]]", "é\"", "1 2", "a\\"] {
            let joined = shown(text).concat().replace(' ', "");
            assert_eq!(joined, text.replace(' ', ""), "{text}");
        }
    }

    #[test]
    fn a_string_is_set_apart_from_what_is_around_it() {
        let arguments = Arguments::of(r#"{"a":"b"}"#, |_| false);
        let kinds: Vec<_> = arguments.lines[1].tokens.iter().map(|token| token.kind).collect();
        assert_eq!(kinds, [TokenKind::Text, TokenKind::Mark, TokenKind::Text]);
    }
}
