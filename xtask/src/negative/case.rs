//! Turns a case into bytes: the base request, then the changes that the case names.

use attorn_jose::{SigningKey, base64url, sha256};
use attorn_testkit::forge::{self, Signer};
use attorn_testkit::wire::RawRequest;
use serde_json::{Value, json};

use super::application;
use super::bases;
use super::people;
use super::rows::{Case, Forged};
use super::world::{Identity, World};
use crate::step::StepFailed;

/// The request that a case describes.
///
/// # Errors
/// When a key cannot sign or the case names a base that does not exist.
pub(super) fn build(world: &World, case: &Case) -> Result<RawRequest, StepFailed> {
    let agent = world.identity(case.agent.as_deref().unwrap_or("alpha"))?;
    let mut request = match case.base.as_deref().unwrap_or("call") {
        "call" => protected(world, agent, case, call_body())?,
        "list" => protected(world, agent, case, list_body())?,
        "token" => bases::token(world, agent, case)?,
        "workload" => bases::workload(world, agent, case)?,
        "revoke" => bases::of_token(world, agent, case, "/revoke")?,
        "introspect" => bases::of_token(world, agent, case, "/introspect")?,
        "enroll" => bases::enroll(world, case)?,
        "admin" => bases::admin(world, case)?,
        "connect" => bases::connect(world, case)?,
        "login" => people::login(world, agent, case)?,
        "authorize" => application::authorize(world, case)?,
        "push" => application::push(world, case)?,
        "redeem" => application::redeem(world, case)?,
        "renew" => application::renew(world, case)?,
        "metadata" => bases::metadata(world),
        "discovery" => bases::discovery(world),
        other => return Err(StepFailed::Check(format!("no base `{other}`"))),
    };
    apply((world, agent), &mut request, case)?;
    Ok(request)
}

fn apply(
    (world, agent): (&World, &Identity),
    request: &mut RawRequest,
    case: &Case,
) -> Result<(), StepFailed> {
    if let Some(method) = &case.method {
        request.method.clone_from(method);
    }
    if let Some(target) = &case.target {
        request.target.clone_from(target);
    }
    if let Some(body) = &case.body {
        request.body = made(body)?;
    }
    for (from, to) in &case.body_replace {
        request.body = replaced(&request.body, from, to);
    }
    for (name, value) in &case.headers {
        let value = match value.as_str() {
            Some(text) => {
                let text = people::filled(world, agent, text)?;
                Some(fill(world, request, &text).into_bytes())
            }
            None if value.is_null() => None,
            None => Some(made(value)?),
        };
        request.set_header(name, value);
    }
    for (name, value) in &case.more_headers {
        request.headers.push((name.clone(), fill(world, request, value).into_bytes()));
    }
    if let Some(wire) = &case.wire {
        request.verbatim = Some(fill(world, request, wire).into_bytes());
    }
    Ok(())
}

pub(super) fn call_body() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "echo", "arguments": {"message": "hello"}, "_meta": meta() }
    })
}

fn list_body() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta()}})
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "negative", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    })
}

fn protected(
    world: &World,
    agent: &Identity,
    case: &Case,
    mut body: Value,
) -> Result<RawRequest, StepFailed> {
    if let Some(patch) = &case.rpc {
        forge::merge(&mut body, patch);
    }
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut headers = vec![
        ("Host".to_owned(), world.gateway_host().into_bytes()),
        ("Content-Type".to_owned(), b"application/json".to_vec()),
        ("Accept".to_owned(), b"application/json, text/event-stream".to_vec()),
        ("MCP-Protocol-Version".to_owned(), b"2026-07-28".to_vec()),
        ("Mcp-Method".to_owned(), text("/method").into()),
    ];
    if body.pointer("/params/name").is_some() {
        headers.push(("Mcp-Name".to_owned(), text("/params/name").into()));
    }
    let server = case.server.as_deref().unwrap_or("canary");
    let token_of = case.token_of.as_deref().unwrap_or(server);
    let token = access_token(world, (agent, token_of), case)?;
    if let Some(token) = &token {
        headers.push(("Authorization".to_owned(), format!("DPoP {token}").into_bytes()));
    }
    let claims = json!({
        "jti": world.unique(), "htm": "POST", "htu": world.resource(server), "iat": world.now_s(),
        "ath": base64url(&sha256(token.unwrap_or_default().as_bytes())), "nonce": world.gateway_nonce()?
    });
    if let Some(proof) = proof(world, agent, case.proof.as_ref(), claims)? {
        headers.push(("DPoP".to_owned(), proof.into_bytes()));
    }
    Ok(RawRequest {
        method: "POST".to_owned(),
        target: format!("/{server}/mcp"),
        headers,
        body: body.to_string().into_bytes(),
        verbatim: None,
    })
}

