use attorn_oauth::access_token::{Expected, IssuerKeys, TokenRefusal, verify};
use attorn_registry::{AgentId, ServerId};
use serde_json::json;

use crate::forge::{Changes, key};
use crate::{ISSUER, NOW_S, RESOURCE, run};

const REFUSALS: [TokenRefusal; 15] = [
    TokenRefusal::ActorChain,
    TokenRefusal::Audience,
    TokenRefusal::AuthorizationDetails,
    TokenRefusal::Claims,
    TokenRefusal::Expired,
    TokenRefusal::Future,
    TokenRefusal::Issuer,
    TokenRefusal::KeyInHeader,
    TokenRefusal::KeyUnknown,
    TokenRefusal::Lifetime,
    TokenRefusal::Malformed,
    TokenRefusal::MayAct,
    TokenRefusal::Signature,
    TokenRefusal::Type,
    TokenRefusal::Unbound,
];

#[test]
fn access_tokens() {
    let names = REFUSALS.map(|refusal| format!("{refusal:?}"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let keys = IssuerKeys::new(
        ["issuer", "issuer-2"].map(|name| (name.to_owned(), key(name).public().clone())),
    );
    let keys = keys.unwrap();
    let header = json!({"alg": "ES256", "kid": "issuer", "typ": "at+jwt"});
    let claims = json!({
        "aud": RESOURCE,
        "client_id": "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "cnf": {"jkt": key("agent").public().thumbprint().to_string()},
        "epoch": 0,
        "exp": NOW_S + 110,
        "iat": NOW_S - 10,
        "iss": ISSUER,
        "jti": "token-1",
        "nbf": NOW_S - 10,
        "scope": "read:get_invoice",
        "sub": "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    });
    let file = include_str!("../../../../vectors/oauth/access-token.json");
    run(file, &names, |changes: &Changes| {
        let token = changes.jwt(&header, &claims, "issuer", |_| None);
        let expected = Expected { issuer: ISSUER, audience: RESOURCE, keys: &keys };
        match verify::<AgentId>(&token, &expected, changes.now.unwrap_or(NOW_S)) {
            Ok(_verified) => "verified".to_owned(),
            Err(refusal) => format!("{refusal:?}"),
        }
    });
}

/// A server's token for an API is none of an agent's, and the reverse.
#[test]
fn tokens_of_one_kind_are_none_of_the_other() {
    let keys = IssuerKeys::new([("issuer".to_owned(), key("issuer").public().clone())]).unwrap();
    let expected = Expected { issuer: ISSUER, audience: RESOURCE, keys: &keys };
    let header = json!({"alg": "ES256", "kid": "issuer", "typ": "at+jwt"});
    let parent = json!({
        "client_id": "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "jti": "token-0",
        "key": key("agent").public().thumbprint().to_string(),
    });
    let check = |client_id: &str, parent: Option<&serde_json::Value>| {
        let mut claims = json!({
            "aud": RESOURCE,
            "client_id": client_id,
            "cnf": {"jkt": key("agent").public().thumbprint().to_string()},
            "epoch": 0,
            "exp": NOW_S + 110,
            "iat": NOW_S - 10,
            "iss": ISSUER,
            "jti": "token-1",
            "nbf": NOW_S - 10,
            "scope": "read:get_invoice",
            "sub": "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        });
        if let (Some(parent), Some(members)) = (parent, claims.as_object_mut()) {
            members.insert("parent".to_owned(), parent.clone());
        }
        let token = Changes::default().jwt(&header, &claims, "issuer", |_| None);
        let agent = verify::<AgentId>(&token, &expected, NOW_S).map(drop);
        let server = verify::<ServerId>(&token, &expected, NOW_S).map(drop);
        (agent, server)
    };
    let none = Err(TokenRefusal::Claims);
    let (agent, server) = ("agt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "srv_aaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(check(agent, None), (Ok(()), none));
    assert_eq!(check(server, Some(&parent)), (none, Ok(())));
    assert_eq!(check(agent, Some(&parent)), (none, none));
    assert_eq!(check(server, None), (none, none));
    for odd in [json!([]), json!("token-0"), json!({}), json!(null)] {
        assert_eq!(check(server, Some(&odd)), (none, none), "{odd}");
    }
}
