//! Server nonces, kept for the origin that gave them: RFC 9449 sections 8.2 and 9.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use url::Url;

/// The newest nonce of each origin. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nonces(Arc<Mutex<HashMap<String, String>>>);

impl Nonces {
    /// The nonce to use towards the origin of `url`.
    pub(crate) fn of(&self, url: &Url) -> Option<String> {
        self.lock(|kept| kept.get(&url.origin().ascii_serialization()).cloned())
    }

    /// Takes the nonce of a response that came from `url`. Another origin's is never used there.
    pub(crate) fn learn(&self, url: &Url, headers: &HeaderMap) -> bool {
        let Some(nonce) = headers.get("dpop-nonce").and_then(|value| value.to_str().ok()) else {
            return false;
        };
        // RFC 9449 section 8.1: visible ASCII without `"` and `\`.
        let well_formed = !nonce.is_empty()
            && nonce.len() <= NONCE_BYTES_MAX
            && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if well_formed {
            self.lock(|kept| {
                kept.insert(url.origin().ascii_serialization(), nonce.to_owned());
            });
        }
        well_formed
    }

    fn lock<T>(&self, f: impl FnOnce(&mut HashMap<String, String>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const NONCE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_nonce_stays_with_its_origin() {
        let nonces = Nonces::default();
        let url = Url::parse("https://a.example/x").unwrap();
        let headers =
            HeaderMap::from_iter([("dpop-nonce".parse().unwrap(), HeaderValue::from_static("n1"))]);
        assert!(nonces.learn(&url, &headers));
        assert_eq!(nonces.of(&url.join("/y").unwrap()).as_deref(), Some("n1"));
        assert_eq!(nonces.of(&Url::parse("https://b.example/").unwrap()), None);
    }

    #[test]
    fn a_malformed_nonce_is_not_kept() {
        let nonces = Nonces::default();
        let url = Url::parse("https://a.example/").unwrap();
        for bad in ["", "a b", "a\"b", "a\\b"] {
            let value = HeaderValue::from_str(bad).unwrap();
            let headers = HeaderMap::from_iter([("dpop-nonce".parse().unwrap(), value)]);
            assert!(!nonces.learn(&url, &headers), "{bad}");
        }
        assert_eq!(nonces.of(&url), None);
    }
}
