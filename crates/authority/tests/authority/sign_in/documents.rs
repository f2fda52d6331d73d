//! Clients that are the URL of a document, fetched from a real listener with TLS on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use attorn_net::{Body, Limits, Listener, Shutdown, Tls, TlsMaterial, serve};
use attorn_registry::LifeCycle;
use http::{Response, StatusCode};
use hyper::service::service_fn;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::browser::{Browser, CALLBACK, Town, location, parameter};

/// What the host answers.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A host of documents.
struct Host {
    url: String,
    authority: String,
    reply: Arc<Mutex<Option<Reply>>>,
    asked: Arc<AtomicU32>,
    roots: PathBuf,
    shutdown: Shutdown,
}

impl Host {
    async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let roots = std::env::temp_dir().join(format!(
            "attorn-documents-{}-{}.pem",
            std::process::id(),
            made.cert.pem().len() + usize::try_from(COUNT.fetch_add(1, Ordering::Relaxed)).unwrap()
        ));
        std::fs::write(&roots, made.cert.pem()).unwrap();
        let tls = Tls::new(&TlsMaterial {
            certificates_pem: made.cert.pem().into_bytes(),
            key_pem: Zeroizing::new(made.signing_key.serialize_pem().into_bytes()),
            clients: None,
            proxies: Vec::new(),
        })
        .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, Some(tls)).await.unwrap();
        let authority = listener.address().to_string();
        let reply: Arc<Mutex<Option<Reply>>> = Arc::default();
        let (asked, shutdown) = (Arc::new(AtomicU32::new(0)), Shutdown::new());
        let (of_service, counter) = (Arc::clone(&reply), Arc::clone(&asked));
        let service = service_fn(move |_request| {
            counter.fetch_add(1, Ordering::SeqCst);
            let reply = of_service.lock().unwrap().clone();
            async move {
                let reply = reply.unwrap();
                let mut answer = Response::new(Body::full(reply.body));
                *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap();
                for (name, value) in reply.headers {
                    answer.headers_mut().append(name, value.parse().unwrap());
                }
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
        let url = format!("https://{authority}/app.json");
        Self { url, authority, reply, asked, roots, shutdown }
    }

    fn document(&self) -> Value {
        json!({
            "client_id": self.url,
            "client_name": "Far Desk",
            "redirect_uris": [CALLBACK, "https://client.example/cb"],
            "token_endpoint_auth_method": "none",
        })
    }

    fn answers(&self, body: &Value) {
        self.answers_with(200, &[("content-type", "application/json")], &body.to_string());
    }

    fn answers_with(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        *self.reply.lock().unwrap() = Some(Reply { status, headers, body: body.to_owned() });
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shutdown.start();
        drop(std::fs::remove_file(&self.roots));
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);

async fn town(host: &Host) -> Town {
    let mut town = Town::configured(|clients| {
        clients.documents = true;
        clients.metadata_hosts = vec![host.authority.clone()];
        clients.metadata_roots = Some(host.roots.clone());
    })
    .await;
    town.client_id.clone_from(&host.url);
    town
}

/// Asks once, and says whether the client was taken.
async fn is_taken(town: &Town) -> bool {
    let browser = Browser::new(&town.world);
    let answer = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    if answer.status == StatusCode::SEE_OTHER {
        return true;
    }
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.headers.get("location").is_none());
    false
}

#[tokio::test]
async fn a_document_is_a_client() {
    let host = Host::new().await;
    let town = town(&host).await;
    host.answers(&host.document());
    let metadata = town.world.get("/.well-known/oauth-authorization-server").await.body;
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let browser = town.logged_in("ann").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    let consent = browser.follow(&asked).await;
    assert!(consent.page.contains("Far Desk") && consent.page.contains(&host.authority));
    let code = town.code(&browser, &[]).await;
    let first = town.redeemed(&code).await;
    assert!(first.body["refresh_token"].is_string());
    // One document, asked for once; one record.
    assert_eq!(host.asked(), 1);
    let agents: Vec<_> = town.world.published.load().agents().cloned().collect();
    assert_eq!(agents.iter().filter(|agent| agent.client.is_some()).count(), 2);
    // Its record is not another name for it.
    let record = town.world.store.public_client_at(&host.url).await.unwrap().unwrap();
    let by_record = town.query(&[("client_id", record.id.as_str())]);
    let answer = browser.get(&format!("/authorize?{by_record}")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // Stopped here, it is stopped, whatever its document says.
    let suspended = LifeCycle::Suspended;
    town.world.store.set_agent_state(&town.act(), &record.id, suspended).await.unwrap();
    town.world.authority.publish().await.unwrap();
    assert!(!is_taken(&town).await);
    assert_eq!(town.reason("consent.refused").await, "agent.suspended");
    let refresh = town.refresh_form(first.text("refresh_token"));
    assert_eq!(town.ask(&refresh, &town.key).await.refusal(), (401, "invalid_client"));
}

#[tokio::test]
async fn an_answer_that_is_no_document_is_no_client() {
    let host = Host::new().await;
    let town = town(&host).await;
    let json = ("content-type", "application/json");
    let good = host.document().to_string();
    let elsewhere = ("location", host.url.as_str());
    let padded = format!("{good}{}", " ".repeat(5 << 10));
    for (status, headers, body) in [
        (302, vec![json, elsewhere], good.as_str()),
        (404, vec![json], &good),
        (200, vec![("content-type", "text/html")], &good),
        (200, vec![json, ("content-encoding", "gzip")], &good),
        (200, vec![json], &padded),
        (200, vec![json], "[]"),
    ] {
        host.answers_with(status, &headers, body);
        assert!(!is_taken(&town).await, "{status} {headers:?}");
        assert_eq!(town.reason("consent.refused").await, "client.metadata");
    }
    let with = |name: &str, value: Value| {
        let mut document = host.document();
        document[name] = value;
        document
    };
    for document in [
        with("client_id", json!(format!("{}/", host.url))),
        with("client_secret", json!("s")),
        with("token_endpoint_auth_method", json!("client_secret_basic")),
        with("redirect_uris", json!(["javascript:alert(1)"])),
    ] {
        host.answers(&document);
        assert!(!is_taken(&town).await, "{document}");
    }
    let twice = good.replacen('{', &format!(r#"{{"client_id":"{}","#, host.url), 1);
    host.answers_with(200, &[json], &twice);
    assert!(!is_taken(&town).await);
    // Nothing of all that was kept.
    host.answers(&host.document());
    assert!(is_taken(&town).await);
}

#[tokio::test]
async fn a_document_is_kept_as_it_asks_within_bounds() {
    let host = Host::new().await;
    let town = town(&host).await;
    let json = ("content-type", "application/json");
    let body = host.document().to_string();
    host.answers_with(200, &[json, ("cache-control", "no-store")], &body);
    for (pass_s, asked) in [(0, 1), (59, 1), (1, 2)] {
        town.world.pass_s(pass_s);
        assert!(is_taken(&town).await);
        assert_eq!(host.asked(), asked, "{pass_s}");
    }
    // Keys and addresses that were taken away are gone within a minute.
    let mut less = host.document();
    less["redirect_uris"] = json!(["https://client.example/cb"]);
    host.answers(&less);
    town.world.pass_s(60);
    assert!(!is_taken(&town).await);
    assert_eq!(town.reason("consent.refused").await, "redirect.mismatch");
}

#[tokio::test]
async fn a_flood_of_clients_asks_their_host_a_bounded_number_of_times() {
    let host = Host::new().await;
    let mut town = town(&host).await;
    host.answers(&host.document());
    assert!(is_taken(&town).await);
    // Each by another name, so that nothing is kept of any: the document is of the first. And each from
    // another address, so that nobody is refused for the failures before.
    for number in 0..100 {
        *town.world.from.lock().unwrap() = Some([198, 51, 100, number].into());
        town.client_id = format!("https://{}/{number}.json", host.authority);
        assert!(!is_taken(&town).await);
    }
    // Twenty at once, and then one a second.
    assert!((10..60).contains(&host.asked()), "{}", host.asked());
    *town.world.from.lock().unwrap() = Some([192, 0, 2, 1].into());
    // Who is known goes on, also when it is time to ask again.
    town.world.pass_s(3601);
    town.client_id.clone_from(&host.url);
    assert!(is_taken(&town).await);
}

#[tokio::test]
async fn a_host_that_nobody_listed_is_not_asked() {
    let host = Host::new().await;
    let mut town = town(&host).await;
    host.answers(&host.document());
    let port = host.authority.split(':').nth(1).unwrap();
    for url in [
        format!("https://localhost:{port}/app.json"),
        "https://127.0.0.1/app.json".to_owned(),
        "https://[::1]/app.json".to_owned(),
        "https://10.0.0.1/app.json".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://metadata.google.internal/app".to_owned(),
        format!("http://{}/app.json", host.authority),
        format!("{}?x=1", host.url),
        format!("{}#x", host.url),
        format!("https://{}/", host.authority),
        format!("https://{}/a/../app.json", host.authority),
    ] {
        town.client_id.clone_from(&url);
        assert!(!is_taken(&town).await, "{url}");
        assert_eq!(town.reason("consent.refused").await, "client.metadata", "{url}");
    }
    assert_eq!(host.asked(), 0);
    town.client_id.clone_from(&host.url);
    assert!(is_taken(&town).await);
}

#[tokio::test]
async fn an_answer_that_leaves_to_another_host_is_marked() {
    let host = Host::new().await;
    let town = town(&host).await;
    host.answers(&host.document());
    let browser = town.logged_in("ann").await;
    let elsewhere = town.query(&[("redirect_uri", "https://client.example/cb")]);
    let asked = browser.get(&format!("/authorize?{elsewhere}")).await;
    let consent = browser.follow(&asked).await;
    assert!(consent.page.contains("not where the application is known from"), "{}", consent.page);
    let denied = browser.submit("/consent", &[("decision", "deny")]).await;
    assert_eq!(parameter(&location(&denied), "error").as_deref(), Some("access_denied"));
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    let consent = browser.follow(&asked).await;
    assert!(!consent.page.contains("not where"), "{}", consent.page);
}

#[tokio::test]
async fn who_brings_a_client_sends_nobody_anywhere_before_a_person_saw_it() {
    let host = Host::new().await;
    let town = town(&host).await;
    host.answers(&host.document());
    let (stranger, ann) = (Browser::new(&town.world), town.logged_in("ann").await);
    for (browser, change, reason) in [
        (&stranger, ("response_type", "token"), "request.malformed"),
        (&stranger, ("resource", "https://gw.example/none/mcp"), "exchange.target"),
        (&stranger, ("prompt", "none"), "login.required"),
        (&ann, ("prompt", "none"), "login.required"),
    ] {
        let answer = browser.get(&format!("/authorize?{}", town.query(&[change]))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{change:?}");
        assert!(answer.headers.get("location").is_none(), "{change:?}");
        assert_eq!(town.reason("consent.refused").await, reason, "{change:?}");
    }
    assert!(is_taken(&town).await);
}

#[tokio::test]
async fn what_a_document_says_anew_is_on_record() {
    let host = Host::new().await;
    let town = town(&host).await;
    host.answers(&host.document());
    let browser = town.logged_in("ann").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    assert_eq!(browser.follow(&asked).await.status, StatusCode::OK);
    let mut document = host.document();
    document["redirect_uris"] = json!([CALLBACK, "https://elsewhere.example/cb"]);
    host.answers(&document);
    town.world.pass_s(25 * 3600);
    town.person("bob", &["read:*"]).await;
    let browser = town.logged_in("bob").await;
    let asked = browser.get(&format!("/authorize?{}", town.query(&[]))).await;
    assert_eq!(browser.follow(&asked).await.status, StatusCode::OK);
    let entries = town.world.entries().await;
    let said: Vec<_> = entries
        .iter()
        .filter(|entry| entry["kind"] == "identity.registered")
        .filter_map(|entry| entry["detail"]["redirect_uris"].as_str())
        .filter(|uris| uris.contains("https"))
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("elsewhere.example"), "{said:?}");
}
