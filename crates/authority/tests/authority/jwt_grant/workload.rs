//! Workloads that their platform vouches for.

use attorn_authority::{Operation, TrustedIssuer};
use http::StatusCode;
use serde_json::{Value, json};

use super::{KeySet, PLATFORM, ask, claims, is, jwt, key, refusal, trusted};
use crate::world::{CRM, Client, ISSUER, World, form_request, new_key, token_form};

/// An authority that trusts a platform, with an agent `deployer` for its job 1.
struct Plant {
    world: World,
    operator: Client,
    _keys: Vec<KeySet>,
}

impl Plant {
    async fn new() -> Self {
        Self::configured(|_| ()).await
    }

    async fn configured(change: impl FnOnce(&mut TrustedIssuer)) -> Self {
        let keys = KeySet::new(1, "a");
        let mut platform = trusted(
            PLATFORM,
            &keys,
            &json!({"kind": "workload", "agents": [
                {"agent": "deployer", "claims": {"sub": "job:1"}},
                {"agent": "tester", "claims": {"env": "test"}},
            ]}),
        );
        change(&mut platform);
        // Another one, whose keys have the same names.
        let others = KeySet::new(2, "a");
        let more = json!({"kind": "workload", "agents": [
            {"agent": "deployer", "claims": {"sub": "other"}}
        ]});
        let other = trusted("https://other.example", &others, &more);
        let world =
            World::configured(|config| config.trusted_issuers = vec![platform, other]).await;
        let operator = world.operator().await;
        world.crm(&operator).await;
        let plant = Self { world, operator, _keys: vec![keys, others] };
        plant.agent("deployer", PLATFORM).await;
        plant.agent("tester", PLATFORM).await;
        plant
    }

    async fn agent(&self, name: &str, issuer: &str) -> Value {
        let way = json!({ "method": "workload", "issuer": issuer });
        let new = json!({ "name": name, "owner": "sales", "authentication": way });
        let made = self.world.done(&self.operator, Operation::AgentRegister, &[], new).await;
        let grant = json!({ "agent": name, "server": "crm", "patterns": ["read:get"] });
        self.world.done(&self.operator, Operation::GrantCreate, &[], grant).await;
        made
    }

    fn right(&self) -> Value {
        let now_s = self.world.now_s();
        json!({
            "iss": PLATFORM, "sub": "job:1", "aud": ISSUER, "iat": now_s, "exp": now_s + 600,
            "jti": attorn_jose::base64url(&new_key().public().thumbprint().as_bytes()[..16])
        })
    }

    fn changed(&self, name: &str, value: Value) -> Value {
        let mut claims = self.right();
        claims[name] = value;
        claims
    }

