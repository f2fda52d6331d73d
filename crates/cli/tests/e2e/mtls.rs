//! Agents known by their certificates, and tokens bound to them (RFC 8705), over real TLS.

use std::fs;
use std::time::Duration;

use attorn_net::{Client, ClientConfig, ClientIdentity, Roots};
use bytes::Bytes;
use http::{HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use crate::delegation::SampleApi;
use crate::egress::register_billing;
use crate::server_certificate::a_server_exchanges_with_a_certificate;
use crate::support::{ATTORN, Connected, Folder, Serving, free_address, write_config};

pub(crate) const URI: &str = "urn:agent:billing";

/// An authority for client certificates.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate with this URI, and its key.
    pub(crate) fn leaf(&self, uri: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri.to_owned()).unwrap())];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// A running installation that asks for client certificates.
pub(crate) struct Installed {
    pub(crate) folder: Folder,
    pub(crate) serving: Serving,
    pub(crate) issuer: String,
    pub(crate) gateway: String,
    roots: String,
}

impl Installed {
    fn new(test: &str, ca: &Authority) -> Self {
        Self::with(test, ca, |_, _| {})
    }

    /// The same, with what `change` makes of the configuration before it starts.
    pub(crate) fn with(
        test: &str,
        ca: &Authority,
        change: impl FnOnce(&Folder, &mut String),
    ) -> Self {
        let folder = Folder::new(test);
        let local = |text: String| {
            text.replace("http://", "https://").replace("https://127.0.0.1", "https://localhost")
        };
        let issuer = local(write_config(&folder));
        let path = folder.path().join("attorn.toml");
        let mut text = local(fs::read_to_string(&path).unwrap());
        text.push_str(
            "[tls]\ncertificates = \"cert.pem\"\nkey = \"key.pem\"\n\
             client_auth = \"optional\"\nclient_ca = \"client-ca.pem\"\n",
        );
        let (_, rest) = text.split_once("public_url = \"").unwrap();
        let gateway = rest.split('"').next().unwrap().to_owned();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let roots = made.cert.pem();
        fs::write(folder.path().join("cert.pem"), &roots).unwrap();
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(folder.path().join("client-ca.pem"), ca.0.pem()).unwrap();
        change(&folder, &mut text);
        fs::write(&path, text).unwrap();
        folder.attorn(&["init"]).expect(0);
        let serving = Serving::start(&folder);
        let code = "@state/first-admin.code";
        let enroll = ["enroll", "--url", &issuer, "--code", code, "--roots", "cert.pem"];
        folder.attorn(&enroll).expect(0);
        folder.attorn(&["owner", "create", "finance"]).expect(0);
        let register = ["server", "register", "invoices", "--owner", "finance", "--"];
        folder.attorn(&[&register[..], &[ATTORN, "sample-mcp-server"]].concat()).expect(0);
        let listed =
            || folder.attorn(&["server", "tools", "invoices", "-o", "json"]).expect(0).json();
        let mut tries = 0..200;
        while listed().as_array().is_none_or(Vec::is_empty) {
            assert!(tries.next().is_some(), "the gateway never listed the server's tools");
        }
        folder.attorn(&["tools", "approve", "invoices"]).expect(0);
        Self { folder, serving, issuer, gateway, roots }
    }

    /// Registers an agent that may read; gives its client id.
    pub(crate) fn agent(&self, name: &str, way: &[&str]) -> String {
        let register = ["agent", "register", name, "--owner", "finance", "-o", "json"];
        let registered = self.folder.attorn(&[&register[..], way].concat()).expect(0).json();
        assert_eq!(registered.get("code"), None, "{registered}");
        self.folder.attorn(&["grant", "create", name, "invoices", "read:*"]).expect(0);
        registered["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn client(&self, identity: Option<&(String, String)>) -> Client {
        let identity = identity.map(|(certificates_pem, key_pem)| ClientIdentity {
            certificates_pem: certificates_pem.clone(),
            key_pem: key_pem.clone().into(),
        });
        let roots = Roots::Pem(self.roots.clone());
        Client::new(ClientConfig { roots, identity, ..ClientConfig::default() }).unwrap()
    }

    pub(crate) fn resource(&self) -> String {
        format!("{}/invoices/mcp", self.gateway)
    }

    /// One token request without an assertion.
    pub(crate) async fn token(&self, client: &Client, client_id: &str) -> (StatusCode, Value) {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", client_id)
            .append_pair("resource", &self.resource())
            .finish();
        let request = Request::post(format!("{}/token", self.issuer))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form));
        answer(client, request.unwrap()).await
    }

    /// One call of a tool with this token.
    pub(crate) async fn call(&self, client: &Client, authorization: &str) -> (StatusCode, Value) {
        self.call_with(client, authorization, None).await
    }

    /// The same, with this in `Client-Cert`.
    pub(crate) async fn call_with(
        &self,
        client: &Client,
        authorization: &str,
        client_cert: Option<&str>,
    ) -> (StatusCode, Value) {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {
                "name": "get_invoice", "arguments": {"id": "inv-1001"},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        let request = Request::post(self.resource())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "get_invoice")
            .header("authorization", authorization)
            .body(Bytes::from(body.to_string()));
        let mut request = request.unwrap();
        let headers = request.headers_mut();
        headers.extend(client_cert.map(|text| (CLIENT_CERT, text.parse().unwrap())));
        answer(client, request).await
    }

    /// Reasons of the refusals on record of this kind.
    pub(crate) fn reasons(&self, kind: &str) -> String {
        let search = ["audit", "search", "--kind", kind, "-o", "json"];
        let ended = self.folder.attorn(&search);
        // Nothing found is an answer too.
        let code = i32::from(ended.out.trim() == "[]");
        ended.expect(code).out
    }
}

