//! Calls that an agent makes for a person, and tokens without a proof.

use std::collections::BTreeSet;

use attorn_audit::{Entry, Kind};
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_oauth::actor::Actor;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::subject::Subject;
use attorn_registry::{
    Agent, AgentId, AgentKind, Authentication, Class, ClientSource, Consent, ConsentId, GrantId,
    LifeCycle, LockTarget, Name, Person, PersonGrant, PersonId, PersonOrGroup, PublicClient,
    ScopePattern, ScopeSet, SnapshotParts,
};
use attorn_testkit::canary::Script;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;

use crate::world::{Answer, Ask, NOW_S, World, agent_id, call, modern, server_id};

fn person_id() -> PersonId {
    PersonId::from_random(&[7; 16])
}

fn client_id() -> AgentId {
    AgentId::from_random(&[9; 16])
}

fn consent(seed: u8, agent: AgentId, scopes: &str) -> Consent {
    Consent {
        id: ConsentId::from_random(&[seed; 16]),
        person: person_id(),
        agent,
        server: server_id(),
        scopes: ScopeSet::parse(scopes).unwrap(),
        created_s: NOW_S,
        expires_s: NOW_S + 100_000,
        revoked_s: None,
    }
}

/// A person with a right to read, who gave it to an agent and to a client.
fn people(parts: &mut SnapshotParts) {
    parts.persons = vec![Person {
        id: person_id(),
        name: Name::parse("paula").unwrap(),
        display_name: None,
        state: LifeCycle::Active,
        roles: BTreeSet::new(),
        groups: BTreeSet::new(),
        external: None,
        provided: attorn_registry::Provided::default(),
        created_s: 0,
        stop_ended_s: None,
    }];
    parts.person_grants = vec![PersonGrant {
        id: GrantId::from_random(&[50; 16]),
        to: PersonOrGroup::Person { person: person_id() },
        server: server_id(),
        scopes: vec![ScopePattern::parse("read:*").unwrap()],
        created_s: 0,
        expires_s: None,
        revoked_s: None,
    }];
    let scopes = "read:get write:set";
    parts.consents = vec![consent(1, agent_id(), scopes), consent(2, client_id(), scopes)];
    let client = Agent {
        id: client_id(),
        name: Name::parse("editor").unwrap(),
        kind: AgentKind::Client,
        owner: None,
        keys: Vec::new(),
        authentication: Authentication::None,
        client: Some(PublicClient {
            redirect_uris: vec!["http://127.0.0.1/callback".into()],
            source: ClientSource::Registered,
            display_name: "Editor".into(),
        }),
        ..parts.agents[0].clone()
    };
    parts.agents.push(client);
}

fn world(name: &str) -> World {
    let world = World::new(name);
    world.change(people);
    world
}

fn claims(world: &World, agent: &AgentId, scope: &str) -> AccessTokenClaims {
    AccessTokenClaims {
        act: Some(Actor { act: None, sub: agent.to_string() }),
        client_id: agent.clone(),
        sub: Subject::Person(person_id()),
        ..world.claims(scope)
    }
}

async fn get(world: &World, agent: &AgentId) -> Answer {
    let token = world.issue(&claims(world, agent, "read:get"));
    world.ask_with(&token, call("get", &json!({}))).await
}

fn reason(answer: &Answer) -> String {
    let json = answer.json();
    let told = [&json["result"]["_meta"]["dev.attorn/reason"], &json["error"]["data"]["reason"]];
    told.into_iter().filter_map(|text| text.as_str()).next().unwrap_or("none").to_owned()
}

/// The newest entry of a kind. What the gateway lists by itself, for no agent, is recorded too.
async fn newest(world: &World, kind: Kind) -> Entry {
    let of_caller =
        |one: &Entry| one.kind == kind && (one.agent.is_some() || one.kind != Kind::CallDecided);
    let entries = world.entries(|all| all.iter().any(of_caller)).await;
    entries.into_iter().rfind(of_caller).unwrap()
}

