//! Identity providers that speak for people.

use attorn_authority::TrustedIssuer;
use attorn_jose::{SigningKey, sha256};
use attorn_registry::{
    AgentId, Consent, ConsentId, ExternalSubject, GrantId, Name, PersonGrant, PersonId,
    PersonOrGroup, ScopePattern, ScopeSet, ServerId,
};
use attorn_store::{Act, NewPerson, PersonSettings};
use http::StatusCode;
use serde_json::{Value, json};

use super::{KeySet, PROVIDER, ask, claims, is, jwt, refusal, trusted};
use crate::sign_in::Town;
use crate::world::{CRM, Client, ISSUER, form_request, new_key};

/// An authority that trusts a provider, with a person who is known there and a client.
struct Office {
    town: Town,
    person: PersonId,
    server: ServerId,
    _keys: KeySet,
}

impl Office {
    async fn new() -> Self {
        let office = Self::configured(|_| ()).await;
        let client = AgentId::parse(&office.town.client_id).unwrap();
        office.consent(&client, "read:get irreversible:drop").await;
        office
    }

    /// Without a consent of anybody.
    async fn configured(change: impl FnOnce(&mut TrustedIssuer)) -> Self {
        let keys = KeySet::new(1, "a");
        let mut provider = trusted(PROVIDER, &keys, &json!({"kind": "id_jag"}));
        change(&mut provider);
        let town = Town::trusting(vec![provider]).await;
        let server = town.world.published.load().server_named("crm").unwrap().id.clone();
        let office = Self { person: person("U1"), server, town, _keys: keys };
        office.people("U1", "read:*").await;
        office
    }

    fn act(&self) -> Act<'static> {
        self.town.act()
    }

    /// A person who comes from the provider, with rights.
    async fn people(&self, subject: &str, pattern: &str) {
        let new = NewPerson {
            id: person(subject),
            name: Name::parse(&subject.to_lowercase()).unwrap(),
            settings: PersonSettings::default(),
            provided: attorn_registry::Provided::default(),
            external: Some(ExternalSubject { issuer: PROVIDER.into(), subject: subject.into() }),
        };
        let store = &self.town.world.store;
        store.create_person(&self.act(), &new).await.unwrap();
        let grant = PersonGrant {
            id: GrantId::from_random(&sha256(subject.as_bytes())[16..].try_into().unwrap()),
            to: PersonOrGroup::Person { person: new.id },
            server: self.server.clone(),
            scopes: vec![ScopePattern::parse(pattern).unwrap()],
            created_s: self.act().now_s,
            expires_s: None,
            revoked_s: None,
        };
        store.create_person_grant(&self.act(), &grant).await.unwrap();
        self.town.world.authority.publish().await.unwrap();
    }

    async fn consent(&self, agent: &AgentId, scopes: &str) -> ConsentId {
        let consent = Consent {
            id: ConsentId::from_random(
                &new_key().public().thumbprint().as_bytes()[..16].try_into().unwrap(),
            ),
            person: self.person.clone(),
            agent: agent.clone(),
            server: self.server.clone(),
            scopes: ScopeSet::parse(scopes).unwrap(),
            created_s: self.act().now_s,
            expires_s: self.act().now_s + 100_000,
            revoked_s: None,
        };
        self.town.world.store.put_consent(&self.act(), &consent).await.unwrap();
        self.town.world.authority.publish().await.unwrap();
        consent.id
    }

    fn right(&self) -> Value {
        let now_s = self.town.world.now_s();
        json!({
            "iss": PROVIDER, "sub": "U1", "aud": ISSUER, "client_id": self.town.client_id,
            "iat": now_s, "exp": now_s + 300, "resource": CRM,
            "jti": attorn_jose::base64url(&new_key().public().thumbprint().as_bytes()[..16])
        })
    }

    fn changed(&self, name: &str, value: Value) -> Value {
        let mut claims = self.right();
        claims[name] = value;
        claims
    }

    async fn asked(&self, claims: &Value, more: &[(&str, &str)]) -> crate::world::Answer {
        self.asked_by(&self.town.key, &jwt("oauth-id-jag+jwt", claims, 1), more).await
    }

    async fn asked_by(
        &self,
        key: &SigningKey,
        assertion: &str,
        more: &[(&str, &str)],
    ) -> crate::world::Answer {
        let named = [&[("client_id", self.town.client_id.as_str())], more].concat();
        ask(&self.town.world, key, assertion, &named).await
    }

    async fn refused(&self, claims: &Value, reason: &str) {
        let answer = self.asked(claims, &[]).await;
        let found = refusal(&self.town.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", reason), "{claims}");
    }
}

