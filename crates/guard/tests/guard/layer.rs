//! The same walk as a layer, around a service that is written with tower.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use attorn_audit::{Kind, Outcome};
use attorn_guard::{Caller, GuardedBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::registry::{agent_id, server_id};
use crate::world::{BOTH, World, ask};

/// Keeps who asked, and whether anything of a credential came through.
#[derive(Clone, Default)]
pub(crate) struct Inside(Arc<Mutex<Vec<(Caller, bool)>>>);

impl Service<Request<GuardedBody<Full<Bytes>>>> for Inside {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<GuardedBody<Full<Bytes>>>) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned().unwrap();
        let bare = !request.headers().contains_key("authorization");
        self.0.lock().unwrap().push((caller, bare));
        let answer = Response::builder().header("x-request-id", "inside-1");
        let answer = answer.body(Full::new(Bytes::from_static(b"ok"))).unwrap();
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test]
async fn a_service_behind_the_layer_gets_what_is_permitted_and_who_asks() {
    let world = World::new("layer", Version::HTTP_11).await;
    let inside = Inside::default();
    let mut service = world.guard.layer().layer(inside.clone());
    // A nonce of this guard: the layer and the proxy are one.
    let asked = world.proven(ask("GET", "/invoices/7"), &world.token("read:invoice.get")).await;
    let request = || {
        let mut request = Request::get(&asked.target).header("host", "api.example");
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let response = service.call(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    let (caller, bare) = inside.0.lock().unwrap().pop().unwrap();
    assert!(bare);
    assert_eq!((caller.agent, caller.server), (agent_id(), server_id()));
    assert_eq!(caller.operation, "invoice.get");
    let ended = |all: &[attorn_audit::Entry]| all.last().is_some_and(|one| one.outcome.is_some());
    let outcome = world.entries(ended).await.pop().unwrap();
    assert_eq!((outcome.kind, outcome.outcome), (Kind::CallCompleted, Some(Outcome::Ok)));
    assert_eq!(outcome.downstream_request_id.as_deref(), Some("inside-1"));
    assert_eq!(outcome.decision_id.as_deref(), Some(caller.decision_id.as_str()));

    // The proof is burned: the service does not hear of its second use.
    let response = service.call(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(inside.0.lock().unwrap().is_empty());
    assert_eq!(world.newest().await.reason.as_deref(), Some("possession.replayed"));
}

#[tokio::test]
async fn the_sample_with_its_guard_inside_answers_who_may_ask_and_names_the_decision() {
    for version in BOTH {
        let mut world = World::new("sample", version).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        world.address = listener.local_addr().unwrap();
        tokio::spawn(attorn_sample_guarded_api::serve(listener, world.guard.layer()));
        let answer = world.ask("read:invoice.get", ask("GET", "/invoices/7")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let shown: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(shown["subject"], agent_id().as_str());
        assert_eq!(shown["actors"][0], server_id().as_str());
        assert_eq!(shown["operation"], "invoice.get");
        let ended =
            |all: &[attorn_audit::Entry]| all.last().is_some_and(|one| one.outcome.is_some());
        let outcome = world.entries(ended).await.pop().unwrap();
        assert_eq!(outcome.downstream_request_id, outcome.decision_id);
        let answer = world.ask("read:invoice.get", ask("GET", "/invoices/7/pay")).await;
        assert_eq!(world.refused(&answer).await.1, "operation.unknown");
    }
}