/// The agent's real token, or one forged with the issuer's own key from the case's changes.
///
/// Where the gateway is to know the token, it is taken there before. Of a token with changes, the
/// right one is: nothing that is remembered of it may help the other.
fn access_token(
    world: &World,
    (agent, server): (&Identity, &str),
    case: &Case,
) -> Result<Option<String>, StepFailed> {
    let name = case.agent.as_deref().unwrap_or("alpha");
    // Nobody takes a token of these, or after it was taken back in the same row.
    let may_act = !matches!(name, "pending" | "retired" | "suspended") && !world.is_keeping();
    let Some(forged) = &case.token else {
        let token = world.token(agent, server)?;
        world.warm((agent, server), &token, may_act && !matches!(server, "down" | "gone"))?;
        return Ok(Some(token));
    };
    if forged.omit {
        return Ok(None);
    }
    // What the authority really issued, with the agent's own names in it.
    let (header, mut claims) = decoded(&world.model()?)?;
    let now = world.now_s();
    let own = json!({
        "sub": agent.client_id, "client_id": agent.client_id, "jti": world.unique(), "iat": now,
        "nbf": now, "exp": now + 120, "cnf": {"jkt": agent.key.public().thumbprint().to_string()}
    });
    forge::merge(&mut claims, &own);
    let right = Forged::default();
    let key = world.issuer_key();
    let right = forged_jwt(world, &right, header.clone(), claims.clone(), key)?;
    world.warm((agent, "canary"), &right, may_act)?;
    let token = forged_jwt(world, forged, header, claims, key)?;
    if token != right {
        world.warm((agent, server), &token, false)?;
    }
    Ok(Some(token))
}

/// Header and claims of a compact JWS.
pub(super) fn decoded(token: &str) -> Result<(Value, Value), StepFailed> {
    let part = |index: usize| {
        let text = token.split('.').nth(index).unwrap_or_default();
        let bytes = attorn_jose::from_base64url(text)
            .map_err(|error| StepFailed::Check(format!("a token cannot be read: {error}")))?;
        parsed(&String::from_utf8_lossy(&bytes))
    };
    Ok((part(0)?, part(1)?))
}

pub(super) fn proof(
    world: &World,
    agent: &Identity,
    forged: Option<&Forged>,
    mut claims: Value,
) -> Result<Option<String>, StepFailed> {
    let right = Forged::default();
    let forged = forged.unwrap_or(&right);
    if forged.omit {
        return Ok(None);
    }
    match forged.nonce.as_deref() {
        None => {}
        Some("none") => forge::merge(&mut claims, &json!({"nonce": null})),
        Some("forged") => forge::merge(&mut claims, &json!({"nonce": "Zm9yZ2VkLW5vbmNl"})),
        Some("authority") => {
            forge::merge(&mut claims, &json!({"nonce": world.authority_nonce()?}));
        }
        Some(other) => return Err(StepFailed::Check(format!("no nonce source `{other}`"))),
    }
    let jwk: Value = parsed(&agent.key.public().to_jwk(None))?;
    let header = json!({"typ": "dpop+jwt", "alg": algorithm(&agent.key), "jwk": jwk});
    forged_jwt(world, forged, header, claims, &agent.key).map(Some)
}

