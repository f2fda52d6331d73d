//! The processes a bench needs beside Attorn: a small MCP server and a bare hyper proxy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::step::StepFailed;

/// Serves `tools/list` and `tools/call` of MCP 2026-07-28 as fast as hyper can, until killed.
///
/// # Errors
/// When the port is taken.
pub async fn upstream(address: SocketAddr) -> Result<(), StepFailed> {
    let listener = TcpListener::bind(address).await.map_err(io)?;
    loop {
        let (stream, _) = listener.accept().await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}

/// What the MCP server sends.
enum Answer {
    /// All of it; nothing is left once it went.
    Whole(Option<Bytes>),
    /// An event stream that says something now and then never again.
    Held(Option<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Held(bytes) => match bytes.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Poll::Pending,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Held(_) => SizeHint::default(),
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    if message.pointer("/params/name").and_then(Value::as_str) == Some("hold") {
        let beginning = Bytes::from_static(b": open\n\n");
        return Ok(of_type("text/event-stream", Answer::Held(Some(beginning))));
    }
    let result = match message.get("method").and_then(Value::as_str) {
        Some("tools/list") => json!({
            "resultType": "complete", "ttlMs": 1000, "cacheScope": "private", "tools": tools()
        }),
        Some("server/discover") => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 1000,
            "cacheScope": "private", "capabilities": {"tools": {}}
        }),
        _ => json!({
            "resultType": "complete", "isError": false,
            "content": [{"type": "text", "text": "hello"}]
        }),
    };
    let reply = json!({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).to_string();
    Ok(of_type("application/json", Answer::Whole(Some(Bytes::from(reply)))))
}

fn of_type(media: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    let media = hyper::header::HeaderValue::from_static(media);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, media);
    response
}

fn tools() -> Value {
    let tool = |name: &str, read_only: bool| {
        json!({
            "name": name, "description": "a tool of the bench",
            "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}},
            "annotations": {"readOnlyHint": read_only}
        })
    };
    json!([tool("echo", true), tool("hold", true), tool("note", false)])
}

/// Forwards every request to `to` and every reply back, looking at nothing.
///
/// # Errors
/// When the port is taken.
pub async fn proxy(address: SocketAddr, to: SocketAddr) -> Result<(), StepFailed> {
    let listener = TcpListener::bind(address).await.map_err(io)?;
    loop {
        let (stream, _) = listener.accept().await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        tokio::spawn(async move {
            let upstream: Mutex<Option<SendRequest<Incoming>>> = Mutex::new(None);
            let service = service_fn(|request| forward(&upstream, to, request));
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn forward(
    upstream: &Mutex<Option<SendRequest<Incoming>>>,
    to: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>, Infallible> {
    let mut sender = upstream.lock().await;
    let reply = match connected(&mut sender, to).await {
        Some(sender) => sender.send_request(request).await.ok(),
        None => None,
    };
    Ok(if let Some(reply) = reply {
        reply.map(BodyExt::boxed)
    } else {
        *sender = None;
        let empty = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
        let mut reply = Response::new(empty);
        *reply.status_mut() = hyper::StatusCode::BAD_GATEWAY;
        reply
    })
}

async fn connected(
    sender: &mut Option<SendRequest<Incoming>>,
    to: SocketAddr,
) -> Option<&mut SendRequest<Incoming>> {
    if sender.is_none() {
        let stream = TcpStream::connect(to).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (fresh, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        *sender = Some(fresh);
    }
    sender.as_mut()
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn io(source: std::io::Error) -> StepFailed {
    StepFailed::Check(format!("bench part: {source}"))
}
