//! An HTTP API with its guard inside: no proxy in front, and no header to believe.
//!
//! The guard is a layer around the service. Whatever the service is called with was permitted, is on
//! record, and says in its extensions who asks. The service itself is twenty lines of tower; any
//! other service of tower can stand in its place.
//!
//! Not here: where the guard gets the registry from. Its parts are given by who starts it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use attorn_guard::{Caller, GuardLayer};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;

/// Serves the API on `listener` behind `guard`, over HTTP/1.1 and HTTP/2, until the task is dropped.
///
/// # Errors
/// The error of the listener, when it can accept no more.
pub async fn serve(listener: TcpListener, guard: GuardLayer) -> io::Result<()> {
    let service = guard.layer(Invoices);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            // A broken connection concerns its peer alone.
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// One invoice, and for whom it is shown.
#[derive(Clone, Copy, Debug)]
struct Invoices;

impl<B> Service<Request<B>> for Invoices {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Behind the layer it is always there.
        let caller = request.extensions().get::<Caller>();
        let shown = json!({
            "path": request.uri().path(),
            "subject": caller.map(|caller| &caller.subject),
            "actors": caller.map(|caller| &caller.actors),
            "operation": caller.map(|caller| &caller.operation),
        });
        let mut response = Response::new(Full::new(Bytes::from(shown.to_string())));
        let name = caller.map(|caller| HeaderValue::from_str(&caller.decision_id));
        if let Some(Ok(name)) = name {
            response.headers_mut().insert("x-request-id", name);
        }
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        ready(Ok(response))
    }
}
