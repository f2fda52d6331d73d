//! Which requests a path of the document could be for, read generously.
//!
//! What is left out of the list is still at the API, and the template of another operation may take
//! its requests: `/items/{id}` takes those for `/items/purge`. Found without need, a class is too
//! high, and its owner lowers it; missed, a warning is lost. *Not* looked at: where the servers are
//! that a path or an operation has of its own, and variables that take slashes and do not say so.

use super::base::BasePath;
use crate::path_template::{PathTemplate, is_variable};

/// The path of a request, as far as the document says it.
pub(super) struct Reach {
    // Invariant: no segment without a piece, and all in lower case.
    /// Below the URL of the API. Between two pieces of a segment stands anything.
    segments: Vec<Vec<String>>,
    /// Whether more segments may follow.
    is_open: bool,
}

impl Reach {
    /// Nothing where the path cannot be below the URL of the API.
    pub(super) fn of(path: &str, base: &BasePath) -> Option<Self> {
        // RFC 3986 section 3.3: the path ends there.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let whole = format!("{}/{path}", base.document);
        let mut segments: Vec<Vec<String>> = Vec::new();
        let mut is_open = false;
        for segment in whole.split('/') {
            match segment {
                // RFC 3986 section 6.2.2.3, and servers that take several slashes for one.
                "" | "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push(pieces(segment)),
            }
            if may_span(segment) {
                is_open = true;
                break;
            }
        }
        let mut segments = segments.into_iter();
        for own in base.resource.split('/').filter(|own| !own.is_empty()) {
            match segments.next() {
                Some(segment) if could_be(&segment, own) => {}
                None if is_open => {}
                Some(_) | None => return None,
            }
        }
        Some(Self { segments: segments.collect(), is_open })
    }

    /// Whether a request for it could be one of the template.
    pub(super) fn meets(&self, template: &PathTemplate) -> bool {
        let mut own = template.as_str().split('/').filter(|part| !part.is_empty());
        // One path that is of both, if there is any.
        let mut path = String::new();
        for segment in &self.segments {
            let Some(part) = own.next() else { return false };
            path.push('/');
            match segment.as_slice() {
                // How loosely a server reads a name is told by the template, as for requests.
                [text] => path.push_str(text),
                pieces if is_variable(part) || could_be(pieces, part) => path.push_str(part),
                _ => return false,
            }
        }
        for part in own {
            if !self.is_open {
                return false;
            }
            path.push('/');
            path.push_str(part);
        }
        if path.is_empty() {
            path.push('/');
        }
        template.might_match(&path)
    }
}

/// The text of a segment without what can stand for other text.
fn pieces(segment: &str) -> Vec<String> {
    let segment = segment.to_ascii_lowercase();
    let (mut rest, is_cut) = match segment.split_once(READ_OTHERWISE) {
        Some((before, _)) => (before, true),
        None => (segment.as_str(), false),
    };
    let mut pieces = Vec::new();
    while let Some((before, after)) = rest.split_once('{') {
        // An empty one tells something at the start and at the end alone.
        if pieces.is_empty() || !before.is_empty() {
            pieces.push(before.to_owned());
        }
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    pieces.push(rest.to_owned());
    if is_cut {
        pieces.push(String::new());
    }
    pieces
}

/// Whether it could stand for several segments: `{path+}`, `{path:.*}`, `*`.
fn may_span(segment: &str) -> bool {
    let spans = |rest: &str| rest.split_once('}').is_none_or(|(name, _)| name.contains(['+', ':']));
    segment.contains('*') || segment.split('{').skip(1).any(spans)
}

/// Whether something between the pieces makes this text of them.
fn could_be(pieces: &[String], text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let Some((first, others)) = pieces.split_first() else { return false };
    let Some((last, middle)) = others.split_last() else { return text == *first };
    let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
    for piece in middle {
        let Some((_, after)) = rest.split_once(piece.as_str()) else { return false };
        rest = after;
    }
    true
}

/// Escapes, and where servers cut a segment or read a pattern.
const READ_OTHERWISE: [char; 4] = ['%', '*', ';', '\\'];

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
