use attorn_audit::Kind;
use attorn_jose::{Algorithm, CertificateThumbprint, SigningKey};
use attorn_oauth::access_token::{self, AccessTokenClaims, Expected, IssuerKeys};
use attorn_oauth::mtls::{self, PresentedCertificate};
use attorn_oauth::subject::Subject;
use attorn_registry::{AgentId, Authentication};

use super::*;

const NOW_S: u64 = 1_000;

fn key() -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &[1; 32]).unwrap()
}

fn by_key() -> Confirmation {
    Confirmation::Jkt(key().public().thumbprint())
}

fn by_certificate() -> Confirmation {
    Confirmation::Certificate(CertificateThumbprint::of_der(b"own"))
}

fn token(cnf: Confirmation) -> (VerifiedToken, String) {
    let agent = AgentId::from_random(&[2; 16]);
    let claims = AccessTokenClaims {
        act: None,
        attorn_approval: None,
        aud: "https://gw.example/crm/mcp".to_owned(),
        authorization_details: None,
        client_id: agent.clone(),
        cnf,
        epoch: 0,
        exp: NOW_S + 100,
        grt: None,
        iat: NOW_S,
        iss: "https://id.example".to_owned(),
        jti: "one".to_owned(),
        nbf: NOW_S,
        parent: None,
        scope: ScopeSet::parse("read:get").unwrap(),
        sub: Subject::Agent(agent),
    };
    let text = access_token::issue(&claims, "key-1", &key()).unwrap();
    let keys = IssuerKeys::new([("key-1".to_owned(), key().public().clone())]).unwrap();
    let expected = Expected { issuer: &claims.iss, audience: &claims.aud, keys: &keys };
    (access_token::verify(&text, &expected, NOW_S).unwrap(), text)
}

fn held() -> HeldCertificate {
    let presented = PresentedCertificate {
        thumbprint: CertificateThumbprint::of_der(b"own"),
        not_before_s: 0,
        not_after_s: NOW_S,
        anchors: &[],
        dns_names: &[],
        uris: &[],
    };
    let authentication = Authentication::PrivateKeyJwt;
    let (token, _) = token(by_certificate());
    let bound = mtls::bind(token, Some(&presented), &authentication, NOW_S).unwrap();
    bound.certificate().unwrap()
}

fn call(cnf: Confirmation, shown: Shown) -> OpenCall {
    let (token, text) = token(cnf);
    let trace = TraceContext::continued(None, None, &[1; 24]);
    let right = (ScopeSet::parse("read:get").unwrap(), None);
    let entry = Entry::new(Kind::CallDecided, 0);
    let server = ServerId::from_random(&[4; 16]);
    OpenCall::new(server, (token, &text, shown), right, entry, (trace, String::new()))
}

fn proof() -> Shown {
    Shown::Proof("a.b.c".to_owned().into())
}

#[test]
fn a_call_shows_what_its_token_is_bound_to() {
    let check = |cnf, shown, expected| assert_eq!(call(cnf, shown).verify_shown(), expected);
    check(by_key(), proof(), Ok(()));
    check(by_certificate(), Shown::Certificate(held()), Ok(()));
    let refused = Err(Refusal::Evidence);
    check(by_key(), Shown::Nothing, refused);
    check(by_key(), Shown::Certificate(held()), refused);
    check(by_certificate(), Shown::Nothing, refused);
    check(by_certificate(), proof(), refused);
}
