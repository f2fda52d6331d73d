//! The stolen token: a real one, taken as a thief finds it, and sent as a thief would.

use std::path::{Path, PathBuf};

use attorn_connect::World;
use attorn_oauth::client_assertion::{NewAssertion, new_assertion};
use attorn_oauth::dpop::{NewProof, new_proof};
use attorn_registry::AgentId;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::agent::mcp_headers;
use crate::clock;
use crate::exit::Failure;
use crate::files;
use crate::json::text;
use crate::outside::causes;
use crate::profile::{Profile, Proof};

/// A token lying about in a file, as in a log or a repository.
#[derive(Debug)]
pub(super) struct StolenToken {
    file: PathBuf,
    token: Zeroizing<String>,
}

/// What the thief got.
#[derive(Debug)]
pub(super) struct Loot {
    pub(super) status: u16,
    pub(super) challenge: String,
}

impl StolenToken {
    /// Gets a token as the agent does and leaves it in a file.
    pub(super) async fn take(
        world: &World,
        victim: &Profile,
        resource: &str,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let mut answer = request_token(world, victim, resource, None).await?;
        if let Some(nonce) = answer.1.take() {
            answer = request_token(world, victim, resource, Some(&nonce)).await?;
        }
        let token = text(&answer.0, "access_token");
        let token = token.ok_or_else(|| Failure::no("no token was given"))?;
        let file = folder.join("stolen-token.txt");
        files::write_private(&file, token.as_bytes())?;
        Ok(Self { file, token: Zeroizing::new(token.to_owned()) })
    }

    /// The thief's command line. The token itself is not shown: it stands in a file.
    pub(super) fn curl_line(&self, resource: &str) -> String {
        format!(
            "curl -si {resource} -H \"Authorization: Bearer $(cat {})\" \\\n       \
             -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\\n       \
             -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: get_invoice' \\\n       \
             -d '{}'",
            self.file.display(),
            call()
        )
    }

    /// Sends what the command line would send.
    pub(super) async fn send(&self, world: &World, resource: &str) -> Result<Loot, Failure> {
        let mut request = Request::new(Bytes::from(call().to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            resource.parse().map_err(|_| Failure::usage("the server has no usable address"))?;
        *request.headers_mut() = mcp_headers("tools/call");
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", *self.token))
            .map_err(|_| Failure::no("the token is no header value"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert("mcp-name", HeaderValue::from_static("get_invoice"));
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let response =
            world.client.send(request).await.map_err(|e| Failure::unreachable(causes(&e)))?;
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<_> = challenges
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        Ok(Loot { status: response.status().as_u16(), challenge: challenges.join(", ") })
    }
}

fn call() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "get_invoice", "arguments": { "id": "inv-1001" },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
}

/// One token request; the second part is the nonce the authority wants to see (RFC 9449 section 8).
pub(super) async fn request_token(
    world: &World,
    victim: &Profile,
    resource: &str,
    nonce: Option<&str>,
) -> Result<(Value, Option<String>), Failure> {
    let identity = &victim.identity;
    let Proof::Key(key) = &victim.proof else {
        return Err(Failure::no("the agent has no key that signs"));
    };
    let endpoint = format!("{}/token", identity.issuer);
    let client_id = AgentId::parse(&identity.client_id).map_err(|e| Failure::no(e.to_string()))?;
    let (now_s, jti) = (clock::now_s(), || attorn_jose::base64url(&clock::random::<16>()));
    let assertion =
        NewAssertion { client_id: &client_id, issuer: &identity.issuer, now_s, jti: &jti() };
    let assertion = new_assertion(key, &assertion).map_err(|e| Failure::no(e.to_string()))?;
    let jti = jti();
    let proof = NewProof {
        htm: "POST",
        htu: &endpoint,
        iat_s: now_s,
        jti: &jti,
        access_token: None,
        nonce,
    };
    let proof = new_proof(key, &proof).map_err(|e| Failure::no(e.to_string()))?;
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair(
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        )
        .append_pair("client_assertion", &assertion)
        .append_pair("resource", resource)
        .finish();
    let request = Request::post(&endpoint)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("dpop", proof)
        .body(Bytes::from(form))
        .map_err(|_| Failure::usage("the authority has no usable address"))?;
    let response =
        world.client.send(request).await.map_err(|e| Failure::unreachable(causes(&e)))?;
    let refused = !response.status().is_success();
    let fresh = response.headers().get("dpop-nonce").and_then(|value| value.to_str().ok());
    let fresh = fresh.filter(|_| refused && nonce.is_none()).map(str::to_owned);
    let body = Limited::new(response.into_body(), 1 << 20).collect().await;
    let body = body.map_err(|_| Failure::unreachable("the answer broke off"))?.to_bytes();
    Ok((serde_json::from_slice(&body).unwrap_or_default(), fresh))
}
