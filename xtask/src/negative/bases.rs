//! The requests that are no MCP messages to the gateway: each is right until a case changes it.

use std::collections::BTreeMap;

use attorn_jose::{base64url, sha256};
use attorn_testkit::forge;
use attorn_testkit::wire::RawRequest;
use serde_json::{Value, json};

use super::case::{algorithm, call_body, forged_jwt, parsed, proof};
use super::people::filled;
use super::platforms::{RIGHT_ISSUER, SUBJECT};
use super::rows::{Case, Forged};
use super::world::{Identity, World};
use crate::step::StepFailed;

/// `POST /token`.
pub(super) fn token(
    world: &World,
    agent: &Identity,
    case: &Case,
) -> Result<RawRequest, StepFailed> {
    let form = BTreeMap::from([
        ("grant_type".to_owned(), "client_credentials".to_owned()),
        ("resource".to_owned(), world.resource("canary")),
        ("scope".to_owned(), "read:echo".to_owned()),
    ]);
    let mut request = client_request(world, agent, case, ("/token", form))?;
    let claims = json!({
        "jti": world.unique(), "htm": "POST", "htu": world.token_endpoint(),
        "iat": world.now_s(), "nonce": world.authority_nonce()?
    });
    if let Some(proof) = proof(world, agent, case.proof.as_ref(), claims)? {
        request.headers.push(("DPoP".to_owned(), proof.into_bytes()));
    }
    Ok(request)
}

