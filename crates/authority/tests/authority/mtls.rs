//! Clients known by certificates and SVIDs.

use std::collections::HashMap;
use std::sync::Arc;

use attorn_authority::Operation;
use attorn_jose::{Algorithm, CertificateThumbprint, NewHeader, SigningKey, sign};
use attorn_net::{Peer, PeerCertificate};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, CRM, Client, ISSUER, START_MS, World, form_request, token_form};

pub(crate) const URI: &str = "urn:agent:billing";
const SPIFFE_ID: &str = "spiffe://example.org/billing";

/// A certificate as the TLS layer would describe it.
pub(crate) fn certificate(der: &[u8], uri: &str, anchor: &str) -> PeerCertificate {
    PeerCertificate {
        thumbprint: *CertificateThumbprint::of_der(der).as_bytes(),
        not_before_s: START_MS / 1000 - 100,
        not_after_s: START_MS / 1000 + 1000,
        dns_names: Vec::new(),
        uris: vec![uri.to_owned()],
        anchors: vec![anchor.to_owned()],
    }
}

pub(crate) fn own() -> PeerCertificate {
    certificate(b"own", URI, "client_ca")
}

pub(crate) fn peer(certificate: Option<PeerCertificate>) -> Peer {
    let address = "192.0.2.7:4711".parse().unwrap();
    Peer { certificate: certificate.map(Arc::new), ..Peer::new(address, true) }
}

/// One request to a public endpoint over a connection with this certificate.
pub(crate) async fn post(
    world: &World,
    path: &str,
    form: &[(&str, &str)],
    proof: Option<&str>,
    certificate: Option<PeerCertificate>,
) -> Answer {
    let mut request = form_request(path, form, proof);
    request.extensions_mut().insert(peer(certificate));
    world.public(request).await
}

pub(crate) async fn token(
    world: &World,
    client_id: &str,
    certificate: Option<PeerCertificate>,
) -> Answer {
    let form = [("grant_type", "client_credentials"), ("client_id", client_id), ("resource", CRM)];
    post(world, "/token", &form, None, certificate).await
}

