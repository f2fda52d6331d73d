//! Public JWKs: RFC 7517, with the key types of RFC 7518 section 6 and RFC 8037 section 2.
//!
//! Implemented: `EC` on P-256, `OKP` on Ed25519, `RSA`; `alg`, `use` and `key_ops` where present
//! must allow verification. `kid`, `jku`, `x5u`, `x5c` and unknown members are ignored: nothing is
//! ever fetched (RFC 8725 section 3.10). Not implemented: symmetric and private keys, other
//! curves; all are refused.

use std::borrow::Cow;

use attorn_json::{JsonError, Limits};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::algorithm::Algorithm;
use crate::base64url::{array_from_base64url, base64url, from_base64url};
use crate::public_key::PublicKey;
use crate::{ed25519_point, rsa_modulus};

/// Why a JWK is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// `alg` names an algorithm that is not the one of this key.
    #[error("the `alg` of the key does not fit its type")]
    AlgorithmMismatch,
    /// A coordinate is missing, has the wrong length, or is not canonical base64url.
    #[error("a coordinate of the key is malformed")]
    Coordinate,
    /// The curve is neither P-256 nor Ed25519, or does not belong to the key type.
    #[error("the curve is not supported")]
    Curve,
    /// Not strict JSON.
    #[error("the key is not strict JSON")]
    Json(#[from] JsonError),
    /// The key type is not `EC`, `OKP` or `RSA`; `oct` is one such.
    #[error("the key type is not supported")]
    KeyType,
    /// The point is not on the curve, or has small order.
    #[error("the point is not acceptable as a public key")]
    Point,
    /// A private or symmetric member is present.
    #[error("the key carries a private member")]
    PrivateMember,
    /// The RSA modulus or exponent is too weak.
    #[error("the RSA key is too weak")]
    RsaWeak,
    /// A member has the wrong JSON type, or the text is not an object.
    #[error("a member of the key has the wrong type")]
    Shape,
    /// `use` or `key_ops` do not allow verification.
    #[error("the key is not meant for signatures")]
    Usage,
}

/// What the public key consists of, in canonical bytes.
#[derive(Debug)]
pub(crate) enum Material {
    Ec { x: [u8; 32], y: [u8; 32] },
    Okp { x: [u8; 32] },
    Rsa { n: Vec<u8>, padding: Padding },
}

/// How signatures of an RSA key are padded. A key has one way only: RFC 8725 section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// RFC 8017 section 8.2, for keys of other issuers alone.
    Pkcs1,
    /// RFC 8017 section 8.1.
    Pss,
}

/// Whose key a JWK is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// A client's or our own.
    Known,
    /// One of another issuer's set. An RSA key that does not name its algorithm has this padding.
    Issuer(Padding),
}

impl Material {
    pub(crate) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ec { .. } => Algorithm::Es256,
            Self::Okp { .. } => Algorithm::EdDsa,
            Self::Rsa { padding: Padding::Pkcs1, .. } => Algorithm::Rs256,
            Self::Rsa { padding: Padding::Pss, .. } => Algorithm::Ps256,
        }
    }

    /// The required members in lexicographic order: RFC 7638 section 3.2 and RFC 8037 section 2.
    pub(crate) fn required_members(&self) -> String {
        match self {
            Self::Ec { x, y } => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                base64url(x),
                base64url(y)
            ),
            Self::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(x)),
            Self::Rsa { n, .. } => {
                format!(r#"{{"e":"{RSA_EXPONENT}","kty":"RSA","n":"{}"}}"#, base64url(n))
            }
        }
    }

    /// A key of a published set, RFC 7517 section 5, in RFC 8785 order. `kid` is escaped already.
    pub(crate) fn set_member(&self, kid: &str) -> String {
        let alg = self.algorithm().name();
        match self {
            Self::Ec { x, y } => format!(
                r#"{{"alg":"{alg}","crv":"P-256","kid":{kid},"kty":"EC","use":"sig","x":"{}","y":"{}"}}"#,
                base64url(x),
                base64url(y)
            ),
            Self::Okp { x } => format!(
                r#"{{"alg":"{alg}","crv":"Ed25519","kid":{kid},"kty":"OKP","use":"sig","x":"{}"}}"#,
                base64url(x)
            ),
            Self::Rsa { n, .. } => format!(
                r#"{{"alg":"{alg}","e":"{RSA_EXPONENT}","kid":{kid},"kty":"RSA","n":"{}","use":"sig"}}"#,
                base64url(n)
            ),
        }
    }
}

