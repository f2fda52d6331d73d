use attorn_oauth::access_token::{Expected, IssuerKeys, TokenRefusal, verify};
use serde_json::json;

use crate::forge::{Changes, key};
use crate::{ISSUER, NOW_S, RESOURCE, run};

const REFUSALS: [TokenRefusal; 14] = [
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
        match verify(&token, &expected, changes.now.unwrap_or(NOW_S)) {
            Ok(_verified) => "verified".to_owned(),
            Err(refusal) => format!("{refusal:?}"),
        }
    });
}
