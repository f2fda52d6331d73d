//! A browser as small as it can be, the person at it, and a client with a key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use attorn_authority::{ClientsConfig, Config, Limits, LoginConfig, Registration, TrustedIssuer};
use attorn_jose::{SigningKey, base64url, sha256};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_registry::{
    AgentId, ClientSource, GrantId, Name, PersonGrant, PersonId, PersonOrGroup, Provided,
    PublicClient, Role, ScopePattern,
};
use attorn_store::{Act, NewPerson, NewPublicClient, PersonSettings};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use url::form_urlencoded;

use crate::world::{Answer, CRM, Client, ISSUER, World, form_request, new_key};

static PROOFS: AtomicU64 = AtomicU64::new(0);

pub(crate) const CALLBACK: &str = "http://127.0.0.1:7777/cb";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) fn clients() -> ClientsConfig {
    ClientsConfig {
        owner: Name::parse("sales").unwrap(),
        documents: false,
        metadata_hosts: Vec::new(),
        metadata_roots: None,
        registration: Registration::Closed,
        registrations_max: 100,
        consent_days: 90,
        refresh_days: 30,
        refresh_idle_days: 7,
    }
}

/// An authority where people log in, with a server, a person and a client.
pub(crate) struct Town {
    pub(crate) world: World,
    pub(crate) operator: Client,
    pub(crate) client_id: String,
    /// The key of the client.
    pub(crate) key: SigningKey,
}

impl Town {
    pub(crate) async fn new() -> Self {
        Self::configured(|_| ()).await
    }

    pub(crate) async fn configured(change: impl FnOnce(&mut ClientsConfig)) -> Self {
        let mut of_people = clients();
        change(&mut of_people);
        Self::built(|config| config.clients = Some(of_people)).await
    }

    /// Where people log in at a provider.
    pub(crate) async fn with_login(login: LoginConfig) -> Self {
        Self::built(|config| {
            config.clients = Some(clients());
            config.login = Some(login);
        })
        .await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::built(|config| {
            config.clients = Some(clients());
            config.limits = limits;
        })
        .await
    }

    /// With other issuers whose word counts.
    pub(crate) async fn trusting(issuers: Vec<TrustedIssuer>) -> Self {
        let settings = |config: &mut Config| {
            config.clients = Some(clients());
            config.trusted_issuers = issuers;
        };
        Self::built(settings).await
    }

    async fn built(configure: impl FnOnce(&mut Config)) -> Self {
        let world = World::configured(configure).await;
        let operator = world.operator().await;
        world.crm(&operator).await;
        let mut town = Self { world, operator, client_id: String::new(), key: new_key() };
        town.person("ann", &["read:*", "irreversible:*"]).await;
        town.client_id = town.client("desk", &[CALLBACK, "https://client.example/cb"]).await;
        town
    }