async fn with_agent(more: Value) -> (World, Client, String) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let mut new = json!({ "name": "billing", "owner": "sales" });
    new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let grant = json!({ "agent": "billing", "server": "crm", "patterns": ["read:get"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    (world, operator, made["id"].as_str().unwrap().to_owned())
}

fn by_name() -> Value {
    json!({ "authentication": { "method": "tls_client_auth", "uri": URI } })
}

#[tokio::test]
async fn a_certificate_gets_a_token_that_is_bound_to_it() {
    let (world, _, id) = with_agent(by_name()).await;
    let answer = token(&world, &id, Some(own())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["token_type"], "Bearer");
    assert!(!answer.headers.contains_key("dpop-nonce"));
    let payload = answer.text("access_token").split('.').nth(1).unwrap();
    let claims: Value =
        serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap();
    let thumbprint = CertificateThumbprint::of_der(b"own").to_string();
    assert_eq!(claims["cnf"], json!({ "x5t#S256": thumbprint }));
    assert_eq!(world.newest("token.issued").await["proof_key"], thumbprint);
}

#[tokio::test]
async fn the_registered_way_is_the_only_one() {
    let (world, operator, id) = with_agent(by_name()).await;
    let refused = |answer: Answer| assert_eq!(answer.refusal(), (401, "invalid_client"));
    refused(token(&world, &id, None).await);
    refused(token(&world, &id, Some(certificate(b"own", URI, "spiffe://example.org"))).await);
    refused(token(&world, &id, Some(certificate(b"own", "urn:agent:other", "client_ca"))).await);
    refused(token(&world, operator.id.as_str(), Some(own())).await);
    refused(token(&world, "agt_unknown", Some(own())).await);
    world.pass_s(1001);
    refused(token(&world, &id, Some(own())).await);
    assert_eq!(world.newest("token.refused").await["reason"], "client.authentication");
    // An operator with a key does not get in by a certificate, nor an agent with one by a key.
    let key = json!({ "authentication": { "method": "private_key_jwt" } });
    world.done(&operator, Operation::AgentAuthentication, &["billing"], key).await;
    refused(token(&world, &id, Some(own())).await);
}

#[tokio::test]
async fn a_client_for_certificate_bound_tokens_gets_no_others() {
    let (world, operator, _) = with_agent(by_name()).await;
    let new = json!({ "name": "bound", "owner": "sales", "binding": "certificate" });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let (client, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let grant = json!({ "agent": "bound", "server": "crm", "patterns": ["read:get"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let ask = async |proof: Option<&str>, certificate| {
        let assertion = world.assertion(&client);
        post(&world, "/token", &token_form(&assertion, Some(CRM), None), proof, certificate).await
    };
    assert_eq!(ask(None, None).await.refusal(), (400, "invalid_request"));
    let entry = world.newest("token.refused").await;
    assert_eq!(entry["reason"], "possession.certificate_missing");
    // A proof beside it changes nothing: the registration decides.
    let nonce = world.nonce(&client).await;
    let proof = world.proof(&client, Some(&nonce));
    assert_eq!(ask(Some(&proof), None).await.refusal(), (400, "invalid_request"));
    let proof = world.proof(&client, Some(&nonce));
    let answer = ask(Some(&proof), Some(certificate(b"any", "urn:any", "none"))).await;
    assert_eq!(answer.body["token_type"], "Bearer", "{answer:?}");
}

#[tokio::test]
async fn a_client_with_a_certificate_may_bind_its_tokens_to_a_key() {
    let mut way = by_name();
    way["binding"] = "dpop".into();
    let (world, operator, id) = with_agent(way).await;
    assert_eq!(token(&world, &id, Some(own())).await.refusal(), (400, "invalid_dpop_proof"));
    let nonce = world.nonce(&operator).await;
    let proof = world.proof(&operator, Some(&nonce));
    let form = [("grant_type", "client_credentials"), ("client_id", &id), ("resource", CRM)];
    let answer = post(&world, "/token", &form, Some(&proof), Some(own())).await;
    assert_eq!(answer.body["token_type"], "DPoP", "{answer:?}");
}

#[tokio::test]
async fn a_jwt_svid_is_taken_from_its_first_holder_alone() {
    let way = json!({
        "authentication": { "method": "spiffe", "id": SPIFFE_ID }, "binding": "dpop"
    });
    let (world, operator, id) = with_agent(way).await;
    let key = SigningKey::from_seed(Algorithm::Es256, &[9; 32]).unwrap();
    let claims = json!({ "sub": SPIFFE_ID, "aud": [ISSUER], "exp": world.now_s() + 200 });
    let header = NewHeader { typ: "JWT", kid: Some("authority"), jwk: false };
    let svid = sign(&header, claims.to_string().as_bytes(), &key).unwrap();
    let nonce = world.nonce(&operator).await;
    let ask = async |client: &Client| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id.as_str()),
            ("client_assertion_type", attorn_oauth::jwt_svid::ASSERTION_TYPE),
            ("client_assertion", svid.as_str()),
            ("resource", CRM),
        ];
        let proof = world.proof(client, Some(&nonce));
        post(&world, "/token", &form, Some(&proof), None).await
    };
    // Nobody configured the trust domain yet.
    assert_eq!(ask(&operator).await.refusal(), (401, "invalid_client"));
    let keys = HashMap::from([("authority".to_owned(), key.public().clone())]);
    world.trust_domains.replace(HashMap::from([("example.org".to_owned(), keys)]));
    assert_eq!(ask(&operator).await.status, StatusCode::OK);
    assert_eq!(ask(&operator).await.status, StatusCode::OK);
    let thief = Client { id: operator.id.clone(), key: crate::world::new_key() };
    assert_eq!(ask(&thief).await.refusal(), (401, "invalid_client"));
}

#[tokio::test]
async fn revocation_and_introspection_take_the_certificate_too() {
    let (world, _, id) = with_agent(by_name()).await;
    let issued = token(&world, &id, Some(own())).await;
    let form = [("client_id", id.as_str()), ("token", issued.text("access_token"))];
    let told = post(&world, "/introspect", &form, None, Some(own())).await;
    assert_eq!(told.body["active"], true, "{told:?}");
    assert!(told.body["cnf"]["x5t#S256"].is_string());
    assert_eq!(post(&world, "/introspect", &form, None, None).await.status.as_u16(), 401);
    let revoked = post(&world, "/revoke", &form, None, Some(own())).await;
    assert_eq!(revoked.status, StatusCode::OK);
    let told = post(&world, "/introspect", &form, None, Some(own())).await;
    assert_eq!(told.body["active"], false);
}

#[tokio::test]
async fn a_lock_on_a_certificate_stops_it() {
    let (world, operator, id) = with_agent(by_name()).await;
    let jkt = CertificateThumbprint::of_der(b"own").to_string();
    let lock = json!({ "target": { "kind": "key", "jkt": jkt }, "reason": "leaked" });
    world.done(&operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(token(&world, &id, Some(own())).await.refusal(), (401, "invalid_client"));
    let other = certificate(b"other", URI, "client_ca");
    assert_eq!(token(&world, &id, Some(other)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_operator_administers_with_a_certificate() {
    let (world, operator, _) = with_agent(by_name()).await;
    let new = json!({
        "name": "carol", "owner": "sales", "kind": "operator",
        "authentication": { "method": "tls_client_auth", "uri": "urn:person:carol" },
    });
    let made = world.done(&operator, Operation::AgentRegister, &[], new).await;
    let id = made["id"].as_str().unwrap();
    let grant = json!({ "agent": "carol", "server": "admin", "patterns": ["read:*"] });
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    let carol = || certificate(b"carol", "urn:person:carol", "client_ca");
    let resource = format!("{ADMIN}/admin");
    let form = [("grant_type", "client_credentials"), ("client_id", id), ("resource", &resource)];
    let issued = post(&world, "/token", &form, None, Some(carol())).await;
    let bearer = format!("Bearer {}", issued.text("access_token"));
    let look = async |certificate: Option<PeerCertificate>| {
        let mut request = http::Request::get(Operation::Whoami.path_of(&[]))
            .header("authorization", &bearer)
            .body(http_body_util::Full::default())
            .unwrap();
        request.extensions_mut().insert(peer(certificate));
        world.admin(request).await
    };
    assert_eq!(look(Some(carol())).await.status, StatusCode::OK);
    let twin = certificate(b"twin", "urn:person:carol", "client_ca");
    assert_eq!(look(Some(twin)).await.refusal(), (401, "invalid_token"));
    assert_eq!(look(None).await.refusal(), (401, "invalid_token"));
    assert_eq!(
        look(Some(certificate(b"carol", "urn:person:carol", ""))).await.status.as_u16(),
        401
    );
}

#[tokio::test]
async fn a_request_of_another_listener_is_sent_away() {
    let (world, _, id) = with_agent(by_name()).await;
    let form = [("grant_type", "client_credentials"), ("client_id", &id), ("resource", CRM)];
    let ask = async |host: &'static str| {
        let mut request = form_request("/token", &form, None);
        let peer = Peer { server_name: Some(Arc::from("id.example")), ..peer(Some(own())) };
        request.extensions_mut().insert(peer);
        request.headers_mut().insert("host", http::HeaderValue::from_static(host));
        world.public(request).await.status
    };
    assert_eq!(ask("id.example").await, StatusCode::OK);
    assert_eq!(ask("gw.example").await, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn metadata_says_what_is_served() {
    let world = World::new().await;
    let told = world.get("/.well-known/oauth-authorization-server").await.body;
    assert_eq!(told["tls_client_certificate_bound_access_tokens"], true);
    assert!(told["mtls_endpoint_aliases"]["token_endpoint"].is_string());
    let methods = told["token_endpoint_auth_methods_supported"].as_array().unwrap();
    for method in ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"] {
        assert!(methods.contains(&json!(method)), "{methods:?}");
    }
    assert!(!methods.iter().any(|method| method.as_str().unwrap().contains("secret")));
}
