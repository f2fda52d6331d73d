//! An authorization server and a resource, as strict as a test needs and scripted by it.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use attorn_jose::{Algorithm, Compact, SigningKey, base64url, sha256};
use attorn_json::Limits as JsonLimits;
use attorn_net::{Body, Client, ClientConfig, Clock, Limits, Listener, Random, Reach, Shutdown};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use serde_json::{Value, json};

use crate::token::{Credential, Grant, Identity, TokenSource, UnboundTokens};
use crate::world::World;

/// What a request was, kept for assertions.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Seen {
    /// A field of the form in the body.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What a test may change while it runs.
#[derive(Default)]
pub(super) struct Script {
    pub(super) seen: Vec<Seen>,
    pub(super) jtis: HashSet<String>,
    pub(super) tokens: u64,
    pub(super) proofs_refused: Vec<&'static str>,
    /// The nonce each side wants; none means no nonce.
    pub(super) server_nonce: Option<&'static str>,
    pub(super) resource_nonce: Option<&'static str>,
    /// Scopes a request without scope gets.
    pub(super) granted: String,
    pub(super) lifetime_s: u64,
    pub(super) token_type: &'static str,
    pub(super) metadata: Option<Value>,
    pub(super) resource_metadata: Option<Value>,
    pub(super) token_error: Option<(u16, &'static str)>,
    /// What the identity provider answers.
    pub(super) exchanged: Value,
    /// Tokens below this number are refused as no longer valid.
    pub(super) valid_from: u64,
    /// The refresh token that counts, where any are given.
    pub(super) refresh_token: Option<String>,
    /// What is said of each request of a person's browser.
    pub(super) asked: Vec<HashMap<String, String>>,
    /// Pushed requests, by their number.
    pub(super) pushed: Vec<String>,
    /// Makes something else of the answer for the browser.
    pub(super) bend: Option<fn(&str) -> String>,
}

type Answer = Arc<dyn Fn(&Seen, &Fake) -> Response<Body> + Send + Sync>;

/// Both servers on one port.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) origin: String,
    script: Arc<Mutex<Script>>,
    pub(super) now_ms: Arc<AtomicU64>,
    // Shared by all worlds of a test, so that no two draw the same.
    drawn: Arc<AtomicU64>,
    mcp: Answer,
}

