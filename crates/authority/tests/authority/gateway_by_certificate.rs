//! A gateway in a process of its own that is known by a certificate follows the registry with it.

use attorn_authority::Operation;
use attorn_jose::CertificateThumbprint;
use attorn_net::PeerCertificate;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::mtls::{certificate, peer, post};
use crate::world::{ADMIN, Answer, Client, World};

const URI: &str = "urn:gateway:one";

fn own() -> PeerCertificate {
    certificate(b"gateway", URI, "client_ca")
}

/// A gateway that is registered in this way, with what `attorn gateway register` gives it.
struct Gateway {
    world: World,
    operator: Client,
    id: String,
}

impl Gateway {
    async fn new(authentication: Value) -> Self {
        let world = World::new().await;
        let operator = world.operator().await;
        world.done(&operator, Operation::OwnerCreate, &[], json!({ "name": "platform" })).await;
        let new = json!({
            "name": "gw-1", "owner": "platform", "kind": "gateway",
            "authentication": authentication,
        });
        let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
        assert_eq!((&made["state"], made.get("code")), (&json!("active"), None), "{made}");
        let scope = Operation::RegistryFollow.scope().to_string();
        let grant = json!({ "agent": "gw-1", "server": "admin", "patterns": [scope] });
        world.done(&operator, Operation::GrantCreate, &[], grant).await;
        Self { id: made["id"].as_str().unwrap().to_owned(), world, operator }
    }

    async fn by_name() -> Self {
        Self::new(json!({ "method": "tls_client_auth", "uri": URI })).await
    }

    async fn ask_token(&self, certificate: Option<PeerCertificate>) -> Answer {
        let resource = format!("{ADMIN}/admin");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.id.as_str()),
            ("resource", resource.as_str()),
        ];
        post(&self.world, "/token", &form, None, certificate).await
    }

    async fn token(&self, certificate: PeerCertificate) -> String {
        let answer = self.ask_token(Some(certificate)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["token_type"], "Bearer");
        answer.text("access_token").to_owned()
    }

    /// One question for news, over a connection with this certificate.
    async fn follow(
        &self,
        token: &str,
        certificate: Option<PeerCertificate>,
        lease: Option<&str>,
    ) -> Answer {
        let mut asked = json!({
            "after": 0, "nonce": "n", "run": "run-1", "log_size": 0, "log_root": "root",
        });
        if let Some(lease) = lease {
            asked["lease"] = lease.into();
        }
        let path = Operation::RegistryFollow.path_of(&[]);
        let request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Full::from(asked.to_string()));
        let mut request = request.unwrap();
        request.extensions_mut().insert(peer(certificate));
        self.world.admin(request).await
    }

    async fn known_by(&self, ders: &[&[u8]]) {
        let wanted = json!({ "authentication": self_signed(ders) });
        let operation = Operation::AgentAuthentication;
        self.world.done(&self.operator, operation, &["gw-1"], wanted).await;
    }
}

fn self_signed(ders: &[&[u8]]) -> Value {
    let thumbprints = ders.iter().map(|der| CertificateThumbprint::of_der(der).to_string());
    let certificates: Vec<_> = thumbprints.collect();
    json!({ "method": "self_signed_tls_client_auth", "certificates": certificates })
}