fn person(subject: &str) -> PersonId {
    PersonId::from_random(&sha256(subject.as_bytes())[..16].try_into().unwrap())
}

#[tokio::test]
async fn a_client_gets_a_bound_token_for_the_person() {
    let office = Office::new().await;
    let right = office.right();
    let answer = office.asked(&right, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!((answer.text("token_type"), answer.text("scope")), ("DPoP", "read:get"));
    // Asked again with each token: there is nothing to renew.
    assert!(answer.body.get("refresh_token").is_none());
    let claims = claims(&answer);
    assert_eq!(claims["sub"], json!(office.person));
    assert_eq!(claims["client_id"], office.town.client_id);
    assert_eq!(claims["act"]["sub"], office.town.client_id);
    assert_eq!(claims["aud"], CRM);
    assert_eq!(claims["cnf"]["jkt"], office.town.key.public().thumbprint().to_string());
    let entry = office.town.world.newest("token.issued").await;
    assert_eq!(
        (&entry["subject"], &entry["detail"]["assertion_issuer"]),
        (&claims["sub"], &json!(PROVIDER))
    );
    assert_eq!(entry["detail"]["assertion_jti"], right["jti"]);
    // Who the person is at the provider stays there.
    assert!(!format!("{entry}").contains("U1"));
}

#[tokio::test]
async fn an_agent_with_a_key_of_its_own_asks_for_people_too() {
    let office = Office::new().await;
    let (world, operator) = (&office.town.world, &office.town.operator);
    let agent = world.agent(operator, "billing", &["read:*"]).await;
    office.consent(&agent.id, "read:get").await;
    let claims = office.changed("client_id", json!(agent.id));
    let assertion = jwt("oauth-id-jag+jwt", &claims, 1);
    let authenticated = async |agent: &Client, assertion: &str| {
        let of_client = world.assertion(agent);
        let more = [
            ("client_assertion", of_client.as_str()),
            ("client_assertion_type", attorn_oauth::client_assertion::ASSERTION_TYPE),
        ];
        ask(world, &agent.key, assertion, &more).await
    };
    // Its name alone is not enough, and its key does not stand for another client.
    let named = ask(world, &agent.key, &assertion, &[("client_id", agent.id.as_str())]).await;
    assert_eq!(named.refusal(), (401, "invalid_client"));
    let other = jwt("oauth-id-jag+jwt", &office.right(), 1);
    let found = authenticated(&agent, &other).await;
    assert_eq!(refusal(world, &found).await, is(400, "invalid_grant", "assertion.client"));
    let answer = authenticated(&agent, &assertion).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(super::claims(&answer)["act"]["sub"], json!(agent.id));
    // An operator acts for nobody but themselves.
    let claims = office.changed("client_id", json!(operator.id));
    let found = authenticated(operator, &jwt("oauth-id-jag+jwt", &claims, 1)).await;
    assert_eq!(refusal(world, &found).await, is(400, "invalid_grant", "delegation.not_allowed"));
}

#[tokio::test]
async fn what_is_not_for_us_is_refused() {
    let office = Office::new().await;
    let now_s = office.town.world.now_s();
    for aud in [json!(format!("{ISSUER}/token")), json!(CRM), json!([ISSUER, CRM]), json!("x")] {
        office.refused(&office.changed("aud", aud), "assertion.audience").await;
    }
    let client = json!("agt_aaaaaaaaaaaaaaaaaaaaaaaaaa");
    office.refused(&office.changed("client_id", client), "assertion.client").await;
    office.refused(&office.changed("exp", json!(now_s + 301)), "assertion.expired").await;
    office.refused(&office.changed("iat", json!(now_s - 3600)), "assertion.expired").await;
    office.refused(&office.changed("jti", json!(null)), "assertion.malformed").await;
    office.refused(&office.changed("exp", json!(null)), "assertion.malformed").await;
    office.refused(&office.changed("act", json!({"sub": "x"})), "assertion.malformed").await;
    office.refused(&office.changed("tenant", json!("other")), "assertion.issuer").await;
    for typ in ["JWT", "at+jwt"] {
        let answer = office.asked_by(&office.town.key, &jwt(typ, &office.right(), 1), &[]).await;
        let found = refusal(&office.town.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", "assertion.issuer"), "{typ}");
    }
    let by_other = jwt("oauth-id-jag+jwt", &office.right(), 2);
    let answer = office.asked_by(&office.town.key, &by_other, &[]).await;
    let found = refusal(&office.town.world, &answer).await;
    assert_eq!(found, is(400, "invalid_grant", "assertion.signature"));
}

#[tokio::test]
async fn it_is_used_once() {
    let office = Office::new().await;
    let claims = office.right();
    assert_eq!(office.asked(&claims, &[]).await.status, StatusCode::OK);
    office.refused(&claims, "assertion.replayed").await;
    // The identifier is used up, whatever else is said under it.
    let mut other = office.right();
    other["jti"] = claims["jti"].clone();
    office.refused(&other, "assertion.replayed").await;
}

#[tokio::test]
async fn a_subject_is_a_person_of_its_own_provider() {
    let keys = KeySet::new(2, "a");
    let office = Office::new().await;
    office.refused(&office.changed("sub", json!("U2")), "person.unknown").await;
    office.refused(&office.changed("sub", json!("u1")), "person.unknown").await;
    // The same subject of another provider is another person, whom nobody knows here.
    let provider = trusted(PROVIDER, &office._keys, &json!({"kind": "id_jag"}));
    let other = trusted("https://idp2.example", &keys, &json!({"kind": "id_jag"}));
    let both = Office { town: Town::trusting(vec![provider, other]).await, ..office };
    let both = Office {
        server: both.town.world.published.load().server_named("crm").unwrap().id.clone(),
        ..both
    };
    both.people("U1", "read:*").await;
    both.consent(&AgentId::parse(&both.town.client_id).unwrap(), "read:get").await;
    assert_eq!(both.asked(&both.right(), &[]).await.status, StatusCode::OK);
    let claims = both.changed("iss", json!("https://idp2.example"));
    let assertion = jwt("oauth-id-jag+jwt", &claims, 2);
    let answer = both.asked_by(&both.town.key, &assertion, &[]).await;
    let found = refusal(&both.town.world, &answer).await;
    assert_eq!(found, is(400, "invalid_grant", "person.unknown"));
}

#[tokio::test]
async fn a_person_who_is_stopped_is_acted_for_by_nobody() {
    let office = Office::new().await;
    let reason = json!({ "reason": "a test" });
    let (world, operator) = (&office.town.world, &office.town.operator);
    world.done(operator, attorn_authority::Operation::PersonSuspend, &["u1"], reason).await;
    office.refused(&office.right(), "person.suspended").await;
}

#[tokio::test]
async fn what_was_not_given_is_not_taken() {
    let office = Office::configured(|_| ()).await;
    office.refused(&office.right(), "consent.missing").await;
    let client = AgentId::parse(&office.town.client_id).unwrap();
    let consent = office.consent(&client, "read:get").await;
    assert_eq!(office.asked(&office.right(), &[]).await.status, StatusCode::OK);
    let (world, operator) = (&office.town.world, &office.town.operator);
    let reason = json!({ "reason": "a test" });
    world
        .done(operator, attorn_authority::Operation::ConsentRevoke, &[consent.as_str()], reason)
        .await;
    office.refused(&office.right(), "consent.missing").await;
}

#[tokio::test]
async fn every_bound_narrows_and_none_widens() {
    let office = Office::new().await;
    let scope = async |claims: &Value, asked: &[(&str, &str)]| {
        let answer = office.asked(claims, asked).await;
        answer.body["scope"].as_str().map_or_else(|| answer.refusal().1.to_owned(), str::to_owned)
    };
    // The person may only read, whatever they gave and the provider says.
    let wide = office.changed("scope", json!("read:get irreversible:drop openid"));
    assert_eq!(scope(&wide, &[]).await, "read:get");
    let claims = office.changed("scope", json!("read:get"));
    assert_eq!(scope(&claims, &[("scope", "read:get irreversible:drop")]).await, "read:get");
    for of_provider in ["irreversible:drop", "openid", "read:*", ""] {
        let claims = office.changed("scope", json!(of_provider));
        assert_eq!(
            scope(&claims, &[("scope", "read:get")]).await,
            "invalid_scope",
            "{of_provider}"
        );
    }
    let answer = office.asked(&office.right(), &[("scope", "irreversible:drop")]).await;
    assert_eq!(answer.refusal(), (400, "invalid_scope"));
}

#[tokio::test]
async fn the_resource_is_kept() {
    let office = Office::new().await;
    let asked = async |claims: &Value, resource: &str| {
        office.asked(claims, &[("resource", resource)]).await
    };
    assert_eq!(asked(&office.right(), CRM).await.status, StatusCode::OK);
    let elsewhere = "https://gw.example/other/mcp";
    assert_eq!(asked(&office.right(), elsewhere).await.refusal(), (400, "invalid_target"));
    let claims = office.changed("resource", json!(elsewhere));
    assert_eq!(asked(&claims, CRM).await.refusal(), (400, "invalid_target"));
    assert_eq!(asked(&claims, elsewhere).await.refusal(), (400, "invalid_target"));
    let admin = office.changed("resource", json!("https://admin.example/admin"));
    assert_eq!(office.asked(&admin, &[]).await.refusal(), (400, "invalid_target"));
    let mut without = office.right();
    without.as_object_mut().unwrap().remove("resource");
    office.refused(&without, "assertion.malformed").await;
}

#[tokio::test]
async fn it_is_bound_to_the_key_of_the_client() {
    let office = Office::new().await;
    let own = office.town.key.public().thumbprint().to_string();
    let other = new_key().public().thumbprint().to_string();
    let bound = office.changed("cnf", json!({ "jkt": own }));
    assert_eq!(office.asked(&bound, &[]).await.status, StatusCode::OK);
    let bound = office.changed("cnf", json!({ "jkt": other }));
    office.refused(&bound, "possession.key_mismatch").await;
    let unknown = office.changed("cnf", json!({ "kid": "a" }));
    office.refused(&unknown, "assertion.malformed").await;
    // Without any proof there is nothing, bound or not.
    for claims in [office.changed("cnf", json!({ "jkt": own })), office.right()] {
        let assertion = jwt("oauth-id-jag+jwt", &claims, 1);
        let form = [
            ("grant_type", super::JWT_BEARER),
            ("assertion", assertion.as_str()),
            ("client_id", office.town.client_id.as_str()),
        ];
        let answer = office.town.world.public(form_request("/token", &form, None)).await;
        let found = refusal(&office.town.world, &answer).await;
        assert_eq!(found, is(400, "invalid_grant", "possession.key_mismatch"));
    }
}

#[tokio::test]
async fn nobody_in_particular_asks_for_nothing() {
    let office = Office::new().await;
    let assertion = jwt("oauth-id-jag+jwt", &office.right(), 1);
    let answer = ask(&office.town.world, &office.town.key, &assertion, &[]).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"));
    let unknown = [("client_id", "https://client.example/nobody")];
    let answer = ask(&office.town.world, &office.town.key, &assertion, &unknown).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"));
    let told = office.town.world.get("/.well-known/oauth-authorization-server").await;
    let profile = "urn:ietf:params:oauth:grant-profile:id-jag";
    assert_eq!(told.body["authorization_grant_profiles_supported"], json!([profile]));
}

#[tokio::test]
async fn where_the_provider_gives_consents_they_are_on_record() {
    let office = Office::configured(|it| it.consent = attorn_authority::ConsentBy::Issuer).await;
    let answer = office.asked(&office.right(), &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let all = "read:@prompts read:@resources read:get";
    assert_eq!(answer.text("scope"), all);
    let given = office.town.world.newest("consent.given").await;
    assert_eq!((&given["by"], &given["scope"]), (&json!(PROVIDER), &json!(all)));
    assert_eq!(given["subject"], json!(office.person));
    // What covers it is not recorded again.
    let before = office.town.world.entries().await.len();
    assert_eq!(office.asked(&office.right(), &[]).await.status, StatusCode::OK);
    let after = office.town.world.entries().await;
    let given = after[before..].iter().filter(|entry| entry["kind"] == "consent.given");
    assert_eq!(given.count(), 0);
    // Once it was taken back, no assertion brings it again.
    let consents = office.town.world.store.consents(Some(&office.person)).await.unwrap();
    let (world, operator) = (&office.town.world, &office.town.operator);
    let reason = json!({ "reason": "a test" });
    let id = consents[0].id.as_str();
    world.done(operator, attorn_authority::Operation::ConsentRevoke, &[id], reason).await;
    office.refused(&office.right(), "consent.missing").await;
    // The person gives it anew.
    office.consent(&AgentId::parse(&office.town.client_id).unwrap(), "read:get").await;
    assert_eq!(office.asked(&office.right(), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_providers_consent_is_within_what_the_person_may() {
    let office = Office::configured(|it| it.consent = attorn_authority::ConsentBy::Issuer).await;
    let claims = office.changed("scope", json!("irreversible:drop"));
    assert_eq!(office.asked(&claims, &[]).await.refusal(), (400, "invalid_scope"));
    assert!(office.town.world.store.consents(None).await.unwrap().is_empty());
    // What cannot be undone is given where it is named, and in no general word.
    office.people("U3", "irreversible:*").await;
    let of_other = |scope: Option<&str>| {
        let mut claims = office.changed("sub", json!("U3"));
        if let Some(scope) = scope {
            claims["scope"] = json!(scope);
        }
        claims
    };
    assert_eq!(office.asked(&of_other(None), &[]).await.refusal(), (400, "invalid_scope"));
    let named = office.asked(&of_other(Some("irreversible:drop")), &[]).await;
    assert_eq!(named.text("scope"), "irreversible:drop");
}