impl Fake {
    /// Serves; `mcp` answers what has passed token and proof.
    pub(super) async fn start(
        mcp: impl Fn(&Seen, &Self) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(address, None).await.unwrap();
        let fake = Self {
            origin: format!("http://{}", listener.address()),
            script: Arc::new(Mutex::new(Script {
                granted: "read:get_invoice".to_owned(),
                lifetime_s: 100,
                token_type: "DPoP",
                ..Script::default()
            })),
            now_ms: Arc::new(AtomicU64::new(1_800_000_000_000)),
            drawn: Arc::new(AtomicU64::new(0)),
            mcp: Arc::new(mcp),
        };
        let served = fake.clone();
        let service = service_fn(move |request: Request<attorn_net::ReceivedBody>| {
            let fake = served.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let seen = Seen {
                    method: head.method,
                    path: head.uri.path().to_owned(),
                    headers: head.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                Ok::<_, Infallible>(fake.answer(&seen, head.uri.query()))
            }
        });
        tokio::spawn(attorn_net::serve(listener, service, Limits::default(), Shutdown::new()));
        fake
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// What came in at `path`, oldest first.
    pub(super) fn seen(&self, path: &str) -> Vec<Seen> {
        self.script().seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }

    pub(super) fn resource(&self) -> String {
        format!("{}/billing/mcp", self.origin)
    }

    pub(super) fn world(&self) -> World {
        let now_ms = Arc::clone(&self.now_ms);
        let counter = Arc::clone(&self.drawn);
        let config = ClientConfig { reach: Reach::LoopbackOnly, ..ClientConfig::default() };
        World {
            client: Client::new(config).unwrap(),
            clock: Clock::new(move || now_ms.load(Ordering::SeqCst)),
            random: Random::new(move |target| {
                let digest = sha256(&counter.fetch_add(1, Ordering::SeqCst).to_be_bytes());
                for (byte, value) in target.iter_mut().zip(digest) {
                    *byte = value;
                }
            }),
        }
    }

    pub(super) async fn tokens(&self) -> TokenSource {
        let identity =
            Identity { client_id: "agt_test".to_owned(), credential: Credential::Key(key()) };
        let world = self.world();
        let server = crate::discovery::authorization_server(&world, &self.origin).await.unwrap();
        let grant = Grant::ClientCredentials(identity);
        TokenSource::new(world, server, self.resource(), grant, UnboundTokens::Refuse)
    }

    fn answer(&self, seen: &Seen, query: Option<&str>) -> Response<Body> {
        self.script().seen.push(seen.clone());
        match seen.path.as_str() {
            "/.well-known/oauth-protected-resource/billing/mcp" => {
                let default = json!({
                    "resource": self.resource(), "authorization_servers": [self.origin]
                });
                reply(200, &self.script().resource_metadata.clone().unwrap_or(default))
            }
            "/.well-known/oauth-authorization-server" => {
                let default = self.server_metadata();
                reply(200, &self.script().metadata.clone().unwrap_or(default))
            }
            "/token" => self.token(seen),
            "/idp/token" => reply(200, &self.script().exchanged.clone()),
            "/authorize" => self.authorize(query.unwrap_or("")),
            "/par" => {
                self.script().pushed.push(seen.body.clone());
                reply(201, &json!({ "request_uri": "urn:pushed:1", "expires_in": 60 }))
            }
            "/register" => reply(201, &json!({ "client_id": "registered" })),
            "/billing/mcp" => self.resource_request(seen),
            _ => reply(404, &json!({})),
        }
    }

    pub(super) fn server_metadata(&self) -> Value {
        json!({
            "issuer": self.origin,
            "token_endpoint": format!("{}/token", self.origin),
            "authorization_endpoint": format!("{}/authorize", self.origin),
            "registration_endpoint": format!("{}/register", self.origin),
            "code_challenge_methods_supported": ["S256"],
            "dpop_signing_alg_values_supported": ["EdDSA", "ES256"],
            "authorization_response_iss_parameter_supported": true,
            "token_endpoint_auth_methods_supported": ["none"],
        })
    }

    /// Approves at once, as a person would after a while.
    fn authorize(&self, query: &str) -> Response<Body> {
        let of = |text: &str| -> HashMap<String, String> {
            url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
        };
        let mut script = self.script();
        let mut asked = of(query);
        if asked.contains_key("request_uri") {
            assert_eq!(asked.len(), 2, "{asked:?}");
            asked = of(script.pushed.last().unwrap());
        }
        assert_eq!(asked["code_challenge_method"], "S256");
        let location = format!(
            "{}?code=c1-{}&state={}&iss={}",
            asked["redirect_uri"], asked["code_challenge"], asked["state"], self.origin
        );
        let location = script.bend.map_or_else(|| location.clone(), |bend| bend(&location));
        script.asked.push(asked);
        let mut response = reply(302, &json!({}));
        response.headers_mut().insert("location", location.parse().unwrap());
        response
    }

    fn token(&self, seen: &Seen) -> Response<Body> {
        let url = format!("{}/token", self.origin);
        let nonce = self.script().server_nonce;
        if let Err(error) = self.proof(seen, &url, None, nonce) {
            return self.refused_proof(400, error, nonce);
        }
        let mut script = self.script();
        if let Some((status, error)) = script.token_error {
            return reply(status, &json!({ "error": error, "error_description": "no\u{1b}[31m" }));
        }
        match seen.field("grant_type").as_deref() {
            Some("client_credentials") => {
                let assertion = seen.field("client_assertion").unwrap();
                let claims = verified(&assertion, Some(&key()));
                assert_eq!(claims["aud"], self.origin.as_str());
                assert_eq!(claims["iss"], claims["sub"]);
                let jti = claims["jti"].as_str().unwrap().to_owned();
                assert!(script.jtis.insert(jti), "an assertion was used twice");
            }
            Some("authorization_code") => {
                let verifier = seen.field("code_verifier").unwrap();
                let challenge = base64url(&sha256(verifier.as_bytes()));
                assert_eq!(seen.field("code"), Some(format!("c1-{challenge}")));
                let asked = script.asked.last().unwrap();
                assert_eq!(seen.field("client_id").as_ref(), asked.get("client_id"));
                assert_eq!(seen.field("redirect_uri").as_ref(), asked.get("redirect_uri"));
                assert_eq!(seen.field("scope"), None);
            }
            Some("refresh_token") => {
                if seen.field("refresh_token") != script.refresh_token {
                    return reply(400, &json!({ "error": "invalid_grant" }));
                }
                script.refresh_token = Some(format!("r{}", script.tokens));
            }
            Some(crate::assertion::JWT_BEARER) => {
                assert!(seen.field("assertion").is_some());
            }
            other => panic!("unexpected grant {other:?}"),
        }
        assert!(seen.field("resource").unwrap().ends_with("/billing/mcp"));
        script.tokens += 1;
        let asked = script.asked.last().and_then(|asked| asked.get("scope").cloned());
        let scope = seen.field("scope").or(asked).unwrap_or_else(|| script.granted.clone());
        reply(
            200,
            &json!({
                "access_token": format!("at-{}-{}", script.tokens, scope.replace(' ', "+")),
                "token_type": script.token_type,
                "expires_in": script.lifetime_s,
                "refresh_token": script.refresh_token,
                "scope": scope,
            }),
        )
    }

    fn resource_request(&self, seen: &Seen) -> Response<Body> {
        let Some(authorization) = seen.header("authorization") else {
            let mut response = reply(401, &json!({}));
            let challenge = format!(
                r#"DPoP scope="read:a", resource_metadata="{}/.well-known/oauth-protected-resource/billing/mcp""#,
                self.origin
            );
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            return response;
        };
        let token = authorization.strip_prefix("DPoP ").expect("a bound token").to_owned();
        let nonce = self.script().resource_nonce;
        if let Err(error) = self.proof(seen, &self.resource(), Some(&token), nonce) {
            return self.refused_proof(401, error, nonce);
        }
        let number: u64 = token.split('-').nth(1).unwrap().parse().unwrap();
        if number < self.script().valid_from {
            let mut response = reply(401, &json!({}));
            let challenge = r#"DPoP error="invalid_token""#;
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            return response;
        }
        (self.mcp)(seen, self)
    }

    fn refused_proof(
        &self,
        status: u16,
        error: &'static str,
        nonce: Option<&'static str>,
    ) -> Response<Body> {
        self.script().proofs_refused.push(error);
        let mut response = reply(status, &json!({ "error": error }));
        let headers = response.headers_mut();
        headers.insert("www-authenticate", format!(r#"DPoP error="{error}""#).parse().unwrap());
        if let Some(nonce) = nonce {
            headers.insert("dpop-nonce", nonce.parse().unwrap());
        }
        response
    }

    /// RFC 9449 section 4.3, as far as these tests can get it wrong.
    fn proof(
        &self,
        seen: &Seen,
        url: &str,
        token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<(), &'static str> {
        assert_eq!(seen.headers.get_all("dpop").iter().count(), 1);
        let claims = verified(seen.header("dpop").unwrap(), None);
        assert_eq!(claims["htm"], seen.method.as_str());
        assert_eq!(claims["htu"], url);
        let digest = token.map(|token| base64url(&sha256(token.as_bytes())));
        assert_eq!(claims.get("ath").and_then(Value::as_str), digest.as_deref());
        let jti = claims["jti"].as_str().unwrap().to_owned();
        assert!(self.script().jtis.insert(jti), "a proof was used twice");
        match nonce {
            Some(nonce) if claims["nonce"] != nonce => Err("use_dpop_nonce"),
            Some(_) | None => Ok(()),
        }
    }
}

/// The scopes a token stands for.
pub(super) fn scopes(seen: &Seen) -> String {
    let token = seen.header("authorization").unwrap();
    token.splitn(3, '-').nth(2).unwrap().replace('+', " ")
}

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed(Algorithm::EdDsa, &[7; 32]).unwrap()
}

pub(super) fn reply(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

pub(super) fn insufficient(scope: &str) -> Response<Body> {
    let mut response = reply(403, &json!({}));
    let challenge = format!(r#"DPoP error="insufficient_scope", scope="{scope}""#);
    response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
    response
}

pub(super) async fn text(response: Response<attorn_net::ResponseBody>) -> String {
    let bytes: Bytes = response.into_body().bytes(1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn verified(jwt: &str, expected: Option<&SigningKey>) -> Value {
    let compact = Compact::parse(jwt, &JsonLimits::JWT).unwrap();
    let embedded = compact.header().jwk.clone();
    let public = expected.map_or_else(|| embedded.unwrap(), |key| key.public().clone());
    let verified = compact.verify(&public).unwrap();
    serde_json::from_slice(verified.payload()).unwrap()
}

/// A connector to `fake`, with a token in hand.
pub(super) async fn connector(fake: &Fake, era: crate::Era) -> crate::Connector {
    let identity =
        Identity { client_id: "agt_test".to_owned(), credential: Credential::Key(key()) };
    let options = crate::Options {
        resource: url::Url::parse(&fake.resource()).unwrap(),
        issuer: None,
        grant: Grant::ClientCredentials(identity),
        unbound: UnboundTokens::Refuse,
        era,
    };
    crate::Connector::open(fake.world(), options).await.unwrap()
}

/// An event stream written by the task given.
pub(super) fn stream<F>(write: impl FnOnce(attorn_net::BodySender) -> F) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, body) = Body::channel(4);
    tokio::spawn(write(sender));
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}

/// One event with a JSON message.
pub(super) fn event(message: &Value) -> Bytes {
    Bytes::from(format!("data: {message}\n\n"))
}
