//! What grants and clients say of arguments, and what becomes of it in a token.

use attorn_authority::Operation;
use serde_json::{Value, json};

use crate::world::{Answer, CRM, Client, World, form_request, token_form};

fn claims(answer: &Answer) -> Value {
    let payload = answer.text("access_token").split('.').nth(1).unwrap();
    serde_json::from_slice(&attorn_jose::from_base64url(payload).unwrap()).unwrap()
}

fn limit(maximum: u64, max_calls: u64) -> Value {
    json!({"type": "mcp_tool_call", "tool": "get", "max_calls": max_calls,
           "arguments": {"properties": {"n": {"maximum": maximum}}}})
}

async fn asked(world: &World, client: &Client, details: &Value) -> Answer {
    let nonce = world.nonce(client).await;
    let (assertion, proof) = (world.assertion(client), world.proof(client, Some(&nonce)));
    let details = details.to_string();
    let mut form = token_form(&assertion, Some(CRM), None);
    form.push(("authorization_details", &details));
    world.public(form_request("/token", &form, Some(&proof))).await
}

async fn granted(constraints: Value) -> (World, Client, Client) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.crm(&operator).await;
    let agent = world.agent(&operator, "billing", &[]).await;
    let grant = json!({"agent": "billing", "server": "crm", "patterns": ["read:*"],
                       "constraints": constraints});
    world.done(&operator, Operation::GrantCreate, &[], grant).await;
    (world, operator, agent)
}

#[tokio::test]
async fn a_token_carries_what_the_grant_says() {
    let (world, operator, agent) = granted(json!([limit(50, 3)])).await;
    let answer = world.ask_token(&agent, Some(CRM), None).await;
    assert_eq!(claims(&answer)["authorization_details"], json!([limit(50, 3)]), "{answer:?}");
    // RFC 9396 section 7: told in the answer.
    assert_eq!(answer.body["authorization_details"], json!([limit(50, 3)]));
    assert!(
        world.newest("token.issued").await["detail"]["authorization_details_digest"].is_string()
    );
    // Another grant that says nothing of arguments frees the tool.
    let free = json!({"agent": "billing", "server": "crm", "patterns": ["read:get"]});
    world.done(&operator, Operation::GrantCreate, &[], free).await;
    let answer = world.ask_token(&agent, Some(CRM), None).await;
    assert!(claims(&answer).get("authorization_details").is_none(), "{answer:?}");
}

#[tokio::test]
async fn what_is_asked_narrows_and_never_widens() {
    let (world, _, agent) = granted(json!([limit(50, 3)])).await;
    let answer = asked(&world, &agent, &json!([limit(99, 9)])).await;
    let details = &claims(&answer)["authorization_details"];
    assert_eq!(details[0]["max_calls"], 3, "{details}");
    let both = &details[0]["arguments"]["allOf"];
    assert_eq!(both[0]["properties"]["n"]["maximum"], 99);
    assert_eq!(both[1]["properties"]["n"]["maximum"], 50);
}

#[tokio::test]
async fn details_that_cannot_be_granted_are_refused() {
    let (world, _, agent) = granted(json!([limit(50, 3)])).await;
    let mut other = limit(1, 1);
    other["tool"] = json!("drop");
    let mut unknown = limit(1, 1);
    unknown["type"] = json!("payment_initiation");
    for details in [json!([other]), json!([unknown]), json!([]), json!({})] {
        let answer = asked(&world, &agent, &details).await;
        assert_eq!(answer.refusal(), (400, "invalid_authorization_details"), "{details}");
    }
    assert_eq!(asked(&world, &agent, &json!([limit(1, 1)])).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_grant_takes_no_constraint_that_would_not_hold() {
    let (world, operator, _) = granted(json!([limit(50, 3)])).await;
    let mut elsewhere = limit(1, 1);
    elsewhere["tool"] = json!("drop");
    for (constraints, patterns, code) in [
        (json!([{"type": "mcp_tool_call", "tool": "get"}]), "read:get", 400),
        (json!([{"type": "other", "tool": "get", "max_calls": 1}]), "read:get", 400),
        (json!([elsewhere]), "read:get", 409),
    ] {
        let grant = json!({"agent": "billing", "server": "crm", "patterns": [patterns],
                           "constraints": constraints});
        let answer = world.run(&operator, Operation::GrantCreate, &[], grant).await;
        assert_eq!(answer.status.as_u16(), code, "{constraints} {answer:?}");
    }
    let at_admin = json!({"agent": "billing", "server": "admin", "patterns": ["read:grant.list"],
                          "constraints": [limit(1, 1)]});
    let answer = world.run(&operator, Operation::GrantCreate, &[], at_admin).await;
    assert_eq!(answer.status.as_u16(), 409, "{answer:?}");
}
