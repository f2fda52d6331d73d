//! The chain: from the person and the agent through the server to the API, and what each token is worth
//! elsewhere.

use std::time::Duration;

use attorn_connect::World;
use attorn_connect::exchange::{Evidence, Exchanger, ServerIdentity, Wanted};
use attorn_jose::SigningKey;
use attorn_oauth::dpop::{NewProof, new_proof};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use crate::admin::Operation;
use crate::agent::AgentClient;
use crate::clock;
use crate::exit::Failure;
use crate::files;
use crate::json::{member, text};
use crate::names::Names;
use crate::output::cell;
use crate::outside::{causes, connect_world};
use crate::profile::Proof;

use super::acts::Acts;
use super::scene::{PERSON, Scene};
use super::stolen::request_token;

/// The agent acts for a person, the sample server calls its API for both, and the API is told for whom.
pub(super) async fn told(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title(
        "billing-agent acts for ann; the server calls its API, and holds no credential for it",
    );
    let identity = &scene.billing.identity;
    let whom = (identity.issuer.as_str(), identity.client_id.as_str(), scene.resource.as_str());
    let word = scene.provider.word(PERSON, whom)?;
    let agent = AgentClient::open_on_word(&scene.billing, &scene.resource, word).await?;
    let answer = agent.call_tool("get_invoice", json!({ "id": "inv-1003" })).await?;
    acts.check("the call went through to the API", answer.is_success());
    let more = agent.call_tool("add_note", json!({ "id": "inv-1003", "note": "x" })).await?;
    acts.check("what ann may not do, the agent may not do for her", !more.is_success());
    let world = connect_world(None)?;
    let calls = get(&world, &format!("{}/calls", scene.api_url()), HeaderMap::new()).await?;
    let calls: Value = serde_json::from_slice(&calls.body).unwrap_or_default();
    let call = calls.as_array().and_then(|calls| calls.last()).cloned().unwrap_or_default();
    let names = Names::load(&scene.admin).await?;
    let mut told = call.clone();
    names.put_into(&mut told);
    for part in ["subject", "agent", "actors", "decision"] {
        acts.tell(&format!("{part:<9} {}", cell(member(&told, part))));
    }
    let shown = scene.admin.read(Operation::PersonShow, &[PERSON], &[]).await?;
    let is_ann = cell(member(&call, "subject")) == cell(member(&shown, "id"));
    let is_agent = cell(member(&call, "agent")) == identity.client_id;
    acts.check(
        "the API was told for whom, which agent asked, and through which server",
        is_ann && is_agent,
    );
    let decision = cell(member(&call, "decision"));
    acts.check(
        &format!("from the API's record {decision} back to the token that was issued for her"),
        is_linked(scene, &decision).await?,
    );
    Ok(())
}

