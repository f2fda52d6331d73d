//! One address as an HTTP service.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use attorn_net::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::service::Service;

use crate::egress::{Inner, Rule};
use crate::walk::{By, handle};

/// The way from one server, or one child of it, to one API.
#[derive(Clone, Debug)]
pub struct EgressService {
    egress: Arc<Inner>,
    rule: Arc<Rule>,
    by: By,
    /// The values of `Host` by which it is addressed.
    hosts: Arc<[String]>,
}

impl EgressService {
    pub(crate) fn new(egress: Arc<Inner>, rule: Arc<Rule>, by: By) -> Self {
        Self { egress, rule, by, hosts: Arc::default() }
    }

    /// The same, where it is served: by no other name can it be addressed.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        let hosts = [address.to_string(), format!("localhost:{}", address.port())];
        Self { hosts: Arc::new(hosts), ..self }
    }
}

impl<B> Service<Request<B>> for EgressService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let Self { egress, rule, by, hosts } = self.clone();
        Box::pin(async move { Ok(handle(egress, rule, (by, hosts), request).await) })
    }
}
