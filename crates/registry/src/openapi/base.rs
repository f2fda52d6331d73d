//! Where the paths of a document are, compared with where the API is.
//!
//! OpenAPI 3.1.1, Paths Object: a path is appended to the URL of a server. Operations are below the
//! URL of the API as it is registered, so the two have to be brought together. Taken wrongly, every
//! operation would match nothing, so what is not certain is asked for.

use super::{LeftOutReason, OpenApiDocument};
use crate::path_template::{PathTemplate, is_variable};

/// What a path of the document begins with, and what of it is the API's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath {
    /// Before every path of the document. Without a slash at its end.
    pub(super) document: String,
    /// Of the API's URL. Without a slash at its end.
    pub(super) resource: String,
    /// Whether the API's URL ends with a slash.
    takes_slash: bool,
}

/// Why it is not certain where the paths of a document are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseRefusal {
    /// Paths of the document repeat the path of the API.
    #[error(
        "paths of the document begin with `{path}`, as the URL of the API does: are they below it, \
         or is it a part of them?"
    )]
    Ambiguous {
        /// Of the API.
        path: String,
    },
    /// The path of a server is not the end of the API's.
    #[error("`servers` has `{server}`, with whose path the URL of the API does not end")]
    NotTheEnd {
        /// As it is written.
        server: String,
    },
    /// Several servers of the API's host, and none is the API.
    #[error("`servers` has several addresses at the host of the API, and none is its URL")]
    Several,
    /// The address that was given.
    #[error(
        "a base URL is at the scheme, host and port of the API, above it, below it or the same; \
         without variables, query and fragment"
    )]
    Stated,
}

impl OpenApiDocument<'_> {
    /// Where its paths are. `stated` counts in the place of `servers`.
    ///
    /// Otherwise: a server at the API's own host says it exactly. One elsewhere, or without a host,
    /// is the same API seen from another side (behind a guard, in another environment): its paths are
    /// taken as they are below the API's URL, if that one ends with the server's path.
    ///
    /// # Errors
    /// See [`BaseRefusal`].
    pub fn base(&self, resource: &str, stated: Option<&str>) -> Result<BasePath, BaseRefusal> {
        let own = Address::of(resource);
        if let Some(stated) = stated {
            let stated = Address::of(stated);
            let path = stated.path.filter(|path| is_related(path, &own.raw));
            let is_here = stated.origin.is_some() && stated.origin == own.origin;
            return path.filter(|_| is_here).map(|path| own.base(path)).ok_or(BaseRefusal::Stated);
        }
        let servers: Vec<_> = self.servers.iter().map(|text| (text, Address::of(text))).collect();
        let mut here: Vec<_> =
            servers.iter().filter(|(_, server)| server.origin == own.origin).collect();
        if here.is_empty() {
            return self.base_elsewhere(&servers, &own);
        }
        here.dedup_by(|(_, one), (_, other)| one.path == other.path);
        let path = |(_, server): &&(&String, Address)| server.path.clone();
        if here.iter().filter_map(path).any(|path| path == own.raw) {
            return Ok(own.base(own.raw.clone()));
        }
        match here.as_slice() {
            [(text, server)] => {
                let path = server.path.clone().filter(|path| is_related(path, &own.raw));
                let refusal = || BaseRefusal::NotTheEnd { server: (*text).clone() };
                path.map(|path| own.base(path)).ok_or_else(refusal)
            }
            _ => Err(BaseRefusal::Several),
        }
    }

    fn base_elsewhere(
        &self,
        servers: &[(&String, Address)],
        own: &Address,
    ) -> Result<BasePath, BaseRefusal> {
        // OpenAPI 3.1.1, OpenAPI Object: without `servers` there is one, `/`.
        let mut paths = Vec::new();
        for (text, server) in servers {
            let is_end = |path: &String| own.raw.ends_with(path.as_str());
            let refusal = || BaseRefusal::NotTheEnd { server: (*text).clone() };
            paths.push(server.path.clone().filter(is_end).ok_or_else(refusal)?);
        }
        if servers.is_empty() {
            paths.push(String::new());
        }
        let is_whole = |path: &String| *path == own.raw;
        let repeats = |path: &str| {
            paths.iter().filter(|base| !is_whole(base)).any(|base| {
                let whole = format!("{base}{path}");
                below(&whole, &own.raw).is_some()
            })
        };
        let mut names = self.paths.members().into_iter().flatten().map(|(path, _)| path);
        if names.any(|path| repeats(&path)) {
            return Err(BaseRefusal::Ambiguous { path: own.raw.clone() });
        }
        Ok(own.base(own.raw.clone()))
    }
}

