//! The keys of another issuer, as its key set has them: RFC 7517 section 5, RFC 8725 section 3.8.
//!
//! A set of somebody else holds keys for other purposes too, so a key that cannot be used is left out
//! and the others stay. What is left out verifies nothing: RSA below 2048 bits or with another exponent
//! than 65537, moduli of a broken generator, symmetric and private keys, keys for encryption, keys
//! of an algorithm that nobody allowed. Where two keys have one name, neither counts. Our own sets
//! are read by [`crate::jwks`], where any such thing spoils the whole.
//!
//! Not implemented: chains of certificates (`x5c`), and trying several keys for one token.

use std::collections::HashMap;

use attorn_jose::{Algorithm, Header, JwkError, PublicKey};
use attorn_json::{Limits, Value};

use crate::jwks::JwksRefusal;

/// Keys of one issuer that may be used, by name.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    // Invariant: each has one of the algorithms that were allowed, and no two have one name.
    keys: Vec<(Option<String>, PublicKey)>,
}

/// A key that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub kid: Option<String>,
    /// Why it verifies nothing.
    pub why: KeyRefusal,
}

/// Why a key of a set verifies nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Of another algorithm than those that were allowed for the issuer.
    #[error("the key is for `{0}`, which is not allowed for this issuer")]
    Algorithm(Algorithm),
    /// Another key of the set has the same name.
    #[error("two keys have one name")]
    Duplicate,
    /// Not a public key that may be used at all.
    #[error(transparent)]
    Jwk(#[from] JwkError),
}

/// Why no key of a set is the one of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// No key has this name; a newer set may have one.
    #[error("the issuer has no key of this name")]
    Unknown,
    /// The token names no key, and not exactly one fits.
    #[error("the token does not say by which key it is signed")]
    Unnamed,
}

impl TrustedKeys {
    /// Reads a set, and says what was left out.
    ///
    /// # Errors
    /// [`JwksRefusal::Malformed`] or [`JwksRefusal::Empty`]; then keep the keys that are known.
    pub fn parse(
        document: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<(Self, Vec<LeftOut>), JwksRefusal> {
        let document = attorn_json::parse(document, &LIMITS).map_err(|_| JwksRefusal::Malformed)?;
        let keys = document.value().member("keys").and_then(Value::items);
        let keys: Vec<_> = keys.ok_or(JwksRefusal::Malformed)?.take(KEYS_MAX + 1).collect();
        if keys.len() > KEYS_MAX {
            return Err(JwksRefusal::Malformed);
        }
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for name in keys.iter().filter_map(|key| kid(*key)) {
            *by_name.entry(name).or_default() += 1;
        }
        let (mut trusted, mut left_out) = (Self::default(), Vec::new());
        for key in keys {
            let kid = kid(key);
            // Also where only one of them could be used: whoever signs by that name means one of two.
            let is_twice = kid.as_ref().is_some_and(|kid| by_name.get(kid) != Some(&1));
            match if is_twice { Err(KeyRefusal::Duplicate) } else { public(key, algorithms) } {
                Ok(public) => trusted.keys.push((kid, public)),
                Err(why) => left_out.push(LeftOut { kid, why }),
            }
        }
        if trusted.keys.is_empty() { Err(JwksRefusal::Empty) } else { Ok((trusted, left_out)) }
    }

    /// How many keys may be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The names that tokens can call keys by.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|(name, _)| name.as_deref())
    }

    /// What the keys sign with.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().map(|(_, key)| key.algorithm())
    }

    /// The key that a header names, or the only one of its algorithm where it names none: OpenID
    /// Connect Core 1.0 section 10.1.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn find(&self, header: &Header) -> Result<&PublicKey, NoKey> {
        if let Some(kid) = &header.kid {
            let named = self.keys.iter().find(|(name, _)| name.as_ref() == Some(kid));
            return named.map(|(_, key)| key).ok_or(NoKey::Unknown);
        }
        let mut fitting = self.keys.iter().filter(|(_, key)| key.algorithm() == header.alg);
        let found = fitting.next().filter(|_| fitting.next().is_none());
        found.map(|(_, key)| key).ok_or(NoKey::Unnamed)
    }
}

