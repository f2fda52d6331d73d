//! Tokens of servers that are known by a certificate: used over a connection with it, and over no other.

use std::sync::Arc;

use attorn_audit::{Entry, Kind};
use attorn_jose::CertificateThumbprint;
use attorn_net::{Peer, PeerCertificate};
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{LockTarget, ServerKey, SnapshotParts};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;

use crate::layer::Inside;
use crate::registry::lock;
use crate::world::{NOW_S, World};

fn thumbprint(der: &[u8]) -> CertificateThumbprint {
    CertificateThumbprint::of_der(der)
}

fn certificate(der: &[u8]) -> PeerCertificate {
    PeerCertificate {
        thumbprint: *thumbprint(der).as_bytes(),
        not_before_s: NOW_S - 100,
        not_after_s: NOW_S + 100,
        dns_names: Vec::new(),
        uris: Vec::new(),
        anchors: Vec::new(),
    }
}

/// A world whose server is known by a certificate.
async fn world(test: &str) -> World {
    let world = World::new(test, Version::HTTP_11).await;
    world.change(known_by(b"own"));
    world
}

fn known_by(der: &'static [u8]) -> impl FnOnce(&mut SnapshotParts) {
    move |parts| {
        let key = &mut parts.servers[0].keys[0];
        key.jkt = Confirmation::Certificate(thumbprint(der)).key();
        key.jwk = ServerKey::text_of_certificate(&thumbprint(der));
    }
}

fn token(world: &World, der: &[u8]) -> String {
    let mut claims = world.claims("read:invoice.get");
    claims.cnf = Confirmation::Certificate(thumbprint(der));
    world.issue(&claims)
}

/// Asks over a connection with this certificate; gives status and reason.
async fn ask(
    world: &World,
    authorization: &str,
    certificate: Option<PeerCertificate>,
) -> (u16, Option<String>) {
    let mut service = world.guard.layer().layer(Inside::default());
    let request = Request::get("/billing/invoices/7")
        .header("host", "api.example")
        .header("authorization", authorization)
        .body(Full::<Bytes>::default());
    let mut request = request.unwrap();
    let peer = Peer::new("192.0.2.7:4711".parse().unwrap(), true);
    let certificate = certificate.map(Arc::new);
    request.extensions_mut().insert(Peer { certificate, ..peer });
    let (head, body) = service.call(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    (head.status.as_u16(), told["reason"].as_str().map(str::to_owned))
}

fn refused(reason: &str) -> (u16, Option<String>) {
    (401, Some(reason.to_owned()))
}

#[tokio::test]
async fn a_token_works_over_a_connection_with_its_certificate() {
    let world = world("by-certificate").await;
    let bearer = format!("Bearer {}", token(&world, b"own"));
    for _ in 0..2 {
        assert_eq!(ask(&world, &bearer, Some(certificate(b"own"))).await, (200, None));
    }
    let missing = ask(&world, &bearer, None).await;
    assert_eq!(missing, refused("possession.certificate_missing"));
    let is_it = |one: &Entry| one.reason.as_deref() == Some("possession.certificate_missing");
    let entries = world.entries(|all| all.iter().any(is_it)).await;
    assert_eq!(entries.iter().find(|one| is_it(one)).unwrap().kind, Kind::PossessionFailed);
    let twin = ask(&world, &bearer, Some(certificate(b"twin"))).await;
    assert_eq!(twin, refused("possession.key_mismatch"));
    let over = PeerCertificate { not_after_s: NOW_S - 1, ..certificate(b"own") };
    let over = ask(&world, &bearer, Some(over)).await;
    assert_eq!(over, refused("possession.certificate_invalid"));
    // Under the other scheme, and a token that is bound to a key under this one.
    let dpop = bearer.replace("Bearer", "DPoP");
    let dpop = ask(&world, &dpop, Some(certificate(b"own"))).await;
    assert_eq!(dpop, refused("token.bearer_not_allowed"));
    let by_key = format!("Bearer {}", world.token("read:invoice.get"));
    for bearer in [by_key.as_str(), "Bearer a.b.c", "Bearer opaque"] {
        let answer = ask(&world, bearer, Some(certificate(b"own"))).await;
        assert_eq!(answer, refused("token.bearer_not_allowed"), "{bearer}");
    }
    assert_eq!(ask(&world, &bearer, Some(certificate(b"own"))).await, (200, None));
}

/// Who is told that a token ended gets a new one; who is told of a scheme would look elsewhere.
#[tokio::test]
async fn what_ended_is_said_to_have_ended() {
    let world = world("certificate-token-ended").await;
    let mut claims = world.claims("read:invoice.get");
    claims.cnf = Confirmation::Certificate(thumbprint(b"own"));
    claims.iat -= 120;
    claims.exp -= 120;
    let bearer = format!("Bearer {}", world.issue(&claims));
    let ended = ask(&world, &bearer, Some(certificate(b"own"))).await;
    assert_eq!(ended, refused("token.expired"));
    let bearer = format!("Bearer {}", token(&world, b"own"));
    assert_eq!(ask(&world, &bearer, Some(certificate(b"own"))).await, (200, None));
}

#[tokio::test]
async fn a_certificate_that_stands_for_the_server_no_more_ends_its_tokens() {
    let world = world("certificate-ended").await;
    let bearer = format!("Bearer {}", token(&world, b"own"));
    let own = || Some(certificate(b"own"));
    assert_eq!(ask(&world, &bearer, own()).await, (200, None));
    let jkt = Confirmation::Certificate(thumbprint(b"own")).key();
    let locked = |parts: &mut SnapshotParts| parts.locks.push(lock(LockTarget::Key { jkt }));
    let stopped = world.changed(locked, ask(&world, &bearer, own())).await;
    assert_eq!(stopped, (403, Some("lock.active".to_owned())));
    let replaced = world.changed(known_by(b"next"), ask(&world, &bearer, own())).await;
    assert_eq!(replaced, refused("token.revoked"));
    assert_eq!(ask(&world, &bearer, own()).await, (200, None));
    // What never stood for the server is worth as little as what does not any more.
    let foreign = format!("Bearer {}", token(&world, b"foreign"));
    let foreign = ask(&world, &foreign, Some(certificate(b"foreign"))).await;
    assert_eq!(foreign, refused("token.revoked"));
}
