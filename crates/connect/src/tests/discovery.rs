//! What is believed about a resource and an issuer, and what is not.

use serde_json::json;
use url::Url;

use super::fake::{Fake, reply};
use crate::discovery::{Discovered, DiscoveryError, discover};

async fn fake() -> Fake {
    Fake::start(|_, _| reply(200, &json!({}))).await
}

async fn find(fake: &Fake, pinned: Option<&str>) -> Result<Discovered, DiscoveryError> {
    discover(&fake.world(), &Url::parse(&fake.resource()).unwrap(), pinned).await
}

#[tokio::test]
async fn the_challenge_leads_to_resource_and_issuer() {
    let fake = fake().await;
    let found = find(&fake, Some(&fake.origin)).await.unwrap();
    assert_eq!(found.resource.resource, fake.resource());
    assert_eq!(found.server.issuer, fake.origin);
}

#[tokio::test]
async fn metadata_of_another_resource_is_refused() {
    let fake = fake().await;
    for other in [
        format!("{}/billing", fake.origin),
        format!("{}/billing/mcp/", fake.origin),
        "https://elsewhere.example/billing/mcp".to_owned(),
    ] {
        let metadata = json!({ "resource": other, "authorization_servers": [fake.origin] });
        fake.script().resource_metadata = Some(metadata);
        let found = find(&fake, None).await;
        assert!(matches!(found, Err(DiscoveryError::ResourceMismatch { .. })), "{other}");
    }
}

#[tokio::test]
async fn another_issuer_is_refused() {
    let fake = fake().await;
    let mut metadata = fake.server_metadata();
    metadata["issuer"] = json!(format!("{}/", fake.origin));
    fake.script().metadata = Some(metadata);
    assert!(matches!(find(&fake, None).await, Err(DiscoveryError::IssuerMismatch { .. })));
}

#[tokio::test]
async fn only_the_pinned_issuer_is_used() {
    let fake = fake().await;
    let evil = "https://evil.example";
    fake.script().resource_metadata = Some(json!({
        "resource": fake.resource(), "authorization_servers": [evil, fake.origin]
    }));
    let found = find(&fake, Some(&fake.origin)).await.unwrap();
    assert_eq!(found.server.issuer, fake.origin);
    let refused = find(&fake, Some("https://other.example")).await;
    assert!(matches!(refused, Err(DiscoveryError::IssuerNotListed { .. })));
}

#[tokio::test]
async fn endpoints_that_are_no_web_addresses_are_refused() {
    let fake = fake().await;
    for endpoint in ["file:///etc/passwd", "javascript:alert(1)"] {
        let mut metadata = fake.server_metadata();
        metadata["authorization_endpoint"] = json!(endpoint);
        fake.script().metadata = Some(metadata);
        let found = find(&fake, None).await;
        assert!(matches!(found, Err(DiscoveryError::UrlRefused { .. })), "{endpoint}");
    }
}

#[tokio::test]
async fn a_resource_without_issuers_is_refused() {
    let fake = fake().await;
    fake.script().resource_metadata = Some(json!({ "resource": fake.resource() }));
    assert!(matches!(find(&fake, None).await, Err(DiscoveryError::NoAuthorizationServer)));
}