async fn answer(client: &Client, request: Request<Bytes>) -> (StatusCode, Value) {
    let answer = client.send(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    // A stream of one event, or plain JSON.
    let json = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    (status, serde_json::from_str(json).unwrap_or_default())
}

#[test]
fn an_agent_with_a_certificate_connects_and_calls() {
    let ca = Authority::new();
    let (api, guard) = (SampleApi::start(), free_address());
    let url = format!("https://{}/billing", guard.replace("127.0.0.1", "localhost"));
    let way_out = format!(
        "[[guard]]\npublic_url = \"{url}\"\nlisten = \"{guard}\"\nupstream = \"http://{}\"\n\
         [[egress]]\nserver = \"invoices\"\nresource = \"{url}\"\n\
         variable = \"INVOICES_API_URL\"\nroots = \"cert.pem\"\n",
        api.address
    );
    let installed = Installed::with("mtls-connect", &ca, |_, text| text.push_str(&way_out));
    let client_id = installed.agent("billing", &["--tls-san-uri", URI]);
    let folder = &installed.folder;
    register_billing(folder, &url);
    let (certificate, key) = ca.leaf(URI);
    fs::write(folder.path().join("billing.crt"), certificate).unwrap();
    let key_file = folder.path().join("billing.key");
    fs::write(&key_file, key).unwrap();
    // A private key that others can read is not taken.
    installed.enroll_billing(&client_id, 2);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&key_file, mode).unwrap();
    installed.enroll_billing(&client_id, 0);
    let mut connected = Connected::start(folder, "invoices", "billing");
    let answer = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    // The server asked its API meanwhile, in the name of who showed the certificate.
    assert!(answer.to_string().contains("Ada Shipping"), "{answer}");
    let asked = api.calls();
    assert_eq!((&asked[0]["agent"], &asked[1]), (&client_id.as_str().into(), &Value::Null));
    let found = |kind: &str| -> Value { serde_json::from_str(&installed.reasons(kind)).unwrap() };
    let (issued, exchanged) = (found("token.issued"), found("token.exchanged"));
    let issued = issued.as_array().unwrap().iter().find(|one| one["client_id"] == *client_id);
    assert_eq!(exchanged[0]["agent_key"], issued.unwrap()["proof_key"], "{exchanged}");
    drop(connected);
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(a_server_exchanges_with_a_certificate(&installed, &ca, &url));
    folder.attorn(&["doctor", "invoices", "--client", "billing"]).expect(0);
    folder.attorn(&["lock", "create", "agent/billing", "--reason", "test"]).expect(0);
    folder.attorn(&["doctor", "invoices", "--client", "billing"]).expect(1);
    installed.serving.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_on_its_own_certificate_only() {
    let ca = Authority::new();
    let installed = Installed::new("mtls-token", &ca);
    let client_id = installed.agent("billing", &["--tls-san-uri", URI]);
    let (own, twin) = (ca.leaf(URI), ca.leaf(URI));
    let stranger = Authority::new().leaf(URI);
    let own = installed.client(Some(&own));
    let (status, token) = installed.token(&own, &client_id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert_eq!(token["token_type"], "Bearer");
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    for _ in 0..2 {
        let (status, called) = installed.call(&own, &bearer).await;
        assert_eq!(status, StatusCode::OK, "{called}");
        assert!(called.to_string().contains("inv-1001"), "{called}");
    }
    // The same name and authority on another key, no certificate, and another scheme.
    let (twin, nobody) = (installed.client(Some(&twin)), installed.client(None));
    assert_eq!(installed.call(&twin, &bearer).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(installed.call(&nobody, &bearer).await.0, StatusCode::UNAUTHORIZED);
    let dpop = bearer.replace("Bearer", "DPoP");
    assert_eq!(installed.call(&own, &dpop).await.0, StatusCode::UNAUTHORIZED);
    // Without the certificate, or with one of another authority, there is no token at all.
    for client in [&nobody, &installed.client(Some(&stranger))] {
        let (status, refused) = installed.token(client, &client_id).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused["error"], "invalid_client");
    }
    let reasons = installed.reasons("possession.failed");
    for reason in ["possession.key_mismatch", "possession.certificate_missing"] {
        assert!(reasons.contains(reason), "{reason}: {reasons}");
    }
    // What the journal calls the key is what a lock takes.
    let issued: Value = serde_json::from_str(&installed.reasons("token.issued")).unwrap();
    let entry = issued.as_array().unwrap().iter().find(|entry| entry["client_id"] == *client_id);
    let key = format!("key/{}", entry.unwrap()["proof_key"].as_str().unwrap());
    installed.folder.attorn(&["lock", "create", &key, "--reason", "leaked"]).expect(0);
    let (status, stopped) = installed.call(&own, &bearer).await;
    assert!(!stopped.to_string().contains("inv-1001"), "{status} {stopped}");
    assert_eq!(installed.token(&own, &client_id).await.0, StatusCode::UNAUTHORIZED);
    installed.serving.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_taken_away_ends_its_certificates() {
    let (old, new) = (Authority::new(), Authority::new());
    let installed = Installed::new("mtls-rotation", &old);
    let client_id = installed.agent("billing", &["--tls-san-uri", URI]);
    let before = installed.client(Some(&old.leaf(URI)));
    let after = installed.client(Some(&new.leaf(URI)));
    let (_, token) = installed.token(&before, &client_id).await;
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    assert_eq!(installed.call(&before, &bearer).await.0, StatusCode::OK);
    assert_eq!(installed.token(&after, &client_id).await.0, StatusCode::UNAUTHORIZED);
    let file = installed.folder.path().join("client-ca.pem");
    // Both for a while: nobody honest is turned away.
    fs::write(&file, old.0.pem() + &new.0.pem()).unwrap();
    installed.wait_for("tls.reloaded", 1).await;
    assert_eq!(installed.call(&before, &bearer).await.0, StatusCode::OK);
    assert_eq!(installed.token(&after, &client_id).await.0, StatusCode::OK);
    // A broken file keeps what is in force.
    fs::write(&file, "broken").unwrap();
    installed.wait_for("tls.reload_refused", 1).await;
    assert_eq!(installed.call(&before, &bearer).await.0, StatusCode::OK);
    // Then the new one alone, also for connections that are open.
    fs::write(&file, new.0.pem()).unwrap();
    installed.wait_for("tls.reloaded", 2).await;
    assert_eq!(installed.call(&before, &bearer).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(installed.token(&before, &client_id).await.0, StatusCode::UNAUTHORIZED);
    let reasons = installed.reasons("possession.failed");
    assert!(reasons.contains("possession.certificate_invalid"), "{reasons}");
    installed.serving.stop();
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

impl Installed {
    /// Keeps `billing.crt` and its key as those of an agent; the command ends with this code.
    pub(crate) fn enroll_billing(&self, client_id: &str, code: i32) {
        let enroll = ["agent", "enroll", "--roots", "cert.pem", "--name", "billing"];
        let files = ["--certificate", "billing.crt", "--key", "billing.key"];
        let (issuer, gateway) = (self.issuer.as_str(), self.gateway.as_str());
        let places = ["--url", issuer, "--gateway", gateway, "--client-id", client_id];
        self.folder.attorn(&[&enroll[..], &files, &places].concat()).expect(code);
    }

    /// Waits until the journal holds this many entries of a kind.
    pub(crate) async fn wait_for(&self, kind: &str, count: usize) {
        for _ in 0..300 {
            let found: Value = serde_json::from_str(&self.reasons(kind)).unwrap();
            if found.as_array().is_some_and(|entries| entries.len() >= count) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("no {count} entries of {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_counts_where_it_is_registered() {
    let ca = Authority::new();
    let installed = Installed::new("mtls-self", &ca);
    let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    fs::write(installed.folder.path().join("own.crt"), own.cert.pem()).unwrap();
    fs::write(installed.folder.path().join("other.crt"), other.cert.pem()).unwrap();
    let client_id = installed.agent("billing", &["--certificate", "own.crt"]);
    let pair = |made: &rcgen::CertifiedKey<KeyPair>| {
        installed.client(Some(&(made.cert.pem(), made.signing_key.serialize_pem())))
    };
    let (own, other) = (pair(&own), pair(&other));
    let (status, token) = installed.token(&own, &client_id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    assert_eq!(installed.call(&own, &bearer).await.0, StatusCode::OK);
    assert_eq!(installed.token(&other, &client_id).await.0, StatusCode::UNAUTHORIZED);
    // Another certificate takes its place: the old one and its tokens end.
    let change = ["agent", "authentication", "billing", "--certificate", "other.crt"];
    installed.folder.attorn(&change).expect(0);
    assert_eq!(installed.token(&other, &client_id).await.0, StatusCode::OK);
    assert_eq!(installed.token(&own, &client_id).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(installed.call(&own, &bearer).await.0, StatusCode::UNAUTHORIZED);
    a_gateway_follows_with_a_certificate(&installed);
    installed.serving.stop();
}

/// A gateway in a process of its own is known as agents are, and goes on with the certificate that takes
/// the place of its first one.
fn a_gateway_follows_with_a_certificate(installed: &Installed) {
    let folder = &installed.folder;
    for name in ["gw", "next"] {
        let made = rcgen::generate_simple_self_signed(vec!["gw.example".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(folder.path().join(format!("{name}.crt")), certificate).unwrap();
        let key_file = folder.path().join(format!("{name}.key"));
        fs::write(&key_file, key).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&key_file, mode).unwrap();
    }
    let register = ["gateway", "register", "gw-1", "--owner", "finance", "-o", "json"];
    let known = ["--certificate", "gw.crt"];
    let registered = folder.attorn(&[&register[..], &known].concat()).expect(0).json();
    assert_eq!(registered.get("code"), None, "{registered}");
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let admin = config.split("admin_url = \"").nth(1).unwrap().split('"').next().unwrap();
    let gateway = Folder::new("mtls-gateway");
    let profile = gateway.path().join("profile").display().to_string();
    let id = registered["id"].as_str().unwrap();
    let enroll =
        ["--profile", &profile, "enroll", "--url", &installed.issuer, "--roots", "cert.pem"];
    let named = ["--name", "gw-1", "--client-id", id, "--admin-url", admin, "--as-gateway"];
    let files = ["--certificate", "gw.crt", "--key", "gw.key"];
    folder.attorn(&[&enroll[..], &named, &files].concat()).expect(0);
    let (tls, listen) = (folder.path().display(), free_address());
    let text = format!(
        "state = \"state\"\n[gateway]\npublic_url = \"{}\"\n[follow]\nprofile = \"profile\"\n\
         [listen]\ngateway = \"{listen}\"\n\
         [tls]\ncertificates = \"{tls}/cert.pem\"\nkey = \"{tls}/key.pem\"\n",
        installed.gateway
    );
    fs::write(gateway.path().join("attorn.toml"), text).unwrap();
    let serving = Serving::start(&gateway);
    let json = |arguments: &[&str]| folder.attorn(arguments).expect(0).json();
    let until_heard = || {
        let version = json(&["status", "-o", "json"])["registry_version"].clone();
        let mut tries = 0..600;
        while json(&["gateway", "list", "-o", "json"])[0]["version"].as_u64() < version.as_u64() {
            assert!(tries.next().is_some(), "the gateway is not heard");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until_heard();
    let change = ["agent", "authentication", "gw-1", "--certificate", "next.crt"];
    folder.attorn(&[&change[..], &known].concat()).expect(0);
    until_heard();
    let place = gateway.path().join("profile/gateway");
    fs::copy(folder.path().join("next.crt"), place.join("certificate.pem")).unwrap();
    fs::copy(folder.path().join("next.key"), place.join("key.pem")).unwrap();
    folder.attorn(&change).expect(0);
    until_heard();
    serving.stop();
}

/// What nobody would accept does not take the place of what serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_whose_life_is_over_is_not_taken() {
    let ca = Authority::new();
    let mut installed = Installed::new("mtls-over", &ca);
    let client_id = installed.agent("billing", &["--tls-san-uri", URI]);
    let own = ca.leaf(URI);
    let first = installed.roots.clone();
    let put = |until_year| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(installed.folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        // The first one stays in the file: it is also what the command line trusts.
        let both = format!("{certificate}{first}");
        fs::write(installed.folder.path().join("cert.pem"), both).unwrap();
        certificate
    };
    put(2021);
    let mut tries = 0..300;
    while !installed.reasons("tls.reload_refused").contains("life is over") {
        assert!(tries.next().is_some(), "{}", installed.reasons("tls.reloaded"));
        tokio::task::yield_now().await;
    }
    let (status, token) = installed.token(&installed.client(Some(&own)), &client_id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    // One that lasts is taken.
    installed.roots = put(2090);
    let metadata = format!("{}/.well-known/oauth-authorization-server", installed.issuer);
    let taken = async {
        let ask = || Request::get(&metadata).body(Bytes::new()).unwrap();
        while installed.client(None).send(ask()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap();
    let (status, token) = installed.token(&installed.client(Some(&own)), &client_id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    installed.serving.stop();
}
