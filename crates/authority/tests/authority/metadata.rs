//! What a client reads before it asks.

use http::{Request, StatusCode};
use http_body_util::Full;

use crate::world::{ADMIN, ISSUER, World};

#[tokio::test]
async fn the_metadata_announces_what_is_served() {
    let world = World::new().await;
    let document = world.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(document.body["issuer"], ISSUER);
    assert_eq!(document.body["token_endpoint"], format!("{ISSUER}/token"));
    let openid = world.get("/.well-known/openid-configuration").await;
    assert_eq!(openid.body, document.body);
    for endpoint in ["token_endpoint", "revocation_endpoint", "introspection_endpoint"] {
        let path = document.body[endpoint].as_str().unwrap().strip_prefix(ISSUER).unwrap();
        assert_eq!(world.get(path).await.status, StatusCode::METHOD_NOT_ALLOWED, "{endpoint}");
    }
    let jwks = document.body["jwks_uri"].as_str().unwrap().strip_prefix(ISSUER).unwrap();
    let jwks = world.get(jwks).await;
    assert_eq!(jwks.body["keys"].as_array().unwrap().len(), 2);
    assert!(jwks.body["keys"][0].get("d").is_none());
}

#[tokio::test]
async fn nobody_is_sent_anywhere_to_log_in() {
    let world = World::new().await;
    let metadata = world.get("/.well-known/oauth-authorization-server").await;
    let endpoint = metadata.body["authorization_endpoint"].as_str().unwrap();
    let path = endpoint.strip_prefix(ISSUER).unwrap();
    let asked = format!("{path}?response_type=code&redirect_uri=https%3A%2F%2Fevil.example");
    let answer = world.get(&asked).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.body["error"], "unsupported_response_type");
    assert!(!answer.headers.contains_key("location"));
}

#[tokio::test]
async fn a_spoofed_host_changes_nothing() {
    let world = World::new().await;
    let request = Request::get("/.well-known/oauth-authorization-server")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .body(Full::default())
        .unwrap();
    assert_eq!(world.public(request).await.body["issuer"], ISSUER);
}

#[tokio::test]
async fn the_admin_api_describes_itself() {
    let world = World::new().await;
    let get =
        async |path: &str| world.admin(Request::get(path).body(Full::default()).unwrap()).await;
    let metadata = get("/.well-known/oauth-protected-resource/admin").await;
    assert_eq!(metadata.body["resource"], format!("{ADMIN}/admin"));
    assert_eq!(metadata.body["dpop_bound_access_tokens_required"], true);
    assert_eq!(get("/admin/v1/openapi.json").await.body["info"]["title"], "Attorn admin API");
    assert_eq!(get("/admin/v1/nothing").await.status, StatusCode::NOT_FOUND);
}
