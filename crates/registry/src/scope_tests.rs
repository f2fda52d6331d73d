use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: &Result<Scope, ScopeError>) {
    assert_eq!(&Scope::parse(text), expected, "{text:?}");
}

#[test]
fn scopes_read_back() {
    check("read:get_invoice", &Ok(Scope::of_tool(Class::Read, "get_invoice")));
    check("write:a%2Fb%20c", &Ok(Scope::of_tool(Class::Write, "a/b c")));
    check("irreversible:%40resources", &Ok(Scope::of_tool(Class::Irreversible, "@resources")));
    check("read:@resources", &Ok(Scope::RESOURCES));
    check("read:@prompts", &Ok(Scope::PROMPTS));
}

#[test]
fn what_is_no_scope() {
    for text in ["", "read", "Read:x", "delete:x", " read:x", "*:x", "*"] {
        check(text, &Err(ScopeError::Class));
    }
    for text in ["read:a b", "read:%2f", "read:%61", "read:%", "read:%2", "read:é", "read:a*"] {
        check(text, &Err(ScopeError::Encoding));
    }
    for text in ["read:", "read:@admin", "write:@resources", "irreversible:@prompts"] {
        check(text, &Err(ScopeError::Target));
    }
    check("read:%FF", &Err(ScopeError::Encoding));
    check("read:*", &Err(ScopeError::Wildcard));
}

#[test]
fn a_tool_cannot_pass_for_the_resources() {
    let tool = Scope::of_tool(Class::Read, "@resources");
    assert_ne!(tool, Scope::RESOURCES);
    assert_ne!(tool.to_string(), Scope::RESOURCES.to_string());
}

#[test]
fn a_pattern_names_its_class() {
    let all = ScopePattern::parse("read:*").unwrap();
    assert!(all.matches(&Scope::of_tool(Class::Read, "x")));
    assert!(all.matches(&Scope::RESOURCES));
    assert!(!all.matches(&Scope::of_tool(Class::Write, "x")));
    for text in ["*", ":*", "*:*", "", "all"] {
        assert!(ScopePattern::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn an_exact_pattern_covers_one_class_only() {
    let exact = ScopePattern::parse("read:x").unwrap();
    assert!(exact.matches(&Scope::of_tool(Class::Read, "x")));
    assert!(!exact.matches(&Scope::of_tool(Class::Write, "x")));
    assert!(!exact.matches(&Scope::of_tool(Class::Read, "X")));
}

#[test]
fn classes_are_ordered() {
    assert!(Class::Read < Class::Write && Class::Write < Class::Irreversible);
}

proptest! {
    #[test]
    fn any_tool_name_has_exactly_one_scope(name in ".{1,40}") {
        let scope = Scope::of_tool(Class::Write, &name);
        let text = scope.to_string();
        // RFC 6749 section 3.3: %x21 / %x23-5B / %x5D-7E.
        let alphabet = |b: u8| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'\\';
        prop_assert!(text.bytes().all(alphabet));
        prop_assert_eq!(Scope::parse(&text), Ok(scope));
    }

    #[test]
    fn what_parses_is_spelled_the_same(text in "(read|write):[a-zA-Z0-9%@*._ -]{0,12}") {
        if let Ok(pattern) = ScopePattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }
}

#[test]
fn a_pattern_includes_what_it_covers_for_ever() {
    let check = |held: &str, wanted: &str, expected| {
        let [held, wanted] = [held, wanted].map(|text| ScopePattern::parse(text).unwrap());
        assert_eq!(held.includes(&wanted), expected, "{held} {wanted}");
    };
    check("read:*", "read:*", true);
    check("read:*", "read:get", true);
    check("read:get", "read:get", true);
    check("read:get", "read:*", false);
    check("read:get", "read:put", false);
    check("write:*", "read:*", false);
    check("write:*", "read:get", false);
}
