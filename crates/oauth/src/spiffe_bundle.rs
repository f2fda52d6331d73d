//! The trust bundle of a SPIFFE trust domain: SPIFFE Trust Domain and Bundle section 4.
//!
//! Implemented: the JWK set with `x509-svid` authorities (`x5c`) and `jwt-svid` keys. Not
//! implemented: `wit-svid` keys and key types that Attorn does not verify; they are passed over, as
//! section 4.2 asks, and then nothing that they signed verifies.

use std::collections::HashMap;

use attorn_jose::PublicKey;
use attorn_json::Limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What vouches for the SVIDs of one trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpiffeBundle {
    /// Certificates of the authorities of X.509-SVIDs, in DER.
    pub x509_authorities: Vec<Vec<u8>>,
    /// Keys of JWT-SVIDs by `kid`.
    pub jwt_keys: HashMap<String, PublicKey>,
    /// How often the bundle should be read again, in seconds: section 4.1.2.
    pub refresh_hint_s: Option<u64>,
    /// Goes up with every change of the bundle: section 4.1.1.
    pub sequence: Option<u64>,
}

/// A text that is no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SPIFFE bundle is malformed, or two of its keys have one name")]
pub struct BundleRefusal;

#[derive(Deserialize)]
struct Wire {
    keys: Vec<Map<String, Value>>,
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
    #[serde(default)]
    spiffe_sequence: Option<u64>,
}

impl SpiffeBundle {
    /// Reads a bundle. One malformed key spoils it: half a bundle is another trust.
    ///
    /// # Errors
    /// [`BundleRefusal`].
    pub fn parse(text: &[u8]) -> Result<Self, BundleRefusal> {
        let document = attorn_json::parse(text, &LIMITS).map_err(|_| BundleRefusal)?;
        let wire: Wire = document.to().map_err(|_| BundleRefusal)?;
        let (refresh_hint_s, sequence) = (wire.spiffe_refresh_hint, wire.spiffe_sequence);
        let mut bundle = Self { refresh_hint_s, sequence, ..Self::default() };
        for key in wire.keys {
            match key.get("use").and_then(Value::as_str) {
                Some("x509-svid") => bundle.x509_authorities.push(certificate(&key)?),
                Some("jwt-svid") => bundle.add_jwt_key(key)?,
                // Section 4.2.2: keys of another use are passed over.
                Some(_) | None => {}
            }
        }
        Ok(bundle)
    }

    fn add_jwt_key(&mut self, mut key: Map<String, Value>) -> Result<(), BundleRefusal> {
        // Section 4.2.3: a JWT-SVID names its key, so a key without a name verifies nothing.
        let kid = key.get("kid").and_then(Value::as_str).ok_or(BundleRefusal)?.to_owned();
        key.remove("use");
        // RFC 8725 section 3.1: other key types are not verified here at all.
        let Ok(parsed) = PublicKey::parse_jwk(&Value::Object(key).to_string()) else {
            return Ok(());
        };
        match self.jwt_keys.insert(kid, parsed) {
            None => Ok(()),
            Some(_) => Err(BundleRefusal),
        }
    }
}

/// Section 4.2.2: `x5c` holds exactly one certificate.
fn certificate(key: &Map<String, Value>) -> Result<Vec<u8>, BundleRefusal> {
    let Some(Value::Array(chain)) = key.get("x5c") else { return Err(BundleRefusal) };
    let [Value::String(text)] = chain.as_slice() else { return Err(BundleRefusal) };
    STANDARD.decode(text).map_err(|_| BundleRefusal)
}

/// A few authorities, each of a few kilobytes.
const LIMITS: Limits = Limits { bytes_max: 1 << 20, depth_max: 8 };

#[cfg(test)]
mod tests {
    use attorn_jose::{Algorithm, SigningKey};

    use super::*;

    fn jwt_key(kid: &str) -> String {
        let key = SigningKey::from_seed(Algorithm::Es256, &[5; 32]).unwrap();
        key.public().to_jwk(Some(kid)).replace(r#""use":"sig""#, r#""use":"jwt-svid""#)
    }

    fn parse(keys: &str) -> Result<SpiffeBundle, BundleRefusal> {
        SpiffeBundle::parse(
            format!(r#"{{"spiffe_refresh_hint":60,"spiffe_sequence":7,"keys":[{keys}]}}"#)
                .as_bytes(),
        )
    }

    #[test]
    fn both_kinds_of_authorities_are_read() {
        let x509 = r#"{"use":"x509-svid","kty":"EC","x5c":["AQID"]}"#;
        let other = r#"{"use":"wit-svid","kty":"EC"}"#;
        let bundle = parse(&format!("{x509},{other},{}", jwt_key("a"))).unwrap();
        assert_eq!(bundle.x509_authorities, [vec![1, 2, 3]]);
        assert_eq!(bundle.jwt_keys.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((bundle.refresh_hint_s, bundle.sequence), (Some(60), Some(7)));
    }

    #[test]
    fn a_key_type_that_is_not_served_verifies_nothing() {
        let bundle = parse(r#"{"use":"jwt-svid","kid":"a","kty":"EC","crv":"P-521"}"#).unwrap();
        assert!(bundle.jwt_keys.is_empty());
    }

    #[test]
    fn half_a_bundle_is_none() {
        let twice = format!("{},{}", jwt_key("a"), jwt_key("a"));
        for keys in [
            twice.as_str(),
            r#"{"use":"x509-svid","kty":"EC"}"#,
            r#"{"use":"x509-svid","x5c":[]}"#,
            r#"{"use":"x509-svid","x5c":["AQID","AQID"]}"#,
            r#"{"use":"x509-svid","x5c":["?"]}"#,
            r#"{"use":"jwt-svid","kty":"EC"}"#,
            "1",
        ] {
            assert_eq!(parse(keys).err(), Some(BundleRefusal), "{keys}");
        }
        assert!(SpiffeBundle::parse(b"{}").is_err());
    }
}
