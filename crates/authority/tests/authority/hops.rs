//! The policies at the exchange: each scope of the new token is asked about.

use attorn_authority::Operation;
use attorn_oauth::actor::Actor;
use attorn_oauth::client_assertion::ASSERTION_TYPE;
use attorn_oauth::evidence::APPROVAL_EVIDENCE;
use attorn_oauth::subject::Subject;
use attorn_registry::{Consent, ConsentId, PersonId, ScopeSet};
use attorn_store::Act;
use http::StatusCode;
use serde_json::{Value, json};

use crate::exchange::{Chain, claims, set, told};
use crate::people::person;

const GET: &str = "read:invoice.get";
const PAY: &str = "write:invoice.pay";
const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

impl Chain {
    /// Puts policies in force; gives their version.
    async fn apply(&self, text: &str) -> Value {
        let new = json!({ "text": text, "reason": "test" });
        let applied = self.world.done(&self.operator, Operation::PolicyApply, &[], new).await;
        json!(applied["version"].to_string())
    }

    /// A server that may read and pay for an agent that may drop.
    async fn paying() -> Self {
        let chain = Self::with(&["read:get", "irreversible:drop"]).await;
        let rule = json!({ "resource": "billing", "from": "irreversible:drop", "to": PAY });
        chain.world.done(&chain.operator, Operation::ServerDownstreamAllow, &["crm"], rule).await;
        chain
    }