/// What the message of an answer says.
fn message(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let payload = answer.text("message").split('.').nth(1).unwrap();
    serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_gateway_follows_with_its_certificate() {
    let gateway = Gateway::by_name().await;
    let token = gateway.token(own()).await;
    let told = message(&gateway.follow(&token, Some(own()), None).await);
    assert_eq!(told["aud"], gateway.id);
    let listed =
        gateway.world.done(&gateway.operator, Operation::GatewayList, &[], json!({})).await;
    assert_eq!(listed["items"][0]["name"], "gw-1");
    assert_eq!(listed["items"][0]["serves"], true, "{listed}");
}

#[tokio::test]
async fn without_that_certificate_nobody_is_the_gateway() {
    let gateway = Gateway::by_name().await;
    for (name, shown) in [
        ("none", None),
        ("another name", Some(certificate(b"gateway", "urn:gateway:two", "client_ca"))),
        ("another authority", Some(certificate(b"gateway", URI, "spiffe://example.org"))),
    ] {
        let refused = gateway.ask_token(shown).await;
        assert_eq!(refused.refusal(), (401, "invalid_client"), "{name}");
        let entry = gateway.world.newest("token.refused").await;
        assert_eq!(entry["reason"], "client.authentication", "{name}");
    }
    let token = gateway.token(own()).await;
    for (name, shown, reason) in [
        ("none", None, "possession.certificate_missing"),
        (
            "the same name on another key",
            Some(certificate(b"twin", URI, "client_ca")),
            "possession.key_mismatch",
        ),
        (
            "an authority that is not trusted any more",
            Some(certificate(b"gateway", URI, "gone")),
            "possession.certificate_invalid",
        ),
    ] {
        let refused = gateway.follow(&token, shown, None).await;
        assert_eq!(refused.refusal(), (401, "invalid_token"), "{name}");
        let entry = gateway.world.newest("possession.failed").await;
        assert_eq!(entry["reason"], reason, "{name}");
    }
    message(&gateway.follow(&token, Some(own()), None).await);
}

#[tokio::test]
async fn a_lock_on_its_certificate_stops_a_gateway() {
    let gateway = Gateway::by_name().await;
    let token = gateway.token(own()).await;
    message(&gateway.follow(&token, Some(own()), None).await);
    let jkt = CertificateThumbprint::of_der(b"gateway").to_string();
    let lock = json!({ "target": { "kind": "key", "jkt": jkt }, "reason": "leaked" });
    gateway.world.done(&gateway.operator, Operation::LockCreate, &[], lock).await;
    let refused = gateway.follow(&token, Some(own()), None).await;
    assert_ne!(refused.status, StatusCode::OK, "{refused:?}");
    assert_eq!(gateway.ask_token(Some(own())).await.refusal(), (401, "invalid_client"));
    // With another certificate of the same name it goes on: its lease is what it was.
    let next = || certificate(b"next", URI, "client_ca");
    let token = gateway.token(next()).await;
    message(&gateway.follow(&token, Some(next()), None).await);
}

/// What the old way got ends with it: a copy cannot take the place of the gateway with a token from before,
/// although what it shows would do for the new way as well.
#[tokio::test]
async fn another_way_ends_the_tokens_of_the_old_one() {
    let gateway = Gateway::new(self_signed(&[b"old"])).await;
    let of = |der| certificate(der, URI, "client_ca");
    let token = gateway.token(of(b"old")).await;
    message(&gateway.follow(&token, Some(of(b"old")), None).await);
    gateway.world.pass_s(1);
    let by_name = json!({ "authentication": { "method": "tls_client_auth", "uri": URI } });
    let (world, change) = (&gateway.world, Operation::AgentAuthentication);
    world.done(&gateway.operator, change, &["gw-1"], by_name).await;
    let copied = gateway.follow(&token, Some(of(b"old")), None).await;
    assert_eq!(copied.refusal(), (401, "invalid_token"), "{copied:?}");
    let renewed = gateway.token(of(b"new")).await;
    message(&gateway.follow(&renewed, Some(of(b"new")), None).await);
}

/// A certificate is replaced before it ends, and the gateway stays the one it was: a copy with an old
/// lease is refused whichever of the two it shows.
#[tokio::test]
async fn a_gateway_stays_itself_when_its_certificate_is_replaced() {
    let gateway = Gateway::new(self_signed(&[b"old"])).await;
    let of = |der| certificate(der, URI, "none");
    let token = gateway.token(of(b"old")).await;
    let told = message(&gateway.follow(&token, Some(of(b"old")), None).await);
    let lease = told["lease"].as_str().unwrap().to_owned();
    message(&gateway.follow(&token, Some(of(b"old")), Some(&lease)).await);
    gateway.known_by(&[b"old", b"new"]).await;
    let renewed = gateway.token(of(b"new")).await;
    message(&gateway.follow(&renewed, Some(of(b"new")), Some(&lease)).await);
    for (token, der) in [(&token, b"old"), (&renewed, b"new")] {
        let copied = gateway.follow(token, Some(of(der)), None).await;
        assert_eq!(copied.refusal(), (409, "gateway.copied"), "{copied:?}");
    }
    gateway.known_by(&[b"new"]).await;
    let ended = gateway.follow(&token, Some(of(b"old")), Some(&lease)).await;
    assert_eq!(ended.refusal(), (401, "invalid_token"));
    message(&gateway.follow(&renewed, Some(of(b"new")), Some(&lease)).await);
    // Known by something else alone, whoever shows that is the gateway.
    gateway.known_by(&[b"another"]).await;
    let token = gateway.token(of(b"another")).await;
    message(&gateway.follow(&token, Some(of(b"another")), None).await);
}