/// Whether everything from the agent's token to the API is found. The entries of reads are on the disk
/// within 20 ms; only then can they be.
async fn is_linked(scene: &Scene, decision: &str) -> Result<bool, Failure> {
    for _ in 0..TRIES {
        let trace = scene.admin.read(Operation::AuditTrace, &[decision], &[]).await?.to_string();
        let whole = ["token.issued", "call.decided", "token.exchanged", "call.completed"];
        if whole.iter().all(|kind| trace.contains(kind)) {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

/// Each token counts in one place, with one key.
pub(super) async fn bound(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title("each token of the chain is tried where it does not belong");
    let world = connect_world(None)?;
    let Proof::Key(agent_key) = &scene.billing.proof else {
        return Err(Failure::no("the agent has no key that signs"));
    };
    let agent_token = agents_token(&world, scene).await?;
    let server = server(scene).await?;
    let issuer = &scene.billing.identity.issuer;
    let endpoint =
        Url::parse(&format!("{issuer}/token")).map_err(|e| Failure::no(e.to_string()))?;
    let exchanger = Exchanger::new(world.clone(), issuer.clone(), endpoint);
    let proof = proof(agent_key, ("POST", &scene.resource), &agent_token, None)?;
    let wanted = Wanted {
        subject_token: &agent_token,
        evidence: Evidence::Proof(&proof),
        approval: None,
        traceparent: None,
        resource: scene.api_resource(),
        scope: "read:invoice.get",
    };
    let exchanged = exchanger.exchange(&server, wanted).await;
    let exchanged = exchanged.map_err(|e| Failure::no(causes(&e)))?;
    let invoice = format!("{}/invoices/inv-1001", scene.api_resource());
    let ours = present(&world, &invoice, &server.key, exchanged.expose()).await?;
    acts.check("the server's token, with the server's key: 200", ours == StatusCode::OK);
    let stolen = present(&world, &invoice, agent_key, exchanged.expose()).await?;
    acts.check("the same with any other key: 401", stolen == StatusCode::UNAUTHORIZED);
    let agents = present(&world, &invoice, agent_key, &agent_token).await?;
    acts.check("the agent's token at the API: 401", agents == StatusCode::UNAUTHORIZED);
    let back = present(&world, &scene.resource, &server.key, exchanged.expose()).await?;
    acts.check("the API's token at the gateway: 401", back == StatusCode::UNAUTHORIZED);
    Ok(())
}

async fn agents_token(world: &World, scene: &Scene) -> Result<Zeroizing<String>, Failure> {
    let mut answer = request_token(world, &scene.billing, &scene.resource, None).await?;
    if let Some(nonce) = answer.1.take() {
        answer = request_token(world, &scene.billing, &scene.resource, Some(&nonce)).await?;
    }
    let token = text(&answer.0, "access_token").map(|token| Zeroizing::new(token.to_owned()));
    token.ok_or_else(|| Failure::no("no token was given"))
}

/// The key that this process holds for the sample server.
async fn server(scene: &Scene) -> Result<ServerIdentity, Failure> {
    let shown = scene.admin.read(Operation::ServerShow, &["invoices"], &[]).await?;
    let client_id = cell(member(&shown, "id"));
    let path = scene.state_folder().join("server-keys").join(format!("{client_id}.pem"));
    let pem = Zeroizing::new(files::read_private(&path)?);
    let key = SigningKey::from_pkcs8_pem(&pem).map_err(|e| Failure::no(e.to_string()))?;
    Ok(ServerIdentity { client_id, key })
}

/// Presents a token with a proof by a key; once more where only a nonce was missing.
async fn present(
    world: &World,
    url: &str,
    key: &SigningKey,
    token: &str,
) -> Result<StatusCode, Failure> {
    let method = if url.ends_with("/mcp") { "POST" } else { "GET" };
    let mut nonce = None;
    for _ in 0..2 {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("DPoP {token}"));
        headers.insert(AUTHORIZATION, bearer.map_err(|e| Failure::no(e.to_string()))?);
        let proof = proof(key, (method, url), token, nonce.as_deref())?;
        let proof = HeaderValue::from_str(&proof).map_err(|e| Failure::no(e.to_string()))?;
        headers.insert("dpop", proof);
        let answer = if method == "POST" {
            headers.extend(crate::agent::mcp_headers("ping"));
            send(world, Method::POST, url, headers).await?
        } else {
            get(world, url, headers).await?
        };
        let challenge = answer.headers.get("www-authenticate").and_then(|it| it.to_str().ok());
        let wants = challenge.is_some_and(|challenge| challenge.contains("use_dpop_nonce"));
        let fresh = answer.headers.get("dpop-nonce").and_then(|it| it.to_str().ok());
        if !wants || nonce.is_some() || fresh.is_none() {
            return Ok(answer.status);
        }
        nonce = fresh.map(str::to_owned);
    }
    Ok(StatusCode::UNAUTHORIZED)
}

fn proof(
    key: &SigningKey,
    (htm, htu): (&str, &str),
    token: &str,
    nonce: Option<&str>,
) -> Result<String, Failure> {
    let jti = attorn_jose::base64url(&clock::random::<16>());
    let access_token = Some(token);
    let new = NewProof { htm, htu, iat_s: clock::now_s(), jti: &jti, access_token, nonce };
    new_proof(key, &new).map_err(|e| Failure::no(e.to_string()))
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn get(world: &World, url: &str, headers: HeaderMap) -> Result<Got, Failure> {
    send(world, Method::GET, url, headers).await
}

async fn send(
    world: &World,
    method: Method,
    url: &str,
    headers: HeaderMap,
) -> Result<Got, Failure> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|_| Failure::usage(format!("`{url}` is no URL")))?;
    *request.headers_mut() = headers;
    let answer = world.client.send_within(request, Duration::from_secs(10)).await;
    let (head, body) = answer.map_err(|e| Failure::unreachable(causes(&e)))?.into_parts();
    let body = Limited::new(body, 1 << 20).collect().await;
    let body = body.map_err(|_| Failure::unreachable("the answer broke off"))?.to_bytes();
    Ok(Got { status: head.status, headers: head.headers, body })
}

const TRIES: usize = 80;
const PAUSE: Duration = Duration::from_millis(25);