/// 65537. Smaller exponents are refused as weak, larger ones are not used by anybody.
const RSA_EXPONENT: &str = "AQAB";
const RSA_EXPONENT_BYTES: [u8; 3] = [1, 0, 1];

/// A string that borrows from the document where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A member that, when present, must have its type: `null` is not the same as absent.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The members this crate reads. Coordinates are optional here because `kty` decides.
#[derive(Deserialize)]
pub(crate) struct Members<'a> {
    #[serde(borrow)]
    kty: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    crv: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    x: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    y: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    n: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    e: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    alg: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present", rename = "use")]
    usage: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    key_ops: Option<Vec<Text<'a>>>,
    #[serde(default, deserialize_with = "present")]
    d: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    p: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    q: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    dp: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    dq: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    qi: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    oth: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    k: Option<IgnoredAny>,
}

/// Parses one public JWK from text nobody has looked at yet.
pub(crate) fn parse(text: &str, source: Source) -> Result<PublicKey, JwkError> {
    let document = attorn_json::parse(text.as_bytes(), &Limits::JWT)?;
    public_key(&document.to::<Members<'_>>().map_err(|_| JwkError::Shape)?, source)
}

/// Parses the `jwk` member of a header whose whole text was strictly scanned before.
pub(crate) fn parse_scanned(text: &str) -> Result<PublicKey, JwkError> {
    // A derived struct would also take an array, and a key is an object: RFC 7517 section 4.
    if !text.starts_with('{') {
        return Err(JwkError::Shape);
    }
    let members = serde_json::from_str::<Members<'_>>(text).map_err(|_| JwkError::Shape)?;
    public_key(&members, Source::Known)
}

fn public_key(members: &Members<'_>, source: Source) -> Result<PublicKey, JwkError> {
    refuse_private(members)?;
    let material = match &*members.kty.0 {
        "EC" => ec(members)?,
        "OKP" => okp(members)?,
        "RSA" => rsa(members, source)?,
        // RFC 7518 section 6.4: `oct` is a symmetric key; anybody could sign with it.
        _ => return Err(JwkError::KeyType),
    };
    check_usage(members, material.algorithm())?;
    from_material(material)
}

/// RFC 9449 section 4.3, check 7: no private key; RFC 7518 sections 6.2.2, 6.3.2, 6.4.1.
fn refuse_private(members: &Members<'_>) -> Result<(), JwkError> {
    let Members { d, p, q, dp, dq, qi, oth, k, .. } = members;
    if [d, p, q, dp, dq, qi, oth, k].iter().any(|member| member.is_some()) {
        return Err(JwkError::PrivateMember);
    }
    Ok(())
}

/// RFC 7517 sections 4.2 to 4.4: the key says itself what it is for.
fn check_usage(members: &Members<'_>, algorithm: Algorithm) -> Result<(), JwkError> {
    if members.usage.as_ref().is_some_and(|usage| usage.0 != "sig") {
        return Err(JwkError::Usage);
    }
    if members.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op.0 == "verify")) {
        return Err(JwkError::Usage);
    }
    match &members.alg {
        // RFC 8725 section 3.1: a key is used with one algorithm only.
        Some(alg) if Algorithm::of_issuer(&alg.0) != Ok(algorithm) => {
            Err(JwkError::AlgorithmMismatch)
        }
        Some(_) | None => Ok(()),
    }
}

