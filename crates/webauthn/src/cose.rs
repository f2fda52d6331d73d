//! Public keys as authenticators write them: COSE (RFC 9052 section 7, RFC 9053 section 7).
//!
//! WebAuthn Level 3 section 5.8.5: the key names its algorithm, has no optional parameter beside it, and
//! `ES256` and `EdDSA` have one curve each here. Not implemented: every other algorithm.

use attorn_jose::{PublicKey, base64url};

use crate::cbor::{Key, Reader};
use crate::refusal::WebauthnRefusal;

/// Reads the next item as a public key. The point is checked where every key of a client is.
pub(crate) fn public_key(reader: &mut Reader<'_>) -> Result<PublicKey, WebauthnRefusal> {
    let members = Members(reader.map()?);
    let (kind, algorithm) = (members.integer(KTY)?, members.integer(ALG)?);
    let jwk = match (kind, algorithm) {
        (KTY_EC2, ALG_ES256) => {
            members.are(5, CRV_P256)?;
            // RFC 9053 section 7.1.1: `y` may be a sign alone; WebAuthn forbids it.
            let (x, y) = (members.coordinate(X)?, members.coordinate(Y)?);
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        (KTY_OKP, ALG_EDDSA) => {
            members.are(4, CRV_ED25519)?;
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, members.coordinate(X)?)
        }
        _ => return Err(WebauthnRefusal::Algorithm),
    };
    PublicKey::parse_jwk(&jwk).map_err(|_| WebauthnRefusal::Key)
}

/// The parameters of a key, by label.
struct Members<'a>(Vec<(Key<'a>, Reader<'a>)>);

impl<'a> Members<'a> {
    fn get(&self, label: i64) -> Result<Reader<'a>, WebauthnRefusal> {
        let found = self.0.iter().find(|(key, _)| *key == Key::Integer(label));
        found.map(|(_, value)| *value).ok_or(WebauthnRefusal::Key)
    }

    fn integer(&self, label: i64) -> Result<i64, WebauthnRefusal> {
        self.get(label)?.integer().map_err(|_| WebauthnRefusal::Key)
    }

    /// Exactly so many parameters, and this curve.
    fn are(&self, count: usize, curve: i64) -> Result<(), WebauthnRefusal> {
        let is_right = self.0.len() == count && self.integer(CRV)? == curve;
        if is_right { Ok(()) } else { Err(WebauthnRefusal::Key) }
    }

    /// 32 bytes, leading zeros included: RFC 9053 sections 7.1.1 and 7.2.
    fn coordinate(&self, label: i64) -> Result<String, WebauthnRefusal> {
        let bytes = self.get(label)?.bytes().map_err(|_| WebauthnRefusal::Key)?;
        if bytes.len() == 32 { Ok(base64url(bytes)) } else { Err(WebauthnRefusal::Key) }
    }
}

/// RFC 9052 section 7.1: the labels of all keys.
const KTY: i64 = 1;
const ALG: i64 = 3;
/// RFC 9053 sections 7.1 and 7.2: those of both types of keys.
const CRV: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
/// RFC 9053 section 7: types and curves.
const KTY_OKP: i64 = 1;
const KTY_EC2: i64 = 2;
const CRV_P256: i64 = 1;
const CRV_ED25519: i64 = 6;
/// RFC 9053 section 2: `ES256` and `EdDSA`.
const ALG_ES256: i64 = -7;
const ALG_EDDSA: i64 = -8;

#[cfg(test)]
mod tests {
    use attorn_jose::{Algorithm, SigningKey};
    use attorn_testkit::authenticator::cose_key;

    use super::*;

    fn read(bytes: &[u8]) -> Result<PublicKey, WebauthnRefusal> {
        let mut reader = Reader::new(bytes);
        let key = public_key(&mut reader)?;
        reader.end()?;
        Ok(key)
    }

    fn key(algorithm: Algorithm) -> (PublicKey, Vec<u8>) {
        let key = SigningKey::from_seed(algorithm, &[7; 32]).unwrap().public().clone();
        let bytes = cose_key(&key);
        (key, bytes)
    }

    #[test]
    fn both_kinds_of_keys_are_read() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (key, bytes) = key(algorithm);
            assert_eq!(read(&bytes), Ok(key));
        }
    }

    #[test]
    fn a_key_of_another_algorithm_or_form_is_refused() {
        let (_, ec) = key(Algorithm::Es256);
        let (_, okp) = key(Algorithm::EdDsa);
        let with = |bytes: &[u8], at: usize, value: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            read(&bytes).unwrap_err()
        };
        // -65536 would be longer; -9 (`ESP256`) and -19 (`Ed25519`) are other names that nobody asked for.
        assert_eq!(with(&ec, 4, 0x28), WebauthnRefusal::Algorithm);
        assert_eq!(with(&okp, 4, 0x32), WebauthnRefusal::Algorithm);
        // A type that does not fit the algorithm.
        assert_eq!(with(&ec, 2, 1), WebauthnRefusal::Algorithm);
        // Another curve.
        assert_eq!(with(&ec, 6, 2), WebauthnRefusal::Key);
        assert_eq!(with(&okp, 6, 4), WebauthnRefusal::Key);
        // No point of the curve.
        assert_eq!(with(&ec, 10, ec[10] ^ 1), WebauthnRefusal::Key);
        // A compressed point: `y` is `true`.
        let compressed = [&ec[..ec.len() - 34], &[0xf5]].concat();
        assert_eq!(read(&compressed), Err(WebauthnRefusal::Key));
        // A parameter more: `kid`.
        let more = [&[0xa5, 1, 1, 2, 0x41, 0][..], &okp[3..]].concat();
        assert_eq!(read(&more), Err(WebauthnRefusal::Key));
        // A parameter less: no algorithm.
        let less = [&[0xa3, 1, 1][..], &okp[5..]].concat();
        assert_eq!(read(&less), Err(WebauthnRefusal::Key));
        // 31 bytes.
        let short = [&okp[..okp.len() - 33], &[31], &okp[okp.len() - 31..]].concat();
        assert_eq!(read(&short), Err(WebauthnRefusal::Key));
    }
}
