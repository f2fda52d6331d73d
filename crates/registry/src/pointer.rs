//! JSON pointers into the arguments of a call: RFC 6901.
//!
//! Not implemented: the URI fragment form of section 6.

use std::fmt;

use attorn_json::Value;
use serde::{Deserialize, Serialize};

/// A pointer that was read once. Compared token by token, on decoded names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArgumentPointer {
    text: String,
    // Invariant: the decoded tokens of `text`, at least one.
    tokens: Vec<String>,
}

/// Why a text is no pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// `~` is followed by something else than `0` or `1`.
    #[error("`~` in a pointer is written `~0`, and `/` inside a name `~1`")]
    Escape,
    /// It does not start with `/`, so it would point at all arguments.
    #[error("a pointer starts with `/`, for example `/mode`")]
    Start,
    /// It is longer or deeper than allowed.
    #[error("a pointer has at most {TOKENS_MAX} names and {BYTES_MAX} bytes")]
    TooLong,
}

/// What a pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached<'a> {
    /// There is nothing of that name, and there could be.
    Absent,
    /// The way there is not what the pointer expects: a name in a text, a word in an array.
    Unreadable,
    Value(Value<'a>),
}

impl ArgumentPointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// See [`PointerError`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let rest = text.strip_prefix('/').ok_or(PointerError::Start)?;
        let tokens: Vec<String> = rest.split('/').map(decode).collect::<Result<_, _>>()?;
        if text.len() > BYTES_MAX || tokens.len() > TOKENS_MAX {
            return Err(PointerError::TooLong);
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// Follows the pointer through arguments that were scanned strictly.
    pub(crate) fn reach<'a>(&self, arguments: Value<'a>) -> Reached<'a> {
        let mut at = arguments;
        for token in &self.tokens {
            let next = if at.is_object() {
                at.member(token)
            } else if let Some(mut items) = at.items() {
                match index(token) {
                    Some(index) => items.nth(index),
                    None => return Reached::Unreadable,
                }
            } else {
                return Reached::Unreadable;
            };
            match next {
                Some(value) => at = value,
                None => return Reached::Absent,
            }
        }
        Reached::Value(at)
    }
}

/// RFC 6901 section 4: digits without a leading zero. `-` names the place after the last item,
/// where nothing can be read.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    plain.then(|| token.parse().ok())?
}

/// RFC 6901 section 4: first `~1`, then `~0`, and nothing else after `~`.
fn decode(token: &str) -> Result<String, PointerError> {
    let mut parts = token.split('~');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (plain, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (None, Some(rest)) => ('/', rest),
            (None, None) => return Err(PointerError::Escape),
        };
        decoded.push(plain);
        decoded.push_str(rest);
    }
    Ok(decoded)
}

impl fmt::Display for ArgumentPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for ArgumentPointer {
    type Error = PointerError;
    fn try_from(text: String) -> Result<Self, PointerError> {
        Self::parse(&text)
    }
}

impl From<ArgumentPointer> for String {
    fn from(pointer: ArgumentPointer) -> Self {
        pointer.text
    }
}

const TOKENS_MAX: usize = 16;
const BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use attorn_json::{Limits, parse};

    use super::*;

    fn check(arguments: &str, pointer: &str, expected: Result<&str, &str>) {
        let document = parse(arguments.as_bytes(), &Limits::MESSAGE).unwrap();
        let found = match ArgumentPointer::parse(pointer).unwrap().reach(document.value()) {
            Reached::Absent => Err("absent"),
            Reached::Unreadable => Err("unreadable"),
            Reached::Value(value) => Ok(value.text()),
        };
        assert_eq!(found, expected, "{arguments} {pointer}");
    }

    /// The examples of RFC 6901 section 5 that are no whole document.
    #[test]
    fn follows_rfc_6901_section_5() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        check(text, "/foo", Ok(r#"["bar","baz"]"#));
        check(text, "/foo/0", Ok(r#""bar""#));
        for (pointer, value) in [
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            check(text, pointer, Ok(value));
        }
    }

    #[test]
    fn a_name_is_compared_after_unescaping() {
        check(r#"{"m\u006fde":"read"}"#, "/mode", Ok(r#""read""#));
        check(r#"{"~01":1}"#, "/~001", Ok("1"));
    }

    #[test]
    fn a_way_that_is_not_there_is_absent_and_one_that_cannot_be_is_unreadable() {
        check("{}", "/mode", Err("absent"));
        check(r#"{"a":{}}"#, "/a/b/c", Err("absent"));
        check(r#"{"a":[1]}"#, "/a/1", Err("absent"));
        for way in ["/a/b", "/a/-", "/a/01", "/a/+0", "/a/ 0", "/a/"] {
            check(r#"{"a":[1]}"#, way, Err("unreadable"));
        }
        check(r#"{"a":"text"}"#, "/a/b", Err("unreadable"));
        check(r#"{"a":null}"#, "/a/b", Err("unreadable"));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for (text, why) in [
            ("", PointerError::Start),
            ("mode", PointerError::Start),
            ("#/mode", PointerError::Start),
            ("/a~", PointerError::Escape),
            ("/a~2", PointerError::Escape),
        ] {
            assert_eq!(ArgumentPointer::parse(text), Err(why), "{text}");
        }
        assert_eq!(ArgumentPointer::parse(&"/a".repeat(17)), Err(PointerError::TooLong));
    }
}
