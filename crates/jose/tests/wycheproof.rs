//! Wycheproof's sets for our algorithms, through our own key parsing: raw ECDSA on P-256, Ed25519,
//! RSA-PSS as `PS256`, RSA as `RS256` for other issuers, and the neighbours that must not verify: DER signatures, SHA-512, other
//! lengths of salt. Every set is counted, so that an empty one cannot pass.
//!
//! The crate does not carry the sets of JWS, JWK and JWE texts; `vectors/jose` has texts of ours.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use attorn_jose::{Algorithm, PublicKey, base64url};
use wycheproof::TestResult;
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

/// How many cases of a set there are, how many are good, and how many of all verified.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    cases: usize,
    good: usize,
    verified: usize,
}

impl Tally {
    /// A case of a set that is ours: it verifies exactly if it is good.
    fn own(&mut self, verifies: bool, result: TestResult, what: &str) {
        assert_eq!(verifies, result == TestResult::Valid, "{what}");
        self.foreign(verifies, result);
    }

    /// A case of a set that is not ours.
    fn foreign(&mut self, verifies: bool, result: TestResult) {
        self.cases += 1;
        self.good += usize::from(result == TestResult::Valid);
        self.verified += usize::from(verifies);
    }
}

const fn tally(cases: usize, good: usize, verified: usize) -> Tally {
    Tally { cases, good, verified }
}

/// SEC 1 section 2.3.3: 4, x, y.
fn p256(point: &[u8]) -> PublicKey {
    let (x, y) = point.split_at(33);
    let (x, y) = (base64url(x.strip_prefix(&[4]).unwrap()), base64url(y));
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    PublicKey::parse_jwk(&jwk).unwrap()
}

fn on_p256(name: ecdsa::TestName, mut judge: impl FnMut(&mut Tally, bool, &ecdsa::Test)) -> Tally {
    let mut tally = Tally::default();
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = p256(&group.key.key);
        for test in group.tests {
            judge(&mut tally, key.verify(&test.msg, &test.sig).is_ok(), &test);
        }
    }
    tally
}

#[test]
fn ecdsa_on_p256_with_raw_signatures() {
    let seen = on_p256(ecdsa::TestName::EcdsaSecp256r1Sha256P1363, |tally, verifies, test| {
        tally.own(verifies, test.result, &format!("{}: {}", test.tc_id, test.comment));
    });
    assert_eq!(seen, tally(262, 173, 173));
}

/// RFC 7518 section 3.4: the two numbers side by side, and no DER around them.
#[test]
fn ecdsa_signatures_in_der_verify_never() {
    let seen = on_p256(ecdsa::TestName::EcdsaSecp256r1Sha256, |tally, verifies, test| {
        tally.foreign(verifies, test.result);
    });
    assert_eq!(seen, tally(484, 174, 0));
}

/// RFC 7518 section 3.4: P-256 goes with SHA-256.
#[test]
fn ecdsa_over_another_hash_verifies_never() {
    let seen = on_p256(ecdsa::TestName::EcdsaSecp256r1Sha512P1363, |tally, verifies, test| {
        tally.foreign(verifies, test.result);
    });
    assert_eq!(seen, tally(332, 242, 0));
}

#[test]
fn eddsa_on_ed25519() {
    let mut seen = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let x = base64url(&group.key.pk);
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        let key = PublicKey::parse_jwk(&jwk).unwrap();
        for test in group.tests {
            let verifies = key.verify(&test.msg, &test.sig).is_ok();
            seen.own(verifies, test.result, &format!("{}: {}", test.tc_id, test.comment));
        }
    }
    assert_eq!(seen, tally(151, 88, 88));
}

fn pss(
    name: rsa_pss_verify::TestName,
    mut judge: impl FnMut(&mut Tally, bool, &rsa_pss_verify::Test),
) -> Tally {
    let mut tally = Tally::default();
    for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
        // The numbers in big-endian order, with the zero byte that keeps them positive in DER.
        let number = |bytes: &[u8]| {
            let first = bytes.iter().position(|byte| *byte != 0).unwrap();
            base64url(bytes.get(first..).unwrap())
        };
        let (n, e) = (number(group.key.n.as_ref()), number(group.key.e.as_ref()));
        let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#);
        let key = PublicKey::parse_jwk(&jwk).unwrap();
        for test in group.tests {
            judge(&mut tally, key.verify(&test.msg, &test.sig).is_ok(), &test);
        }
    }
    tally
}