fn kid(key: Value<'_>) -> Option<String> {
    key.member("kid").and_then(Value::string).map(std::borrow::Cow::into_owned)
}

fn public(key: Value<'_>, algorithms: &[Algorithm]) -> Result<PublicKey, KeyRefusal> {
    // RFC 7517 section 4.5: a name is a text.
    if key.member("kid").is_some_and(|kid| kid.string().is_none()) {
        return Err(JwkError::Shape.into());
    }
    // OpenID Connect Core 1.0 section 15.1: RS256 is what an issuer signs with that says nothing.
    let unnamed =
        if algorithms.contains(&Algorithm::Rs256) { Algorithm::Rs256 } else { Algorithm::Ps256 };
    let public = PublicKey::parse_jwk_of_issuer(key.text(), unnamed)?;
    if algorithms.contains(&public.algorithm()) {
        Ok(public)
    } else {
        Err(KeyRefusal::Algorithm(public.algorithm()))
    }
}

/// A set with certificates beside its keys is some 10 KiB.
const LIMITS: Limits = Limits { bytes_max: JWKS_BYTES_MAX, depth_max: 8 };
/// Bytes of the largest set that is read.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Each costs a key that is built.
const KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use attorn_jose::{Compact, NewHeader, SigningKey, base64url, sign};

    use super::*;

    const ALL: [Algorithm; 4] = Algorithm::OF_ISSUERS;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32]).unwrap()
    }

    fn jwk(seed: u8, kid: &str) -> String {
        key(seed).public().to_jwk(Some(kid))
    }

    fn parse(keys: &[String]) -> Result<(TrustedKeys, Vec<LeftOut>), JwksRefusal> {
        TrustedKeys::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes(), &ALL)
    }

    /// A modulus of `bits`; whether it is a product of two primes nobody can see.
    fn rsa(bits: usize, e: &str, more: &str) -> String {
        let mut n = vec![0x5a; bits / 8];
        n[0] = 0xc1;
        n[bits / 8 - 1] = 0x0b;
        format!(r#"{{"kty":"RSA","kid":"bad","n":"{}","e":"{e}"{more}}}"#, base64url(&n))
    }

    /// 65537^128: every residue is a power of 65537, as moduli of CVE-2017-15361 have them.
    fn roca() -> String {
        let mut number = vec![1_u8];
        for _ in 0..128 {
            // n * 65537 = n * 2^16 + n.
            let mut shifted = number.clone();
            shifted.extend([0, 0]);
            let (mut carry, mut rest) = (0_u16, number.iter().rev());
            for byte in shifted.iter_mut().rev() {
                let sum = u16::from(*byte) + rest.next().map_or(0, |b| u16::from(*b)) + carry;
                *byte = u8::try_from(sum & 0xff).unwrap();
                carry = sum >> 8;
            }
            if carry > 0 {
                shifted.insert(0, u8::try_from(carry).unwrap());
            }
            number = shifted;
        }
        format!(r#"{{"kty":"RSA","kid":"bad","n":"{}","e":"AQAB"}}"#, base64url(&number))
    }

    #[test]
    fn a_bad_key_is_left_out_and_the_others_stay() {
        let good = jwk(1, "good");
        let bad = |text: &str| text.replace(r#""kid":"good""#, r#""kid":"bad""#);
        for (name, text, why) in [
            ("1024 bits", rsa(1024, "AQAB", ""), JwkError::RsaWeak),
            ("e is 1", rsa(2048, "AQ", ""), JwkError::RsaWeak),
            ("e is 3", rsa(2048, "Aw", ""), JwkError::RsaWeak),
            ("ROCA", roca(), JwkError::RsaWeak),
            (
                "symmetric",
                r#"{"kty":"oct","kid":"bad","k":"AAAA"}"#.into(),
                JwkError::PrivateMember,
            ),
            ("oct without a key", r#"{"kty":"oct","kid":"bad"}"#.into(), JwkError::KeyType),
            ("encryption", bad(&good).replace(r#""sig""#, r#""enc""#), JwkError::Usage),
            ("private", bad(&good).replacen('{', r#"{"d":"AAAA","#, 1), JwkError::PrivateMember),
            ("RS512", rsa(2048, "AQAB", r#","alg":"RS512""#), JwkError::AlgorithmMismatch),
            ("a name that is a number", good.replace(r#""good""#, "7"), JwkError::Shape),
        ] {
            let (keys, left_out) = parse(&[text, jwk(2, "other")]).unwrap();
            assert_eq!(
                left_out.iter().map(|one| &one.why).collect::<Vec<_>>(),
                [&why.into()],
                "{name}"
            );
            assert_eq!(keys.len(), 1, "{name}");
        }
        let (keys, left_out) = parse(&[good, rsa(2048, "AQAB", "")]).unwrap();
        assert_eq!((keys.len(), left_out.len()), (2, 0));
    }

    #[test]
    fn of_two_keys_with_one_name_neither_counts() {
        let (keys, left_out) = parse(&[jwk(1, "a"), jwk(2, "a"), jwk(3, "b")]).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(left_out.iter().all(|one| one.why == KeyRefusal::Duplicate), "{left_out:?}");
        // Also beside one that could not be used.
        let weak = rsa(1024, "AQAB", "").replace("bad", "a");
        assert_eq!(parse(&[jwk(1, "a"), weak]).map(drop), Err(JwksRefusal::Empty));
    }

    #[test]
    fn a_set_without_a_usable_key_is_none() {
        assert_eq!(parse(&[]).map(drop), Err(JwksRefusal::Empty));
        assert_eq!(parse(&[roca()]).map(drop), Err(JwksRefusal::Empty));
        let many: Vec<_> = (0..65).map(|number| jwk(1, &format!("k{number}"))).collect();
        assert_eq!(parse(&many).map(drop), Err(JwksRefusal::Malformed));
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            let refused = TrustedKeys::parse(text.as_bytes(), &ALL).map(drop);
            assert_eq!(refused, Err(JwksRefusal::Malformed), "{text}");
        }
    }

    #[test]
    fn an_algorithm_is_allowed_or_the_key_is_left_out() {
        let set = format!(r#"{{"keys":[{},{}]}}"#, jwk(1, "a"), rsa(2048, "AQAB", ""));
        let found = |algorithms: &[Algorithm]| {
            let (keys, left_out) = TrustedKeys::parse(set.as_bytes(), algorithms).unwrap();
            (keys.keys[0].1.algorithm(), left_out)
        };
        let left_out = |kid: &str, algorithm| {
            vec![LeftOut { kid: Some(kid.to_owned()), why: KeyRefusal::Algorithm(algorithm) }]
        };
        let rs256 = found(&[Algorithm::Rs256]);
        assert_eq!(rs256, (Algorithm::Rs256, left_out("a", Algorithm::EdDsa)));
        assert_eq!(found(&[Algorithm::EdDsa]).1, left_out("bad", Algorithm::Ps256));
        assert_eq!(found(&[Algorithm::Ps256]).0, Algorithm::Ps256);
    }

    fn check(keys: &TrustedKeys, kid: Option<&str>, expected: Result<&PublicKey, NoKey>) {
        let text = sign(&NewHeader { typ: "JWT", kid, jwk: false }, b"{}", &key(1)).unwrap();
        let token = Compact::parse_of_issuer(&text, &Limits::JWT).unwrap();
        assert_eq!(keys.find(token.header()), expected, "{kid:?}");
    }

    #[test]
    fn a_token_names_its_key_or_only_one_fits() {
        let (one, _) = parse(&[jwk(1, "a"), rsa(2048, "AQAB", "")]).unwrap();
        let (two, _) = parse(&[jwk(1, "a"), jwk(2, "b")]).unwrap();
        check(&one, Some("a"), Ok(key(1).public()));
        check(&one, None, Ok(key(1).public()));
        check(&two, None, Err(NoKey::Unnamed));
        for kid in ["c", "", "A", "a ", "../../dev/null"] {
            check(&two, Some(kid), Err(NoKey::Unknown));
        }
    }
}
