//! The guard as a layer: the same walk, in front of a service in the same process.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use attorn_audit::Outcome;
use attorn_registry::ReasonCode;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower_layer::Layer;
use tower_service::Service;

use crate::admit::admit;
use crate::body::{AnswerBody, GuardedBody};
use crate::guard::Inner;

/// Puts a guard around services: see [`crate::Guard::layer`].
#[derive(Clone, Debug)]
pub struct GuardLayer(Arc<Inner>);

/// A service behind a guard. Whoever gets a request knows that it was permitted and is on record.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Arc<Inner>,
    inner: S,
}

impl GuardLayer {
    pub(crate) const fn new(guard: Arc<Inner>) -> Self {
        Self(guard)
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: Arc::clone(&self.0), inner }
    }
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<GuardedBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<AnswerBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that said it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let (admitted, request) = match admit(&guard, request).await {
                Ok(admitted) => admitted,
                Err(refused) => return Ok(refused.map(AnswerBody::own)),
            };
            match inner.call(request).await {
                Ok(response) => Ok(admitted.answer(response)),
                Err(error) => {
                    admitted.end(Outcome::UpstreamError, ReasonCode::DownstreamProtocol);
                    Err(error)
                }
            }
        })
    }
}