#[test]
fn rsa_pss_with_sha_256_and_a_salt_of_32_bytes() {
    use rsa_pss_verify::TestName;
    for name in [
        TestName::RsaPss2048Sha256Mgf1SaltLen32,
        TestName::RsaPss3072Sha256Mgf1SaltLen32,
        TestName::RsaPss4096Sha256Mgf1SaltLen32,
    ] {
        let seen = pss(name, |tally, verifies, test| {
            tally.own(verifies, test.result, &format!("{}: {}", test.tc_id, test.comment));
        });
        assert_eq!(seen, tally(108, 63, 63), "{name:?}");
    }
}

/// RFC 7518 section 3.5: the salt is as long as the hash, and the mask uses the same hash.
#[test]
fn rsa_pss_with_another_salt_or_mask_verifies_never() {
    use rsa_pss_verify::TestName;
    // One case of the first set is wrong there because its salt has 32 bytes: it is one of ours.
    for (name, cases, good, ours) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, 103, 61, &["s_len changed to 32"][..]),
        (TestName::RsaPss2048Sha256Mgf1Sha1_20, 108, 63, &[][..]),
    ] {
        let mut verified = Vec::new();
        let seen = pss(name, |tally, verifies, test| {
            verified.extend(verifies.then(|| test.comment.clone()));
            tally.foreign(verifies, test.result);
        });
        assert_eq!((seen.cases, seen.good), (cases, good), "{name:?}");
        assert_eq!(verified, ours, "{name:?}");
    }
}

/// Keys of other issuers. Groups under another exponent than 65537 are counted: their key is refused.
fn pkcs1(
    name: rsa_pkcs1_verify::TestName,
    mut judge: impl FnMut(&mut Tally, bool, &rsa_pkcs1_verify::Test),
) -> (Tally, usize) {
    let (mut tally, mut weak) = (Tally::default(), 0);
    for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
        let number = |bytes: &[u8]| {
            let first = bytes.iter().position(|byte| *byte != 0).unwrap();
            base64url(bytes.get(first..).unwrap())
        };
        let (n, e) = (number(group.key.n.as_ref()), number(group.key.e.as_ref()));
        let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}","alg":"RS256"}}"#);
        // What a client brings is for PS256, whatever it says.
        assert!(PublicKey::parse_jwk(&jwk).is_err());
        let Ok(key) = PublicKey::parse_jwk_of_issuer(&jwk, Algorithm::Ps256) else {
            weak += 1;
            continue;
        };
        for test in group.tests {
            judge(&mut tally, key.verify(&test.msg, &test.sig).is_ok(), &test);
        }
    }
    (tally, weak)
}

#[test]
fn rsa_with_sha_256_for_other_issuers() {
    use rsa_pkcs1_verify::TestName;
    for (name, expected) in [
        (TestName::Rsa2048Sha256, (tally(257, 7, 7), 2)),
        (TestName::Rsa3072Sha256, (tally(258, 7, 7), 1)),
        (TestName::Rsa4096Sha256, (tally(258, 7, 7), 0)),
    ] {
        let seen = pkcs1(name, |tally, verifies, test| {
            tally.own(verifies, test.result, &format!("{}: {}", test.tc_id, test.comment));
        });
        assert_eq!(seen, expected, "{name:?}");
    }
    // Of the set of another hash, the one case verifies that is wrong there for having ours.
    let mut verified = Vec::new();
    let (seen, _) = pkcs1(TestName::Rsa2048Sha512, |tally, verifies, test| {
        verified.extend(verifies.then(|| test.comment.clone()));
        tally.foreign(verifies, test.result);
    });
    assert_eq!((seen.cases, seen.good), (258, 7));
    assert_eq!(verified, ["The message is hashed with SHA-256 instead of SHA-512."]);
}
