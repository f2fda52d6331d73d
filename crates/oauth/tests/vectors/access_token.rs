use attorn_oauth::access_token::{Expected, IssuerKeys, TokenRefusal, verify};
use attorn_registry::{AgentId, ServerId};
use serde_json::json;

use crate::forge::{Changes, key};
use crate::{ISSUER, NOW_S, RESOURCE, run};

const REFUSALS: [TokenRefusal; 16] = [
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
    TokenRefusal::Subject,
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

/// Whom a token is about, and who acts: agents for themselves or for a person, servers for who called.
#[test]
fn a_token_is_about_somebody_for_whom_its_client_acts() {
    const AGENT: &str = "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    const OTHER: &str = "agt_bbbbbbbbbbbbbbbbbbbbbbbbbb";
    const PERSON: &str = "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    const SERVER: &str = "srv_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let keys = IssuerKeys::new([("issuer".to_owned(), key("issuer").public().clone())]).unwrap();
    let expected = Expected { issuer: ISSUER, audience: RESOURCE, keys: &keys };
    let header = json!({"alg": "ES256", "kid": "issuer", "typ": "at+jwt"});
    let token = |client: &str, sub: &str, act: serde_json::Value| {
        let mut claims = json!({
            "aud": RESOURCE,
            "client_id": client,
            "cnf": {"jkt": key("agent").public().thumbprint().to_string()},
            "epoch": 0, "exp": NOW_S + 110, "iat": NOW_S - 10, "iss": ISSUER, "jti": "token-1",
            "nbf": NOW_S - 10, "scope": "read:get_invoice", "sub": sub,
        });
        let members = claims.as_object_mut().unwrap();
        if !act.is_null() {
            members.insert("act".to_owned(), act);
        }
        if client == SERVER {
            let jkt = key("agent").public().thumbprint().to_string();
            let parent = json!({"client_id": AGENT, "jti": "token-0", "key": jkt});
            members.insert("parent".to_owned(), parent);
        }
        Changes::default().jwt(&header, &claims, "issuer", |_| None)
    };
    let agent =
        |sub: &str, act| verify::<AgentId>(&token(AGENT, sub, act), &expected, NOW_S).map(drop);
    let server =
        |sub: &str, act| verify::<ServerId>(&token(SERVER, sub, act), &expected, NOW_S).map(drop);
    let (none, refused) = (|| json!(null), Err(TokenRefusal::Subject));
    assert_eq!(agent(AGENT, none()), Ok(()));
    assert_eq!(agent(OTHER, none()), refused);
    assert_eq!(agent(PERSON, none()), refused);
    assert_eq!(agent(PERSON, json!({"sub": AGENT})), Ok(()));
    assert_eq!(agent(PERSON, json!({"sub": AGENT, "act": {"sub": OTHER}})), Ok(()));
    assert_eq!(agent(PERSON, json!({"sub": OTHER})), refused);
    assert_eq!(agent(PERSON, json!({"sub": OTHER, "act": {"sub": AGENT}})), refused);
    assert_eq!(agent(PERSON, json!({"sub": PERSON})), refused);
    for nobody in ["ann", "usr_", "root", SERVER] {
        assert_eq!(agent(nobody, json!({"sub": AGENT})), refused, "{nobody}");
    }
    assert_eq!(server(AGENT, json!({"sub": SERVER})), Ok(()));
    assert_eq!(server(AGENT, none()), refused);
    assert_eq!(server(OTHER, json!({"sub": SERVER})), refused);
    assert_eq!(server(PERSON, json!({"sub": SERVER, "act": {"sub": AGENT}})), Ok(()));
    assert_eq!(server(PERSON, json!({"sub": SERVER})), refused);
    assert_eq!(server(PERSON, json!({"sub": AGENT, "act": {"sub": SERVER}})), refused);
    assert_eq!(server(PERSON, json!({"sub": SERVER, "act": {"sub": OTHER}})), refused);
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
            members.insert("act".to_owned(), json!({ "sub": client_id }));
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

/// What comes of an approved call names the approval, by its own form of name.
#[test]
fn a_token_that_was_exchanged_may_name_an_approval() {
    const AGENT: &str = "agt_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    const SERVER: &str = "srv_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let keys = IssuerKeys::new([("issuer".to_owned(), key("issuer").public().clone())]).unwrap();
    let expected = Expected { issuer: ISSUER, audience: RESOURCE, keys: &keys };
    let header = json!({"alg": "ES256", "kid": "issuer", "typ": "at+jwt"});
    let jkt = key("agent").public().thumbprint().to_string();
    let check = |approval: serde_json::Value| {
        let claims = json!({
            "act": {"sub": SERVER}, "attorn_approval": approval, "aud": RESOURCE,
            "client_id": SERVER, "cnf": {"jkt": jkt}, "epoch": 0, "exp": NOW_S + 110,
            "iat": NOW_S - 10, "iss": ISSUER, "jti": "token-1", "nbf": NOW_S - 10,
            "parent": {"client_id": AGENT, "jti": "token-0", "key": jkt},
            "scope": "read:get_invoice", "sub": AGENT,
        });
        let token = Changes::default().jwt(&header, &claims, "issuer", |_| None);
        let token = verify::<ServerId>(&token, &expected, NOW_S);
        token.map(|token| token.claims().attorn_approval.as_ref().map(ToString::to_string))
    };
    let named = "apr_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(check(json!(named)), Ok(Some(named.to_owned())));
    for odd in [json!(null), json!(""), json!("apr_1"), json!([named]), json!(AGENT)] {
        assert_eq!(check(odd.clone()), Err(TokenRefusal::Claims), "{odd}");
    }
}