impl BasePath {
    /// A path of the document as one below the API's URL.
    pub(super) fn template(&self, path: &str) -> Result<PathTemplate, LeftOutReason> {
        if !path.starts_with('/') {
            return Err(LeftOutReason::Path);
        }
        let whole = format!("{}{path}", self.document);
        let rest = below(&whole, &self.resource).ok_or(LeftOutReason::Outside)?;
        // `/` alone is the API itself, which has one spelling.
        if rest.ends_with('/') && (rest != "/" || !self.takes_slash) {
            return Err(LeftOutReason::TrailingSlash);
        }
        let rest = if rest.is_empty() { "/" } else { rest };
        PathTemplate::parse(rest)
            .map_err(|_| rest.split('/').find_map(not_a_variable).unwrap_or(LeftOutReason::Path))
    }
}

/// Why a part with a brace is no variable.
fn not_a_variable(part: &str) -> Option<LeftOutReason> {
    if is_variable(part) || !part.contains(['{', '}']) {
        return None;
    }
    let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let is_whole = name.is_some_and(|name| !name.contains(['{', '}']));
    Some(if is_whole { LeftOutReason::VariableName } else { LeftOutReason::PartialVariable })
}

/// An address, cut.
struct Address {
    /// Scheme, host and port in one spelling, where it says them.
    origin: Option<String>,
    /// The path without a slash at its end, as it is written.
    raw: String,
    /// The same, if it is plain text: what has variables or two readings is not compared.
    path: Option<String>,
    ends_with_slash: bool,
}

impl Address {
    fn of(text: &str) -> Self {
        let (origin, path) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = cut_authority(rest);
                (origin(scheme, authority), path)
            }
            // RFC 3986 section 4.2: a network-path reference.
            None => match text.strip_prefix("//") {
                Some(rest) => (None, cut_authority(rest).1),
                None => (None, text),
            },
        };
        let raw = path.strip_suffix('/').unwrap_or(path);
        let is_plain = raw.is_empty() || (!raw.contains('{') && PathTemplate::parse(raw).is_ok());
        Self {
            origin,
            raw: raw.to_owned(),
            path: is_plain.then(|| raw.to_owned()),
            ends_with_slash: path.ends_with('/'),
        }
    }

    fn base(&self, document: String) -> BasePath {
        let resource = self.raw.clone();
        BasePath { document, resource, takes_slash: self.ends_with_slash }
    }
}

fn cut_authority(rest: &str) -> (&str, &str) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, ""))
}

/// RFC 3986 sections 6.2.2.1 and 6.2.3: the case of scheme and host is no matter, nor is a port that
/// goes without saying.
fn origin(scheme: &str, authority: &str) -> Option<String> {
    if scheme.contains('{') || authority.contains('{') {
        return None;
    }
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = authority.strip_suffix(port).unwrap_or(&authority);
    Some(format!("{scheme}://{authority}"))
}

/// What of a path is below another one.
fn below<'p>(path: &'p str, own: &str) -> Option<&'p str> {
    path.strip_prefix(own).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_related(one: &str, other: &str) -> bool {
    below(one, other).is_some() || below(other, one).is_some()
}