    async fn refused(&self, claims: &Value, number: u8, reason: &str) {
        let answer = ask(&self.world, &new_key(), &jwt("JWT", claims, number), &[]).await;
        let found = refusal(&self.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", reason), "{claims}");
    }
}

#[tokio::test]
async fn a_workload_gets_a_bound_token_of_its_agent() {
    let plant = Plant::new().await;
    let (holder, assertion) = (new_key(), jwt("JWT", &plant.right(), 1));
    let answer = ask(&plant.world, &holder, &assertion, &[("resource", CRM)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!((answer.text("token_type"), answer.text("scope")), ("DPoP", "read:get"));
    let (claims, snapshot) = (claims(&answer), plant.world.published.load());
    let agent = snapshot.agent_named("deployer").unwrap();
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(agent.id), &json!(agent.id)));
    assert_eq!((&claims["aud"], claims.get("act")), (&json!(CRM), None));
    assert_eq!(claims["cnf"]["jkt"], holder.public().thumbprint().to_string());
    assert_eq!(answer.headers["cache-control"], "no-store");
    let entry = plant.world.newest("token.issued").await;
    assert_eq!(entry["detail"]["assertion_issuer"], PLATFORM);
    assert_eq!(entry["detail"]["assertion_subject"], "job:1");
    assert_eq!(entry["agent"], claims["sub"]);
    assert_eq!(entry["agent_key"], key(1).public().thumbprint().to_string());
    // The assertion is a credential, and on no record.
    let told = format!("{:?}", plant.world.entries().await);
    assert!(!told.contains(assertion.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn what_it_gets_is_what_the_agent_holds() {
    let plant = Plant::new().await;
    let asked = async |more: &[(&str, &str)]| {
        ask(&plant.world, &new_key(), &jwt("JWT", &plant.right(), 1), more).await
    };
    let more = [("scope", "read:get irreversible:drop"), ("resource", CRM)];
    assert_eq!(asked(&more).await.text("scope"), "read:get");
    let nothing = asked(&[("scope", "irreversible:drop")]).await;
    assert_eq!(nothing.refusal(), (400, "invalid_scope"));
    let elsewhere = asked(&[("resource", "https://gw.example/other/mcp")]).await;
    assert_eq!(elsewhere.refusal(), (400, "invalid_target"));
}

#[tokio::test]
async fn without_a_proof_there_is_nothing() {
    let plant = Plant::new().await;
    let assertion = jwt("JWT", &plant.right(), 1);
    let form = [("grant_type", super::JWT_BEARER), ("assertion", assertion.as_str())];
    let answer = plant.world.public(form_request("/token", &form, None)).await;
    let found = refusal(&plant.world, &answer).await;
    assert_eq!(found, is(400, "invalid_dpop_proof", "possession.missing"));
    // It was not used up by that.
    let answer = ask(&plant.world, &new_key(), &assertion, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn an_assertion_is_used_once() {
    let plant = Plant::new().await;
    let (holder, assertion) = (new_key(), jwt("JWT", &plant.right(), 1));
    assert_eq!(ask(&plant.world, &holder, &assertion, &[]).await.status, StatusCode::OK);
    for key in [&holder, &new_key()] {
        let answer = ask(&plant.world, key, &assertion, &[]).await;
        let found = refusal(&plant.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", "assertion.replayed"));
    }
    // Nor by another signature of the same claims, with or without an identifier.
    let mut nameless = plant.right();
    nameless.as_object_mut().unwrap().remove("jti");
    let first = ask(&plant.world, &holder, &jwt("JWT", &nameless, 1), &[]).await;
    assert_eq!(first.status, StatusCode::OK);
    plant.refused(&nameless, 1, "assertion.replayed").await;
}

#[tokio::test]
async fn what_was_used_is_known_after_a_restart() {
    let plant = Plant::new().await;
    let assertion = jwt("JWT", &plant.right(), 1);
    assert_eq!(ask(&plant.world, &new_key(), &assertion, &[]).await.status, StatusCode::OK);
    let Plant { world, _keys, .. } = plant;
    let world = world.reopened(|_| ()).await;
    let answer = ask(&world, &new_key(), &assertion, &[]).await;
    let found = refusal(&world, &answer).await;
    assert_eq!(found, is(400, "invalid_grant", "assertion.replayed"));
}

#[tokio::test]
async fn where_a_platform_repeats_itself_the_first_key_stays() {
    let plant = Plant::configured(|platform| platform.single_use = false).await;
    let (holder, assertion) = (new_key(), jwt("JWT", &plant.right(), 1));
    for _ in 0..3 {
        let answer = ask(&plant.world, &holder, &assertion, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let answer = ask(&plant.world, &new_key(), &assertion, &[]).await;
    let found = refusal(&plant.world, &answer).await;
    assert_eq!(found, is(400, "invalid_grant", "assertion.replayed"));
    assert_eq!(ask(&plant.world, &holder, &assertion, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_issuer_speaks_for_itself_alone() {
    let plant = Plant::new().await;
    // Signed by the other trusted issuer, whose key has the same name.
    plant.refused(&plant.right(), 2, "assertion.signature").await;
    plant
        .refused(&plant.changed("iss", json!("https://other.example")), 1, "assertion.signature")
        .await;
    let other = json!({"iss": "https://other.example", "sub": "job:1"});
    let mut claims = plant.right();
    claims["iss"] = other["iss"].clone();
    // The rules are those of its own issuer.
    plant.refused(&claims, 2, "assertion.unmapped").await;
    claims["sub"] = json!("other");
    // And the agent is registered for another platform.
    plant.refused(&claims, 2, "client.authentication").await;
    plant
        .refused(&plant.changed("iss", json!("https://nobody.example")), 1, "assertion.issuer")
        .await;
    plant
        .refused(&plant.changed("iss", json!(format!("{PLATFORM}/"))), 1, "assertion.issuer")
        .await;
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let plant = Plant::new().await;
    let now_s = plant.world.now_s();
    plant.refused(&plant.changed("aud", json!("https://b.example")), 1, "assertion.audience").await;
    plant.refused(&plant.changed("aud", json!([ISSUER, "x"])), 1, "assertion.audience").await;
    plant.refused(&plant.changed("exp", json!(now_s)), 1, "assertion.expired").await;
    plant.refused(&plant.changed("exp", json!(now_s + 3601)), 1, "assertion.expired").await;
    plant.refused(&plant.changed("iat", json!(now_s + 60)), 1, "assertion.expired").await;
    plant.refused(&plant.changed("sub", json!("job:2")), 1, "assertion.unmapped").await;
    plant.refused(&plant.changed("env", json!("test")), 1, "assertion.unmapped").await;
    plant.refused(&plant.changed("jti", json!(7)), 1, "assertion.malformed").await;
    for aud in [json!([ISSUER]), json!(format!("{ISSUER}/token"))] {
        let assertion = jwt("JWT", &plant.changed("aud", aud), 1);
        let answer = ask(&plant.world, &new_key(), &assertion, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

#[tokio::test]
async fn other_kinds_of_jwt_are_no_assertions() {
    let plant = Plant::new().await;
    for typ in ["oauth-id-jag+jwt", "at+jwt", "dpop+jwt", "client-authentication+jwt"] {
        let answer = ask(&plant.world, &new_key(), &jwt(typ, &plant.right(), 1), &[]).await;
        let found = refusal(&plant.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", "assertion.issuer"), "{typ}");
    }
    let answer = ask(&plant.world, &new_key(), "a.b.c", &[]).await;
    let found = refusal(&plant.world, &answer).await;
    assert_eq!(found, is(400, "invalid_grant", "assertion.malformed"));
}

#[tokio::test]
async fn a_client_that_names_itself_is_held_to_it() {
    let plant = Plant::new().await;
    let id = plant.world.published.load().agent_named("deployer").unwrap().id.to_string();
    let asked = async |more: &[(&str, &str)]| {
        ask(&plant.world, &new_key(), &jwt("JWT", &plant.right(), 1), more).await
    };
    assert_eq!(asked(&[("client_id", &id)]).await.status, StatusCode::OK);
    for other in ["deployer", "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let answer = asked(&[("client_id", other)]).await;
        let found = refusal(&plant.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", "assertion.client"), "{other}");
    }
    let twice = [
        ("client_assertion", "a.b.c"),
        ("client_assertion_type", attorn_oauth::client_assertion::ASSERTION_TYPE),
    ];
    assert_eq!(asked(&twice).await.refusal(), (400, "invalid_request"));
    assert_eq!(
        asked(&[("client_id", &id), ("client_secret", "x")]).await.refusal(),
        (401, "invalid_client")
    );
}

#[tokio::test]
async fn an_agent_has_one_way_in() {
    let plant = Plant::new().await;
    // It is active without a code, and a key of anybody is none of its own.
    let snapshot = plant.world.published.load();
    let id = snapshot.agent_named("deployer").unwrap().id.clone();
    let keyed = Client { id, key: new_key() };
    let assertion = plant.world.assertion(&keyed);
    let nonce = super::nonce(&plant.world, &keyed).await;
    let proof = plant.world.proof(&keyed, Some(&nonce));
    let form = token_form(&assertion, Some(CRM), None);
    let answer = plant.world.public(form_request("/token", &form, Some(&proof))).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"));
    // An agent with a key of its own is nobody's workload.
    let way = json!({ "authentication": { "method": "private_key_jwt" } });
    plant.world.done(&plant.operator, Operation::AgentAuthentication, &["deployer"], way).await;
    plant.refused(&plant.right(), 1, "client.authentication").await;
}

#[tokio::test]
async fn what_is_stopped_gets_nothing() {
    let plant = Plant::new().await;
    let (world, operator) = (&plant.world, &plant.operator);
    let reason = json!({ "reason": "a test" });
    world.done(operator, Operation::AgentSuspend, &["deployer"], reason.clone()).await;
    plant.refused(&plant.right(), 1, "agent.suspended").await;
    world.done(operator, Operation::AgentResume, &["deployer"], json!({})).await;
    let jkt = key(1).public().thumbprint().to_string();
    let lock = json!({ "target": { "kind": "key", "jkt": jkt }, "reason": "it leaked" });
    let made = world.run(operator, Operation::LockCreate, &[], lock).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    // A lock on the key of the platform stops all that it vouches for.
    plant.refused(&plant.right(), 1, "lock.active").await;
    let lock = made.text("id");
    world.done(operator, Operation::LockLift, &[lock], reason.clone()).await;
    let answer = ask(world, &new_key(), &jwt("JWT", &plant.right(), 1), &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    world.done(operator, Operation::AgentRetire, &["deployer"], reason).await;
    plant.refused(&plant.right(), 1, "agent.retired").await;
}

#[tokio::test]
async fn where_nobody_is_trusted_there_is_no_such_grant() {
    let world = World::new().await;
    let form = [("grant_type", super::JWT_BEARER), ("assertion", "a.b.c")];
    let answer = world.public(form_request("/token", &form, None)).await;
    assert_eq!(answer.refusal(), (400, "unsupported_grant_type"));
    let told = world.get("/.well-known/oauth-authorization-server").await.page;
    assert!(!told.contains("jwt-bearer") && !told.contains("authorization_grant_profiles"));
    let plant = Plant::new().await;
    let told = plant.world.get("/.well-known/oauth-authorization-server").await;
    let grants = told.body["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!(super::JWT_BEARER)));
    // No list of who is trusted, and no profile that is not served.
    assert!(!told.page.contains("platform.example") && !told.page.contains("id-jag"));
}
