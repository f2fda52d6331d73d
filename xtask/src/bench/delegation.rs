//! What an authority does for others: a server exchanges the token it was called with, and a person lets
//! an application act.
//!
//! An installation of its own, so that the people and tokens of these cases burden no other case.

use std::sync::Arc;

use attorn_jose::{Algorithm, SigningKey};
use serde_json::Value;

use super::browser::Browser;
use super::flows::{CALLBACK, FlowFigure, Site};
use super::load::{Load, MakeRequest};
use super::page::{FilledForm, Person};
use super::{Figure, Plan};
use crate::agent::Agent;
use crate::installation::{Installation, Setting};
use crate::step::StepFailed;

/// What the code flow is called.
pub(super) const CODE_FLOW: &str = "code flow, DPoP ES256";
const EDDSA: &str = "token exchange, EdDSA";
const ES256: &str = "token exchange, ES256";
/// Everything that is measured here.
pub(super) const CASES: [&str; 3] = [EDDSA, ES256, CODE_FLOW];
/// Nobody listens there: no case calls the API.
const API: &str = "http://127.0.0.1:9/billing";
const CLIENTS: &str = "\n[authority.clients]\nowner = \"test-team\"\n";
/// A fixture: the installation is removed when the bench is over.
const ANN: Person = Person { name: "ann", password: "correct horse battery staple" };

/// The installation, and who takes part.
#[derive(Debug)]
pub(super) struct Delegation {
    installation: Installation,
    exchanges: Vec<Exchange>,
    application: Agent,
}

/// A server with a key of its own, and an agent that calls it.
#[derive(Debug)]
struct Exchange {
    case: &'static str,
    server_name: String,
    server: Arc<Agent>,
    caller: Arc<Agent>,
}

impl Delegation {
    /// Starts it with two servers in front of one API, one for each kind of key, and a person who has a
    /// password.
    pub(super) fn start(upstream: &str) -> Result<Self, StepFailed> {
        let installation =
            Installation::start_on(&Setting { more: CLIENTS, ..Setting::default() })?;
        register_api(&installation)?;
        let exchanges = vec![
            exchange(&installation, upstream, (EDDSA, Algorithm::EdDsa, "ed25519"))?,
            exchange(&installation, upstream, (ES256, Algorithm::Es256, "es256"))?,
        ];
        let application = application(&installation)?;
        let made = Self { installation, exchanges, application };
        made.exchanges.iter().try_for_each(Exchange::once)?;
        made.invite()?;
        Ok(made)
    }

    /// Exchanges with each kind of key.
    pub(super) fn exchanges(
        &self,
        plan: &Plan,
        connections: usize,
    ) -> Result<Vec<Figure>, StepFailed> {
        let mut figures = Vec::new();
        for one in &self.exchanges {
            let load = Load {
                peer: self.installation.addresses().authority,
                connections,
                lasts: plan.lasts,
                rate: None,
                tls: None,
                // A token lives longer than a case, and not than all of them.
                make: one.requests(&one.caller.token(&one.server_name, None)?),
            };
            figures.extend(plan.measure(one.case, self.installation.process(), &load)?);
        }
        Ok(figures)
    }

    /// Whole flows of the person.
    pub(super) fn flows(
        &self,
        plan: &Plan,
        browsers: usize,
    ) -> Result<Option<FlowFigure>, StepFailed> {
        let addresses = self.installation.addresses();
        let site = Site {
            peer: addresses.authority,
            authorize: "/authorize",
            application: &self.application,
            resource: &addresses.resource(&self.person_server()),
            scope: "read:echo",
            person: ANN,
        };
        plan.measure_flows(CODE_FLOW, self.installation.process(), (&site, browsers))
    }

    /// The server that the person lets the application use.
    fn person_server(&self) -> String {
        self.exchanges.first().map(|one| one.server_name.clone()).unwrap_or_default()
    }

    /// The person chooses a password.
    fn invite(&self) -> Result<(), StepFailed> {
        let run = |arguments: &[&str]| self.installation.cli(arguments).map(drop);
        let path = self.installation.folder().join("person.code");
        run(&["person", "invite", ANN.name, "--code-file", &path.display().to_string()])?;
        run(&["person", "grant", ANN.name, &self.person_server(), "read:*"])?;
        let code = std::fs::read_to_string(&path)
            .map_err(|source| StepFailed::File { path: path.clone(), source })?;
        let mut browser = Browser::new(self.installation.addresses().authority);
        let page = browser.open("/invite")?;
        let wrong = |text: &str| StepFailed::Check(format!("the invitation: {text}"));
        let form = FilledForm::of_page(&page.text(), ANN);
        let mut form = form.ok_or_else(|| wrong(&page.text()))?;
        form.set("code", code.trim());
        let answer = browser.submit(&form)?;
        if answer.status == 303 { Ok(()) } else { Err(wrong(&answer.text())) }
    }
}

