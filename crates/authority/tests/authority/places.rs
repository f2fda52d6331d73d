//! One client from two network addresses.

use attorn_net::SeveralPlaces;
use http::StatusCode;

use crate::world::{Answer, CRM, Client, World};

async fn with_one(mode: SeveralPlaces) -> (World, Client) {
    let world = World::configured(|config| config.several_places = mode).await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let one = world.agent(&operator, "one", &["read:get"]).await;
    (world, one)
}

async fn ask(world: &World, one: &Client, from: &str) -> Answer {
    *world.from.lock().unwrap() = from.parse().ok();
    world.ask_token(one, Some(CRM), None).await
}

async fn events(world: &World) -> usize {
    let entries = world.entries().await;
    entries.iter().filter(|entry| entry["kind"] == "credential.shared").count()
}

#[tokio::test]
async fn a_client_from_two_places_is_recorded() {
    let (world, one) = with_one(SeveralPlaces::Record).await;
    assert_eq!(ask(&world, &one, "192.0.2.1").await.status, StatusCode::OK);
    assert_eq!(ask(&world, &one, "192.0.2.1").await.status, StatusCode::OK);
    assert_eq!(events(&world).await, 0);
    assert_eq!(ask(&world, &one, "192.0.2.2").await.status, StatusCode::OK);
    assert_eq!(ask(&world, &one, "192.0.2.2").await.status, StatusCode::OK);
    // Once in the life of a token.
    assert_eq!(events(&world).await, 1);
    let event = world.newest("credential.shared").await;
    assert_eq!(event["reason"], "credential.shared");
    assert_eq!(event["client_id"], one.id.as_str());
    assert_eq!(
        (&event["detail"]["peer"], &event["detail"]["other_peer"]),
        (&"192.0.2.2".into(), &"192.0.2.1".into())
    );
    // One network of an IPv6 client is one place, and who moves is taken after a while.
    world.pass_s(120);
    for from in ["2001:db8:1:2::1", "2001:db8:1:2::2", "127.0.0.1"] {
        assert_eq!(ask(&world, &one, from).await.status, StatusCode::OK);
    }
    assert_eq!(events(&world).await, 1);
}

#[tokio::test]
async fn a_client_from_two_places_is_refused_where_that_is_configured() {
    let (world, one) = with_one(SeveralPlaces::Refuse).await;
    assert_eq!(ask(&world, &one, "192.0.2.1").await.status, StatusCode::OK);
    let refused = ask(&world, &one, "192.0.2.2").await;
    assert_eq!(refused.refusal(), (401, "invalid_client"));
    assert_eq!(world.newest("token.refused").await["reason"], "credential.shared");
    assert_eq!(events(&world).await, 1);
    assert_eq!(ask(&world, &one, "192.0.2.1").await.status, StatusCode::OK);
    // Once the first place is silent for the life of a token, it moved.
    world.pass_s(120);
    assert_eq!(ask(&world, &one, "192.0.2.2").await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_looks_where_that_is_configured() {
    let (world, one) = with_one(SeveralPlaces::Off).await;
    for from in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(ask(&world, &one, from).await.status, StatusCode::OK);
    }
    assert_eq!(events(&world).await, 0);
}
