//! An API that writes down what reaches it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One request as the API saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "`{name}` twice: {:?}", self.headers);
        value.to_str().ok()
    }
}

/// Listens until its runtime ends.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&kept), request));
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn answer(
    kept: Arc<Mutex<Vec<Seen>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
    let target = head.uri.to_string();
    let number = {
        let mut kept = kept.lock().unwrap();
        kept.push(Seen {
            method: head.method.to_string(),
            target: target.clone(),
            headers: head.headers,
            body: body.to_bytes(),
        });
        kept.len()
    };
    let late = if target.contains("late") { 504 } else { 200 };
    let status = if target.contains("absent") { 404 } else { late };
    let response = Response::builder()
        .status(status)
        .header("x-request-id", format!("api-{number}"))
        .header("set-cookie", "session=1")
        .header("attorn-decision", "dec_made_up")
        .header("keep-alive", "timeout=5")
        .header("etag", "\"1\"");
    Ok(response.body(Full::new(Bytes::from_static(b"an invoice"))).unwrap())
}
