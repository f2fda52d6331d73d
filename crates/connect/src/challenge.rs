//! Reading `WWW-Authenticate`: RFC 9110 section 11.6.1.
//!
//! Implemented: several fields, several challenges in one field, tokens and quoted strings.
//! Not implemented: `token68`, which neither `Bearer` nor `DPoP` uses (such a challenge is kept
//! without parameters).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge: its scheme in lower case and its parameters, names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The error code: RFC 6750 section 3, RFC 9449 section 7.1.
    pub(crate) fn error(&self) -> Option<&str> {
        self.parameter("error")
    }

    /// The scopes that would help: RFC 6750 section 3.
    pub(crate) fn scope(&self) -> Option<&str> {
        self.parameter("scope")
    }

    /// Where the resource's metadata is: RFC 9728 section 5.1.
    pub(crate) fn resource_metadata(&self) -> Option<&str> {
        self.parameter("resource_metadata")
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All challenges of a response that name `Bearer` or `DPoP`, in their order.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for field in headers.get_all(WWW_AUTHENTICATE) {
        if let Ok(text) = field.to_str() {
            parse(text, &mut found);
        }
    }
    found.retain(|challenge| matches!(challenge.scheme.as_str(), "bearer" | "dpop"));
    found
}

/// A part between commas is `scheme`, `scheme name=value` or `name=value`.
fn parse(text: &str, found: &mut Vec<Challenge>) {
    for part in split_outside_quotes(text) {
        let part = part.trim();
        let name_end = part.find(['=', ' ', '\t']).unwrap_or(part.len());
        let (first, rest) = part.split_at_checked(name_end).unwrap_or((part, ""));
        if first.is_empty() {
            continue;
        }
        if let Some(value) = rest.trim_start().strip_prefix('=') {
            if let Some(challenge) = found.last_mut() {
                challenge.parameters.push((first.to_ascii_lowercase(), unquoted(value)));
            }
            continue;
        }
        let mut challenge =
            Challenge { scheme: first.to_ascii_lowercase(), parameters: Vec::new() };
        if let Some((name, value)) = rest.trim().split_once('=') {
            let name = name.trim_end().to_ascii_lowercase();
            challenge.parameters.push((name, unquoted(value)));
        }
        found.push(challenge);
    }
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.extend(text.get(start..index));
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// RFC 9110 section 5.6.4: a backslash makes the next character literal.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => out.extend(characters.next()),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(fields: &[&'static str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(field));
        }
        challenges(&headers)
    }

    #[test]
    fn two_challenges_in_one_field() {
        let found = read(&[
            r#"DPoP algs="ES256 EdDSA", error="insufficient_scope", scope="read:a, write:b", Bearer"#,
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].error(), Some("insufficient_scope"));
        assert_eq!(found[0].scope(), Some("read:a, write:b"));
        assert_eq!(found[1].scheme, "bearer");
    }

    #[test]
    fn one_challenge_a_field_and_other_schemes_left_out() {
        let found =
            read(&["Basic realm=\"x\"", r#"Bearer resource_metadata = "https://a.example/\"b""#]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].resource_metadata(), Some("https://a.example/\"b"));
    }

    #[test]
    fn unfinished_text_is_no_reason_to_fail() {
        assert_eq!(read(&[r#"DPoP error="use_dpop_nonce"#])[0].error(), Some("use_dpop_nonce"));
        assert!(read(&[", ,=,"]).is_empty());
    }
}
