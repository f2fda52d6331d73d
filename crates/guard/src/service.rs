//! The guard as an HTTP service in front of an API of its own process or another.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use attorn_net::ResponseBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::service::Service;

use crate::admit::admit;
use crate::body::AnswerBody;
use crate::guard::Inner;
use crate::upstream::Upstream;

/// Judges every request, and forwards what may pass.
#[derive(Clone, Debug)]
pub struct GuardService {
    guard: Arc<Inner>,
    upstream: Upstream,
}

impl GuardService {
    pub(crate) const fn new(guard: Arc<Inner>, upstream: Upstream) -> Self {
        Self { guard, upstream }
    }
}

impl<B> Service<Request<B>> for GuardService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<AnswerBody<ResponseBody>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let Self { guard, upstream } = self.clone();
        Box::pin(async move {
            let (admitted, request) = match admit(&guard, request).await {
                Ok(admitted) => admitted,
                Err(refused) => return Ok(refused.map(AnswerBody::own)),
            };
            Ok(match upstream.send(request, &admitted.target).await {
                Ok(response) => admitted.answer(response),
                Err(failure) => admitted.fail(failure).map(AnswerBody::own),
            })
        })
    }
}
