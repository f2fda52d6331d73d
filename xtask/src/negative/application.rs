//! An application of the person: what it sends so that she is asked, and for what she gave.

use attorn_jose::{Algorithm, SigningKey};
use attorn_testkit::wire::RawRequest;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::bases::get_request;
use super::case::proof;
use super::people::{filled, form_request, hidden};
use super::rows::Case;
use super::world::{Identity, World};
use crate::step::StepFailed;

/// Where its codes come back; nobody listens there.
const CALLBACK: &str = "http://127.0.0.1:7777/cb";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Registers it, and lets the person do something at the canary.
pub(super) fn register(world: &World, person: &str) -> Result<Identity, StepFailed> {
    let cli = |command: &[&str]| {
        world.cli(&command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    };
    let addresses = ["--redirect-uri", CALLBACK, "--redirect-uri", "https://client.example/cb"];
    let register = ["client", "register", "desk", "--owner", "test-team"];
    let made = cli(&[&register[..], &addresses[..]].concat())?;
    cli(&["person", "grant", person, "canary", "read:echo", "read:param_tool"])?;
    let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
    let key = SigningKey::from_seed(Algorithm::EdDsa, &[9; 32])
        .map_err(|error| StepFailed::Check(format!("a fixture key: {error}")))?;
    Ok(Identity::with_key(id, key, world.addresses().clone()))
}

/// `GET /authorize` with everything right.
pub(super) fn authorize(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let query = parameters(world, asked(world)?, case)?;
    Ok(get_request(&format!("/authorize?{query}"), world.authority_host()))
}

/// `POST /par` with the same.
pub(super) fn push(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let form = parameters(world, asked(world)?, case)?;
    Ok(post_request(world, "/par", form))
}

/// `POST /token` with a code that the person just gave.
pub(super) fn redeem(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let right = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("client_id", client_id(world)?),
        ("code", code(world)?),
        ("code_verifier", VERIFIER.to_owned()),
        ("redirect_uri", CALLBACK.to_owned()),
    ];
    proven(world, right, case)
}

/// `POST /token` with a refresh token from a code that the person just gave.
pub(super) fn renew(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let right = vec![
        ("grant_type", "refresh_token".to_owned()),
        ("client_id", client_id(world)?),
        ("refresh_token", refresh_token(world)?),
    ];
    proven(world, right, case)
}

/// The name of a request that was pushed.
pub(super) fn pushed(world: &World) -> Result<String, StepFailed> {
    given(world, &push(world, &Case::default())?, "request_uri")
}

/// A code that was redeemed.
pub(super) fn used_code(world: &World) -> Result<String, StepFailed> {
    let code = code(world)?;
    let form = [("code".to_owned(), json!(code))].into();
    given(world, &redeem(world, &Case { form, ..Case::default() })?, "access_token")?;
    Ok(code)
}

/// A refresh token that was used.
pub(super) fn used_refresh_token(world: &World) -> Result<String, StepFailed> {
    let token = refresh_token(world)?;
    let form = [("refresh_token".to_owned(), json!(token))].into();
    given(world, &renew(world, &Case { form, ..Case::default() })?, "access_token")?;
    Ok(token)
}

fn refresh_token(world: &World) -> Result<String, StepFailed> {
    given(world, &redeem(world, &Case::default())?, "refresh_token")
}

/// A member of the answer to a request that must succeed.
fn given(world: &World, request: &RawRequest, member: &str) -> Result<String, StepFailed> {
    let reply = world.send("token", request)?;
    world.learn_nonce("token", &reply);
    let body = reply.json().unwrap_or_default();
    let text = body.get(member).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| StepFailed::Check(format!("no {member}: {} {body}", reply.status)))
}

fn client_id(world: &World) -> Result<String, StepFailed> {
    Ok(world.paula()?.application().client_id.clone())
}

fn asked(world: &World) -> Result<Vec<(&'static str, String)>, StepFailed> {
    Ok(vec![
        ("response_type", "code".to_owned()),
        ("client_id", client_id(world)?),
        ("redirect_uri", CALLBACK.to_owned()),
        ("state", "a-state".to_owned()),
        ("code_challenge", CHALLENGE.to_owned()),
        ("code_challenge_method", "S256".to_owned()),
        ("resource", world.resource("canary")),
        ("scope", "read:echo".to_owned()),
    ])
}

/// The right parameters with the changes of the case.
fn parameters(
    world: &World,
    mut all: Vec<(&'static str, String)>,
    case: &Case,
) -> Result<String, StepFailed> {
    let application = world.paula()?.application();
    let mut more = Vec::new();
    for (name, value) in &case.form {
        all.retain(|(known, _)| known != name);
        if let Some(value) = value.as_str() {
            more.push((name.as_str(), filled(world, application, value)?));
        }
    }
    let mut text = Serializer::new(String::new());
    text.extend_pairs(&all).extend_pairs(&more).extend_pairs(&case.more_form);
    Ok(text.finish())
}

fn post_request(world: &World, target: &str, form: String) -> RawRequest {
    RawRequest {
        method: "POST".to_owned(),
        target: target.to_owned(),
        headers: vec![
            ("Host".to_owned(), world.authority_host().into_bytes()),
            ("Content-Type".to_owned(), b"application/x-www-form-urlencoded".to_vec()),
        ],
        body: form.into_bytes(),
        verbatim: None,
    }
}

/// A token request with the proof of the application's key.
fn proven(
    world: &World,
    right: Vec<(&'static str, String)>,
    case: &Case,
) -> Result<RawRequest, StepFailed> {
    let mut request = post_request(world, "/token", parameters(world, right, case)?);
    let claims = json!({
        "jti": world.unique(), "htm": "POST", "htu": world.token_endpoint(),
        "iat": world.now_s(), "nonce": world.authority_nonce()?
    });
    let application = world.paula()?.application();
    if let Some(proof) = proof(world, application, case.proof.as_ref(), claims)? {
        request.headers.push(("DPoP".to_owned(), proof.into_bytes()));
    }
    Ok(request)
}

/// Asks the person, who says yes.
fn code(world: &World) -> Result<String, StepFailed> {
    let cookies = world.paula()?.cookies();
    let in_browser = |mut request: RawRequest| {
        request.set_header("Cookie", Some(cookies.clone().into_bytes()));
        let reply = world.send("login", &request)?;
        let leads_to = reply.header("location").map(str::to_owned);
        Ok::<_, StepFailed>((leads_to.unwrap_or_default(), reply.text()))
    };
    let (question, _) = in_browser(authorize(world, &Case::default())?)?;
    let question = question.strip_prefix(&world.issuer()).unwrap_or_default();
    let (_, page) = in_browser(get_request(question, world.authority_host()))?;
    let fields = [
        ("form", hidden(&page, "form")),
        ("waiting", hidden(&page, "waiting")),
        ("scope.0", "read:echo".to_owned()),
        ("decision", "allow".to_owned()),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    let (back, text) = in_browser(form_request(world, "/consent", &cookies, &fields))?;
    let query = back.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let code = pairs.find(|(name, _)| name == "code").map(|(_, value)| value.into_owned());
    code.ok_or_else(|| StepFailed::Check(format!("no code: {question} {back} {page} {text}")))
}