/// `POST /token` with the JWT that a platform gave a workload.
pub(super) fn workload(
    world: &World,
    agent: &Identity,
    case: &Case,
) -> Result<RawRequest, StepFailed> {
    let (now, key, right) = (world.now_s(), world.platforms().right()?, Forged::default());
    let header = json!({"alg": algorithm(key), "typ": "JWT", "kid": "a"});
    let claims = json!({
        "iss": RIGHT_ISSUER, "sub": SUBJECT, "aud": world.issuer(), "iat": now, "exp": now + 600,
        "jti": world.unique()
    });
    let forged = case.assertion.as_ref().unwrap_or(&right);
    let assertion = forged_jwt(world, forged, header, claims, key)?;
    let form = BTreeMap::from([
        ("grant_type".to_owned(), "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
        ("assertion".to_owned(), assertion),
        ("resource".to_owned(), world.resource("canary")),
    ]);
    // It is the grant, and says who asks: nothing else does.
    let bare = Case { assertion: Some(Forged { omit: true, ..Forged::default() }), ..case.clone() };
    let mut request = client_request(world, agent, &bare, ("/token", form))?;
    let claims = json!({
        "jti": world.unique(), "htm": "POST", "htu": world.token_endpoint(),
        "iat": world.now_s(), "nonce": world.authority_nonce()?
    });
    if let Some(proof) = proof(world, agent, case.proof.as_ref(), claims)? {
        request.headers.push(("DPoP".to_owned(), proof.into_bytes()));
    }
    Ok(request)
}

/// `POST /revoke` or `POST /introspect` for the agent's own token.
pub(super) fn of_token(
    world: &World,
    agent: &Identity,
    case: &Case,
    target: &str,
) -> Result<RawRequest, StepFailed> {
    let form = BTreeMap::from([("token".to_owned(), world.token(agent, "canary")?)]);
    client_request(world, agent, case, (target, form))
}

/// A form with a client assertion.
fn client_request(
    world: &World,
    agent: &Identity,
    case: &Case,
    (target, mut form): (&str, BTreeMap<String, String>),
) -> Result<RawRequest, StepFailed> {
    let right = Forged::default();
    let wanted = case.assertion.as_ref().unwrap_or(&right);
    if !wanted.omit {
        form.insert("client_assertion".to_owned(), assertion(world, agent, wanted)?);
        form.insert(
            "client_assertion_type".to_owned(),
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
        );
    }
    for (name, value) in &case.form {
        match value.as_str() {
            Some(value) => form.insert(name.clone(), filled(world, agent, value)?),
            None => form.remove(name),
        };
    }
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(&form).extend_pairs(&case.more_form);
    Ok(RawRequest {
        method: "POST".to_owned(),
        target: target.to_owned(),
        headers: vec![
            ("Host".to_owned(), world.authority_host().into_bytes()),
            ("Content-Type".to_owned(), b"application/x-www-form-urlencoded".to_vec()),
        ],
        body: body.finish().into_bytes(),
        verbatim: None,
    })
}

/// What an agent proves with who it is.
pub(super) fn assertion(
    world: &World,
    agent: &Identity,
    forged: &Forged,
) -> Result<String, StepFailed> {
    let now = world.now_s();
    let header = json!({"alg": algorithm(&agent.key), "typ": "client-authentication+jwt"});
    let claims = json!({
        "iss": agent.client_id, "sub": agent.client_id, "aud": world.issuer(), "iat": now,
        "exp": now + 50, "jti": world.unique()
    });
    forged_jwt(world, forged, header, claims, &agent.key)
}

/// `POST /enroll` with a fresh code; the proof is by a key that nobody has enrolled yet.
pub(super) fn enroll(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let code = world.enrolment_code()?;
    let seed = sha256(code.as_bytes());
    let key = attorn_jose::SigningKey::from_seed(attorn_jose::Algorithm::EdDsa, &seed)
        .map_err(|error| StepFailed::Check(format!("a fixture key: {error}")))?;
    let jwk: Value = parsed(&key.public().to_jwk(None))?;
    let header = json!({"typ": "attorn-enrolment+jwt", "alg": algorithm(&key), "jwk": jwk});
    let claims = json!({
        "aud": world.issuer(), "iat": world.now_s(), "jti": world.unique(),
        "code_hash": base64url(&sha256(code.as_bytes()))
    });
    let right = Forged::default();
    let forged = case.proof.as_ref().unwrap_or(&right);
    let proof = forged_jwt(world, forged, header, claims, &key)?;
    let mut body = json!({"code": code, "proof": proof});
    if let Some(patch) = &case.rpc {
        forge::merge(&mut body, patch);
    }
    Ok(json_request(("POST", "/enroll"), world.authority_host(), &body))
}

/// A request of the operator; `GET /admin/v1/status` unless the case says otherwise.
pub(super) fn admin(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let agent = world.identity(case.agent.as_deref().unwrap_or("operator"))?;
    let method = case.method.as_deref().unwrap_or("GET");
    let target = case.target.as_deref().unwrap_or("/admin/v1/status");
    let mut body = json!({});
    if let Some(patch) = &case.rpc {
        forge::merge(&mut body, patch);
    }
    let mut request = json_request((method, target), world.admin_host(), &body);
    if case.rpc.is_none() {
        request.body.clear();
    }
    let token = world.token(agent, case.token_of.as_deref().unwrap_or("admin"))?;
    // RFC 9449 section 4.2: without the query.
    let path = target.split('?').next().unwrap_or(target);
    let claims = json!({
        "jti": world.unique(), "htm": method, "htu": format!("http://{}{path}", world.admin_host()),
        "iat": world.now_s(), "ath": base64url(&sha256(token.as_bytes())),
        "nonce": world.authority_nonce()?
    });
    request.headers.push(("Authorization".to_owned(), format!("DPoP {token}").into_bytes()));
    if let Some(proof) = proof(world, agent, case.proof.as_ref(), claims)? {
        request.headers.push(("DPoP".to_owned(), proof.into_bytes()));
    }
    Ok(request)
}

/// One call at the loopback port of `attorn connect --listen`, without any credential.
pub(super) fn connect(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let (address, path) = world.connector()?;
    let mut body = call_body();
    if let Some(patch) = &case.rpc {
        forge::merge(&mut body, patch);
    }
    let mut request = json_request(("POST", &path), address.to_string(), &body);
    let more = [
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "echo"),
    ];
    let more = more.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    request.headers.extend(more);
    Ok(request)
}

/// `GET` of the protected resource metadata.
pub(super) fn metadata(world: &World) -> RawRequest {
    get_request("/.well-known/oauth-protected-resource/canary/mcp", world.gateway_host())
}

/// `GET` of what the authority says of itself.
pub(super) fn discovery(world: &World) -> RawRequest {
    get_request("/.well-known/oauth-authorization-server", world.authority_host())
}

pub(super) fn get_request(target: &str, host: String) -> RawRequest {
    RawRequest {
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: vec![("Host".to_owned(), host.into_bytes())],
        body: Vec::new(),
        verbatim: None,
    }
}

fn json_request((method, target): (&str, &str), host: String, body: &Value) -> RawRequest {
    RawRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: vec![
            ("Host".to_owned(), host.into_bytes()),
            ("Content-Type".to_owned(), b"application/json".to_vec()),
        ],
        body: body.to_string().into_bytes(),
        verbatim: None,
    }
}
