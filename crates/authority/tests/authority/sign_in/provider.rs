//! A provider as small as it can be, on loopback, that says what a test wants it to say. That people
//! log in at a real one is shown by `cargo xtask interop login`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use attorn_authority::LoginConfig;
use attorn_jose::{Algorithm, NewHeader, SigningKey, sign};
use attorn_net::{Body, Limits, Listener, Shutdown, serve};
use attorn_registry::{ExternalSubject, PersonId};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;

use hyper::service::service_fn;
use serde_json::{Value, json};

use super::browser::{Browser, Town, location, parameter};
use crate::world::{Answer, ISSUER};

/// What the provider knows Ann by.
pub(crate) const ANN: &str = "subject-of-ann";
pub(crate) const CLIENT_ID: &str = "attorn-at-corp";
/// Values that must be in no entry and on no page.
pub(crate) const ACCESS_TOKEN: &str = "access-token-of-the-provider";
pub(crate) const CODE: &str = "code-of-the-provider";

/// The provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    says: Arc<Mutex<Says>>,
    shutdown: Shutdown,
}

/// What it says, and what it was told.
pub(crate) struct Says {
    pub(crate) metadata: Value,
    /// Each as a JWK.
    pub(crate) keys: Vec<String>,
    /// Status and body of the next answer to a code.
    pub(crate) tokens: (u16, String),
    /// The form of the last code, and its `Authorization`.
    pub(crate) redeemed: Option<(String, String)>,
    pub(crate) is_down: bool,
}

impl Provider {
    pub(crate) async fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, None).await.unwrap();
        let issuer = format!("http://{}/corp", listener.address());
        let says = Arc::new(Mutex::new(Says {
            metadata: json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/auth?tenant=7"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "authorization_response_iss_parameter_supported": true,
            }),
            keys: vec![Self::key().public().to_jwk(Some("k1"))],
            tokens: (500, String::new()),
            redeemed: None,
            is_down: false,
        }));
        let shutdown = Shutdown::new();
        let of_service = Arc::clone(&says);
        let service = service_fn(move |request: Request<attorn_net::ReceivedBody>| {
            let says = Arc::clone(&of_service);
            async move { Ok::<_, Infallible>(answer(&says, request).await) }
        });
        tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
        Self { issuer, says, shutdown }
    }

    pub(crate) fn key() -> SigningKey {
        SigningKey::from_seed(Algorithm::Es256, &[33; 32]).unwrap()
    }

    /// The configuration of an authority whose people log in here.
    pub(crate) fn login(&self) -> LoginConfig {
        let config = json!({
            "issuer": self.issuer, "display_name": "Corp", "client_id": CLIENT_ID,
            "roles": {"corp-audit": ["auditor"], "corp-it": ["operator", "viewer"]},
            "groups": {"corp-fin": ["finance"]},
        });
        serde_json::from_value(config).unwrap()
    }

    pub(crate) fn say<T>(&self, change: impl FnOnce(&mut Says) -> T) -> T {
        change(&mut self.says.lock().unwrap())
    }

    /// The claims of a good ID token.
    pub(crate) fn claims(&self, town: &Town, nonce: &str) -> Value {
        let now_s = town.world.now_s();
        json!({
            "iss": self.issuer, "sub": ANN, "aud": CLIENT_ID, "nonce": nonce,
            "exp": now_s + 300, "iat": now_s, "preferred_username": "ann.example@corp.example",
            "name": "Ann Example", "email": "ann@corp.example",
        })
    }

    /// Makes the token endpoint give a token with these claims.
    pub(crate) fn gives(&self, claims: &Value) {
        let header = NewHeader { typ: "JWT", kid: Some("k1"), jwk: false };
        self.gives_token(&sign(&header, claims.to_string().as_bytes(), &Self::key()).unwrap());
    }

    pub(crate) fn gives_token(&self, id_token: &str) {
        let tokens = json!({
            "access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": id_token,
            "refresh_token": "r", "expires_in": 60,
        });
        self.say(|says| says.tokens = (200, tokens.to_string()));
    }

    /// What was sent with the last code: form and `Authorization`.
    pub(crate) fn redeemed(&self) -> (String, String) {
        self.say(|says| says.redeemed.take()).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shutdown.start();
    }
}

