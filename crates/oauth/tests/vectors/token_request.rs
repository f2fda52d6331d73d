use attorn_oauth::error::TokenError;
use attorn_oauth::grant::GrantRefusal;
use attorn_oauth::token_request::{PresentedClient, Served, TokenRequest};
use serde::Deserialize;

use crate::run;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    form: String,
    #[serde(default)]
    authorization: Option<String>,
    /// Whether people log in here.
    #[serde(default)]
    people: bool,
    /// Whether assertions of other issuers are taken.
    #[serde(default)]
    assertions: bool,
}

const REFUSALS: [TokenError; 24] = [
    TokenError::ActorTokenPair,
    TokenError::ActorTokenRefused,
    TokenError::AssertionType,
    TokenError::AuthorizationDetails,
    TokenError::ClientAuthenticationMissing,
    TokenError::ClientAuthenticationRepeated,
    TokenError::CodeMissing,
    TokenError::FormMalformed,
    TokenError::Grant(GrantRefusal::CodeVerifier),
    TokenError::Grant(GrantRefusal::RedirectUri),
    TokenError::GrantTypeMissing,
    TokenError::GrantTypeNotRegistered,
    TokenError::GrantTypeUnsupported,
    TokenError::JwtGrantMissing,
    TokenError::ParameterRepeated,
    TokenError::RefreshTokenMissing,
    TokenError::RequestedTokenType,
    TokenError::ResourceMalformed,
    TokenError::ResourceMissing,
    TokenError::ResourceRepeated,
    TokenError::ResourceUnknown,
    TokenError::ScopeMalformed,
    TokenError::SubjectTokenMissing,
    TokenError::SubjectTokenType,
];

#[test]
fn token_requests() {
    let names = REFUSALS.map(|refusal| format!("{refusal:?}"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let file = include_str!("../../../../vectors/oauth/token-request.json");
    run(file, &names, |input: &Input| {
        let served = Served { people: input.people, assertions: input.assertions };
        match TokenRequest::parse(input.form.as_bytes(), input.authorization.as_deref(), served) {
            Ok(_request) => "accepted".to_owned(),
            Err(refusal) => format!("{refusal:?}"),
        }
    });
}

#[test]
fn what_is_parsed_is_what_was_sent() {
    let form = "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                client-assertion-type%3Ajwt-bearer&client_assertion=a.b.c&scope=read%3Aa&\
                resource=https%3A%2F%2Fgateway.example%2Fbilling%2Fmcp&client_id=x%2By+z";
    let TokenRequest::ClientCredentials(request) =
        TokenRequest::parse(form.as_bytes(), None, Served::default()).unwrap()
    else {
        panic!("another grant")
    };
    let PresentedClient::Assertion { assertion, client_id } = &request.client else {
        panic!("{:?}", request.client)
    };
    assert_eq!((assertion.as_str(), client_id.as_deref()), ("a.b.c", Some("x+y z")));
    assert_eq!(request.scope.unwrap().to_string(), "read:a");
    assert_eq!(request.resource.unwrap().as_str(), "https://gateway.example/billing/mcp");
    assert_eq!(format!("{:?}", request.client), "PresentedClient([redacted])");
}