/// RFC 7518 section 6.2.1: each coordinate is the full size of one for the curve, here 32 bytes.
fn ec(members: &Members<'_>) -> Result<Material, JwkError> {
    match members.crv.as_ref().map(|crv| &*crv.0) {
        Some("P-256") => {
            Ok(Material::Ec { x: coordinate(&members.x)?, y: coordinate(&members.y)? })
        }
        Some(_) | None => Err(JwkError::Curve),
    }
}

/// RFC 8037 section 2: `y` has no meaning here and is refused, so that nobody reads one.
fn okp(members: &Members<'_>) -> Result<Material, JwkError> {
    match members.crv.as_ref().map(|crv| &*crv.0) {
        Some("Ed25519") if members.y.is_none() => Ok(Material::Okp { x: coordinate(&members.x)? }),
        Some("Ed25519") => Err(JwkError::Coordinate),
        Some(_) | None => Err(JwkError::Curve),
    }
}

/// RFC 7518 section 6.3.1: `n` and `e` are unsigned integers without leading zero bytes.
fn rsa(members: &Members<'_>, source: Source) -> Result<Material, JwkError> {
    let n = integer(&members.n)?;
    let e = integer(&members.e)?;
    if e != RSA_EXPONENT_BYTES || !rsa_modulus::is_acceptable(&n) {
        return Err(JwkError::RsaWeak);
    }
    let padding = match (source, members.alg.as_ref().map(|alg| &*alg.0)) {
        (Source::Known, _) => Padding::Pss,
        (Source::Issuer(_), Some("RS256")) => Padding::Pkcs1,
        // Any other name is compared with the algorithm of this padding, and refused.
        (Source::Issuer(_), Some(_)) => Padding::Pss,
        // RFC 7517 section 4.4: the name is optional, and large providers leave it out.
        (Source::Issuer(unnamed), None) => unnamed,
    };
    Ok(Material::Rsa { n, padding })
}

#[expect(clippy::ref_option, reason = "called with the fields of a borrowed struct")]
fn coordinate(text: &Option<Text<'_>>) -> Result<[u8; 32], JwkError> {
    let text = text.as_ref().ok_or(JwkError::Coordinate)?;
    array_from_base64url(&text.0).map_err(|_| JwkError::Coordinate)
}

#[expect(clippy::ref_option, reason = "called with the fields of a borrowed struct")]
fn integer(text: &Option<Text<'_>>) -> Result<Vec<u8>, JwkError> {
    let text = text.as_ref().ok_or(JwkError::Coordinate)?;
    let bytes = from_base64url(&text.0).map_err(|_| JwkError::Coordinate)?;
    // RFC 7518 section 2, Base64urlUInt: the minimum number of octets.
    if bytes.first() == Some(&0) { Err(JwkError::Coordinate) } else { Ok(bytes) }
}

/// Builds the verifier once: a `PublicKey` that exists can verify.
pub(crate) fn from_material(material: Material) -> Result<PublicKey, JwkError> {
    let verifier = match &material {
        Material::Ec { x, y } => {
            // SEC 1 section 2.3.3: the uncompressed form. The library refuses a point that is not
            // on the curve and coordinates outside the field (RFC 8725 section 3.4).
            let mut point = [4; 65];
            let (_, coordinates) = point.split_at_mut(1);
            let (left, right) = coordinates.split_at_mut(32);
            left.copy_from_slice(x);
            right.copy_from_slice(y);
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| JwkError::Point)?
        }
        Material::Okp { x } => {
            if !ed25519_point::is_acceptable(x) {
                return Err(JwkError::Point);
            }
            ParsedPublicKey::new(&ED25519, x).map_err(|_| JwkError::Point)?
        }
        Material::Rsa { n, padding } => {
            let components = RsaPublicKeyComponents { n: n.as_slice(), e: &RSA_EXPONENT_BYTES };
            let parsed = match padding {
                Padding::Pkcs1 => components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256),
                Padding::Pss => components.to_parsed_public_key(&RSA_PSS_2048_8192_SHA256),
            };
            parsed.map_err(|_| JwkError::RsaWeak)?
        }
    };
    Ok(PublicKey::new(material, verifier))
}
