//! A person who was invited, an application that registers itself, and a call in their name.
//!
//! The browser is as small as it can be: it keeps cookies and follows the links of our own pages.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use attorn_jose::{Algorithm, SigningKey};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_testkit::wire::{RawReply, RawRequest, exchange};
use serde_json::{Value, json};
use url::form_urlencoded::{self, Serializer};

use crate::journey::installed_with;
use crate::support::Folder;

const CLIENTS: &str = "[authority.clients]\nowner = \"finance\"\nregistration = \"open\"\n";
const CALLBACK: &str = "http://127.0.0.1:7777/cb";
const PASSWORD: &str = "correct horse battery staple";
// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A peer by its URL, such as `http://127.0.0.1:1234`.
struct Site {
    url: String,
    cookies: RefCell<BTreeMap<String, String>>,
    page: RefCell<String>,
}

impl Site {
    fn new(url: &str) -> Self {
        Self { url: url.to_owned(), cookies: RefCell::default(), page: RefCell::default() }
    }

    fn send(
        &self,
        method: &str,
        target: &str,
        (headers, body): (&[(&str, &str)], &str),
    ) -> RawReply {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut lines = vec![("host", host), ("connection", "close")];
        lines.extend(headers);
        let lines = lines.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()));
        let request = RawRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: lines.collect(),
            body: body.as_bytes().to_vec(),
            verbatim: None,
        };
        exchange(host.parse::<SocketAddr>().unwrap(), &request).unwrap()
    }

    fn browse(&self, method: &str, target: &str, more: (&[(&str, &str)], &str)) -> RawReply {
        let cookies = self.cookies.borrow();
        let cookie: Vec<_> =
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = cookie.join("; ");
        drop(cookies);
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(more.0);
        let reply = self.send(method, target, (&headers, more.1));
        for (name, value) in &reply.headers {
            if name.eq_ignore_ascii_case("set-cookie") {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            }
        }
        self.page.replace(reply.text());
        reply
    }

    fn open(&self, target: &str) -> RawReply {
        self.browse("GET", target, (&[], ""))
    }

    /// Goes where a reply leads.
    fn follow(&self, reply: &RawReply) -> RawReply {
        let to = location(reply);
        let target = to.strip_prefix(&self.url).unwrap_or_else(|| panic!("leads away: {to}"));
        self.open(target)
    }

    /// Sends the form of the page, with its hidden fields.
    fn submit(&self, target: &str, fields: &[(&str, &str)]) -> RawReply {
        let page = self.page.borrow().clone();
        let hidden = |name: &str| {
            let field = page.split(&format!(r#"name="{name}" value=""#)).nth(1).unwrap_or_default();
            field.split('"').next().unwrap_or_default().to_owned()
        };
        let mut form = Serializer::new(String::new());
        form.append_pair("form", &hidden("form")).append_pair("waiting", &hidden("waiting"));
        form.extend_pairs(fields);
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", self.url.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        self.browse("POST", target, (&headers, &form.finish()))
    }
}

fn location(reply: &RawReply) -> String {
    let location = reply.header("location");
    location.unwrap_or_else(|| panic!("{} {}", reply.status, reply.text())).to_owned()
}

fn parameter(address: &str, name: &str) -> Option<String> {
    let query = address.split_once('?')?.1;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// An application with a key, that talks to authority and gateway.
struct App {
    authority: Site,
    key: SigningKey,
    id: String,
    proofs: RefCell<u32>,
}

impl App {
    fn register(authority: &str) -> Self {
        let site = Site::new(authority);
        let body = json!({ "redirect_uris": [CALLBACK], "client_name": "Desk" }).to_string();
        let reply =
            site.send("POST", "/register", (&[("content-type", "application/json")], &body));
        assert_eq!(reply.status, 201, "{}", reply.text());
        let id = reply.json().unwrap()["client_id"].as_str().unwrap().to_owned();
        let key = SigningKey::from_seed(Algorithm::EdDsa, &[42; 32]).unwrap();
        Self { authority: site, key, id, proofs: RefCell::default() }
    }

    fn proof(&self, htu: &str, token: Option<&str>, nonce: Option<&str>) -> String {
        *self.proofs.borrow_mut() += 1;
        let jti = format!("proof-{}", self.proofs.borrow());
        let iat_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let new = NewProof { htm: "POST", htu, iat_s, jti: &jti, access_token: token, nonce };
        new_proof(&self.key, &new).unwrap()
    }

    fn query(&self, resource: &str, scope: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", CALLBACK),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", resource),
            ("scope", scope),
        ]);
        query.finish()
    }

    /// One token request, twice where our nonce is asked for.
    fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        let htu = format!("{}/token", self.authority.url);
        let mut nonce: Option<String> = None;
        loop {
            let proof = self.proof(&htu, None, nonce.as_deref());
            let media = ("content-type", "application/x-www-form-urlencoded");
            let reply = self.authority.send("POST", "/token", (&[media, ("dpop", &proof)], &body));
            let answer = reply.json().unwrap();
            if nonce.is_some() || answer["error"] != "use_dpop_nonce" {
                return (reply.status, answer);
            }
            nonce = reply.header("dpop-nonce").map(str::to_owned);
        }
    }

    /// One call through the gateway.
    fn call(&self, resource: &str, token: &str, tool: &str) -> RawReply {
        let (gateway, _) = resource.split_once("/invoices").unwrap();
        let (target, gateway) = (resource.strip_prefix(gateway).unwrap(), Site::new(gateway));
        let params = json!({
            "name": tool,
            "arguments": { "id": "inv-1001" },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let (body, authorization) = (body.to_string(), format!("DPoP {token}"));
        let mut nonce: Option<String> = None;
        loop {
            let proof = self.proof(resource, Some(token), nonce.as_deref());
            let headers = [
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/call"),
                ("mcp-name", tool),
                ("authorization", authorization.as_str()),
                ("dpop", proof.as_str()),
            ];
            let reply = gateway.send("POST", target, (&headers, &body));
            let wants =
                reply.header("www-authenticate").is_some_and(|c| c.contains("use_dpop_nonce"));
            if nonce.is_some() || !wants {
                return reply;
            }
            nonce = reply.header("dpop-nonce").map(str::to_owned);
        }
    }
}

/// The address of the sample server at the gateway, out of the configuration.
fn resource(folder: &Folder) -> String {
    let text = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let url = text.split("public_url = \"").nth(1).unwrap().split('"').next().unwrap();
    format!("{url}/invoices/mcp")
}

fn issuer(folder: &Folder) -> String {
    let text = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    text.split("issuer = \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn a_person_lets_an_application_act_for_them() {
    let folder = Folder::new("sign-in");
    let serving = installed_with(&folder, CLIENTS);
    let (issuer, resource) = (issuer(&folder), resource(&folder));
    folder.attorn(&["person", "invite", "ann", "--code-file", "ann.code"]).expect(0);
    folder.attorn(&["person", "grant", "ann", "invoices", "read:*"]).expect(0);
    let code = fs::read_to_string(folder.path().join("ann.code")).unwrap();

    // Invited, with a password, logged in.
    let (app, browser) = (App::register(&issuer), Site::new(&issuer));
    browser.open("/invite");
    let form = [("code", code.trim()), ("password", PASSWORD), ("again", PASSWORD)];
    assert_eq!(browser.submit("/invite", &form).status, 303, "{}", browser.page.borrow());
    let asked = browser.open(&format!("/authorize?{}", app.query(&resource, "read:get_invoice")));
    let login = browser.follow(&asked);
    assert!(login.text().contains("Desk"), "{}", login.text());
    let logged_in = browser.submit("/login", &[("name", "ann"), ("password", PASSWORD)]);

    // Asked, and answered.
    let consent = browser.follow(&logged_in);
    let text = consent.text();
    assert!(text.contains("read:get_invoice") && text.contains("127.0.0.1:7777"), "{text}");
    let allowed =
        browser.submit("/consent", &[("scope.0", "read:get_invoice"), ("decision", "allow")]);
    let to = location(&allowed);
    assert!(to.starts_with(CALLBACK), "{to}");
    assert_eq!(parameter(&to, "iss").as_deref(), Some(issuer.as_str()));

    // Redeemed, and used.
    let code = parameter(&to, "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", app.id.as_str()),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", CALLBACK),
    ];
    let (status, given) = app.token(&form);
    assert_eq!(status, 200, "{given}");
    let token = given["access_token"].as_str().unwrap();
    let answer = app.call(&resource, token, "get_invoice");
    assert!(answer.text().contains("inv-1001"), "{} {}", answer.status, answer.text());
    // What was not given is not there.
    let hidden = app.call(&resource, token, "list_invoices");
    assert!(hidden.json().unwrap().get("result").is_none(), "{}", hidden.text());

    // Renewed.
    let refresh = given["refresh_token"].as_str().unwrap();
    let id = ("client_id", app.id.as_str());
    let (status, again) =
        app.token(&[("grant_type", "refresh_token"), id, ("refresh_token", refresh)]);
    assert_eq!(status, 200, "{again}");

    // Taken back: the token that still lives is worth nothing.
    let consents = folder.attorn(&["consent", "list", "-o", "json"]).expect(0).json();
    let consent = consents[0]["id"].as_str().unwrap().to_owned();
    folder.attorn(&["consent", "revoke", &consent, "--reason", "test"]).expect(0);
    let token = again["access_token"].as_str().unwrap();
    let refused = app.call(&resource, token, "get_invoice");
    assert!(!refused.text().contains("Ada Shipping"), "{}", refused.text());
    let refresh = again["refresh_token"].as_str().unwrap();
    let (status, answer) =
        app.token(&[("grant_type", "refresh_token"), id, ("refresh_token", refresh)]);
    assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_grant")), "{answer}");

    // And all of it is on record.
    for kind in ["identity.login", "consent.given", "code.issued", "token.issued", "call.decided"] {
        let search = ["audit", "search", "--kind", kind, "-o", "json"];
        let found = folder.attorn(&search).expect(0).json();
        assert_ne!(found.as_array().unwrap().len(), 0, "{kind}");
    }
    let about = ["audit", "search", "--person", "ann", "--kind", "consent.given", "-o", "json"];
    let found = folder.attorn(&about).expect(0).json();
    let who = found[0]["subject"].as_str().unwrap();
    let trace = folder.attorn(&["-o", "json", "audit", "trace", who]).expect(0).out;
    assert!(trace.contains("consent.given") && trace.contains("call.completed"), "{trace}");
    folder.attorn(&["audit", "search", "--person", "nobody", "-o", "json"]).expect(1);
    serving.stop();
}