#[tokio::test]
async fn who_acts_for_a_person_does_what_they_gave_and_the_entry_says_so() {
    let world = world("for-person");
    for agent in [agent_id(), client_id()] {
        let answer = get(&world, &agent).await;
        assert_eq!(answer.json()["result"]["isError"], false, "{}", answer.text);
        assert_eq!(world.calls().len(), 1);
        let of_agent = |one: &Entry| {
            one.kind == Kind::CallDecided && one.agent.as_deref() == Some(agent.as_str())
        };
        let entries = world.entries(|all| all.iter().any(of_agent)).await;
        let entry = entries.into_iter().rfind(of_agent).unwrap();
        assert_eq!(entry.subject.as_deref(), Some(person_id().as_str()));
        assert_eq!(entry.actor_chain.as_deref(), Some(agent.as_str()));
        assert!(entry.detail.get("consent").is_some_and(|id| id.starts_with("con_")));
        assert!(!entry.detail.contains_key("bearer"));
        // The person gave it, and may not do it themselves.
        let token = world.issue(&claims(&world, &agent, "write:set"));
        let answer = world.ask_with(&token, call("set", &json!({}))).await;
        assert_eq!(answer.json()["error"]["code"], -32602, "{}", answer.text);
        let token = world.issue(&claims(&world, &agent, "read:get"));
        let list = world.ask_with(&token, modern("tools/list", json!({}), None)).await;
        let tools = list.json()["result"]["tools"].clone();
        let names: Vec<_> = tools.as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
        assert!(names.contains(&json!("get")), "{}", list.text);
        assert!(!names.contains(&json!("set")) && !names.contains(&json!("drop")));
    }
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_client_is_nobody_without_a_person_and_nobody_acts_for_strangers() {
    let world = world("strangers");
    // Each is signed by the issuer, and differs in one thing from one that passes.
    let own = |agent: &AgentId| AccessTokenClaims {
        client_id: agent.clone(),
        sub: Subject::Agent(agent.clone()),
        ..world.claims("read:get")
    };
    let client = world.ask_with(&world.issue(&own(&client_id())), call("get", &json!({}))).await;
    assert_eq!(reason(&client), "delegation.not_allowed", "{}", client.text);
    let agent = world.ask_with(&world.issue(&own(&agent_id())), call("get", &json!({}))).await;
    assert_eq!(reason(&agent), "none", "{}", agent.text);
    let right = claims(&world, &agent_id(), "read:get");
    let other = Actor { act: None, sub: client_id().to_string() };
    for wrong in [
        AccessTokenClaims { act: None, ..right.clone() },
        AccessTokenClaims { act: Some(other), ..right.clone() },
        AccessTokenClaims { sub: Subject::Agent(client_id()), act: None, ..right.clone() },
    ] {
        let token = world.issue(&wrong);
        let mut ask = call("get", &json!({}));
        ask.headers.extend(world.credentials("POST", &token, &world.agent_key, None));
        let answer = world.send(ask).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
        let entry = newest(&world, Kind::TokenRefused).await;
        assert_eq!(entry.reason.as_deref(), Some("delegation.not_allowed"));
    }
    assert_eq!(reason(&get(&world, &agent_id()).await), "none");
    assert_eq!(world.calls().len(), 2);
}

/// What is done, how, and the reason after it.
type Case = (&'static str, fn(&mut SnapshotParts), &'static str);

#[tokio::test]
async fn whoever_takes_any_of_it_away_ends_it_at_once() {
    let cases: [Case; 7] = [
        ("consent", |parts| parts.consents.clear(), "consent.missing"),
        ("suspended", |parts| parts.persons[0].state = LifeCycle::Suspended, "person.suspended"),
        ("retired", |parts| parts.persons[0].state = LifeCycle::Retired, "person.retired"),
        ("gone", |parts| parts.persons.clear(), "person.unknown"),
        ("resumed", |parts| parts.persons[0].stop_ended_s = Some(NOW_S + 1), "token.stopped"),
        (
            "locked",
            |parts| {
                let lock = attorn_registry::Lock {
                    id: attorn_registry::LockId::from_random(&[6; 16]),
                    target: LockTarget::Person { person: person_id() },
                    reason: "stolen".into(),
                    by: "ann".into(),
                    created_s: NOW_S,
                    expires_s: NOW_S + 1000,
                    lifted_s: None,
                };
                parts.locks.push(lock);
            },
            "lock.active",
        ),
        ("agent", |parts| parts.agents[0].state = LifeCycle::Suspended, "agent.suspended"),
    ];
    for (name, take, expected) in cases {
        let world = world(&format!("taken-{name}"));
        assert_eq!(reason(&get(&world, &agent_id()).await), "none", "{name}");
        assert_eq!(world.calls().len(), 1);
        let token = world.issue(&claims(&world, &agent_id(), "read:get"));
        world.change(take);
        let asks = [call("get", &json!({})), modern("tools/list", json!({}), None)];
        for (number, ask) in asks.into_iter().enumerate() {
            let answer = world.ask_with(&token, ask).await;
            if answer.status != StatusCode::UNAUTHORIZED {
                assert_eq!(reason(&answer), expected, "{name}: {}", answer.text);
            }
            // Each of them is on record, some after their answer.
            let is_it = |one: &&Entry| one.reason.as_deref() == Some(expected);
            world.entries(|all| all.iter().filter(is_it).count() > number).await;
        }
        assert!(world.calls().is_empty(), "{name}");
    }
}

fn unbound(world: &World, agent: &AgentId, scope: &str) -> AccessTokenClaims {
    let now_s = world.now_s.load(std::sync::atomic::Ordering::SeqCst);
    AccessTokenClaims {
        cnf: Confirmation::bearer(&person_id(), agent),
        exp: now_s + 60,
        ..claims(world, agent, scope)
    }
}

async fn with_scheme(world: &World, scheme: &str, token: &str, mut ask: Ask) -> Answer {
    ask.headers.push(("authorization".into(), format!("{scheme} {token}")));
    world.send(ask).await
}

#[tokio::test]
async fn a_token_without_a_proof_is_taken_only_where_it_is_said() {
    let world = world("bearer");
    let reads = world.issue(&unbound(&world, &client_id(), "read:get"));
    let ask = || call("get", &json!({}));
    let refused = |answer: Answer| {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
    };
    refused(with_scheme(&world, "Bearer", &reads, ask()).await);
    let entry = newest(&world, Kind::TokenRefused).await;
    assert_eq!(entry.reason.as_deref(), Some("token.bearer_not_allowed"));
    assert!(world.calls().is_empty());
    let open = |classes: &'static [Class]| {
        world.change(move |parts| {
            parts.servers[0].accept_bearer = classes.iter().copied().collect();
        });
    };
    open(&[Class::Read]);
    let answer = with_scheme(&world, "Bearer", &reads, ask()).await;
    assert_eq!(answer.json()["result"]["isError"], false, "{}", answer.text);
    let entry = newest(&world, Kind::CallDecided).await;
    assert_eq!(entry.detail.get("bearer").map(String::as_str), Some("true"));
    assert_eq!((entry.proof_key, entry.agent_key), (None, None));
    assert_eq!(world.calls().len(), 1);
    // One class of its scope is not open; not a bearer's scheme; lives too long; a key of its own.
    let mixed = world.issue(&unbound(&world, &client_id(), "read:get write:set"));
    refused(with_scheme(&world, "Bearer", &mixed, ask()).await);
    refused(with_scheme(&world, "DPoP", &reads, ask()).await);
    let long = AccessTokenClaims { exp: NOW_S + 61, ..unbound(&world, &client_id(), "read:get") };
    refused(with_scheme(&world, "Bearer", &world.issue(&long), ask()).await);
    let bound = world.issue(&claims(&world, &client_id(), "read:get"));
    refused(with_scheme(&world, "Bearer", &bound, ask()).await);
    // Nor is an agent's own token ever without a key.
    let own = AccessTokenClaims {
        act: None,
        sub: Subject::Agent(agent_id()),
        ..unbound(&world, &agent_id(), "read:get")
    };
    refused(with_scheme(&world, "Bearer", &world.issue(&own), ask()).await);
    assert!(world.calls().is_empty());
    open(&[]);
    refused(with_scheme(&world, "Bearer", &reads, ask()).await);
    assert!(world.calls().is_empty());
}

