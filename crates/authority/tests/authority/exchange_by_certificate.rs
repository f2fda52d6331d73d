//! Token exchange for tokens that are bound to a certificate: on the word of who saw it, and of nobody
//! else.

use attorn_authority::Operation;
use attorn_jose::CertificateThumbprint;
use attorn_net::PeerCertificate;
use attorn_oauth::access_token::{self, Expected, IssuerKeys};
use attorn_oauth::client_assertion::ASSERTION_TYPE;
use attorn_oauth::evidence::{
    APPROVAL_EVIDENCE, CERTIFICATE_EVIDENCE, EvidenceKey, HeldCertificate,
};
use attorn_oauth::mtls::{self, PresentedCertificate};
use attorn_registry::{AgentId, ServerId};
use http::StatusCode;
use serde_json::{Value, json};

use crate::exchange::{Chain, Form, claims, set, told, without};
use crate::mtls::{URI, own, token as ask_token};
use crate::world::{CRM, ISSUER};

const EVIDENCE: (u16, &str, &str) = (400, "invalid_grant", "delegation.evidence");

/// The chain of an agent that is known by a certificate, beside that of the one with a key.
struct Certified {
    chain: Chain,
    client_id: String,
}

impl Certified {
    async fn new() -> Self {
        Self::by(Chain::new().await, json!({ "method": "tls_client_auth", "uri": URI })).await
    }

    async fn by(chain: Chain, authentication: Value) -> Self {
        let new = json!({ "name": "by-cert", "owner": "sales", "authentication": authentication });
        let (world, operator) = (&chain.world, &chain.operator);
        let made = world.done(operator, Operation::AgentRegister, &[], new).await;
        let grant = json!({ "agent": "by-cert", "server": "crm", "patterns": ["read:get"] });
        world.done(operator, Operation::GrantCreate, &[], grant).await;
        let client_id = made["id"].as_str().unwrap().to_owned();
        Self { chain, client_id }
    }

    /// A token for the server, bound to the agent's certificate.
    async fn token(&self) -> String {
        let answer = ask_token(&self.chain.world, &self.client_id, Some(own())).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.text("access_token").to_owned()
    }

    /// What the gateway saw: this token over a connection with the certificate.
    fn seen(&self, token: &str) -> HeldCertificate {
        let world = &self.chain.world;
        let (kid, signer) = world.signing_key();
        let keys = IssuerKeys::new([(kid, signer.public().clone())]).unwrap();
        let expected = Expected { issuer: ISSUER, audience: CRM, keys: &keys };
        let now_s = world.now_s();
        let token = access_token::verify(token, &expected, now_s).unwrap();
        let snapshot = world.published.load();
        let agent = snapshot.agent(&AgentId::parse(&self.client_id).unwrap()).unwrap();
        let certificate = own();
        let presented = presented(&certificate);
        let bound = mtls::bind(token, Some(&presented), &agent.authentication, now_s).unwrap();
        bound.certificate().unwrap()
    }

    /// What the way out of the same process says of it.
    fn word(&self, token: &str) -> String {
        let key = self.chain.world.authority.evidence_key();
        key.vouch_certificate(&self.seen(token), &self.chain.server)
    }

    /// A form with everything right but this word.
    fn form_with(&self, token: &str, word: &str) -> Form {
        let mut form = without(&self.chain.form(token), "subject_token_proof");
        set(&mut form, CERTIFICATE_EVIDENCE, word);
        form
    }

    /// A form with everything right.
    fn form(&self, token: &str) -> Form {
        self.form_with(token, &self.word(token))
    }

