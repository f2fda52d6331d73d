//! What a page of another site gets of ours, with the browser of somebody who is signed in.

use attorn_registry::Role;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use super::browser::{Browser, Town, location};
use crate::world::{Answer, ISSUER, form_request};

/// Another site, a document without an origin, and names that only look like ours.
const ORIGINS: [&str; 5] = [
    "https://evil.example",
    "null",
    "https://sub.id.example",
    "https://id.example.evil.example",
    "http://id.example",
];

#[track_caller]
fn is_not_shared(answer: &Answer, about: &str) {
    let shared = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(shared, None, "{about}");
}

/// The cookies of somebody who may see every page.
async fn signed_in(town: &Town) -> String {
    let ann = town.world.published.load().person_named("ann").unwrap().id.clone();
    town.set(&ann, &[Role::Approver, Role::Auditor], &[]).await;
    let browser = town.logged_in("ann").await;
    [browser.cookie("browser").unwrap(), browser.cookie("session").unwrap()].join("; ")
}

async fn page(town: &Town, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = Request::get(path).body(Full::new(Bytes::new())).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    town.world.public(request).await
}

#[tokio::test]
async fn no_page_is_shared_with_another_site() {
    let town = Town::new().await;
    let cookies = signed_in(&town).await;
    for path in ["/sessions", "/consents", "/approvals", "/traces", "/login", "/invite"] {
        let own = page(&town, path, &[("cookie", &cookies)]).await;
        assert_eq!(own.status, StatusCode::OK, "{path}: {}", own.page);
        for origin in ORIGINS {
            let about = format!("{path} {origin}");
            let read = [("cookie", cookies.as_str()), ("origin", origin)];
            let answer = page(&town, path, &read).await;
            is_not_shared(&answer, &about);
            // Nor is it put into a page of theirs.
            assert_eq!(answer.headers["cross-origin-resource-policy"], "same-origin", "{about}");
        }
    }
}

#[tokio::test]
async fn nobody_is_told_that_another_site_may_ask() {
    let town = Town::new().await;
    let paths = [
        "/approvals",
        "/authorize",
        "/consent",
        "/consents",
        "/enroll",
        "/introspect",
        "/jwks",
        "/login",
        "/logout",
        "/par",
        "/register",
        "/revoke",
        "/sessions",
        "/token",
        "/traces",
        "/.well-known/oauth-authorization-server",
    ];
    for path in paths {
        for origin in ORIGINS {
            let asked = Request::builder()
                .method(Method::OPTIONS)
                .uri(path)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "dpop, content-type");
            let answer = town.world.public(asked.body(Full::default()).unwrap()).await;
            let about = format!("{path} {origin}");
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{about}");
            is_not_shared(&answer, &about);
        }
    }
}

#[tokio::test]
async fn what_an_application_gets_is_not_shared_either() {
    let town = Town::new().await;
    let ann = town.logged_in("ann").await;
    for origin in ORIGINS {
        let of_origin = async |path: &str, form: &[(&str, &str)], proof: Option<&str>| {
            let mut request = form_request(path, form, proof);
            request.headers_mut().insert("origin", origin.parse().unwrap());
            let answer = town.world.public(request).await;
            is_not_shared(&answer, path);
            answer
        };
        // Each of them succeeds: there is something that could be read.
        let query = town.query(&[]);
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(of_origin("/par", &form, None).await.status, StatusCode::CREATED);
        let code = town.code(&ann, &[]).await;
        let proof = town.proof(&town.key, "/token", &town.nonce().await);
        let given = of_origin("/token", &town.form(&code), Some(&proof)).await;
        assert_eq!(given.status, StatusCode::OK, "{}", given.page);
        let token = given.text("access_token");
        let form = [("client_id", town.client_id.as_str()), ("token", token)];
        assert_eq!(of_origin("/revoke", &form, None).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_log_is_no_stream_and_ends_with_the_role_and_the_session() {
    let town = Town::new().await;
    let cookies = signed_in(&town).await;
    let asked = [
        ("cookie", cookies.as_str()),
        ("origin", "https://evil.example"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("accept", "text/event-stream"),
    ];
    for path in ["/traces", "/approvals"] {
        let answer = page(&town, path, &asked).await;
        // A page that is whole, and nothing that goes on.
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8", "{path}");
        assert!(answer.headers.get("upgrade").is_none());
        assert!(answer.page.trim_end().ends_with("</html>"), "{path}");
        is_not_shared(&answer, path);
    }
    let ann = town.world.published.load().person_named("ann").unwrap().id.clone();
    let own = [("cookie", cookies.as_str())];
    town.set(&ann, &[], &[]).await;
    assert_eq!(page(&town, "/traces", &own).await.status, StatusCode::FORBIDDEN);
    town.set(&ann, &[Role::Auditor], &[]).await;
    assert_eq!(page(&town, "/traces", &own).await.status, StatusCode::OK);
    // Signed out, by the form of another browser of hers.
    let browser = Browser::new(&town.world);
    for pair in cookies.split("; ") {
        browser.plant(pair);
    }
    browser.get("/sessions").await;
    let out = browser.submit("/logout", &[]).await;
    assert!(out.status.is_success() || out.status.is_redirection(), "{}", out.page);
    assert_eq!(location(&page(&town, "/traces", &own).await), format!("{ISSUER}/login"));
}
