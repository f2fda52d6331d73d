use attorn_jose::PublicKey;
use attorn_oauth::client_assertion::{AssertionRefusal, Expected, authenticate};
use attorn_oauth::replay::{ReplayRefusal, ReplaySet};
use attorn_registry::AgentId;
use serde_json::json;

use crate::forge::{Changes, key};
use crate::{ISSUER, NOW_S, run};

const CLIENT: &str = "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER_CLIENT: &str = "agt_bbbbbbbbbbbbbbbbbbbbbbbbbb";

fn name_of(refusal: AssertionRefusal) -> &'static str {
    match refusal {
        AssertionRefusal::Audience => "Audience",
        AssertionRefusal::Claims => "Claims",
        AssertionRefusal::ClientMismatch => "ClientMismatch",
        AssertionRefusal::ClientUnknown => "ClientUnknown",
        AssertionRefusal::Clock => "Clock",
        AssertionRefusal::Jti => "Jti",
        AssertionRefusal::Malformed => "Malformed",
        AssertionRefusal::Replay(ReplayRefusal::Replayed) => "Replayed",
        AssertionRefusal::Replay(other) => panic!("{other}"),
        AssertionRefusal::Signature => "Signature",
        AssertionRefusal::Type => "Type",
    }
}

fn keys_of(client: &AgentId) -> Vec<PublicKey> {
    let names: &[&str] = match client.as_str() {
        CLIENT => &["agent", "agent-es256"],
        OTHER_CLIENT => &["other-agent"],
        _ => &[],
    };
    names.iter().map(|name| key(name).public().clone()).collect()
}

#[test]
fn client_assertions() {
    let names = [
        "Audience",
        "Claims",
        "ClientMismatch",
        "ClientUnknown",
        "Clock",
        "Jti",
        "Malformed",
        "Replayed",
        "Signature",
        "Type",
    ];
    let header = json!({"alg": "EdDSA", "kid": "@agent", "typ": "client-authentication+jwt"});
    let claims = json!({
        "aud": ISSUER,
        "exp": NOW_S + 60,
        "iat": NOW_S,
        "iss": CLIENT,
        "jti": "assertion-1",
        "sub": CLIENT,
    });
    let file = include_str!("../../../../vectors/oauth/client-assertion.json");
    run(file, &names, |changes: &Changes| {
        let assertion = changes.jwt(&header, &claims, "agent", |_| None);
        let expected = Expected { issuer: ISSUER, client_id: changes.client_id.as_deref() };
        let replays = ReplaySet::new(64, 0);
        let mut outcomes = (0..changes.times.unwrap_or(1)).map(|_| {
            match authenticate(&assertion, &expected, keys_of, &replays, NOW_S) {
                Ok(client) => {
                    assert_eq!(client.client_id().as_str(), CLIENT);
                    "authenticated"
                }
                Err(refusal) => {
                    assert!(
                        replays.is_empty() || matches!(refusal, AssertionRefusal::Replay(_)),
                        "a refused assertion burned its identifier"
                    );
                    name_of(refusal)
                }
            }
        });
        outcomes.by_ref().last().unwrap_or_default().to_owned()
    });
}