    async fn passes(&self, token: &str) -> String {
        let answer = self.chain.send(&self.form(token)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.text("access_token").to_owned()
    }

    /// Whether introspection stands by a token of the server.
    async fn stands(&self, token: &str) -> bool {
        let chain = &self.chain;
        let assertion = chain.assertion(&chain.key);
        let form = [
            ("client_id", chain.server.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("token", token),
        ];
        chain.world.post_form("/introspect", &form).await.body["active"] == true
    }
}

fn presented(certificate: &PeerCertificate) -> PresentedCertificate<'_> {
    PresentedCertificate {
        thumbprint: CertificateThumbprint::from_bytes(certificate.thumbprint),
        not_before_s: certificate.not_before_s,
        not_after_s: certificate.not_after_s,
        anchors: &certificate.anchors,
        dns_names: &certificate.dns_names,
        uris: &certificate.uris,
    }
}

fn thumbprint() -> String {
    CertificateThumbprint::of_der(b"own").to_string()
}

#[tokio::test]
async fn a_token_of_a_certificate_is_exchanged_on_the_word_of_the_gateway() {
    let certified = Certified::new().await;
    let (chain, token) = (&certified.chain, certified.token().await);
    let answer = chain.send(&certified.form(&token)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["token_type"], "DPoP");
    assert_eq!(answer.body["scope"], "read:invoice.get");
    let (old, new) = (claims(&token), claims(answer.text("access_token")));
    // The caller's certificate is where the chain began; the new token needs the server's own key.
    assert_eq!(old["cnf"], json!({ "x5t#S256": thumbprint() }));
    assert_eq!(new["cnf"], json!({ "jkt": chain.key.public().thumbprint().to_string() }));
    assert_eq!(new["parent"]["key"], thumbprint());
    assert_eq!((&new["sub"], &new["act"]["sub"]), (&old["sub"], &json!(chain.server)));
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!(
        (&entry["agent"], &entry["agent_key"]),
        (&json!(certified.client_id), &json!(thumbprint()),)
    );
    assert_eq!(entry["token_jti"], old["jti"]);
    // One call may need tokens for several APIs.
    certified.passes(&token).await;
}

#[tokio::test]
async fn without_the_word_of_who_saw_it_a_certificate_is_worth_nothing() {
    let certified = Certified::new().await;
    let (chain, token) = (&certified.chain, certified.token().await);
    let missing = without(&certified.form(&token), CERTIFICATE_EVIDENCE);
    assert_eq!(told(&chain.refused(&missing).await), EVIDENCE, "missing");
    let (own, seen) = (chain.world.authority.evidence_key(), certified.seen(&token));
    let another_token = certified.seen(&certified.token().await);
    let word = certified.word(&token);
    let (_, tag) = word.split_once('.').unwrap();
    for (name, shown) in [
        ("the thumbprint alone", thumbprint()),
        ("the token", token.clone()),
        ("a tag alone", format!(".{tag}")),
        ("a later time", format!("{}.{tag}", chain.world.now_s() + 1)),
        ("another process", EvidenceKey::new(&[1; 32]).vouch_certificate(&seen, &chain.server)),
        ("another token", own.vouch_certificate(&another_token, &chain.server)),
        ("another server", own.vouch_certificate(&seen, &ServerId::from_random(&[1; 16]))),
    ] {
        let form = certified.form_with(&token, &shown);
        assert_eq!(told(&chain.refused(&form).await), EVIDENCE, "{name}");
    }
    // A proof by a key says nothing about a certificate, whoever makes it.
    let in_its_place = chain.form(&token);
    assert_eq!(told(&chain.refused(&in_its_place).await), EVIDENCE, "a proof in its place");
    let mut beside = chain.form(&token);
    set(&mut beside, CERTIFICATE_EVIDENCE, &word);
    assert_eq!(told(&chain.refused(&beside).await), EVIDENCE, "a proof beside it");
    let mut twice = certified.form(&token);
    twice.push((CERTIFICATE_EVIDENCE, word));
    let malformed = (400, "invalid_request", "request.malformed");
    assert_eq!(told(&chain.refused(&twice).await), malformed);
    certified.passes(&token).await;
}

#[tokio::test]
async fn the_word_about_a_certificate_is_good_for_a_minute() {
    let certified = Certified::new().await;
    let (chain, token) = (&certified.chain, certified.token().await);
    let word = certified.word(&token);
    chain.world.pass_s(60);
    let answer = chain.send(&certified.form_with(&token, &word)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    chain.world.pass_s(1);
    assert_eq!(told(&chain.refused(&certified.form_with(&token, &word)).await), EVIDENCE);
    certified.passes(&token).await;
}

#[tokio::test]
async fn the_word_about_a_certificate_does_not_stand_in_for_a_proof() {
    let certified = Certified::new().await;
    let chain = &certified.chain;
    let word = certified.word(&certified.token().await);
    let token = chain.agent_token().await;
    let instead = certified.form_with(&token, &word);
    assert_eq!(told(&chain.refused(&instead).await), EVIDENCE);
    let mut beside = chain.form(&token);
    set(&mut beside, CERTIFICATE_EVIDENCE, &word);
    assert_eq!(told(&chain.refused(&beside).await), EVIDENCE);
    assert_eq!(chain.exchange(&token).await.status, StatusCode::OK);
}

/// Neither kind of word is the other one, although one key makes both.
#[tokio::test]
async fn the_word_about_an_approval_is_none_about_a_certificate() {
    let chain = Chain::with(&["read:get", "irreversible:drop"]).await;
    let approval = chain.approved().await;
    let uri = json!({ "method": "tls_client_auth", "uri": URI });
    let certified = Certified::by(chain, uri).await;
    let (chain, token) = (&certified.chain, certified.token().await);
    let approved = chain.vouched(&approval, &token);
    let (_, tag) = approved.split_once('.').unwrap();
    for shown in [approved.clone(), format!("{}.{tag}", chain.world.now_s())] {
        let form = certified.form_with(&token, &shown);
        assert_eq!(told(&chain.refused(&form).await), EVIDENCE, "{shown}");
    }
    let word = certified.word(&token);
    let mut as_approval = certified.form(&token);
    set(&mut as_approval, APPROVAL_EVIDENCE, &word);
    assert_eq!(told(&chain.refused(&as_approval).await), EVIDENCE);
    certified.passes(&token).await;
}

#[tokio::test]
async fn a_lock_on_the_certificate_or_its_agent_ends_what_was_exchanged() {
    let certified = Certified::new().await;
    let chain = &certified.chain;
    for kind in ["key", "agent", "token"] {
        let token = certified.token().await;
        let child = certified.passes(&token).await;
        assert!(certified.stands(&child).await, "{kind}");
        let target = match kind {
            "key" => json!({ "kind": kind, "jkt": thumbprint() }),
            "agent" => json!({ "kind": kind, "agent": "by-cert" }),
            _ => json!({ "kind": kind, "jti": claims(&token)["jti"] }),
        };
        let lock = json!({ "target": target, "reason": "test" });
        let set = chain.world.done(&chain.operator, Operation::LockCreate, &[], lock).await;
        assert!(!certified.stands(&child).await, "{kind}");
        let refused = chain.refused(&certified.form(&token)).await;
        assert_eq!(told(&refused), (400, "invalid_grant", "lock.active"), "{kind}");
        let (id, reason) = (set["id"].as_str().unwrap(), json!({ "reason": "test" }));
        chain.world.done(&chain.operator, Operation::LockLift, &[id], reason).await;
    }
    certified.passes(&certified.token().await).await;
}

#[tokio::test]
async fn a_certificate_that_was_taken_from_its_agent_ends_what_was_exchanged() {
    let known_by = |ders: &[&[u8]]| {
        let thumbprints = ders.iter().map(|der| CertificateThumbprint::of_der(der).to_string());
        let certificates: Vec<_> = thumbprints.collect();
        json!({ "method": "self_signed_tls_client_auth", "certificates": certificates })
    };
    let certified = Certified::by(Chain::new().await, known_by(&[b"own"])).await;
    let (chain, token) = (&certified.chain, certified.token().await);
    let (form, child) = (certified.form(&token), certified.passes(&token).await);
    let change = async |ders: &[&[u8]]| {
        let wanted = json!({ "authentication": known_by(ders) });
        let operation = Operation::AgentAuthentication;
        chain.world.done(&chain.operator, operation, &["by-cert"], wanted).await;
    };
    // Both for a while: nothing ends.
    change(&[b"own", b"next"]).await;
    assert!(certified.stands(&child).await);
    change(&[b"next"]).await;
    assert!(!certified.stands(&child).await);
    let refused = chain.refused(&form).await;
    assert_eq!(told(&refused), (400, "invalid_grant", "token.revoked"));
}
