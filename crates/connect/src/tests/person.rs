//! Acting for a person: the code flow, its one answer, and what is kept of it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::fake::{Fake, Seen, insufficient, key, reply, scopes};
use crate::authorized::CallError;
use crate::code::{Browser, CodeFailure, KnownClient, PersonClient};
use crate::login_file::LoginFile;
use crate::request::TokenFailure;
use crate::secret::ClientSecret;
use crate::token::{Grant, UnboundTokens};
use crate::{Connector, Era, OpenError, Options, World};

fn ok(_: &Seen, _: &Fake) -> http::Response<attorn_net::Body> {
    reply(200, &json!({ "ok": true }))
}

/// Somebody who says yes to everything: the address is followed to where it leads.
fn browser(fake: &Fake) -> Browser {
    let fake = fake.clone();
    Browser::new(move |url| {
        // Without connections from before: the callback's port may be the same as last time.
        let (world, url) = (fake.world(), url.clone());
        tokio::spawn(async move {
            let answer = get(&world, url.as_str()).await;
            let callback = answer.headers()["location"].to_str().unwrap().to_owned();
            get(&world, &callback).await
        });
        Ok(())
    })
}

async fn get(world: &World, url: &str) -> http::Response<attorn_net::ResponseBody> {
    world.client.send(Request::get(url).body(Bytes::new()).unwrap()).await.unwrap()
}

fn client(fake: &Fake) -> PersonClient {
    PersonClient { known: None, key: key(), browser: browser(fake), file: None }
}

async fn open(fake: &Fake, client: PersonClient) -> Result<Connector, OpenError> {
    let options = Options {
        resource: Url::parse(&fake.resource()).unwrap(),
        issuer: None,
        grant: Grant::Person(client),
        unbound: UnboundTokens::Refuse,
        era: Era::Modern,
    };
    Connector::open(fake.world(), options).await
}

async fn call(
    connector: &Connector,
    fake: &Fake,
) -> Result<http::Response<attorn_net::ResponseBody>, CallError> {
    let url = Url::parse(&fake.resource()).unwrap();
    let body = Bytes::from_static(b"{}");
    connector.calls.send(Method::POST, &url, &HeaderMap::new(), body).await
}

