use super::*;

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const ISSUER: &str = "https://id.example";

/// A query that is right, with some parameters replaced; an empty value takes one away.
fn query(changes: &[(&str, &str)]) -> String {
    let good = [
        ("response_type", "code"),
        ("client_id", "agt_a"),
        ("redirect_uri", "https://client.example/cb"),
        ("state", "x y&z"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", "https://gw.example/crm/mcp"),
        ("scope", "read:a write:b"),
    ];
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in good {
        let changed = changes.iter().find(|(other, _)| *other == name);
        text.append_pair(name, changed.map_or(value, |(_, value)| value));
    }
    let new = changes.iter().filter(|(name, _)| !good.iter().any(|(other, _)| other == name));
    text.extend_pairs(new);
    text.finish()
}

fn addressed(query: &str) -> Result<Addressed, ShownError> {
    let registered = ["https://client.example/cb", "http://127.0.0.1/cb"];
    let registered = registered.map(|text| RedirectUri::parse(text).unwrap());
    Unaddressed::parse(query.as_bytes())?.addressed(&registered)
}

fn request(changes: &[(&str, &str)]) -> Result<AuthorizationRequest, AuthorizationError> {
    match addressed(&query(changes)) {
        Ok(addressed) => addressed.request(),
        Err(shown) => panic!("{changes:?}: {shown}"),
    }
}

#[test]
fn what_is_parsed_is_what_was_sent() {
    let request = request(&[("dpop_jkt", THUMBPRINT), ("unknown", "is ignored")]).unwrap();
    assert_eq!(request.client_id, "agt_a");
    assert_eq!(request.state.as_deref(), Some("x y&z"));
    assert_eq!(request.scope.as_ref().unwrap().to_string(), "read:a write:b");
    assert_eq!(request.resource.as_str(), "https://gw.example/crm/mcp");
    assert_eq!(request.dpop_jkt.unwrap().to_string(), THUMBPRINT);
    assert_eq!(request.prompt, Prompt::Usual);
}

#[test]
fn before_the_address_is_known_nobody_is_sent_anywhere() {
    let check = |changes: &[(&str, &str)], expected| {
        assert_eq!(addressed(&query(changes)).map(drop), Err(expected), "{changes:?}");
    };
    check(&[("client_id", "")], ShownError::ClientMissing);
    check(&[("redirect_uri", "")], ShownError::RedirectUriMissing);
    check(&[("redirect_uri", "https://evil.example/cb")], ShownError::RedirectUriMismatch);
    check(&[("redirect_uri", "http://127.0.0.1:5/other")], ShownError::RedirectUriMismatch);
    check(&[("request", "eyJhbGciOiJub25lIn0.e30.")], ShownError::RequestObject);
    check(&[("request_uri", "http://169.254.169.254/")], ShownError::RequestUriUnknown);
    check(&[("state", &"x".repeat(4097))], ShownError::Malformed);
    check(&[("state", "a\r\nSet-Cookie: b")], ShownError::Malformed);
    for name in ["client_id", "redirect_uri", "scope", "state", "code_challenge"] {
        let twice = format!("{}&{name}=x", query(&[]));
        assert_eq!(addressed(&twice).map(drop), Err(ShownError::ParameterRepeated), "{name}");
    }
    // The twins pass.
    assert!(addressed(&query(&[("state", &"x".repeat(4096))])).is_ok());
    assert!(addressed(&query(&[("redirect_uri", "http://127.0.0.1:5/cb")])).is_ok());
}

#[test]
fn after_it_every_error_has_its_code() {
    let check = |changes: &[(&str, &str)], expected: AuthorizationError, code: &str| {
        assert_eq!(request(changes), Err(expected), "{changes:?}");
        assert_eq!(expected.code().as_str(), code);
    };
    for other in ["token", "id_token", "code token", "none", "CODE", ""] {
        let changes = [("response_type", other)];
        check(&changes, AuthorizationError::ResponseType, "unsupported_response_type");
    }
    for other in ["fragment", "form_post", "web_message", "x"] {
        let changes = [("response_mode", other)];
        check(&changes, AuthorizationError::ResponseMode, "invalid_request");
    }
    let missing = AuthorizationError::Challenge(PkceRefusal::ChallengeMissing);
    check(&[("code_challenge", "")], missing, "invalid_request");
    let method = AuthorizationError::Challenge(PkceRefusal::Method);
    for other in ["plain", "s256", ""] {
        check(&[("code_challenge_method", other)], method, "invalid_request");
    }
    check(&[("dpop_jkt", "x")], AuthorizationError::DpopJkt, "invalid_request");
    check(&[("scope", "read:*")], AuthorizationError::ScopeMalformed, "invalid_scope");
    check(&[("prompt", "none login")], AuthorizationError::Prompt, "invalid_request");
    check(&[("prompt", "create")], AuthorizationError::Prompt, "invalid_request");
    check(&[("resource", "")], AuthorizationError::ResourceMissing, "invalid_target");
    check(&[("resource", "x")], AuthorizationError::ResourceMalformed, "invalid_target");
    let twice = format!("{}&resource=https%3A%2F%2Fgw.example%2Fb%2Fmcp", query(&[]));
    let refused = addressed(&twice).unwrap().request();
    assert_eq!(refused, Err(AuthorizationError::ResourceRepeated));
    assert!(request(&[("response_mode", "query")]).is_ok());
}

#[test]
fn prompts() {
    let check = |asked, expected| {
        assert_eq!(request(&[("prompt", asked)]).unwrap().prompt, expected, "{asked}");
    };
    check("none", Prompt::Never);
    check("login", Prompt::Login);
    check("consent", Prompt::Usual);
    check("select_account login", Prompt::Login);
}

#[test]
fn every_answer_names_the_issuer_and_keeps_the_state() {
    let destination = addressed(&query(&[])).unwrap().destination();
    assert_eq!(
        destination.with_code("c", ISSUER),
        "https://client.example/cb?code=c&state=x+y%26z&iss=https%3A%2F%2Fid.example"
    );
    let denied = destination.with_error(AuthorizationError::AccessDenied, ISSUER);
    assert!(denied.starts_with("https://client.example/cb?error=access_denied&"), "{denied}");
    assert!(denied.ends_with("&state=x+y%26z&iss=https%3A%2F%2Fid.example"), "{denied}");
    // RFC 6749 section 3.1.2: a query of the address is kept.
    let with_query = Destination { redirect_uri: "https://c.example/cb?a=b".into(), state: None };
    let location = with_query.with_code("c", ISSUER);
    assert_eq!(location, "https://c.example/cb?a=b&code=c&iss=https%3A%2F%2Fid.example");
}
