//! An MCP server that is known by a certificate exchanges with it, and what it gets is bound to it.

use attorn_authority::Operation;
use attorn_jose::CertificateThumbprint;
use attorn_net::PeerCertificate;
use http::StatusCode;
use serde_json::{Value, json};

use crate::exchange::{Chain, Form, claims, set, without};
use crate::mtls::{certificate, post};
use crate::world::Answer;

/// Whatever names and authority it has: it is known by its thumbprint.
fn own() -> PeerCertificate {
    certificate(b"server", "urn:server:crm", "none")
}

fn thumbprint(der: &[u8]) -> String {
    CertificateThumbprint::of_der(der).to_string()
}

async fn known_by(chain: &Chain, der: &[u8]) {
    let wanted = json!({ "certificate": thumbprint(der) });
    chain.world.done(&chain.operator, Operation::ServerKey, &["crm"], wanted).await;
}

/// A form with everything right: no assertion, and a name.
fn form(chain: &Chain, token: &str) -> Form {
    let assertion = ["client_assertion", "client_assertion_type"];
    let mut form = chain.form(token);
    form.retain(|(name, _)| !assertion.contains(name));
    set(&mut form, "client_id", chain.server.as_str());
    form
}

async fn send(chain: &Chain, form: &Form, certificate: Option<PeerCertificate>) -> Answer {
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(&chain.world, "/token", &form, None, certificate).await
}

/// Whether introspection stands by a token, asked with this certificate.
async fn told(chain: &Chain, token: &str, certificate: Option<PeerCertificate>) -> Answer {
    let form = [("client_id", chain.server.as_str()), ("token", token)];
    post(&chain.world, "/introspect", &form, None, certificate).await
}

#[tokio::test]
async fn a_server_exchanges_with_its_certificate_and_gets_a_token_that_is_bound_to_it() {
    let chain = Chain::new().await;
    known_by(&chain, b"server").await;
    let token = chain.agent_token().await;
    let answer = send(&chain, &form(&chain, &token), Some(own())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["token_type"], "Bearer");
    let (old, new) = (claims(&token), claims(answer.text("access_token")));
    assert_eq!(new["cnf"], json!({ "x5t#S256": thumbprint(b"server") }));
    assert_eq!((&new["parent"]["jti"], &new["client_id"]), (&old["jti"], &json!(chain.server)));
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!(entry["server_key"], thumbprint(b"server"));
    assert_eq!(
        (&entry["proof_key"], entry.get("proof_jti")),
        (&json!(thumbprint(b"server")), None,)
    );
    let child = answer.text("access_token");
    assert_eq!(told(&chain, child, Some(own())).await.body["active"], true);
    assert_eq!(told(&chain, child, None).await.refusal(), (401, "invalid_client"));
}

#[tokio::test]
async fn without_its_certificate_nobody_is_the_server() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let client = (401, "invalid_client");
    // Known by a key: no certificate stands for it.
    assert_eq!(send(&chain, &form(&chain, &token), Some(own())).await.refusal(), client);
    known_by(&chain, b"server").await;
    for (name, shown) in [
        ("none", None),
        ("another one of the same name", Some(certificate(b"twin", "urn:server:crm", "none"))),
        ("one that is over", Some(PeerCertificate { not_after_s: 1, ..own() })),
    ] {
        assert_eq!(send(&chain, &form(&chain, &token), shown).await.refusal(), client, "{name}");
        let entry = chain.world.newest("token.refused").await;
        assert_eq!(entry["reason"], "client.authentication", "{name}");
    }
    for id in [chain.agent.id.as_str(), "srv_unknown", "crm"] {
        let mut form = form(&chain, &token);
        set(&mut form, "client_id", id);
        assert_eq!(send(&chain, &form, Some(own())).await.refusal(), client, "{id}");
    }
    // The key that it had is retired, and the certificate signs nothing.
    assert_eq!(chain.exchange(&token).await.refusal(), client);
    // The evidence of the subject token is needed all the same.
    let bare = without(&form(&chain, &token), "subject_token_proof");
    assert_eq!(send(&chain, &bare, Some(own())).await.refusal(), (400, "invalid_grant"));
    let entry = chain.world.newest("token.refused").await;
    assert_eq!(entry["reason"], "delegation.evidence");
    let answer = send(&chain, &form(&chain, &token), Some(own())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn a_stop_of_the_server_or_its_certificate_ends_what_it_got() {
    let chain = Chain::new().await;
    known_by(&chain, b"server").await;
    let run = async |operation, place: &[&str], body: Value| {
        chain.world.done(&chain.operator, operation, place, body).await
    };
    let reason = || json!({ "reason": "test" });
    let exchanged = async || {
        let token = chain.agent_token().await;
        let answer = send(&chain, &form(&chain, &token), Some(own())).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.text("access_token").to_owned()
    };
    let child = exchanged().await;
    let target = json!({ "kind": "key", "jkt": thumbprint(b"server") });
    let lock = json!({ "target": target, "reason": "leaked" });
    let token = chain.agent_token().await;
    let set = run(Operation::LockCreate, &[], lock).await;
    assert_eq!(told(&chain, &child, Some(own())).await.refusal(), (401, "invalid_client"));
    let refused = send(&chain, &form(&chain, &token), Some(own())).await;
    assert_eq!(refused.refusal(), (401, "invalid_client"));
    run(Operation::LockLift, &[set["id"].as_str().unwrap()], reason()).await;
    chain.world.pass_s(2);
    // It has ended, and what is from before it does not count again.
    assert_eq!(told(&chain, &child, Some(own())).await.body["active"], false);
    let child = exchanged().await;
    assert_eq!(told(&chain, &child, Some(own())).await.body["active"], true);
    let token = chain.agent_token().await;
    run(Operation::ServerSuspend, &["crm"], reason()).await;
    let refused = send(&chain, &form(&chain, &token), Some(own())).await;
    assert_eq!(refused.refusal(), (401, "invalid_client"));
    assert_eq!(chain.world.newest("token.refused").await["reason"], "server.suspended");
    run(Operation::ServerResume, &["crm"], json!({})).await;
    chain.world.pass_s(2);
    let child = exchanged().await;
    known_by(&chain, b"next").await;
    let next = || Some(certificate(b"next", "urn:server:crm", "none"));
    assert_eq!(told(&chain, &child, next()).await.body["active"], false);
}

#[tokio::test]
async fn a_server_is_given_a_key_or_a_certificate() {
    let chain = Chain::new().await;
    let jwk = chain.key.public().to_jwk(None);
    for wanted in [
        json!({}),
        json!({ "jwk": jwk, "certificate": thumbprint(b"server") }),
        json!({ "certificate": "short" }),
        json!({ "certificate": format!("{}=", thumbprint(b"server")) }),
    ] {
        let refused =
            chain.world.run(&chain.operator, Operation::ServerKey, &["crm"], wanted).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
    }
    known_by(&chain, b"server").await;
    let shown = chain.world.done(&chain.operator, Operation::ServerShow, &["crm"], json!({})).await;
    let is_active = |key: &&Value| key["state"] == "active";
    let active = shown["keys"].as_array().unwrap().iter().find(is_active).unwrap();
    assert_eq!(active["jkt"], thumbprint(b"server"));
    assert_eq!(active["jwk"], json!({ "x5t#S256": thumbprint(b"server") }));
}