    /// The scopes of a new token, asked for by name or not; or why there is none.
    async fn scopes(&self, token: &str, scope: Option<&str>) -> Result<String, String> {
        let mut form = self.form(token);
        if let Some(scope) = scope {
            set(&mut form, "scope", scope);
        }
        let answer = self.send(&form).await;
        if answer.status == StatusCode::OK {
            return Ok(answer.text("scope").to_owned());
        }
        assert_eq!(answer.refusal(), (400, "invalid_scope"));
        assert_eq!(answer.body["error_description"], "what was asked is not permitted");
        let entry = self.world.newest("token.refused").await;
        Err(entry["reason"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_new_token_names_the_rule_and_the_policies_that_permitted_it() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    assert_eq!(chain.scopes(&token, None).await, Ok(GET.to_owned()));
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!((&entry["rule"], &entry["policy_version"]), (&json!("granted-calls"), &json!("1")));
    let version = chain
        .apply(
            "@id(\"hops\") permit (principal is Server, action, resource);
        @id(\"calls\") permit (principal is Agent, action, resource);",
        )
        .await;
    assert_eq!(chain.scopes(&token, Some(GET)).await, Ok(GET.to_owned()));
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!((&entry["rule"], &entry["policy_version"]), (&json!("hops"), &version));
    assert!(entry["detail"].get("rules").is_none() && entry["detail"].get("withheld").is_none());
}

#[tokio::test]
async fn what_policies_do_not_permit_is_not_handed_on() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    let forbid = |rule: &str| format!("{ALL} @id(\"no\") forbid {rule};");
    for (text, reason, rule) in [
        (forbid("(principal, action, resource in Api::\"billing\")"), "policy.forbid", json!("no")),
        (forbid("(principal == Server::\"crm\", action, resource)"), "policy.forbid", json!("no")),
        (
            forbid("(principal, action, resource) when { context.agent == \"billing-agent\" }"),
            "policy.forbid",
            json!("no"),
        ),
        (String::new(), "policy.no_permit", Value::Null),
        (
            "permit (principal is Agent, action, resource);".to_owned(),
            "policy.no_permit",
            Value::Null,
        ),
        (
            forbid("(principal, action, resource) when { context.arguments has n }"),
            "policy.error",
            json!("no"),
        ),
    ] {
        let version = chain.apply(&text).await;
        for form in [chain.form(&token), {
            let mut named = chain.form(&token);
            set(&mut named, "scope", GET);
            named
        }] {
            let refused = chain.refused(&form).await;
            assert_eq!(told(&refused), (400, "invalid_scope", reason), "{text}");
            let entry = chain.world.newest("token.refused").await;
            assert_eq!((&entry["rule"], &entry["policy_version"]), (&rule, &version), "{text}");
            // Whose right it was, and where it was not to be used.
            assert_eq!(entry["agent"], chain.agent.id.as_str());
            assert_eq!(entry["server"], chain.server.as_str());
            assert_eq!(entry["client_id"], chain.server.as_str());
            assert_eq!(
                (&entry["scope"], &entry["token_jti"]),
                (&json!(GET), &claims(&token)["jti"])
            );
            assert!(entry["downstream_resource"].is_string() && entry["subject"].is_string());
        }
        // The twin: what permits hops at this API, and is about somebody or something else.
        chain.apply(&forbid("(principal == Server::\"erp\", action, resource)")).await;
        assert_eq!(chain.exchange(&token).await.status, StatusCode::OK, "{text}");
    }
}

#[tokio::test]
async fn what_was_not_asked_for_by_name_falls_away() {
    let chain = Chain::paying().await;
    let token = chain.agent_token().await;
    let (both, payment) = (format!("{GET} {PAY}"), Some(PAY));
    assert_eq!(chain.scopes(&token, None).await, Ok(both.clone()));
    chain
        .apply(&format!(
            "{ALL} @id(\"no-pay\") forbid (principal, action,
             resource == Operation::\"billing/invoice.pay\");"
        ))
        .await;
    assert_eq!(chain.scopes(&token, None).await, Ok(GET.to_owned()));
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!((&entry["scope"], &entry["rule"]), (&json!(GET), &json!("all")));
    assert_eq!(entry["detail"]["withheld"], format!("{PAY} policy.forbid no-pay"));
    let forbidden = Err("policy.forbid".to_owned());
    assert_eq!(chain.scopes(&token, payment).await, forbidden);
    assert_eq!(chain.scopes(&token, Some(&both)).await, forbidden);
    assert_eq!(chain.scopes(&token, Some(GET)).await, Ok(GET.to_owned()));
    // Rules of their own: both are on record, the first by name where there is room for one.
    chain.apply(
        "@id(\"b\") permit (principal, action == Action::\"read\", resource in Api::\"billing\");
         @id(\"a\") permit (principal, action == Action::\"write\", resource in Api::\"billing\");",
    ).await;
    assert_eq!(chain.scopes(&token, Some(&both)).await, Ok(both));
    let entry = chain.world.newest("token.exchanged").await;
    assert_eq!((&entry["rule"], &entry["detail"]["rules"]), (&json!("a"), &json!("a, b")));
}

/// An API without a guard hears of a new rule at once, where it asks.
#[tokio::test]
async fn introspection_names_what_policies_permit_now() {
    let chain = Chain::paying().await;
    let child = chain.exchange(&chain.agent_token().await).await.text("access_token").to_owned();
    let ask = async || {
        let assertion = chain.assertion(&chain.key);
        let form = [
            ("client_id", chain.server.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("token", child.as_str()),
        ];
        chain.world.post_form("/introspect", &form).await.body
    };
    let both = format!("{GET} {PAY}");
    assert_eq!(ask().await["scope"], both);
    chain.apply(&format!("{ALL} forbid (principal, action == Action::\"write\", resource);")).await;
    assert_eq!(ask().await["scope"], GET);
    chain.apply("permit (principal is Agent, action, resource);").await;
    assert_eq!(ask().await, json!({ "active": false }));
    chain.apply(ALL).await;
    assert_eq!(ask().await["scope"], both);
}

/// A rule about an API is not asked about calls at a server of the same name, and the other way round;
/// and an API is not Attorn's own administration, whatever its name.
#[tokio::test]
async fn rules_about_servers_do_not_reach_apis_nor_those_about_apis_servers() {
    let chain = Chain::new().await;
    let token = chain.agent_token().await;
    chain
        .apply(&format!(
            "{ALL} forbid (principal, action, resource in Server::\"crm\");
         forbid (principal, action, resource in Server::\"billing\");
         forbid (principal is Agent, action, resource);"
        ))
        .await;
    assert_eq!(chain.scopes(&token, None).await, Ok(GET.to_owned()));
    let ask = json!({ "agent": "billing-agent", "server": "crm", "tool": "get" });
    let can = async || {
        let answer =
            chain.world.done(&chain.operator, Operation::AccessCanI, &[], ask.clone()).await;
        answer["allowed"].clone()
    };
    assert_eq!(can().await, false);
    chain
        .apply(&format!(
            "{ALL} forbid (principal, action, resource in Api::\"crm\");
         forbid (principal, action, resource in Api::\"billing\");
         forbid (principal is Server, action, resource);"
        ))
        .await;
    assert_eq!(can().await, true);
    assert_eq!(chain.scopes(&token, None).await, Err("policy.forbid".to_owned()));
}

#[tokio::test]
async fn the_person_who_is_acted_for_is_asked_about() {
    let chain = Chain::new().await;
    let (world, operator) = (&chain.world, &chain.operator);
    person(world, operator, "ann").await;
    let grant = json!({ "person": "ann", "server": "crm", "scopes": ["read:get"] });
    world.done(operator, Operation::PersonGrantCreate, &[], grant).await;
    let (snapshot, now_s) = (world.published.load(), world.now_s());
    let ann: PersonId = snapshot.person_named("ann").unwrap().id.clone();
    let consent = Consent {
        id: ConsentId::from_random(&[3; 16]),
        person: ann.clone(),
        agent: chain.agent.id.clone(),
        server: chain.server.clone(),
        scopes: ScopeSet::parse("read:get").unwrap(),
        created_s: now_s,
        expires_s: now_s + 1000,
        revoked_s: None,
    };
    world.store.put_consent(&Act { by: "ann", now_s }, &consent).await.unwrap();
    world.authority.publish().await.unwrap();
    let alone = chain.agent_token().await;
    let for_ann = chain.forged(|claims| {
        claims.act = Some(Actor { act: None, sub: claims.client_id.to_string() });
        claims.sub = Subject::Person(ann);
    });
    assert_eq!(chain.scopes(&for_ann, None).await, Ok(GET.to_owned()));
    chain
        .apply(&format!(
            "{ALL} @id(\"sales\") forbid (principal, action, resource in Api::\"billing\")
         when {{ context has person && context.person.groups.contains(\"sales\") }};"
        ))
        .await;
    assert_eq!(chain.scopes(&for_ann, None).await, Err("policy.forbid".to_owned()));
    assert_eq!(world.newest("token.refused").await["rule"], "sales");
    assert_eq!(chain.scopes(&alone, None).await, Ok(GET.to_owned()));
}

#[tokio::test]
async fn a_rule_that_asks_for_a_person_is_about_the_call() {
    let chain = Chain::paying().await;
    let (id, token) = (chain.approved().await, chain.agent_token().await);
    let vouched = async |text: &str| {
        chain.apply(text).await;
        let mut form = chain.form(&token);
        set(&mut form, APPROVAL_EVIDENCE, &chain.vouched(&id, &token));
        chain.send(&form).await.status
    };
    let asks = |terms: &str| {
        format!("@id(\"asks\") @approval(\"{terms}\") permit (principal, action, resource);")
    };
    assert_eq!(vouched(&asks("one")).await, StatusCode::OK);
    assert_eq!(chain.world.newest("token.exchanged").await["rule"], "asks");
    // The call was approved by one person, and the gateway vouched for nothing more.
    assert_eq!(vouched(&asks("two")).await, StatusCode::BAD_REQUEST);
    let entry = chain.world.newest("token.refused").await;
    assert_eq!((&entry["reason"], &entry["rule"]), (&json!("approval.required"), &json!("asks")));
    chain.apply(&asks("one")).await;
    assert_eq!(chain.scopes(&token, None).await, Err("approval.required".to_owned()));
}
