//! Paths of operations, and the one spelling of a request's path that is compared with them.
//!
//! A path that two readers could understand differently matches nothing: no dot segments, no empty
//! ones, no escapes of what needs none, no escaped separators. RFC 3986 sections 6.2.2 and 6.2.3
//! name the spellings that a server may take for one another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ResourceRefusal;

/// A path such as `/invoices/{id}/lines`. A variable stands for one segment that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathTemplate {
    // Invariant: what `parse` read.
    text: String,
}

impl PathTemplate {
    /// Reads a template. `/` alone is the resource itself.
    ///
    /// # Errors
    /// [`ResourceRefusal::Path`].
    pub fn parse(text: &str) -> Result<Self, ResourceRefusal> {
        let rest = text.strip_prefix('/').ok_or(ResourceRefusal::Path)?;
        let is_part = |part: &str| is_variable(part) || is_literal(part);
        let fits =
            text.len() <= TEMPLATE_BYTES_MAX && (rest.is_empty() || rest.split('/').all(is_part));
        if fits { Ok(Self { text: text.to_owned() }) } else { Err(ResourceRefusal::Path) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path is one of this template, byte for byte, and has one reading only.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        is_plain_path(path) && self.agrees(path, |literal, part| literal == part)
    }

    /// Whether a reader that does not tell upper from lower case, or drops what comes after a dot,
    /// would take the path for one of this template.
    ///
    /// Not looked at: two names with different suffixes, such as `purge.json` and `purge.xml`. Many
    /// APIs tell operations apart by just that (`chat.update`, `chat.delete`).
    #[must_use]
    pub fn might_match(&self, path: &str) -> bool {
        self.agrees(path, |literal, part| is_stem(literal, part) || is_stem(part, literal))
    }

    /// How many segments are variables.
    #[must_use]
    pub fn variables(&self) -> usize {
        self.parts().filter(|part| is_variable(part)).count()
    }

    /// Whether the two differ in nothing but the names of variables and the case of letters.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&str, &str)| {
            one.eq_ignore_ascii_case(other) || (is_variable(one) && is_variable(other))
        };
        self.parts().count() == other.parts().count()
            && self.parts().zip(other.parts()).all(is_same)
    }

    /// One text for all templates of the same place: see [`Self::is_same_place`].
    #[must_use]
    pub(crate) fn place(&self) -> String {
        // No plain part holds a brace.
        let one = |part: &str| {
            if is_variable(part) { "{}".to_owned() } else { part.to_ascii_lowercase() }
        };
        self.parts().map(one).collect::<Vec<_>>().join("/")
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.text.split('/').skip(1)
    }

    fn agrees(&self, path: &str, is_equal: impl Fn(&str, &str) -> bool) -> bool {
        let mut parts = path.split('/').skip(1);
        let fits = self.parts().all(|own| {
            parts.next().is_some_and(|part| {
                if is_variable(own) { !part.is_empty() } else { is_equal(own, part) }
            })
        });
        fits && parts.next().is_none()
    }
}

/// Whether a path has exactly one reading: absolute, no empty segment, no dot segment, and escapes
/// only in capitals, only where needed, and never of what a server might take for a separator.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    rest.is_empty() || rest.split('/').all(is_plain_segment)
}

fn is_plain_segment(segment: &str) -> bool {
    if matches!(segment, "" | "." | "..") {
        return false;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else { return false };
            let (Some(high), Some(low)) = (hex(high), hex(low)) else { return false };
            let value = high << 4 | low;
            // RFC 3986 section 6.2.2.2: an escape of what needs none is a second spelling.
            if is_unreserved(value) || is_separator(value) || value.is_ascii_control() {
                return false;
            }
            decoded.push(value);
        } else if is_unreserved(byte) || LITERAL_MARKS.contains(&byte) {
            decoded.push(byte);
        } else {
            return false;
        }
    }
    // Bytes that are no UTF-8, overlong forms among them, are read differently by everybody.
    std::str::from_utf8(&decoded).is_ok()
}

/// Whether one name is the other, or the other without its suffix: routers read `purge.json` as
/// `purge` in another format, and servers of files find `purge.php` for `purge`.
fn is_stem(stem: &str, name: &str) -> bool {
    let (bytes, stem) = (name.as_bytes(), stem.as_bytes());
    bytes.split_at_checked(stem.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(stem) && matches!(rest.first(), None | Some(b'.'))
    })
}

pub(crate) fn is_variable(part: &str) -> bool {
    let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    })
}

fn is_literal(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && part.bytes().all(is_unreserved)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What some server somewhere splits a path at, or decodes once more.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\' | b'%' | b';' | b'?' | b'#')
}