fn failure(opened: Result<Connector, OpenError>) -> TokenFailure {
    match opened {
        Err(OpenError::Token(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_person_is_asked_once_and_renewals_ask_nobody() {
    let fake = Fake::start(ok).await;
    fake.script().server_nonce = Some("n1");
    fake.script().refresh_token = Some("r0".to_owned());
    let connector = open(&fake, client(&fake)).await.unwrap();
    assert_eq!(call(&connector, &fake).await.unwrap().status(), 200);
    fake.now_ms.fetch_add(90_000, Ordering::SeqCst);
    assert_eq!(call(&connector, &fake).await.unwrap().status(), 200);
    fake.now_ms.fetch_add(90_000, Ordering::SeqCst);
    assert_eq!(call(&connector, &fake).await.unwrap().status(), 200);
    assert_eq!(fake.script().asked.len(), 1);
    let sent: Vec<_> = fake.seen("/token").iter().map(|seen| seen.field("refresh_token")).collect();
    let redeemed: Vec<_> = sent.into_iter().flatten().collect();
    assert_eq!(redeemed, ["r0", "r1"]);
    let asked = fake.script().asked[0].clone();
    assert_eq!(asked["dpop_jkt"], key().public().thumbprint().to_string());
    assert_eq!(asked["resource"], fake.resource());
    assert!(asked["redirect_uri"].starts_with("http://127.0.0.1:"), "{asked:?}");
    let registration = &fake.seen("/register")[0].body;
    assert!(registration.contains(r#""application_type":"native""#), "{registration}");
    assert!(registration.contains(&asked["redirect_uri"]), "{registration}");
}

#[tokio::test]
async fn a_refresh_token_that_has_ended_asks_again() {
    let fake = Fake::start(ok).await;
    fake.script().refresh_token = Some("r0".to_owned());
    let connector = open(&fake, client(&fake)).await.unwrap();
    fake.script().refresh_token = Some("another".to_owned());
    fake.now_ms.fetch_add(90_000, Ordering::SeqCst);
    assert_eq!(call(&connector, &fake).await.unwrap().status(), 200);
    assert_eq!(fake.script().asked.len(), 2);
    assert_eq!(fake.seen("/register").len(), 1);
}

#[tokio::test]
async fn a_step_up_asks_for_all_that_was_had_and_what_is_missing() {
    let fake = Fake::start(|seen, _| {
        let has = scopes(seen).split(' ').any(|scope| scope == "write:pay");
        if has { reply(200, &json!({})) } else { insufficient("write:pay") }
    })
    .await;
    fake.script().refresh_token = Some("r0".to_owned());
    let connector = open(&fake, client(&fake)).await.unwrap();
    assert_eq!(call(&connector, &fake).await.unwrap().status(), 200);
    let asked: Vec<_> = fake.script().asked.iter().map(|asked| asked["scope"].clone()).collect();
    assert_eq!(asked, ["read:a", "read:a write:pay"]);
}

#[tokio::test]
async fn offline_access_is_asked_for_where_the_server_knows_it() {
    for (supported, expected) in
        [(json!(["offline_access"]), "read:a offline_access"), (json!([]), "read:a")]
    {
        let fake = Fake::start(ok).await;
        let mut metadata = fake.server_metadata();
        metadata["scopes_supported"] = supported;
        fake.script().metadata = Some(metadata);
        open(&fake, client(&fake)).await.unwrap();
        assert_eq!(fake.script().asked[0]["scope"], expected);
    }
}

#[tokio::test]
async fn a_pushed_request_leaves_nothing_in_the_address() {
    let fake = Fake::start(ok).await;
    let mut metadata = fake.server_metadata();
    metadata["pushed_authorization_request_endpoint"] = json!(format!("{}/par", fake.origin));
    fake.script().metadata = Some(metadata);
    open(&fake, client(&fake)).await.unwrap();
    assert_eq!(fake.script().pushed.len(), 1);
    assert_eq!(fake.script().asked[0]["client_id"], "registered");
}

#[tokio::test]
async fn answers_that_are_not_whole_are_refused_and_end_the_port() {
    let cases: [(Bend, &str); 6] = [
        (|uri| uri.replace("state=", "state=x"), "StateMismatch"),
        (|uri| uri.replace("state=", "other="), "StateMismatch"),
        (|uri| uri.split("&iss=").next().unwrap().to_owned(), "IssuerMismatch"),
        (|uri| format!("{uri}%2F"), "IssuerMismatch"),
        (|uri| format!("{uri}&error=access_denied"), "Malformed"),
        (|uri| uri.replace("code=", "error="), "Denied"),
    ];
    for (bend, expected) in cases {
        let fake = Fake::start(ok).await;
        fake.script().bend = Some(bend);
        let failed = failure(open(&fake, client(&fake)).await);
        let TokenFailure::Code(code) = failed else { panic!("{failed:?}") };
        assert!(format!("{code:?}").starts_with(expected), "{code:?} instead of {expected}");
        assert!(fake.seen("/token").is_empty());
        let callback = fake.script().asked[0]["redirect_uri"].clone();
        let world = fake.world();
        let again = world.client.send(Request::get(callback).body(Bytes::new()).unwrap());
        assert!(again.await.is_err(), "the port is still open");
    }
}

#[tokio::test]
async fn other_visitors_of_the_port_change_nothing() {
    let fake = Fake::start(ok).await;
    let world = fake.world();
    let rebound = {
        let world = world.clone();
        Browser::new(move |url| {
            let (world, url) = (world.clone(), url.clone());
            tokio::spawn(async move {
                let answer = get(&world, url.as_str()).await;
                let callback = answer.headers()["location"].to_str().unwrap().to_owned();
                let send = |request: http::request::Builder| {
                    world.client.send(request.body(Bytes::new()).unwrap())
                };
                let rebinding = Request::get(&callback).header("host", "evil.example");
                assert_eq!(send(rebinding).await.unwrap().status(), 421);
                let base = Url::parse(&callback).unwrap().join("/favicon.ico").unwrap();
                assert_eq!(send(Request::get(base.as_str())).await.unwrap().status(), 404);
                assert_eq!(send(Request::post(&callback)).await.unwrap().status(), 405);
                assert_eq!(send(Request::get(&callback)).await.unwrap().status(), 200);
            });
            Ok(())
        })
    };
    let client = PersonClient { browser: rebound, ..client(&fake) };
    assert!(open(&fake, client).await.is_ok());
}

#[tokio::test]
async fn a_browser_that_does_not_start_is_told() {
    let fake = Fake::start(ok).await;
    let browser = Browser::new(|_| Err(std::io::Error::other("none")));
    let client = PersonClient { browser, ..client(&fake) };
    let failed = failure(open(&fake, client).await);
    assert!(matches!(failed, TokenFailure::Code(CodeFailure::Browser(_))), "{failed:?}");
}

/// Makes something else of an answer.
type Bend = fn(&str) -> String;

fn login_file() -> (PathBuf, LoginFile) {
    let unique = format!("attorn-person-{}-{:p}", std::process::id(), &raw const COUNTER);
    let number = COUNTER.fetch_add(1, Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("{unique}-{number}"));
    (folder.clone(), LoginFile::new(folder.join("one.json")))
}

static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

#[tokio::test]
async fn what_was_given_lasts_over_a_restart_and_not_over_its_end() {
    let fake = Fake::start(ok).await;
    fake.script().refresh_token = Some("r0".to_owned());
    let (folder, file) = login_file();
    let kept = || PersonClient { file: Some(file.clone()), ..client(&fake) };
    open(&fake, kept()).await.unwrap();
    open(&fake, kept()).await.unwrap();
    assert_eq!((fake.seen("/authorize").len(), fake.seen("/token").len()), (1, 2));
    fake.script().refresh_token = Some("ended".to_owned());
    open(&fake, kept()).await.unwrap();
    assert_eq!((fake.seen("/authorize").len(), fake.seen("/register").len()), (2, 1));
    // Another client's is nobody's business.
    let known = Some(KnownClient { client_id: "other".to_owned(), secret: None });
    open(&fake, PersonClient { known, ..kept() }).await.unwrap();
    assert_eq!(fake.script().asked[2]["client_id"], "other");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_client_with_a_secret_is_asked_for_once_and_leaves_nothing_in_the_file() {
    let fake = Fake::start(ok).await;
    let mut metadata = fake.server_metadata();
    metadata["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
    fake.script().metadata = Some(metadata);
    fake.script().refresh_token = Some("r0".to_owned());
    let (folder, file) = login_file();
    let secret = Some(ClientSecret::new(Zeroizing::new("s3cret".to_owned())));
    let known = Some(KnownClient { client_id: "known".to_owned(), secret });
    let client = PersonClient { known, file: Some(file), ..client(&fake) };
    let connector = open(&fake, client).await.unwrap();
    fake.now_ms.fetch_add(90_000, Ordering::SeqCst);
    assert_eq!(call(&connector, &fake).await.unwrap().status(), 200);
    assert_eq!((fake.seen("/authorize").len(), fake.seen("/token").len()), (1, 2));
    assert!(fake.seen("/token").iter().all(|seen| seen.field("client_secret").is_some()));
    assert!(!folder.join("one.json").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn nothing_is_taken_along_to_another_authorization_server() {
    let (fake, other) = (Fake::start(ok).await, Fake::start(ok).await);
    other.script().tokens = 100;
    for (known, moved) in [
        (None, true),
        (Some(("https://client.example/id.json", None)), true),
        (Some(("registered-there", None)), false),
        (Some(("https://client.example/id.json", Some("secret"))), false),
    ] {
        let known = known.map(|(client_id, secret)| KnownClient {
            client_id: client_id.to_owned(),
            secret: secret.map(|text: &str| ClientSecret::new(Zeroizing::new(text.to_owned()))),
        });
        fake.script().resource_metadata = None;
        fake.script().valid_from = 0;
        let client = PersonClient { known, ..client(&fake) };
        let connector = open(&fake, client).await.unwrap();
        let metadata = json!({
            "resource": fake.resource(), "authorization_servers": [other.origin]
        });
        fake.script().resource_metadata = Some(metadata);
        fake.script().valid_from = 100;
        let asked = (fake.seen("/authorize").len(), other.seen("/authorize").len());
        let answer = call(&connector, &fake).await;
        assert_eq!(fake.seen("/authorize").len(), asked.0);
        if moved {
            assert_eq!(answer.unwrap().status(), 200);
            let last = other.script().asked.last().unwrap()["client_id"].clone();
            assert_ne!(last, "registered-there");
        } else {
            let failed = answer.unwrap_err();
            assert!(matches!(failed, CallError::Token(TokenFailure::Moved { .. })), "{failed:?}");
            assert_eq!(other.seen("/authorize").len(), asked.1);
        }
    }
}
