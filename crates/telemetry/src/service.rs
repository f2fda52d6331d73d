//! `/metrics`, `/healthz` and `/readyz` on a listener of their own.

use std::convert::Infallible;
use std::future::{Ready, ready};

use attorn_net::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::service::Service;

use crate::Telemetry;

/// Answers who watches the process. It says nothing about agents, people or tools.
#[derive(Clone, Debug)]
pub struct ObservationService(Telemetry);

impl ObservationService {
    /// A service for this process.
    #[must_use]
    pub fn new(telemetry: Telemetry) -> Self {
        Self(telemetry)
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        if method != Method::GET {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return answer;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4", self.0.exposition()),
            "/readyz" => {
                let (status, body) = self.0.health.readiness();
                text(status, "application/json", body)
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain", String::new()),
        }
    }
}

impl<B> Service<Request<B>> for ObservationService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}

fn text(status: StatusCode, media_type: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn get(service: &ObservationService, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(()).unwrap();
        let answer = service.call(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn three_paths_are_answered_and_no_other() {
        let telemetry = Telemetry::default();
        let service = ObservationService::new(telemetry.clone());
        assert_eq!(get(&service, "/healthz").await, (StatusCode::OK, "ok\n".into()));
        assert!(get(&service, "/metrics").await.1.contains("attorn_ready 1\n"));
        assert_eq!(get(&service, "/readyz").await.0, StatusCode::OK);
        for path in ["/", "/debug", "/metrics/", "/debug/pprof/heap"] {
            assert_eq!(get(&service, path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        telemetry.health.add(|| Some("journal.failed"));
        assert_eq!(get(&service, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        // Alive all the same: a restart by an impatient supervisor would mend nothing.
        assert_eq!(get(&service, "/healthz").await.0, StatusCode::OK);
        assert!(get(&service, "/metrics").await.1.contains("attorn_ready 0\n"));
        let request = Request::post("/metrics").body(()).unwrap();
        let answer = service.call(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
