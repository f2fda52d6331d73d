//! `jsonwebtoken` as a second opinion: what it signs verifies here, and the other way round.

use attorn_jose::{Algorithm, Compact, NewHeader, PublicKey, SigningKey, base64url, sign};
use attorn_json::Limits;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde_json::json;

const CLAIMS: &[u8] = br#"{"aud":"a","exp":4000000000,"iss":"i"}"#;

fn validation(algorithm: jsonwebtoken::Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["a"]);
    validation
}

#[test]
fn our_signatures_verify_there() {
    let algorithms = [
        (Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
        (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
    ];
    for (ours, theirs) in algorithms {
        let key = SigningKey::from_seed(ours, &[7; 32]).unwrap();
        let header = NewHeader { typ: "at+jwt", kid: Some("k"), jwk: false };
        let text = sign(&header, CLAIMS, &key).unwrap();
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_str(&key.public().to_jwk(Some("k"))).unwrap();
        let decoding = DecodingKey::from_jwk(&jwk).unwrap();
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(&text, &decoding, &validation(theirs));
        assert_eq!(decoded.unwrap().claims["iss"], "i", "{ours}");
    }
}

#[test]
fn their_signatures_verify_here() {
    let algorithms = [
        (Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
        (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
    ];
    for (ours, theirs) in algorithms {
        let key = SigningKey::from_seed(ours, &[7; 32]).unwrap();
        let pem = key.to_pkcs8_pem().unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        let encoding = match ours {
            Algorithm::Es256 => EncodingKey::from_ec_der(&der),
            Algorithm::EdDsa => EncodingKey::from_ed_der(&der),
            Algorithm::Ps256 | Algorithm::Rs256 => continue,
        };
        let text = jsonwebtoken::encode(&Header::new(theirs), &json!({"iss": "i"}), &encoding);
        let text = text.unwrap();
        let jws = Compact::parse(&text, &Limits::JWT).unwrap();
        assert_eq!(jws.verify(key.public()).unwrap().payload(), br#"{"iss":"i"}"#, "{ours}");
    }
}

#[test]
fn rsa_pss_is_verified_though_never_made() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let jwk = json!({
        "kty": "RSA",
        "n": base64url(public.modulus().big_endian_without_leading_zero()),
        "e": base64url(public.exponent().big_endian_without_leading_zero()),
    });
    let key = PublicKey::parse_jwk(&jwk.to_string()).unwrap();
    assert_eq!(key.algorithm(), Algorithm::Ps256);

    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // RFC 5958 section 2: the PKCS #1 key stands behind 26 bytes of version and algorithm.
    let encoding = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
    let signed = |algorithm| {
        jsonwebtoken::encode(&Header::new(algorithm), &json!({"iss": "i"}), &encoding).unwrap()
    };

    let text = signed(jsonwebtoken::Algorithm::PS256);
    let jws = Compact::parse(&text, &Limits::JWT).unwrap();
    assert_eq!(jws.verify(&key).unwrap().payload(), br#"{"iss":"i"}"#);
    // RFC 7518 section 3.3 is for other issuers: the same key, the older padding.
    let text = signed(jsonwebtoken::Algorithm::RS256);
    assert!(Compact::parse(&text, &Limits::JWT).is_err());
    let of_issuer = || Compact::parse_of_issuer(&text, &Limits::JWT).unwrap();
    assert!(of_issuer().verify(&key).is_err());
    let issuers = PublicKey::parse_jwk_of_issuer(&jwk.to_string(), Algorithm::Rs256).unwrap();
    assert_eq!(of_issuer().verify(&issuers).unwrap().payload(), br#"{"iss":"i"}"#);
    // A key has one algorithm: this one verifies nothing else.
    let text = signed(jsonwebtoken::Algorithm::PS256);
    assert!(Compact::parse_of_issuer(&text, &Limits::JWT).unwrap().verify(&issuers).is_err());
}
