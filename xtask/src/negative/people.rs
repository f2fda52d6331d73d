//! A person of the rows, with a password and a session, and the log-in form of a browser.

use attorn_testkit::wire::{RawReply, RawRequest};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::application;
use super::rows::Case;
use super::world::{Identity, World};
use crate::step::StepFailed;

/// The part of the configuration without which nobody logs in.
pub(super) const CLIENTS: &str = "\n[authority.clients]\nowner = \"test-team\"\n";
const NAME: &str = "paula";
const OF_BETA: &str = "${beta's access_token}";
/// Worth nothing: it opens an account that ends with the run.
const PASSWORD: &str = "fixture and not a secret at all";

/// Who the rows are about where they are about a person.
#[derive(Debug)]
pub(super) struct Paula {
    id: String,
    /// What her browser holds.
    session: String,
    /// That, and the name of the browser.
    cookies: String,
    application: Identity,
}

/// A browser that opened the log-in page: its name, and the token of the form.
struct Opened {
    cookie: String,
    form: String,
}

/// `POST /login` as a browser sends it, with the right name and password.
pub(super) fn login(
    world: &World,
    agent: &Identity,
    case: &Case,
) -> Result<RawRequest, StepFailed> {
    // So that she is there.
    world.paula()?;
    let opened = open(world, "/login")?;
    let mut fields = vec![
        ("form".to_owned(), opened.form.clone()),
        ("name".to_owned(), NAME.to_owned()),
        ("password".to_owned(), PASSWORD.to_owned()),
    ];
    for (name, value) in &case.form {
        let value = filled(world, agent, value.as_str().unwrap_or_default())?;
        fields.retain(|(known, _)| known != name);
        fields.push((name.clone(), value));
    }
    Ok(form_request(world, "/login", &opened.cookie, &fields))
}

/// Puts what belongs to somebody in the place of its name. The person's are `${person}`, `${session}`,
/// `${password}`, `${cookies}`, `${pushed}`, `${used code}` and `${used refresh token}`; the agent's `${client}`,
/// `${access_token}` and `${assertion}`; `${beta's access_token}` is that of another agent.
pub(super) fn filled(world: &World, agent: &Identity, text: &str) -> Result<String, StepFailed> {
    let mut text = text.replace("${client}", &agent.client_id).replace("${password}", PASSWORD);
    for (name, of) in [
        ("${person}", Paula::id as fn(&Paula) -> &str),
        ("${session}", Paula::session as fn(&Paula) -> &str),
    ] {
        if text.contains(name) {
            text = text.replace(name, of(world.paula()?));
        }
    }
    if text.contains("${cookies}") {
        text = text.replace("${cookies}", &world.paula()?.cookies());
    }
    if text.contains("${pushed}") {
        text = text.replace("${pushed}", &application::pushed(world)?);
    }
    if text.contains("${used code}") {
        text = text.replace("${used code}", &application::used_code(world)?);
    }
    if text.contains("${used refresh token}") {
        text = text.replace("${used refresh token}", &application::used_refresh_token(world)?);
    }
    if text.contains("${access_token}") {
        text = text.replace("${access_token}", &world.token(agent, "canary")?);
    }
    if text.contains(OF_BETA) {
        text = text.replace(OF_BETA, &world.token(world.identity("beta")?, "canary")?);
    }
    if text.contains("${assertion}") {
        let assertion = super::bases::assertion(world, agent, &super::rows::Forged::default())?;
        text = text.replace("${assertion}", &assertion);
    }
    Ok(text)
}

impl Paula {
    /// Invites her, and has her choose her password and log in.
    pub(super) fn new(world: &World) -> Result<Self, StepFailed> {
        let file = world.file("paula.code");
        let invite = ["person", "invite", NAME, "--code-file", &file];
        let shown = world.cli(&invite.map(str::to_owned))?;
        let id = shown.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = std::fs::read_to_string(&file)
            .map_err(|source| StepFailed::File { path: file.clone().into(), source })?;
        let opened = open(world, "/invite")?;
        let fields = [
            ("form", opened.form.as_str()),
            ("code", code.trim()),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ];
        sent(world, "/invite", &opened, &fields)?;
        let opened = open(world, "/login")?;
        let fields = [("form", opened.form.as_str()), ("name", NAME), ("password", PASSWORD)];
        let session = cookie(&sent(world, "/login", &opened, &fields)?, "attorn-session")?;
        let cookies = format!("{}; attorn-session={session}", opened.cookie);
        let application = application::register(world, NAME)?;
        Ok(Self { id, session, cookies, application })
    }

    /// The application that she uses.
    pub(super) fn application(&self) -> &Identity {
        &self.application
    }

    pub(super) fn cookies(&self) -> String {
        self.cookies.clone()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn session(&self) -> &str {
        &self.session
    }
}

fn open(world: &World, target: &str) -> Result<Opened, StepFailed> {
    let request = RawRequest {
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: vec![("Host".to_owned(), world.authority_host().into_bytes())],
        body: Vec::new(),
        verbatim: None,
    };
    let reply = world.send("login", &request)?;
    let form = hidden(&reply.text(), "form");
    let cookie = format!("attorn-browser={}", cookie(&reply, "attorn-browser")?);
    Ok(Opened { cookie, form })
}

/// A hidden field of a page.
pub(super) fn hidden(page: &str, name: &str) -> String {
    let field = page.split(&format!(r#"name="{name}" value=""#)).nth(1).unwrap_or_default();
    field.split('"').next().unwrap_or_default().to_owned()
}

fn sent(
    world: &World,
    target: &str,
    opened: &Opened,
    fields: &[(&str, &str)],
) -> Result<RawReply, StepFailed> {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let reply = world.send("login", &form_request(world, target, &opened.cookie, &fields))?;
    if reply.status == 303 {
        return Ok(reply);
    }
    Err(StepFailed::Check(format!("{target}: {} {}", reply.status, reply.text())))
}

/// A form as a browser with these cookies sends it from a page of ours.
pub(super) fn form_request(
    world: &World,
    target: &str,
    cookies: &str,
    fields: &[(String, String)],
) -> RawRequest {
    let headers = [
        ("Host", world.authority_host()),
        ("Origin", world.issuer()),
        ("Cookie", cookies.to_owned()),
        ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes()));
    RawRequest {
        method: "POST".to_owned(),
        target: target.to_owned(),
        headers: headers.to_vec(),
        body: Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes(),
        verbatim: None,
    }
}

/// The value that a reply gives a cookie.
fn cookie(reply: &RawReply, wanted: &str) -> Result<String, StepFailed> {
    let lines = reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs = lines.filter_map(|(_, line)| line.split(';').next()?.split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned());
    values.next().ok_or_else(|| {
        StepFailed::Check(format!("no cookie `{wanted}`: {} {}", reply.status, reply.text()))
    })
}