impl Exchange {
    /// Exchanges once, so that a refusal is seen with its reason, and not as a status that is counted.
    fn once(&self) -> Result<(), StepFailed> {
        let token = self.caller.token(&self.server_name, None)?;
        let ask = |nonce: &str| {
            let proof = self.caller.call_proof(&token, &self.server_name)?;
            let request = self.server.exchange_request((&token, &proof), API, nonce)?;
            self.server.send_to_authority(&request)
        };
        // RFC 9449 section 8: the first answer gives the nonce.
        let first = ask("")?;
        let reply = ask(first.header("dpop-nonce").unwrap_or_default())?;
        let is_exchanged =
            reply.json().is_some_and(|answer| answer.get("issued_token_type").is_some());
        if reply.status == 200 && is_exchanged {
            return Ok(());
        }
        Err(StepFailed::Check(format!("{}: {} {}", self.case, reply.status, reply.text())))
    }

    /// A fresh proof of the caller each time, as it comes with each call. Making it is no work of the server.
    fn requests(&self, token: &str) -> MakeRequest {
        let (caller, server) = (Arc::clone(&self.caller), Arc::clone(&self.server));
        let (token, name) = (token.to_owned(), self.server_name.clone());
        Arc::new(move |nonce| {
            let proof = caller.call_proof(&token, &name);
            let request =
                proof.and_then(|proof| server.exchange_request((&token, &proof), API, nonce));
            request.map(|request| request.to_bytes()).unwrap_or_default()
        })
    }
}

fn register_api(installation: &Installation) -> Result<(), StepFailed> {
    let run = |arguments: &[&str]| installation.cli(arguments).map(drop);
    run(&["resource", "register", "billing", "--owner", "test-team", "--url", API])?;
    let add = ["resource", "operation", "add", "billing", "invoice.get", "--method", "GET"];
    run(&[&add[..], &["--path", "/invoices/{id}", "--class", "read"]].concat())
}

fn exchange(
    installation: &Installation,
    upstream: &str,
    (case, kind, short): (&'static str, Algorithm, &str),
) -> Result<Exchange, StepFailed> {
    let name = format!("chain-{short}");
    installation.register_server(&name, &["--url", upstream])?;
    installation.approve_all(&name)?;
    let key = fixture_key(kind, 7)?;
    let file = installation.folder().join(format!("{name}.jwk"));
    std::fs::write(&file, key.public().to_jwk(None))
        .map_err(|source| StepFailed::File { path: file.clone(), source })?;
    installation.cli(&["server", "key", &name, "--jwk-file", &file.display().to_string()])?;
    let rule = ["--from", "read:echo", "--to", "read:invoice.get"];
    let allow = ["server", "downstream", "allow", &name, "billing"];
    installation.cli(&[&allow[..], &rule].concat())?;
    let shown = installation.cli(&["server", "show", &name])?;
    let server = Agent::with_key(id_of(&shown)?, key, installation.addresses().clone());
    let caller = format!("caller-{short}");
    let grants: [(&str, &[&str]); 1] = [(&name, &["read:*"])];
    let caller = installation.enroll_with(&caller, &grants, &["--key-type", short])?;
    let (server, caller) = (Arc::new(server), Arc::new(caller));
    Ok(Exchange { case, server_name: name, server, caller })
}

/// An application that runs on the person's machine, without a secret.
fn application(installation: &Installation) -> Result<Agent, StepFailed> {
    let register = ["client", "register", "desk", "--owner", "test-team"];
    let made = installation.cli(&[&register[..], &["--redirect-uri", CALLBACK]].concat())?;
    let key = fixture_key(Algorithm::Es256, 8)?;
    Ok(Agent::with_key(id_of(&made)?, key, installation.addresses().clone()))
}

/// A key that is a fixture, and no secret.
pub(super) fn fixture_key(algorithm: Algorithm, seed: u8) -> Result<SigningKey, StepFailed> {
    SigningKey::from_seed(algorithm, &[seed; 32])
        .map_err(|error| StepFailed::Check(format!("a fixture key: {error}")))
}

fn id_of(shown: &Value) -> Result<&str, StepFailed> {
    let id = shown.get("id").and_then(Value::as_str);
    id.ok_or_else(|| StepFailed::Check(format!("no id: {shown}")))
}
