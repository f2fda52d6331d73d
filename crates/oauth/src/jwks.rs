//! The key set of an issuer as a document: RFC 7517 section 5.
//!
//! Strict where it matters: public keys only, each with a name, none twice. A key of a kind that is
//! not accepted here is passed over, as RFC 7517 section 5 asks for; a set with none left is
//! refused. Not implemented: `x5c`, and keys whose `use` or `key_ops` are not for signatures.

use attorn_jose::PublicKey;
use attorn_json::{Limits, Value};

use crate::access_token::{DuplicateKeyId, IssuerKeys};

/// Bytes of the largest set that is read.
pub const JWKS_LIMITS: Limits = Limits { bytes_max: 64 << 10, depth_max: 8 };

/// Why a document is not a usable key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksRefusal {
    /// No key of it can be used.
    #[error("the set holds no key that can be used")]
    Empty,
    /// Not strict JSON with a list of keys.
    #[error("not a key set")]
    Malformed,
    /// Two keys have one name.
    #[error(transparent)]
    Duplicate(#[from] DuplicateKeyId),
}

/// Reads a set.
///
/// # Errors
/// [`JwksRefusal`]; then keep the keys that are known.
pub fn parse(document: &[u8]) -> Result<IssuerKeys, JwksRefusal> {
    let document =
        attorn_json::parse(document, &JWKS_LIMITS).map_err(|_| JwksRefusal::Malformed)?;
    let keys = document.value().member("keys").and_then(Value::items);
    let keys: Vec<_> = keys.ok_or(JwksRefusal::Malformed)?.filter_map(named_key).collect();
    if keys.is_empty() {
        return Err(JwksRefusal::Empty);
    }
    Ok(IssuerKeys::new(keys)?)
}

fn named_key(key: Value<'_>) -> Option<(String, PublicKey)> {
    let text = |name| key.member(name).and_then(Value::string);
    // RFC 7517 section 4.2: a key for encryption verifies nothing.
    if key.member("use").is_some() && text("use").as_deref() != Some("sig") {
        return None;
    }
    let public = PublicKey::parse_jwk(key.text()).ok()?;
    Some((text("kid")?.into_owned(), public))
}

#[cfg(test)]
mod tests {
    use attorn_jose::{Algorithm, SigningKey};

    use super::*;

    fn jwk(seed: u8, kid: &str) -> String {
        let key = SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32]).unwrap();
        key.public().to_jwk(Some(kid))
    }

    fn check(document: &str, expected: Result<(), JwksRefusal>) {
        assert_eq!(parse(document.as_bytes()).map(drop), expected, "{document}");
    }

    #[test]
    fn a_set_of_named_keys_is_read() {
        let set = format!(r#"{{"keys":[{},{}]}}"#, jwk(1, "a"), jwk(2, "b"));
        let keys = parse(set.as_bytes()).unwrap();
        assert!(keys.find("a").is_some() && keys.find("b").is_some() && keys.find("c").is_none());
    }

    #[test]
    fn foreign_keys_are_passed_over_and_bad_sets_refused() {
        check(&format!(r#"{{"keys":[{{"kty":"oct","k":"AAAA"}},{}]}}"#, jwk(1, "a")), Ok(()));
        check(r#"{"keys":[]}"#, Err(JwksRefusal::Empty));
        check(r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}"#, Err(JwksRefusal::Empty));
        check(r#"{"keys":{}}"#, Err(JwksRefusal::Malformed));
        check("<html>", Err(JwksRefusal::Malformed));
        check(r#"{"keys":[],"keys":[]}"#, Err(JwksRefusal::Malformed));
        let twice = format!(r#"{{"keys":[{},{}]}}"#, jwk(1, "a"), jwk(2, "a"));
        check(&twice, Err(JwksRefusal::Duplicate(DuplicateKeyId)));
        let private = jwk(1, "a").replacen('{', r#"{"d":"AAAA","#, 1);
        check(&format!(r#"{{"keys":[{private}]}}"#), Err(JwksRefusal::Empty));
    }
}
