//! Runs `vectors/jose`. A row holds the text and the one outcome; an outcome nobody knows fails,
//! and so does a refusal that no row shows.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use std::collections::BTreeSet;

use attorn_jose::{Compact, HeaderError, JwkError, JwsError, PublicKey, SignatureError};
use attorn_json::Limits;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<T> {
    name: String,
    section: String,
    input: T,
    expect: String,
}

/// Runs all rows, and checks that every refusal in `refusals` occurs.
fn run<T: for<'de> Deserialize<'de>>(
    file: &str,
    refusals: &[&str],
    outcome_of: impl Fn(&T) -> String,
) {
    let rows: Vec<Row<T>> = serde_json::from_str(file).unwrap();
    let mut missing: BTreeSet<_> = refusals.iter().copied().collect();
    for row in rows {
        assert!(row.section.starts_with("RFC "), "{}: cites nothing", row.name);
        assert_eq!(outcome_of(&row.input), row.expect, "{}, {}", row.name, row.section);
        missing.remove(row.expect.as_str());
    }
    assert!(missing.is_empty(), "no row shows {missing:?}");
}

fn jwk_refusal(error: &JwkError) -> &'static str {
    match error {
        JwkError::AlgorithmMismatch => "AlgorithmMismatch",
        JwkError::Coordinate => "Coordinate",
        JwkError::Curve => "Curve",
        JwkError::Json(_) => "Json",
        JwkError::KeyType => "KeyType",
        JwkError::Point => "Point",
        JwkError::PrivateMember => "PrivateMember",
        JwkError::RsaWeak => "RsaWeak",
        JwkError::Shape => "Shape",
        JwkError::Usage => "Usage",
    }
}

#[test]
fn keys() {
    let refusals = [
        "AlgorithmMismatch",
        "Coordinate",
        "Curve",
        "Json",
        "KeyType",
        "Point",
        "PrivateMember",
        "RsaWeak",
        "Shape",
        "Usage",
    ];
    run(include_str!("../../../vectors/jose/jwk.json"), &refusals, |text: &String| {
        match PublicKey::parse_jwk(text) {
            Ok(key) => format!("thumbprint:{}", key.thumbprint()),
            Err(error) => jwk_refusal(&error).to_owned(),
        }
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    jws: String,
    jwk: String,
}

fn jws_refusal(error: &JwsError) -> &'static str {
    match error {
        JwsError::Encoding => "Encoding",
        JwsError::PartCount => "PartCount",
        JwsError::TooLong { .. } => "TooLong",
        JwsError::Header(HeaderError::Algorithm) => "HeaderAlgorithm",
        JwsError::Header(HeaderError::CriticalExtension) => "HeaderCriticalExtension",
        JwsError::Header(HeaderError::Json(_)) => "HeaderJson",
        JwsError::Header(HeaderError::Jwk(_)) => "HeaderJwk",
        JwsError::Header(HeaderError::Shape) => "HeaderShape",
        JwsError::Header(HeaderError::UnencodedPayload) => "HeaderUnencodedPayload",
    }
}

fn signature_refusal(error: SignatureError) -> &'static str {
    match error {
        SignatureError::AlgorithmMismatch { .. } => "AlgorithmMismatch",
        SignatureError::Invalid => "SignatureInvalid",
        SignatureError::Length => "SignatureLength",
    }
}

#[test]
fn signed_texts() {
    let refusals = [
        "AlgorithmMismatch",
        "Encoding",
        "HeaderAlgorithm",
        "HeaderCriticalExtension",
        "HeaderJson",
        "HeaderJwk",
        "HeaderShape",
        "HeaderUnencodedPayload",
        "PartCount",
        "SignatureInvalid",
        "SignatureLength",
        "TooLong",
    ];
    run(include_str!("../../../vectors/jose/compact.json"), &refusals, |input: &Signed| {
        let key = PublicKey::parse_jwk(&input.jwk).unwrap();
        match Compact::parse(&input.jws, &Limits::JWT) {
            Err(error) => jws_refusal(&error).to_owned(),
            Ok(jws) => match jws.verify(&key) {
                Err(error) => signature_refusal(error).to_owned(),
                Ok(_verified) => "verified".to_owned(),
            },
        }
    });
}
