//! What happens between the head of a request and its end.

use attorn_authority::Operation;
use attorn_net::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::service::Service;
use serde_json::json;

use crate::world::{ADMIN, Client, World};

/// An operator who may record owners and look around.
async fn second_operator(world: &World, operator: &Client) -> Client {
    let new = json!({ "name": "second", "owner": "administrators", "kind": "operator" });
    let made = world.done(operator, Operation::AgentRegister, &[], new).await;
    let (second, _) = world.enroll(made["code"].as_str().unwrap()).await;
    let patterns = ["read:*", "write:owner.create"];
    let grant = json!({ "agent": "second", "server": "admin", "patterns": patterns });
    world.done(operator, Operation::GrantCreate, &[], grant).await;
    second
}

/// The head of a request to record an owner; the body is the test's.
async fn owner_request(world: &World, client: &Client, body: Body) -> Request<Body> {
    let token = world.token(client, &format!("{ADMIN}/admin")).await;
    let nonce = world.nonce(client).await;
    let path = Operation::OwnerCreate.path_of(&[]);
    let place = ("POST", format!("{ADMIN}{path}"));
    let proof = world.proof_for(client, (place.0, &place.1), Some(&token), Some(&nonce));
    Request::post(path)
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
        .body(body)
        .unwrap()
}

/// The status of a request whose body comes only after `meanwhile`.
async fn status_after(world: &World, client: &Client, meanwhile: impl AsyncFnOnce()) -> StatusCode {
    let (sender, body) = Body::channel(1);
    let request = owner_request(world, client, body).await;
    let answering = tokio::spawn(world.authority.admin_service().call(request));
    tokio::task::yield_now().await;
    meanwhile().await;
    sender.send(Bytes::from_static(br#"{"name":"late"}"#)).await.unwrap();
    drop(sender);
    answering.await.unwrap().unwrap().status()
}

#[tokio::test]
async fn whoever_is_stopped_while_the_body_comes_changes_nothing() {
    let world = World::new().await;
    let operator = world.operator().await;
    let second = second_operator(&world, &operator).await;
    let reason = json!({ "reason": "left" });
    let stop =
        async || drop(world.done(&operator, Operation::AgentSuspend, &["second"], reason).await);
    assert_eq!(status_after(&world, &second, stop).await, StatusCode::UNAUTHORIZED);
    assert_eq!(world.newest("admin.refused").await["reason"], "agent.suspended");
    assert!(!world.published.load().owners().any(|owner| owner.name.as_str() == "late"));
}

#[tokio::test]
async fn a_token_that_ends_while_the_body_comes_changes_nothing() {
    let world = World::new().await;
    let operator = world.operator().await;
    let second = second_operator(&world, &operator).await;
    let status = status_after(&world, &second, async || world.pass_s(120)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.newest("token.refused").await["reason"], "token.expired");
}

#[tokio::test]
async fn a_body_that_comes_late_to_nobody_s_harm_is_taken() {
    let world = World::new().await;
    let operator = world.operator().await;
    let second = second_operator(&world, &operator).await;
    let status = status_after(&world, &second, async || world.pass_s(1)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(world.published.load().owners().any(|owner| owner.name.as_str() == "late"));
}
