//! Private keys: the RFC examples, PEM, and what a signature made here looks like elsewhere.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use attorn_jose::{
    Algorithm, Compact, HeaderCache, NewHeader, PublicKey, SignatureError, SigningKey,
    SigningKeyError, from_base64url, sign,
};
use attorn_json::Limits;
use proptest::prelude::*;

/// RFC 8037 appendix A.1.
const ED25519_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
/// RFC 7515 appendix A.3.1.
const P256_D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";

fn seed(d: &str) -> [u8; 32] {
    from_base64url(d).unwrap().try_into().unwrap()
}

fn key(algorithm: Algorithm, byte: u8) -> SigningKey {
    SigningKey::from_seed(algorithm, &[byte; 32]).unwrap()
}

const HEADER: NewHeader<'_> = NewHeader { typ: "dpop+jwt", kid: None, jwk: true };

#[test]
fn the_public_halves_of_the_examples() {
    let ed25519 = SigningKey::from_seed(Algorithm::EdDsa, &seed(ED25519_D)).unwrap();
    // RFC 8037 appendix A.2 and A.3.
    let jwk = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    assert_eq!(ed25519.public().to_jwk(None), jwk);
    let p256 = SigningKey::from_seed(Algorithm::Es256, &seed(P256_D)).unwrap();
    let jwk = r#"{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    assert_eq!(p256.public().to_jwk(None), jwk);
}

#[test]
fn the_signature_of_the_ed25519_example() {
    // RFC 8037 appendix A.4: deterministic, so it can be compared.
    let key = SigningKey::from_seed(Algorithm::EdDsa, &seed(ED25519_D)).unwrap();
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let expected =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(attorn_jose::base64url(&key.sign(input.as_bytes()).unwrap()), expected);
}

#[test]
fn pem_reads_back() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let original = key(algorithm, 7);
        let pem = original.to_pkcs8_pem().unwrap();
        let copy = SigningKey::from_pkcs8_pem(&pem).unwrap();
        assert_eq!(copy.public(), original.public());
        assert_eq!(copy.public().algorithm(), algorithm);
        assert!(pem.lines().all(|line| line.len() <= 64), "RFC 7468 section 2");
    }
}

#[test]
fn the_ed25519_example_in_pem_is_read() {
    // RFC 8410 section 10.3, the version 1 example.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let key = SigningKey::from_pkcs8_pem(pem).unwrap();
    assert_eq!(key.public().algorithm(), Algorithm::EdDsa);
    // RFC 8410 section 10.1: the public half of the same key.
    let x = from_base64url("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE").unwrap();
    assert!(key.public().to_jwk(None).contains(&attorn_jose::base64url(&x)));
}

#[test]
fn other_texts_are_no_private_keys() {
    let pem = key(Algorithm::Es256, 7).to_pkcs8_pem().unwrap().to_string();
    let twice = format!("{pem}{pem}");
    let sec1 = pem.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let public = pem.replace("PRIVATE KEY", "PUBLIC KEY");
    for text in ["", "x", &twice, &sec1, &public, &pem.replace('M', "!")] {
        assert_eq!(SigningKey::from_pkcs8_pem(text).err(), Some(SigningKeyError::Pem), "{text}");
    }
    let other_der = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----";
    assert_eq!(SigningKey::from_pkcs8_pem(other_der).err(), Some(SigningKeyError::Pkcs8));
}

#[test]
fn bad_seeds_are_refused() {
    for seed in [[0; 32], [0xff; 32]] {
        let refusal = SigningKey::from_seed(Algorithm::Es256, &seed).err();
        assert_eq!(refusal, Some(SigningKeyError::Seed));
    }
    let refusal = SigningKey::from_seed(Algorithm::Ps256, &[7; 32]).err();
    assert_eq!(refusal, Some(SigningKeyError::Algorithm));
}

#[test]
fn nothing_private_is_printed() {
    let key = key(Algorithm::EdDsa, 7);
    assert_eq!(format!("{key:?}"), "SigningKey([redacted])");
}

#[test]
fn a_published_key_is_canonical_and_reads_back() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let public = key(algorithm, 7).public().clone();
        let jwk = public.to_jwk(Some("key \"1\"\n"));
        let document = attorn_json::parse(jwk.as_bytes(), &Limits::JWT).unwrap();
        assert_eq!(attorn_json::canonical(&document).unwrap(), jwk.as_bytes());
        assert_eq!(PublicKey::parse_jwk(&jwk).unwrap(), public);
    }
}

#[test]
fn what_is_signed_verifies_with_its_own_key_only() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let (mine, other) = (key(algorithm, 7), key(algorithm, 8));
        let text = sign(&HEADER, b"{}", &mine).unwrap();
        let parse = || Compact::parse(&text, &Limits::JWT).unwrap();
        assert_eq!(parse().header().jwk.as_ref(), Some(mine.public()));
        assert_eq!(parse().verify(mine.public()).unwrap().payload(), b"{}");
        assert_eq!(parse().verify(other.public()).unwrap_err(), SignatureError::Invalid);
    }
}

#[test]
fn a_remembered_header_changes_nothing() {
    let cache = HeaderCache::new(64);
    let key = key(Algorithm::Es256, 7);
    for claims in [b"{}".as_slice(), br#"{"a":1}"#] {
        let text = sign(&HEADER, claims, &key).unwrap();
        let jws = Compact::parse_cached(&text, &Limits::JWT, &cache).unwrap();
        let verified = jws.verify(key.public()).unwrap();
        verified.remember_header(&cache);
        assert_eq!(verified.payload(), claims);
        assert_eq!(verified.header().jwk.as_ref(), Some(key.public()));
    }
    // The signature is checked all the same.
    let text = sign(&HEADER, b"{}", &key).unwrap();
    let (input, _) = text.rsplit_once('.').unwrap();
    let forged = format!("{input}.{}", attorn_jose::base64url(&[1; 64]));
    let jws = Compact::parse_cached(&forged, &Limits::JWT, &cache).unwrap();
    assert_eq!(jws.verify(key.public()).unwrap_err(), SignatureError::Invalid);
}

#[test]
fn a_full_header_cache_still_answers() {
    let cache = HeaderCache::new(1);
    for byte in 1..40 {
        let key = key(Algorithm::EdDsa, byte);
        let text = sign(&HEADER, b"{}", &key).unwrap();
        let jws = Compact::parse_cached(&text, &Limits::JWT, &cache).unwrap();
        jws.verify(key.public()).unwrap().remember_header(&cache);
    }
}

fn signed(algorithm: Algorithm) -> String {
    sign(&HEADER, br#"{"jti":"x","htm":"POST"}"#, &key(algorithm, 7)).unwrap()
}

/// Whether the text verifies under the key it carries, being that of [`signed`].
fn verifies(text: &str, algorithm: Algorithm) -> bool {
    let Ok(jws) = Compact::parse(text, &Limits::JWT) else { return false };
    let carried = jws.header().jwk.clone();
    carried.is_some_and(|jwk| jwk == *key(algorithm, 7).public() && jws.verify(&jwk).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_byte_change_breaks_a_proof(place in any::<prop::sample::Index>(), byte in 0_u8..128) {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let text = signed(algorithm);
            let mut bytes = text.clone().into_bytes();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            prop_assert!(verifies(&text, algorithm));
            prop_assert!(!verifies(std::str::from_utf8(&bytes).unwrap(), algorithm));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        prop_assert!(!verifies(&text, Algorithm::Es256));
        prop_assert!(PublicKey::parse_jwk(&text).is_err());
        prop_assert!(SigningKey::from_pkcs8_pem(&text).is_err());
    }
}
