//! Wycheproof's ECDSA P-256 (raw signatures) and Ed25519 sets, through our own key parsing.

#![expect(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use attorn_jose::{PublicKey, base64url};
use wycheproof::TestResult;

/// SEC 1 section 2.3.3: 4, x, y.
fn p256_jwk(point: &[u8]) -> String {
    let (x, y) = point.split_at(33);
    let (x, y) = (base64url(x.strip_prefix(&[4]).unwrap()), base64url(y));
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
}

#[test]
fn ecdsa_on_p256_with_raw_signatures() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut runs = 0;
    for group in set.test_groups {
        let key = PublicKey::parse_jwk(&p256_jwk(&group.key.key)).unwrap();
        for test in group.tests {
            let verifies = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(
                verifies,
                test.result == TestResult::Valid,
                "{}: {}",
                test.tc_id,
                test.comment
            );
            runs += 1;
        }
    }
    assert!(runs > 200, "only {runs} cases");
}

#[test]
fn eddsa_on_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut runs = 0;
    for group in set.test_groups {
        let x = base64url(&group.key.pk);
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        let key = PublicKey::parse_jwk(&jwk).unwrap();
        for test in group.tests {
            let verifies = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(
                verifies,
                test.result == TestResult::Valid,
                "{}: {}",
                test.tc_id,
                test.comment
            );
            runs += 1;
        }
    }
    assert!(runs > 100, "only {runs} cases");
}