/// RFC 3986 section 2.1: digits of escapes are written in capitals.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for PathTemplate {
    type Error = ResourceRefusal;
    fn try_from(text: String) -> Result<Self, ResourceRefusal> {
        Self::parse(&text)
    }
}

impl From<PathTemplate> for String {
    fn from(template: PathTemplate) -> Self {
        template.text
    }
}

const TEMPLATE_BYTES_MAX: usize = 512;
/// Marks that RFC 3986 section 3.3 allows in a segment and nobody splits at. `;` is not among them.
const LITERAL_MARKS: &[u8] = b"!$&'()*+,=:@";

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        PathTemplate::parse(text).unwrap()
    }

    #[test]
    fn templates_are_plain_text_and_variables() {
        for good in ["/", "/a", "/a/{b}", "/v1.2/a_b~c/{id}/{line-no}"] {
            assert_eq!(template(good).as_str(), good);
        }
        for bad in [
            "", "a", "//", "/a/", "/a//b", "/.", "/../a", "/a%2Fb", "/{}", "/{a", "/a{b}",
            "/{a b}", "/a?b", "/a;b", "/ä", "/*",
        ] {
            assert_eq!(PathTemplate::parse(bad), Err(ResourceRefusal::Path), "{bad}");
        }
    }

    #[test]
    fn a_variable_is_one_segment() {
        let one = template("/invoices/{id}");
        for good in ["/invoices/7", "/invoices/a%20b", "/invoices/a:b@c", "/invoices/%C3%A4"] {
            assert!(one.matches(good), "{good}");
        }
        for bad in
            ["/invoices", "/invoices/", "/invoices/7/", "/invoices/7/8", "/x/7", "invoices/7"]
        {
            assert!(!one.matches(bad), "{bad}");
        }
        assert!(template("/").matches("/"));
        assert!(!template("/").matches(""));
    }

    #[test]
    fn a_path_with_two_readings_matches_nothing() {
        let one = template("/invoices/{id}");
        for bad in [
            "/invoices/..",
            "/invoices/.",
            "/invoices/%2E%2E",
            "/invoices/%2e%2e",
            "/invoices/a%2Fb",
            "/invoices/a%2fb",
            "/invoices/a%5Cb",
            "/invoices/a\\b",
            "/invoices/a%252Fb",
            "/invoices/%37",
            "/invoices/a;b",
            "/invoices/a%3Bb",
            "/invoices/a%00",
            "/invoices/a%0A",
            "/invoices/%",
            "/invoices/%A",
            "/invoices/%c3%a4",
            "/invoices/%C0%AF",
            "/invoices/%FF",
            "//invoices/7",
            "/invoices//7",
            "/./invoices/7",
            "/x/../invoices/7",
            "/invoices/ä",
            "/invoices/a b",
            "/invoices/7?x",
            "/INVOICES/7",
        ] {
            assert!(!one.matches(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_variables_and_case_make_no_other_place() {
        assert!(template("/a/{b}").is_same_place(&template("/A/{c}")));
        assert!(!template("/a/{b}").is_same_place(&template("/a/b")));
        assert!(!template("/a/{b}").is_same_place(&template("/a/{b}/c")));
        assert!(template("/a/{b}").might_match("/A/x") && !template("/a/{b}").might_match("/A"));
        let all = ["/", "/a", "/A", "/a/{b}", "/A/{c}", "/a/b", "/a/{b}/c", "/{x}", "/{x}/{y}"];
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            let (one, other) = (template(one), template(other));
            assert_eq!(one.place() == other.place(), one.is_same_place(&other), "{one} {other}");
        }
    }

    #[test]
    fn a_suffix_that_a_router_drops_makes_no_other_place() {
        let one = template("/invoices/purge");
        for might in [
            "/invoices/purge",
            "/invoices/purge.json",
            "/invoices/PURGE.Json",
            "/invoices/purge.",
            "/invoices/purge.tar.gz",
            "/invoices.xml/purge",
        ] {
            assert!(one.might_match(might), "{might}");
        }
        assert!(template("/a/purge.php").might_match("/a/purge"));
        assert!(template("/a/v1.2").might_match("/a/v1.2.json"));
        for other in ["/invoices/purged", "/invoices/purge-json", "/invoices/.purge", "/invoices/p"]
        {
            assert!(!one.might_match(other), "{other}");
        }
        // Which operation it is, is told byte for byte.
        assert!(!one.matches("/invoices/purge.json"));
        assert!(!template("/chat.update").might_match("/chat.delete"));
    }
}
