use super::*;

fn scope(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

const METADATA: &str = "https://gateway.example/.well-known/oauth-protected-resource/billing/mcp";

fn challenge(error: Option<ErrorCode>, scope: Option<&ScopeSet>) -> String {
    let algorithms = &["EdDSA", "ES256"];
    NewChallenge { error, resource_metadata: Some(METADATA), scope, algorithms }.to_header()
}

#[test]
fn without_a_token_there_is_no_error_attribute() {
    // RFC 6750 section 3.1.
    let value = challenge(None, Some(&scope("read:a")));
    let expected =
        format!(r#"DPoP scope="read:a", algs="EdDSA ES256", resource_metadata="{METADATA}""#);
    assert_eq!(value, expected);
}

#[test]
fn what_is_written_is_read_back() {
    let value = challenge(Some(ErrorCode::InsufficientScope), Some(&scope("read:a write:b")));
    let challenge = Challenge::dpop_among([value]).unwrap();
    assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
    assert_eq!(challenge.parameter("scope"), Some("read:a write:b"));
    assert_eq!(challenge.parameter("resource_metadata"), Some(METADATA));
    assert_eq!(challenge.parameter("realm"), None);
}

#[test]
fn an_empty_scope_is_left_out() {
    assert!(!challenge(None, Some(&ScopeSet::default())).contains("scope"));
}

#[test]
fn no_value_ends_its_own_parameter() {
    let url = "https://x.example/\", error=\"none\r\nSet-Cookie: a";
    let value = NewChallenge {
        error: Some(ErrorCode::InvalidToken),
        resource_metadata: Some(url),
        scope: None,
        algorithms: &[],
    };
    let value = value.to_header();
    assert!(!value.contains(['\r', '\n']));
    let challenge = Challenge::dpop_among([value]).unwrap();
    assert_eq!(challenge.parameter("error"), Some("invalid_token"));
}

#[test]
fn several_challenges_in_one_value() {
    // RFC 9110 section 11.6.1, the example, and RFC 9449 section 7.1.
    let value = r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"", , DPoP algs="ES256""#;
    let challenges = Challenge::parse_all(value).unwrap();
    let schemes: Vec<_> = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect();
    assert_eq!(schemes, ["basic", "newauth", "dpop"]);
    assert_eq!(challenges[1].parameter("title"), Some("Login to \"apps\""));
    assert_eq!(challenges[1].parameter("type"), Some("1"));
    assert_eq!(Challenge::dpop_among([value]).unwrap().parameter("algs"), Some("ES256"));
}

#[test]
fn a_scheme_alone_is_a_challenge() {
    let challenges = Challenge::parse_all("Negotiate, dpop").unwrap();
    assert_eq!(challenges.len(), 2);
    assert!(Challenge::dpop_among(["Negotiate, DPOP"]).is_some());
    assert_eq!(Challenge::dpop_among(["Negotiate"]), None);
}

#[test]
fn malformed_values_are_not_acted_on() {
    for value in [
        "error=\"x\"",
        "DPoP error=\"x",
        "DPoP error=",
        "DPoP error=\"x\", error=\"y\"",
        "DPoP error=\"x\", ERROR=\"y\"",
        "DPoP \u{e9}=\"x\"",
        "\"",
        &format!("DPoP error=\"{}\"", "x".repeat(9000)),
    ] {
        assert_eq!(Challenge::parse_all(value), Err(ChallengeError), "{value}");
        assert_eq!(Challenge::dpop_among([value]), None, "{value}");
    }
    // One bad value does not hide a good one.
    assert!(Challenge::dpop_among(["\"", "DPoP algs=\"ES256\""]).is_some());
}

#[test]
fn an_authorization_header_is_scheme_space_token() {
    assert_eq!(authorization("a.b-c_~+/="), "DPoP a.b-c_~+/=");
    assert_eq!(presented("DPoP a.b.c"), Some(Presented::Dpop("a.b.c")));
    assert_eq!(presented("dpop a.b.c"), Some(Presented::Dpop("a.b.c")));
    assert_eq!(presented("Bearer a.b.c"), Some(Presented::Bearer("a.b.c")));
    for value in [
        "",
        "DPoP",
        "DPoP ",
        "DPoP  a",
        "DPoP\ta",
        "DPoP a b",
        "DPoP a, DPoP b",
        "DPoP \"a\"",
        " DPoP a",
        "Basic YTpz",
        "Negotiate YTpz",
        "a.b.c",
    ] {
        assert_eq!(presented(value), None, "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn no_value_makes_the_parser_panic(value in "\\PC{0,80}") {
        let _outcome = Challenge::parse_all(&value);
        let _outcome = presented(&value);
    }
}
