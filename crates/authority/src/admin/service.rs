//! The admin API as a hyper service: an axum router whose every route is an operation.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use attorn_oauth::metadata::ProtectedResourceMetadata;
use attorn_oauth::resource::{IssuerUrl, ResourceIndicator};
use axum::Router;
use axum::extract::{RawPathParams, Request};
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::service::Service;
use tower_service::Service as _;

use super::handle::handle;
use super::openapi;
use super::operation::{BASE_PATH, Method, Operation};
use super::routes::route;
use crate::config::ADMIN_METADATA_PATH;
use crate::http::{empty, health, public_json};
use crate::shared::Shared;

/// The admin API.
#[derive(Clone)]
pub struct AdminService(Router);

impl AdminService {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        issuer: &IssuerUrl,
        resource: &ResourceIndicator,
    ) -> Self {
        let mut router = Router::new();
        for operation in Operation::ALL {
            let path = format!("{BASE_PATH}{}", operation.row().path);
            router = router.route(&path, routed(shared, *operation));
        }
        // Not operations: documents that tell a stranger nothing but how to ask.
        let scopes = Operation::ALL.iter().map(|one| one.scope().to_string()).collect();
        let metadata = ProtectedResourceMetadata::of(resource, issuer, scopes);
        let metadata: Bytes = serde_json::to_vec(&metadata).unwrap_or_default().into();
        let healthy = Arc::clone(shared);
        Self(
            router
                .route(
                    "/admin/v1/openapi.json",
                    get(async || public_json(Bytes::from_static(openapi::document().as_bytes()))),
                )
                .route(ADMIN_METADATA_PATH, get(async move || public_json(metadata)))
                .route(
                    "/healthz",
                    get(async move |request: Request| health(&healthy, &request.into_parts().0)),
                )
                // RFC 9110 section 15.1: both could be kept by a cache.
                .fallback(async || empty(StatusCode::NOT_FOUND))
                .method_not_allowed_fallback(async || empty(StatusCode::METHOD_NOT_ALLOWED)),
        )
    }
}

fn routed(shared: &Arc<Shared>, operation: Operation) -> MethodRouter {
    let (shared, route) = (Arc::clone(shared), Arc::new(route(operation)));
    let handler = async move |segments: RawPathParams, request: Request| {
        if !route.is_change {
            return handle(shared, operation, &route, segments, request).await;
        }
        // In a task of its own: a caller who leaves must not cut a change off between the registry,
        // its coming into force and the entry that says what was done.
        let done = async move { handle(shared, operation, &route, segments, request).await };
        let internal = |_cut| empty(StatusCode::INTERNAL_SERVER_ERROR);
        tokio::spawn(done).await.unwrap_or_else(internal)
    };
    match operation.row().method {
        Method::Get => get(handler),
        Method::Post => post(handler),
    }
}

/// One admin request under way.
#[expect(missing_debug_implementations, reason = "a future has nothing to show")]
pub struct Administering(
    Pin<Box<dyn Future<Output = Result<Response<axum::body::Body>, Infallible>> + Send>>,
);

impl Future for Administering {
    type Output = Result<Response<axum::body::Body>, Infallible>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<B> Service<http::Request<B>> for AdminService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = Administering;

    fn call(&self, request: http::Request<B>) -> Administering {
        let mut router = self.0.clone();
        Administering(Box::pin(
            async move { router.call(request.map(axum::body::Body::new)).await },
        ))
    }
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminService")
    }
}