async fn answer(says: &Mutex<Says>, request: Request<attorn_net::ReceivedBody>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let mut says = says.lock().unwrap();
    let (status, text) = match head.uri.path() {
        _ if says.is_down => (503, "{}".to_owned()),
        "/corp/.well-known/openid-configuration" => (200, says.metadata.to_string()),
        "/corp/jwks" => (200, format!(r#"{{"keys":[{}]}}"#, says.keys.join(","))),
        "/corp/token" => {
            let authorization = head.headers.get(AUTHORIZATION);
            let authorization = authorization.map_or("", |value| value.to_str().unwrap());
            says.redeemed = Some((body, authorization.to_owned()));
            says.tokens.clone()
        }
        _ => (404, "{}".to_owned()),
    };
    let mut answer = Response::new(Body::full(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    answer
}

/// A person on the way to the provider and back.
pub(crate) struct Trip {
    /// Where the browser was sent.
    pub(crate) to: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
}

impl Trip {
    /// Presses the button of the log-in page.
    pub(crate) async fn begin(browser: &Browser<'_>) -> Self {
        Self::begin_at(browser, "/login/provider").await
    }

    pub(crate) async fn begin_at(browser: &Browser<'_>, path: &str) -> Self {
        let sent = browser.get(path).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.page);
        let to = location(&sent);
        let value = |name| parameter(&to, name).unwrap();
        Self { state: value("state"), nonce: value("nonce"), to: to.clone() }
    }

    /// The query of a good answer.
    pub(crate) fn answer(&self, provider: &Provider) -> String {
        self.answer_with(&[("code", CODE), ("iss", &provider.issuer)])
    }

    pub(crate) fn answer_with(&self, more: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", &self.state).extend_pairs(more);
        format!("/login/callback?{}", query.finish())
    }
}

impl Town {
    /// Where people log in at this provider, and Ann is linked.
    pub(crate) async fn at(provider: &Provider) -> Self {
        let town = Self::with_login(provider.login()).await;
        town.link("ann", provider, ANN).await;
        town
    }

    pub(crate) fn id_of(&self, name: &str) -> PersonId {
        self.world.published.load().person_named(name).unwrap().id.clone()
    }

    pub(crate) async fn link(&self, name: &str, provider: &Provider, subject: &str) {
        let external =
            ExternalSubject { issuer: provider.issuer.clone(), subject: subject.to_owned() };
        let id = self.id_of(name);
        self.world.store.link_person(&self.act(), &id, &external).await.unwrap();
        self.world.authority.publish().await.unwrap();
    }

    /// Goes to the provider and comes back with a token of these claims.
    pub(crate) async fn comes_back(
        &self,
        browser: &Browser<'_>,
        provider: &Provider,
        change: impl FnOnce(&mut Value),
    ) -> Answer {
        let trip = Trip::begin(browser).await;
        let mut claims = provider.claims(self, &trip.nonce);
        change(&mut claims);
        provider.gives(&claims);
        browser.get(&trip.answer(provider)).await
    }

    /// The reason of the newest refused log-in, and the claim that did not hold.
    pub(crate) async fn refused(&self) -> (String, String) {
        let entry = self.world.newest("identity.login_refused").await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&entry["reason"]), text(&entry["detail"]["check"]))
    }
}

/// Whether an answer lets in: to the sessions, where nothing waits.
pub(crate) fn is_in(answer: &Answer) -> bool {
    answer.status == StatusCode::SEE_OTHER && location(answer) == format!("{ISSUER}/sessions")
}
