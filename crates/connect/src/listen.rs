//! A loopback HTTP port towards the client, bound HTTP towards the one server.
//!
//! Implemented: requests and answers passed through as they are, streams as they come, a client
//! that leaves cancels its call. Credentials of either side stop here: none of the client's are
//! sent on, and no challenge or nonce of the server is shown.
//!
//! Not implemented: TLS (the port is loopback), a second server behind one port.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attorn_json::{Limits as JsonLimits, Value};
use attorn_net::{BindError, Body, Limits, Listener, ResponseBody, Shutdown};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Limited};
use hyper::service::service_fn;

use crate::connector::{ANSWER_TIMEOUT, Connector, Era};
use crate::fault::Fault;
use crate::guard::Guard;
use crate::message;

/// A bound port that is not served yet.
pub struct LocalPort {
    listener: Listener,
    path: String,
    connector: Connector,
}

impl LocalPort {
    /// Binds `port` of 127.0.0.1, or one the system chooses when it is 0, and makes this start's
    /// secret path.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(connector: Connector, port: u16) -> Result<Self, BindError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = Listener::bind(address, None).await?;
        let path = format!("/{}/mcp", connector.calls.tokens().world().secret());
        Ok(Self { listener, path, connector })
    }

    /// What to give to the client. Whoever knows it acts as the agent, so it belongs in no log.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.listener.address(), self.path)
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, shutdown: Shutdown) {
        let modern_seen = AtomicBool::new(matches!(self.connector.era, Era::Modern));
        let port = Arc::new(Port {
            guard: Guard::new(self.listener.address(), &self.path),
            connector: self.connector,
            modern_seen,
        });
        let service = service_fn(move |request| {
            let port = Arc::clone(&port);
            async move { Ok::<_, Infallible>(port.answer(request).await) }
        });
        attorn_net::serve(self.listener, service, Limits::default(), shutdown).await;
    }
}

impl fmt::Debug for LocalPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path is a secret.
        f.debug_struct("LocalPort").field("listener", &self.listener).finish_non_exhaustive()
    }
}

struct Port {
    guard: Guard,
    connector: Connector,
    modern_seen: AtomicBool,
}

type Answer = Response<Either<Body, ResponseBody>>;

impl Port {
    async fn answer(&self, request: Request<attorn_net::ReceivedBody>) -> Answer {
        if let Err(refusal) = self.guard.judge(&request) {
            tracing::warn!(?refusal, "refused a local request");
            return plain(refusal.status(), Body::empty());
        }
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, JsonLimits::MESSAGE.bytes_max).collect().await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, Body::empty());
        };
        let body = body.to_bytes();
        let headers = kept(&head.headers, &REQUEST_HEADERS);
        let sent = self.connector.send(head.method, &headers, body.clone(), ANSWER_TIMEOUT).await;
        match sent {
            Ok(response) => self.pass(&body, response).await,
            Err(error) => fault(StatusCode::BAD_GATEWAY, &Fault::Call(error), &body),
        }
    }

    async fn pass(&self, request: &Bytes, response: Response<ResponseBody>) -> Answer {
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            if status == StatusCode::OK && is_modern(request) {
                self.modern_seen.store(true, Ordering::Relaxed);
            }
            let (head, body) = response.into_parts();
            return with_headers(status, &head.headers, Either::Right(body));
        }
        let (head, body) = response.into_parts();
        let text = body.bytes(ERROR_BYTES_MAX).await.unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED {
            // The client has no login to start: that is this connector's business, and it failed.
            return fault(StatusCode::BAD_GATEWAY, &Fault::Status(status), request);
        }
        // MCP 2026-07-28, Streamable HTTP, Backward Compatibility: a 4xx without a message would
        // talk the client down to an older revision.
        let bare = !is_error_response(&text);
        if bare && status.is_client_error() && is_modern(request) && self.is_modern() {
            tracing::warn!(%status, "an answer without a message is not taken as an older server");
            return fault(StatusCode::BAD_GATEWAY, &Fault::Status(status), request);
        }
        if text.is_empty() && status == StatusCode::FORBIDDEN {
            return fault(status, &Fault::Status(status), request);
        }
        with_headers(status, &head.headers, Either::Left(Body::full(text)))
    }

    fn is_modern(&self) -> bool {
        self.modern_seen.load(Ordering::Relaxed)
    }
}

/// An error response under the id of the request, when it has one.
fn fault(status: StatusCode, fault: &Fault, request: &Bytes) -> Answer {
    let document = attorn_json::parse(request, &JsonLimits::MESSAGE).ok();
    let id = document.and_then(|document| document.value().member("id")).map(Value::text);
    let mut response = plain(status, Body::full(fault.to_line(id)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn plain(status: StatusCode, body: Body) -> Answer {
    let mut answer = with_headers(status, &HeaderMap::new(), Either::Left(body));
    // RFC 9111 section 5.2.2.5: who may use the port is decided anew at each start.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn with_headers(
    status: StatusCode,
    headers: &HeaderMap,
    body: Either<Body, ResponseBody>,
) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = kept(headers, &RESPONSE_HEADERS);
    response
}

/// The headers on the list, and all `Mcp-Param-*`; each as often as it came.
fn kept(headers: &HeaderMap, list: &[&'static str]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let name: &HeaderName = name;
        if list.contains(&name.as_str()) || name.as_str().starts_with("mcp-param-") {
            kept.append(name, value.clone());
        }
    }
    kept
}

fn is_modern(request: &Bytes) -> bool {
    message::read(request).is_ok_and(|message| message.modern.is_some())
}

/// Whether this is an error response (JSON-RPC 2.0 section 5.1). A client takes anything else with
/// an error status as the word of an older server.
fn is_error_response(body: &Bytes) -> bool {
    let Ok(document) = attorn_json::parse(body, &JsonLimits::MESSAGE) else { return false };
    let response = document.value();
    let error = response.member("error");
    let code = error.and_then(|error| error.member("code")).and_then(Value::number);
    let text = error.and_then(|error| error.member("message")).and_then(Value::string);
    response.member("jsonrpc").and_then(Value::string).as_deref() == Some("2.0")
        && code.is_some_and(|code| code.parse::<i64>().is_ok())
        && text.is_some()
}

/// What a server needs of a request. `Authorization`, `Cookie` and `DPoP` are not among it.
const REQUEST_HEADERS: [&str; 9] = [
    "accept",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "traceparent",
    "tracestate",
];

/// What a client needs of a response. `WWW-Authenticate` and `DPoP-Nonce` are not among it.
const RESPONSE_HEADERS: [&str; 7] = [
    "allow",
    "cache-control",
    "content-type",
    "mcp-protocol-version",
    "mcp-session-id",
    "retry-after",
    "x-accel-buffering",
];

const ERROR_BYTES_MAX: usize = 256 * 1024;
