//! `WWW-Authenticate`: written by the resource server, read by the client.
//!
//! Implemented: the `DPoP` challenge of RFC 9449 section 7.1 with `scope` (RFC 6750 section 3) and
//! `resource_metadata` (RFC 9728 section 5.1); reading of the grammar of RFC 9110 section 11.6.1.
//! A `Bearer` challenge (RFC 6750 section 3) stands beside it where bearer tokens are taken.

use std::fmt::Write as _;

use attorn_registry::ScopeSet;

use crate::error::ErrorCode;

/// A header value longer than this is not read.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// What a resource server answers with 401 or 403.
#[derive(Clone, Copy, Debug)]
pub struct NewChallenge<'a> {
    /// Why the request was refused; none when it carried no token at all (RFC 6750 section 3.1).
    pub error: Option<ErrorCode>,
    /// The URL of the metadata, from configuration; none where nobody serves it.
    pub resource_metadata: Option<&'a str>,
    /// All scopes the operation needs, or the smallest useful set.
    pub scope: Option<&'a ScopeSet>,
    /// The algorithms for proofs, by name.
    pub algorithms: &'a [&'a str],
}

impl NewChallenge<'_> {
    /// The header value.
    #[must_use]
    pub fn to_header(&self) -> String {
        let mut value = self.written("DPoP ");
        parameter(&mut value, "algs", &self.algorithms.join(" "));
        self.with_metadata(value)
    }

    /// The value of a second header, for clients without proofs: RFC 6750 section 3.
    #[must_use]
    pub fn to_bearer_header(&self) -> String {
        self.with_metadata(self.written("Bearer "))
    }

    fn with_metadata(&self, mut value: String) -> String {
        if let Some(url) = self.resource_metadata {
            parameter(&mut value, "resource_metadata", url);
        }
        value
    }

    fn written(&self, scheme: &str) -> String {
        let mut value = String::from(scheme);
        if let Some(error) = self.error {
            parameter(&mut value, "error", error.as_str());
        }
        if let Some(scope) = self.scope.filter(|scope| !scope.is_empty()) {
            parameter(&mut value, "scope", &scope.to_string());
        }
        value
    }
}

/// RFC 9110 section 5.6.4: a quoted string. Our values hold neither quotes nor backslashes; they
/// are escaped all the same, so that no value can end its own parameter.
fn parameter(value: &mut String, name: &str, text: &str) {
    if !value.ends_with(' ') {
        value.push_str(", ");
    }
    value.push_str(name);
    value.push_str("=\"");
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            value.push('\\');
        }
        value.push(character);
    }
    value.push('"');
}

/// One challenge of a response: a scheme and its parameters, names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: RFC 9110 section 11.1 compares it so.
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

/// A header value that is not a list of challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the challenge is malformed")]
pub struct ChallengeError;

impl Challenge {
    /// Reads one header value, which may hold several challenges.
    ///
    /// # Errors
    /// [`ChallengeError`]; a half-understood challenge is not acted on.
    pub fn parse_all(value: &str) -> Result<Vec<Self>, ChallengeError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(ChallengeError);
        }
        let mut reader = Reader { rest: value };
        let mut challenges: Vec<Self> = Vec::new();
        reader.skip_separators();
        while !reader.rest.is_empty() {
            let word = reader.token()?;
            reader.skip_blanks();
            match (reader.take('='), challenges.last_mut()) {
                (true, Some(challenge)) => {
                    reader.skip_blanks();
                    challenge.add(word, reader.value()?)?;
                }
                (true, None) => return Err(ChallengeError),
                (false, _) => challenges
                    .push(Self { scheme: word.to_ascii_lowercase(), parameters: Vec::new() }),
            }
            reader.skip_separators();
        }
        Ok(challenges)
    }

    /// The `DPoP` challenge among several header values; malformed values are passed over.
    #[must_use]
    pub fn dpop_among(values: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Self> {
        values
            .into_iter()
            .filter_map(|value| Self::parse_all(value.as_ref()).ok())
            .flatten()
            .find(|challenge| challenge.scheme == "dpop")
    }

    /// A parameter by its lower-case name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// RFC 9110 section 11.2: each parameter occurs only once per challenge.
    fn add(&mut self, name: &str, value: String) -> Result<(), ChallengeError> {
        let name = name.to_ascii_lowercase();
        if self.parameter(&name).is_some() {
            return Err(ChallengeError);
        }
        self.parameters.push((name, value));
        Ok(())
    }
}

/// Walks over one header value.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// RFC 9110 section 5.6.1.2: empty list elements are passed over.
    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// RFC 9110 section 5.6.2.
    fn token(&mut self) -> Result<&'a str, ChallengeError> {
        let end = self.rest.find(|character| !is_token(character)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end).ok_or(ChallengeError)?;
        self.rest = rest;
        if token.is_empty() { Err(ChallengeError) } else { Ok(token) }
    }

    /// RFC 9110 section 11.2: a token or a quoted string.
    fn value(&mut self) -> Result<String, ChallengeError> {
        if !self.take('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut characters = self.rest.chars();
        loop {
            match characters.next().ok_or(ChallengeError)? {
                '"' => break,
                '\\' => value.push(characters.next().ok_or(ChallengeError)?),
                character => value.push(character),
            }
        }
        self.rest = characters.as_str();
        Ok(value)
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

/// The value of an `Authorization` header for a bound token: RFC 9449 section 7.1.
#[must_use]
pub fn authorization(access_token: &str) -> String {
    let mut value = String::with_capacity(access_token.len() + 5);
    // Writing to a string cannot fail.
    let _infallible = write!(value, "DPoP {access_token}");
    value
}

/// The token of an `Authorization` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// RFC 9449 section 7.1: the scheme of bound tokens.
    Dpop(&'a str),
    /// RFC 6750 section 2.1. A bound token under this scheme is refused (RFC 9449 section 7.2).
    Bearer(&'a str),
}

/// Reads an `Authorization` header: scheme, one space, one token.
///
/// `None` is any other form, any other scheme, or several tokens.
#[must_use]
pub fn presented(authorization: &str) -> Option<Presented<'_>> {
    let (scheme, token) = authorization.split_once(' ')?;
    // RFC 9110 section 11.2, token68: no space, no comma, no quotes.
    let is_token68 = !token.is_empty()
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    if !is_token68 {
        return None;
    }
    // RFC 9110 section 11.1: the scheme is compared without case.
    if scheme.eq_ignore_ascii_case("DPoP") {
        Some(Presented::Dpop(token))
    } else if scheme.eq_ignore_ascii_case("Bearer") {
        Some(Presented::Bearer(token))
    } else {
        None
    }
}

#[cfg(test)]
#[path = "challenge_tests.rs"]
mod tests;
