//! An agent that calls tools: MCP 2026-07-28 over a bound client, one request a call.

use std::path::PathBuf;

use attorn_connect::assertion::{AssertionClient, AssertionSource, ClientProof};
use attorn_connect::discovery::authorization_server;
use attorn_connect::token::{Grant, Identity, UnboundTokens};
use attorn_connect::{AuthorizedClient, TokenSource};
use attorn_mcp::sse;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use url::Url;

use crate::exit::Failure;
use crate::json::{at, member, set};
use crate::outside::causes;
use crate::profile::{Profile, Proof};

/// A caller with an identity, in front of one MCP server.
#[derive(Debug)]
pub(crate) struct AgentClient {
    client: AuthorizedClient,
    url: Url,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The JSON-RPC response; `null` when there was none.
    pub(crate) message: Value,
}

impl AgentClient {
    /// Discovers nothing: the profile names the authority, `resource` the server.
    pub(crate) async fn open(profile: &Profile, resource: &str) -> Result<Self, Failure> {
        let url = Url::parse(resource)
            .map_err(|_| Failure::usage(format!("`{resource}` is not an address")))?;
        let identity = &profile.identity;
        let world = profile.world()?;
        let credential = profile.proof.credential();
        let who = Identity { client_id: identity.client_id.clone(), credential };
        let tokens = TokenSource::for_issuer(world, &identity.issuer, resource, who)
            .await
            .map_err(|e| Failure::unreachable(causes(&e)))?;
        let client = AuthorizedClient::new(tokens).map_err(|e| Failure::usage(causes(&e)))?;
        Ok(Self { client, url })
    }

    /// As [`AgentClient::open`], for the person whom the ID-JAG in a file speaks for.
    pub(crate) async fn open_on_word(
        profile: &Profile,
        resource: &str,
        id_jag: PathBuf,
    ) -> Result<Self, Failure> {
        let url = Url::parse(resource)
            .map_err(|_| Failure::usage(format!("`{resource}` is not an address")))?;
        let (identity, world) = (&profile.identity, profile.world()?);
        let Proof::Key(key) = &profile.proof else {
            return Err(Failure::usage("an agent with a certificate asks for no ID-JAG"));
        };
        let client = AssertionClient {
            source: AssertionSource::File(id_jag),
            authentication: ClientProof::Key(identity.client_id.clone()),
            key: key.clone(),
        };
        let server = authorization_server(&world, &identity.issuer).await;
        let server = server.map_err(|e| Failure::unreachable(causes(&e)))?;
        let (grant, unbound) = (Grant::Assertion(client), UnboundTokens::Refuse);
        let tokens = TokenSource::new(world, server, resource, grant, unbound);
        let client = AuthorizedClient::new(tokens).map_err(|e| Failure::usage(causes(&e)))?;
        Ok(Self { client, url })
    }

    pub(crate) async fn list_tools(&self) -> Result<Answered, Failure> {
        self.request("tools/list", None, json!({})).await
    }

    pub(crate) async fn call_tool(
        &self,
        tool: &str,
        arguments: Value,
    ) -> Result<Answered, Failure> {
        let params = json!({ "name": tool, "arguments": arguments });
        self.request("tools/call", Some(tool), params).await
    }

    async fn request(
        &self,
        method: &'static str,
        name: Option<&str>,
        mut params: Value,
    ) -> Result<Answered, Failure> {
        let mut headers = mcp_headers(method);
        if let Some(name) = name {
            let value = HeaderValue::from_str(name)
                .map_err(|_| Failure::usage(format!("`{name}` does not fit into a header")))?;
            headers.insert("mcp-name", value);
        }
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "attorn", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        set(&mut params, "_meta", meta);
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = Bytes::from(message.to_string());
        let sent = self.client.send(Method::POST, &self.url, &headers, body).await;
        let response = sent.map_err(|e| Failure::unreachable(causes(&e)))?;
        let status = response.status().as_u16();
        let streamed = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Failure::unreachable("the answer broke off"))?.to_bytes();
        let message =
            if streamed { last_response(&body) } else { serde_json::from_slice(&body).ok() };
        Ok(Answered { status, message: message.unwrap_or_default() })
    }
}

impl Answered {
    /// True if the tool ran and did not fail.
    pub(crate) fn is_success(&self) -> bool {
        member(&self.message, "result").is_object() && at(&self.message, "/result/isError") != true
    }

    /// The text a client would show.
    pub(crate) fn text(&self) -> String {
        let told = at(&self.message, "/result/content/0/text")
            .as_str()
            .or_else(|| at(&self.message, "/error/message").as_str());
        crate::output::clean(told.unwrap_or("no message"))
    }
}

/// MCP 2026-07-28, Streamable HTTP: headers that repeat the body.
pub(crate) fn mcp_headers(method: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(ACCEPT, accept);
    headers.insert("mcp-protocol-version", HeaderValue::from_static(REVISION));
    headers.insert("mcp-method", HeaderValue::from_static(method));
    headers
}

/// The response among the events of a stream.
fn last_response(body: &[u8]) -> Option<Value> {
    let mut parser = sse::Parser::new(ANSWER_BYTES_MAX);
    parser.push(body);
    let mut found = None;
    while let Ok(Some(event)) = parser.next_event() {
        let message: Option<Value> = serde_json::from_str(&event.data).ok();
        found = message.filter(|message| member(message, "id") == 1).or(found);
    }
    found
}

/// The revision that needs no handshake.
const REVISION: &str = "2026-07-28";
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_its_response() {
        let body = b"data: {\"method\":\"x\"}\n\ndata: {\"id\":1,\"result\":{}}\n\n";
        assert_eq!(last_response(body), Some(json!({ "id": 1, "result": {} })));
        assert_eq!(last_response(b"data: hello\n\n"), None);
    }
}