#[tokio::test]
async fn a_server_that_takes_bearer_tokens_says_so() {
    let world = world("bearer-told");
    let ask = || modern("ping", json!({}), None);
    let schemes = |answer: &Answer| -> Vec<String> {
        let values = answer.headers.get_all("www-authenticate").iter();
        let text = values.map(|value| value.to_str().unwrap());
        text.map(|text| text.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(schemes(&world.send(ask()).await), ["DPoP"]);
    world.change(|parts| parts.servers[0].accept_bearer = BTreeSet::from([Class::Read]));
    assert_eq!(schemes(&world.send(ask()).await), ["DPoP", "Bearer"]);
}

/// The end of an answer that begins now and is cut after `change`.
async fn cut(world: &World, change: impl FnOnce(&World)) -> String {
    let bytes = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".into();
    let hold = std::time::Duration::from_secs(30);
    let rpc_method = "tools/call".into();
    world.canary.set_script(Some(Script { rpc_method, bytes, hold, ..Script::default() }));
    let token = world.issue(&unbound(world, &client_id(), "read:get"));
    let mut ask = call("get", &json!({}));
    ask.headers.push(("authorization".into(), format!("Bearer {token}")));
    let response = world.respond(ask).await;
    assert_eq!(response.status(), StatusCode::OK);
    change(world);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    let ended = |one: &Entry| one.outcome.is_some() && one.agent.is_some();
    let entries = world.entries(|all| all.iter().any(ended)).await;
    entries.into_iter().rfind(ended).and_then(|one| one.reason).unwrap()
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_nobody_had_to_prove() {
    let open = |parts: &mut SnapshotParts| {
        parts.servers[0].accept_bearer = BTreeSet::from([Class::Read]);
    };
    let first = world("bearer-ends");
    first.change(open);
    let later = |world: &World| {
        world.now_s.fetch_add(60, std::sync::atomic::Ordering::SeqCst);
    };
    assert_eq!(cut(&first, later).await, "token.expired");
    let second = world("bearer-closed");
    second.change(open);
    let close = |world: &World| world.change(|parts| parts.servers[0].accept_bearer.clear());
    assert_eq!(cut(&second, close).await, "token.bearer_not_allowed");
}

#[tokio::test]
async fn who_has_nothing_left_is_not_here_either() {
    let world = world("nothing-left");
    let token = world.issue(&claims(&world, &agent_id(), "read:get"));
    let list = || modern("tools/list", json!({}), None);
    assert_eq!(reason(&world.ask_with(&token, list()).await), "none");
    // The person keeps their grant and the consent; they have nothing in common any more.
    let other = |parts: &mut SnapshotParts| {
        parts.person_grants[0].scopes = vec![ScopePattern::parse("read:region").unwrap()];
    };
    world.change(other);
    let answer = world.ask_with(&token, list()).await;
    assert_ne!(reason(&answer), "none", "{}", answer.text);
    let refused = |one: &Entry| one.reason.as_deref() == Some("scope.missing");
    world.entries(|all| all.iter().any(refused)).await;
    world.change(|parts| {
        parts.person_grants[0].scopes = vec![ScopePattern::parse("read:*").unwrap()];
    });
    assert_eq!(reason(&world.ask_with(&token, list()).await), "none");
}
