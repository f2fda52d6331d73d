//! Client secrets, for authorization servers that know nothing better: RFC 6749 section 2.3.1.
//!
//! Attorn's own authority gives none and takes none. A secret is held in memory, and read from a file
//! that only its owner reads where an operator registered the client.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use url::form_urlencoded::{self, Serializer};
use zeroize::Zeroizing;

use crate::request::TokenFailure;

/// What a server gave to a client. Never shown.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// Takes it over.
    #[must_use]
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// RFC 6749 section 2.3.1 and RFC 7617: both are encoded as in a form before they are joined.
    pub(crate) fn basic(&self, client_id: &str) -> Result<HeaderValue, TokenFailure> {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let joined = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(&self.0)));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(joined.as_bytes())));
        let mut value = HeaderValue::from_str(&text).map_err(|_| TokenFailure::Malformed)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret([redacted])")
    }
}

/// Where the secret stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Basic,
    Post,
}

impl Method {
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "client_secret_basic" => Some(Self::Basic),
            "client_secret_post" => Some(Self::Post),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// How a client says who it is.
#[derive(Clone, Debug)]
pub(crate) enum Authentication {
    /// By its name alone.
    None,
    /// By a secret.
    Secret(Method, ClientSecret),
}

impl Authentication {
    /// A secret that no method carries is not used.
    pub(crate) fn with(secret: Option<ClientSecret>, method: Option<Method>) -> Self {
        match (secret, method) {
            (Some(secret), Some(method)) => Self::Secret(method, secret),
            (Some(_) | None, _) => Self::None,
        }
    }

    /// Adds it to a form, or to the headers.
    pub(crate) fn apply(
        &self,
        client_id: &str,
        form: &mut Serializer<'_, String>,
        headers: &mut HeaderMap,
    ) -> Result<(), TokenFailure> {
        match self {
            Self::None => {
                form.append_pair("client_id", client_id);
            }
            Self::Secret(Method::Post, ClientSecret(secret)) => {
                form.append_pair("client_id", client_id).append_pair("client_secret", secret);
            }
            Self::Secret(Method::Basic, secret) => {
                headers.insert(AUTHORIZATION, secret.basic(client_id)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(method: Method) -> (String, HeaderMap) {
        let secret = ClientSecret::new(Zeroizing::new("s:1 %".to_owned()));
        let (mut form, mut headers) = (Serializer::new(String::new()), HeaderMap::new());
        let authentication = Authentication::with(Some(secret), Some(method));
        assert!(!format!("{authentication:?}").contains("s:1"));
        authentication.apply("a b", &mut form, &mut headers).unwrap();
        (form.finish(), headers)
    }

    #[test]
    fn a_secret_stands_in_one_place() {
        let (form, headers) = applied(Method::Post);
        assert_eq!(form, "client_id=a+b&client_secret=s%3A1+%25");
        assert!(headers.is_empty());
        let (form, headers) = applied(Method::Basic);
        assert_eq!(form, "");
        let text = headers[AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), b"a+b:s%3A1+%25");
        assert!(headers[AUTHORIZATION].is_sensitive());
    }
}