    pub(crate) fn act(&self) -> Act<'static> {
        Act { by: "test", now_s: self.world.now_s() }
    }

    /// A person with a password and rights at `crm`.
    pub(crate) async fn person(&self, name: &str, patterns: &[&str]) -> PersonId {
        let id = PersonId::from_random(&sha256(name.as_bytes())[..16].try_into().unwrap());
        let new = NewPerson {
            id: id.clone(),
            name: Name::parse(name).unwrap(),
            settings: PersonSettings::default(),
            external: None,
            provided: Provided::default(),
        };
        let (store, act) = (&self.world.store, self.act());
        store.create_person(&act, &new).await.unwrap();
        let code = sha256(format!("{name} invited").as_bytes());
        store.create_invitation(&act, &id, code).await.unwrap();
        if !patterns.is_empty() {
            let server = self.world.published.load().server_named("crm").unwrap().id.clone();
            let grant = PersonGrant {
                id: GrantId::from_random(&sha256(name.as_bytes())[..16].try_into().unwrap()),
                to: PersonOrGroup::Person { person: id.clone() },
                server,
                scopes: patterns.iter().map(|one| ScopePattern::parse(one).unwrap()).collect(),
                created_s: act.now_s,
                expires_s: None,
                revoked_s: None,
            };
            store.create_person_grant(&act, &grant).await.unwrap();
        }
        self.world.authority.publish().await.unwrap();
        id
    }

    /// Gives a person roles and groups.
    pub(crate) async fn set(&self, person: &PersonId, roles: &[Role], groups: &[&str]) {
        let settings = PersonSettings {
            roles: roles.iter().copied().collect(),
            groups: groups.iter().map(|group| Name::parse(group).unwrap()).collect(),
            ..PersonSettings::default()
        };
        self.world.store.set_person(&self.act(), person, &settings).await.unwrap();
        self.world.authority.publish().await.unwrap();
    }

    pub(crate) async fn client(&self, name: &str, redirect_uris: &[&str]) -> String {
        let owner = self.world.published.load();
        let owner = owner.owners().find(|owner| owner.name.as_str() == "sales").unwrap().id.clone();
        let id = AgentId::from_random(&sha256(name.as_bytes())[..16].try_into().unwrap());
        let new = NewPublicClient {
            id: id.clone(),
            name: Name::parse(name).unwrap(),
            owner: Some(owner),
            client: PublicClient {
                redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
                source: ClientSource::Registered,
                display_name: format!("The {name}"),
            },
        };
        self.world.store.register_public_client(&self.act(), &new).await.unwrap();
        self.world.authority.publish().await.unwrap();
        id.to_string()
    }

    /// A query for `/authorize` that is right, with some parameters replaced or added.
    pub(crate) fn query(&self, changes: &[(&str, &str)]) -> String {
        let good = [
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", CALLBACK),
            ("state", "s-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", CRM),
            ("scope", "read:get"),
        ];
        let value = |name: &str, value| {
            changes.iter().find(|(other, _)| *other == name).map_or(value, |(_, value)| *value)
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(good.iter().map(|(name, good)| (*name, value(name, good))));
        query.extend_pairs(changes.iter().filter(|(n, _)| !good.iter().any(|(o, _)| o == n)));
        query.finish()
    }

    /// A browser in which a person is logged in, who has set the password first.
    pub(crate) async fn logged_in(&self, name: &str) -> Browser<'_> {
        let browser = Browser::new(&self.world);
        browser.get("/invite").await;
        let code = self.world_code(name).await;
        let form = [("code", code.as_str()), ("password", PASSWORD), ("again", PASSWORD)];
        let set = browser.submit("/invite", &form).await;
        assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.page);
        let logged_in = browser.log_in(name, PASSWORD).await;
        assert_eq!(logged_in.status, StatusCode::SEE_OTHER, "{}", logged_in.page);
        browser
    }

    /// A fresh invitation, as text.
    pub(crate) async fn world_code(&self, name: &str) -> String {
        let person = self.world.published.load().person_named(name).unwrap().id.clone();
        let number = PROOFS.fetch_add(1, Ordering::Relaxed);
        let code = base64url(&sha256(format!("{name} {number}").as_bytes()));
        let hash = sha256(code.as_bytes());
        self.world.store.create_invitation(&self.act(), &person, hash).await.unwrap();
        code
    }

    /// A code that a person gave by everything right.
    pub(crate) async fn code(&self, browser: &Browser<'_>, changes: &[(&str, &str)]) -> String {
        let asked = browser.get(&format!("/authorize?{}", self.query(changes))).await;
        let consent = browser.follow(&asked).await;
        assert_eq!(consent.status, StatusCode::OK, "{}", consent.page);
        let all = browser.choices(&consent);
        let mut form: Vec<(&str, &str)> =
            all.iter().map(|(name, scope)| (name.as_str(), scope.as_str())).collect();
        form.push(("decision", "allow"));
        let allowed = browser.submit("/consent", &form).await;
        parameter(&location(&allowed), "code").unwrap_or_else(|| panic!("{}", allowed.page))
    }

    pub(crate) fn form<'a>(&'a self, code: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", CALLBACK),
        ]
    }

    /// A token request with a proof of a key.
    pub(crate) async fn ask(&self, form: &[(&str, &str)], key: &SigningKey) -> Answer {
        let nonce = self.nonce().await;
        let proof = self.proof(key, "/token", &nonce);
        self.world.public(form_request("/token", form, Some(&proof))).await
    }

    pub(crate) fn proof(&self, key: &SigningKey, path: &str, nonce: &str) -> String {
        let jti = format!("jti-{}", PROOFS.fetch_add(1, Ordering::Relaxed));
        let (htu, iat_s) = (format!("{ISSUER}{path}"), self.world.now_s());
        let (nonce, access_token) = (Some(nonce), None);
        let new = NewProof { htm: "POST", htu: &htu, iat_s, jti: &jti, access_token, nonce };
        new_proof(key, &new).unwrap()
    }

    pub(crate) async fn nonce(&self) -> String {
        self.world.nonce(&self.operator).await
    }

    /// What a code gives by everything right.
    pub(crate) async fn redeemed(&self, code: &str) -> Answer {
        let answer = self.ask(&self.form(code), &self.key).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.page);
        answer
    }

    pub(crate) fn refresh_form<'a>(&'a self, token: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("refresh_token", token),
        ]
    }

    /// The reason of the newest refusal of a kind.
    pub(crate) async fn reason(&self, kind: &str) -> String {
        let entry = self.world.newest(kind).await;
        entry["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Cookies, and the page it shows.
pub(crate) struct Browser<'w> {
    world: &'w World,
    cookies: RefCell<BTreeMap<String, String>>,
    page: RefCell<String>,
}

impl<'w> Browser<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self { world, cookies: RefCell::default(), page: RefCell::default() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header("cookie", self.cookie_header());
        self.send(request.body(Full::default()).unwrap()).await
    }

    /// Goes where an answer leads, as long as that is one of our pages.
    pub(crate) async fn follow(&self, answer: &Answer) -> Answer {
        let to = location(answer);
        let path = to.strip_prefix(ISSUER).unwrap_or_else(|| panic!("leads away: {to}")).to_owned();
        self.get(&path).await
    }

    /// Sends the form of the page, with the hidden fields that it has.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let names = ["form", "waiting", "shown", "consent"];
        let hidden = names.map(|name| (name, self.hidden(name)));
        let hidden = hidden.iter().filter(|(_, value)| !value.is_empty());
        let mut form: Vec<(&str, &str)> = hidden.map(|(n, v)| (*n, v.as_str())).collect();
        form.extend(fields);
        self.post(path, &form, &[("origin", ISSUER), ("sec-fetch-site", "same-origin")]).await
    }

    /// Sends a form as it is.
    pub(crate) async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let mut request = form_request(path, form, None);
        request.headers_mut().insert("cookie", self.cookie_header().parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        self.send(request).await
    }

    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Answer {
        self.get("/login").await;
        self.submit("/login", &[("name", name), ("password", password)]).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let answer = self.world.public(request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            }
        }
        if answer.page.starts_with("<!doctype") {
            self.page.replace(answer.page.clone());
        }
        answer
    }

    /// A hidden field of the page.
    pub(crate) fn hidden(&self, name: &str) -> String {
        let page = self.page.borrow();
        let field = page.split(&format!(r#"name="{name}" value=""#)).nth(1).unwrap_or_default();
        field.split('"').next().unwrap_or_default().to_owned()
    }

    /// The boxes that are ticked beforehand, with what they say.
    pub(crate) fn choices(&self, page: &Answer) -> Vec<(String, String)> {
        let boxes = page.page.split(r#"<input type="checkbox" "#).skip(1);
        let ticked = boxes.filter(|text| text.split('>').next().unwrap().contains("checked"));
        let part = |text: &str, at: usize| text.split('"').nth(at).unwrap().to_owned();
        ticked.map(|text| (part(text, 3), part(text, 5))).collect()
    }

    pub(crate) fn cookie(&self, part: &str) -> Option<String> {
        let cookies = self.cookies.borrow();
        let found = cookies.iter().find(|(name, _)| name.contains(part))?;
        Some(format!("{}={}", found.0, found.1))
    }

    /// Puts a cookie of another browser into this one.
    pub(crate) fn plant(&self, cookie: &str) {
        let (name, value) = cookie.split_once('=').unwrap();
        self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    fn cookie_header(&self) -> String {
        let cookies = self.cookies.borrow();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}

pub(crate) fn location(answer: &Answer) -> String {
    let location = answer.headers.get("location");
    let location = location.unwrap_or_else(|| panic!("{} {}", answer.status, answer.page));
    location.to_str().unwrap().to_owned()
}

/// A parameter of the query of an address.
pub(crate) fn parameter(address: &str, name: &str) -> Option<String> {
    let query = address.split_once('?')?.1;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}