/// Members in the order of their names, whatever order the build of `serde_json` keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: std::collections::BTreeMap<_, _> = members.into_iter().collect();
            members.into_iter().map(|(name, value)| (name, sorted(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The text with every replacement made. One that finds nothing would test nothing.
fn altered(text: String, replacements: &[(String, String)]) -> Result<String, StepFailed> {
    replacements.iter().try_fold(text, |text, (from, to)| {
        if text.contains(from) {
            Ok(text.replace(from, to))
        } else {
            Err(StepFailed::Check(format!("`{from}` is not in {text}")))
        }
    })
}

pub(super) fn forged_jwt(
    world: &World,
    forged: &Forged,
    mut header: Value,
    mut claims: Value,
    right_key: &SigningKey,
) -> Result<String, StepFailed> {
    if let Some(patch) = &forged.header {
        forge::merge(&mut header, patch);
    }
    if let Some(patch) = &forged.claims {
        forge::merge(&mut claims, patch);
    }
    at_hand(world, &mut claims)?;
    let header = altered(sorted(header).to_string(), &forged.header_replace)?;
    let claims = altered(sorted(claims).to_string(), &forged.claims_replace)?;
    let public = right_key.public().to_jwk(None);
    let signer = match forged.signer.as_deref() {
        None | Some("right") => Signer::Key(right_key),
        Some("stranger") => Signer::Key(world.stranger()),
        Some("hmac") => Signer::Hmac(public.as_bytes()),
        Some("none") => Signer::Nothing,
        Some(other) => {
            let of_platform = world.platforms().signer(other);
            of_platform.ok_or_else(|| StepFailed::Check(format!("no signer `{other}`")))?
        }
    };
    let right = forge::compact(&header, &claims, &signer)
        .map_err(|error| StepFailed::Check(format!("a fixture cannot be signed: {error}")))?;
    Ok(match &forged.text {
        Some(text) => text.replace("${it}", &right),
        None => right,
    })
}

/// `"@now-61"` becomes the number of that second, `"@resource:gone"` the name of that resource,
/// `"@issuer/a"` the issuer with that path, `"@person"` the identifier of the person.
fn at_hand(world: &World, value: &mut Value) -> Result<(), StepFailed> {
    match value {
        Value::Object(members) => {
            members.values_mut().try_for_each(|member| at_hand(world, member))?;
        }
        Value::String(text) => {
            if let Some(offset) = text.strip_prefix("@now") {
                let offset = offset.parse::<i64>().unwrap_or(0);
                *value = json!(world.now_s().saturating_add_signed(offset));
            } else if let Some(server) = text.strip_prefix("@resource:") {
                *value = json!(world.resource(server));
            } else if let Some(path) = text.strip_prefix("@issuer") {
                *value = json!(format!("{}{path}", world.issuer()));
            } else if text == "@person" {
                *value = json!(world.paula()?.id());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
    Ok(())
}

pub(super) fn algorithm(key: &SigningKey) -> &'static str {
    key.public().algorithm().name()
}

pub(super) fn parsed(text: &str) -> Result<Value, StepFailed> {
    serde_json::from_str(text).map_err(|error| StepFailed::Check(format!("`{text}`: {error}")))
}

fn fill(world: &World, request: &RawRequest, text: &str) -> String {
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    text.replace("${token}", header("authorization").trim_start_matches("DPoP "))
        .replace("${proof}", &header("dpop"))
        .replace("${host}", &world.gateway_host())
        .replace("${path}", &request.target)
        .replace("${length}", &request.body.len().to_string())
        .replace("${body}", &String::from_utf8_lossy(&request.body))
}

/// A value as bytes: text as it is, `{"hex": ..}` decoded, the others generated.
///
/// # Errors
/// When the value has none of the known forms.
pub(super) fn made(value: &Value) -> Result<Vec<u8>, StepFailed> {
    if let Some(text) = value.as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    let number = |name: &str| {
        value.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
    };
    if let Some(hex) = value.get("hex").and_then(Value::as_str) {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
        return Ok(digits.chunks(2).filter_map(byte).collect());
    }
    let around = |inside: String| {
        let head =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":"#;
        let meta = meta();
        format!("{head}{inside},\"_meta\":{meta}}}}}").into_bytes()
    };
    if let Some(depth) = number("nest") {
        return Ok(around(format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))));
    }
    if let Some(length) = number("string") {
        return Ok(around(format!("{{\"message\":\"{}\"}}", "x".repeat(length))));
    }
    if let Some(count) = number("keys") {
        let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":1")).collect();
        return Ok(around(format!("{{{}}}", members.join(","))));
    }
    if let Some(count) = number("parameters") {
        let parameters: Vec<String> = (0..count).map(|n| format!("p{n}=1")).collect();
        return Ok(parameters.join("&").into_bytes());
    }
    Err(StepFailed::Check(format!("no such body: {value}")))
}

pub(super) fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(body).replacen(from, to, 1).into_bytes()
}
