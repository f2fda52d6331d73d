//! The HTTP service: which of the four things a request is for, and who answers it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use attorn_net::{Body, Peer, SEEN_CERTIFICATE};
use attorn_planted::{Bug, is_planted};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, request};
use http_body::Body as HttpBody;
use hyper::service::Service;

use crate::exchange::Exchange;
use crate::front::Verb;
use crate::gateway::Inner;
use crate::refusal::{HeadRefusal, Refusal};
use crate::route::Route;
use crate::tools_call;

/// Serves the MCP endpoints, their metadata, and the checks of health and readiness.
#[derive(Clone, Debug)]
pub struct GatewayService(Arc<Inner>);

impl GatewayService {
    pub(crate) fn new(gateway: Arc<Inner>) -> Self {
        Self(gateway)
    }
}

impl<B> Service<Request<B>> for GatewayService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let gateway = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(gateway, request).await) })
    }
}

async fn answer<B>(gateway: Arc<Inner>, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    match Route::parse(&path) {
        // Asked by load balancers under whatever name; it says no more than that we are here.
        Some(Route::Health) if head.method == Method::GET => health(&head),
        Some(Route::Ready) if head.method == Method::GET => readiness(&gateway),
        Some(Route::Health | Route::Ready) => {
            Exchange::new(gateway, "").refuse(HeadRefusal::Method.into()).await
        }
        Some(Route::Metadata(name)) => metadata(gateway, &head, name).await,
        Some(Route::Mcp(name)) => endpoint(Exchange::new(gateway, name), &head, body).await,
        None => Exchange::new(gateway, "").refuse(HeadRefusal::PathUnknown.into()).await,
    }
}

fn health(head: &request::Parts) -> Response<Body> {
    let mut response = Response::new(Body::full("ok\n"));
    let peer = head.extensions.get::<Peer>();
    let seen = peer.map(|peer| (SEEN_CERTIFICATE, peer.seen_certificate()));
    response.headers_mut().extend(seen);
    response
}

fn readiness(gateway: &Inner) -> Response<Body> {
    let (status, body) = gateway.telemetry.health.readiness();
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn metadata(gateway: Arc<Inner>, head: &request::Parts, name: &str) -> Response<Body> {
    let refusal = if let Err(refusal) = gateway.names.verify(head) {
        refusal
    } else if head.method != Method::GET {
        HeadRefusal::Method
    } else if let Some(document) = gateway.metadata(name) {
        return document;
    } else {
        HeadRefusal::PathUnknown
    };
    Exchange::new(gateway, name).refuse(refusal.into()).await
}

async fn endpoint<B>(mut exchange: Exchange, head: &request::Parts, body: B) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send,
{
    exchange.note_peer(head.extensions.get::<Peer>());
    let answered = match verb(&exchange, head) {
        Ok(_) if !exchange.gateway.freshness.is_fresh() && !is_planted(Bug::SilenceIgnored) => {
            Err(Refusal::AuthorityStale)
        }
        Ok(Verb::Post) => tools_call::handle(&mut exchange, head, body).await,
        Ok(Verb::Get) => exchange.listen(head).await,
        Ok(Verb::Delete) => exchange.close(head).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(response) => {
            exchange.note_answered();
            response
        }
        Err(refusal) => exchange.refuse(refusal).await,
    }
}

fn verb(exchange: &Exchange, head: &request::Parts) -> Result<Verb, Refusal> {
    exchange.gateway.names.verify(head)?;
    let verb = Verb::of(head)?;
    // Before any credential: a proxy that garbles one certificate may pass on another one.
    let peer = head.extensions.get::<Peer>();
    peer.map_or(Ok(()), |peer| peer.client_cert).map_err(HeadRefusal::ClientCert)?;
    Ok(verb)
}
