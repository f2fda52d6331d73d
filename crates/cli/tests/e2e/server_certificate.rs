//! An MCP server with a certificate of its own, over real TLS: what it gets by exchange is bound to that,
//! and the guard takes it over a connection with it.

use std::fs;

use attorn_connect::key_file;
use attorn_jose::SigningKey;
use attorn_net::Client;
use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_oauth::token_request::{ACCESS_TOKEN, TOKEN_EXCHANGE};
use attorn_registry::AgentId;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::delegation::{form, jti, now_s};
use crate::mtls::{Authority, Installed};

/// An agent that is known by its key: the server is called by it without a gateway.
struct Keyed<'a> {
    installed: &'a Installed,
    client: Client,
    id: AgentId,
    key: SigningKey,
}

impl<'a> Keyed<'a> {
    fn new(installed: &'a Installed) -> Self {
        let folder = &installed.folder;
        let run = |arguments: &[&str]| folder.attorn(arguments).expect(0);
        let register = ["agent", "register", "keyed", "--owner", "finance", "-o", "json"];
        let file = ["--code-file", "keyed.code"];
        let registered = run(&[&register[..], &file].concat()).json();
        run(&["grant", "create", "keyed", "invoices", "read:get_invoice"]);
        let enroll = ["agent", "enroll", "--url", &installed.issuer, "--code", "@keyed.code"];
        run(&[&enroll[..], &["--roots", "cert.pem"]].concat());
        let place = folder.path().join("profile/agents/keyed");
        let key = key_file::load(&place, "key").unwrap();
        let id = registered["id"].as_str().unwrap().parse().unwrap();
        Self { installed, client: installed.client(None), id, key }
    }

    fn proof(&self, htu: &str, token: Option<&str>, nonce: Option<&str>) -> String {
        let (jti, iat_s) = (jti(), now_s(&self.installed.folder));
        let new = NewProof { htm: "POST", htu, iat_s, jti: &jti, access_token: token, nonce };
        new_proof(&self.key, &new).unwrap()
    }

    /// A token for the server, and the proof that it would come with.
    async fn call(&self) -> (String, String) {
        let (issuer, resource) = (self.installed.issuer.as_str(), self.installed.resource());
        let url = format!("{issuer}/token");
        let ask = async |nonce: Option<&str>| {
            let (jti, now_s) = (jti(), now_s(&self.installed.folder));
            let assertion = NewAssertion { client_id: &self.id, issuer, now_s, jti: &jti };
            let form = form(&[
                ("grant_type", "client_credentials"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &new_assertion(&self.key, &assertion).unwrap()),
                ("resource", &resource),
            ]);
            post(&self.client, &url, form, Some(&self.proof(&url, None, nonce))).await
        };
        let (_, headers, _) = ask(None).await;
        let nonce = headers["dpop-nonce"].to_str().unwrap();
        let (status, _, body) = ask(Some(nonce)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let token = body["access_token"].as_str().unwrap().to_owned();
        let proof = self.proof(&resource, Some(&token), None);
        (token, proof)
    }
}

async fn post(
    client: &Client,
    url: &str,
    form: String,
    proof: Option<&str>,
) -> (StatusCode, HeaderMap, Value) {
    let mut request =
        Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    answer(client, request.body(Bytes::from(form)).unwrap()).await
}

async fn answer(client: &Client, request: Request<Bytes>) -> (StatusCode, HeaderMap, Value) {
    let (head, body) = client.send(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, serde_json::from_slice(&body).unwrap_or_default())
}

/// `api` is the API behind a guard, which gives the server what `read:get_invoice` gives.
pub(crate) async fn a_server_exchanges_with_a_certificate(
    installed: &Installed,
    ca: &Authority,
    api: &str,
) {
    let folder = &installed.folder;
    let (own, twin) = (ca.leaf("urn:server:invoices"), ca.leaf("urn:server:invoices"));
    fs::write(folder.path().join("server.crt"), &own.0).unwrap();
    folder.attorn(&["server", "key", "invoices", "--certificate", "server.crt"]).expect(0);
    let shown = folder.attorn(&["-o", "json", "server", "show", "invoices"]).expect(0).json();
    let keyed = Keyed::new(installed);
    let (token, proof) = keyed.call().await;
    let form = form(&[
        ("grant_type", TOKEN_EXCHANGE),
        ("client_id", shown["id"].as_str().unwrap()),
        ("subject_token", &token),
        ("subject_token_type", ACCESS_TOKEN),
        ("subject_token_proof", &proof),
        ("resource", api),
    ]);
    let (own, twin) = (installed.client(Some(&own)), installed.client(Some(&twin)));
    let url = format!("{}/token", installed.issuer);
    for client in [&twin, &keyed.client] {
        let (status, _, body) = post(client, &url, form.clone(), None).await;
        assert_eq!((status, &body["error"]), (StatusCode::UNAUTHORIZED, &"invalid_client".into()));
    }
    let (status, _, body) = post(&own, &url, form, None).await;
    assert_eq!((status, &body["token_type"]), (StatusCode::OK, &"Bearer".into()), "{body}");
    let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let get = || {
        let request = Request::get(format!("{api}/invoices/inv-1001"));
        request.header("authorization", &bearer).body(Bytes::new()).unwrap()
    };
    let (status, _, body) = answer(&own, get()).await;
    assert_eq!((status, &body["customer"]), (StatusCode::OK, &"Ada Shipping".into()), "{body}");
    for (client, reason) in
        [(&twin, "possession.key_mismatch"), (&keyed.client, "possession.certificate_missing")]
    {
        let (status, _, body) = answer(client, get()).await;
        assert_eq!((status, &body["reason"]), (StatusCode::UNAUTHORIZED, &reason.into()), "{body}");
    }
}
