use attorn_registry::Scope;
use proptest::prelude::*;

use super::*;
use crate::cedar::{Question, Verdict};
use crate::decide::Operation;
use crate::fixtures::compiled;

fn errors(text: &str) -> String {
    PolicySet::compile(&PolicySource { version: 1, text: text.to_owned() })
        .err()
        .map(|errors| errors.to_string())
        .unwrap_or_default()
}

fn answer(policies: &PolicySet, server: &str, arguments: Option<&str>) -> Verdict {
    let scope = Scope::of_tool(Class::Write, "pay");
    policies.evaluate(&question(server, &scope, arguments))
}

fn question<'a>(server: &'a str, scope: &'a Scope, arguments: Option<&'a str>) -> Question<'a> {
    Question {
        kind: AgentKind::Agent,
        agent: "billing",
        agent_owner: "ann",
        server,
        person: None,
        server_owner: "ann",
        is_builtin: false,
        operation: Operation::Tool("pay"),
        class: Class::Write,
        scope,
        arguments,
        now_s: 5,
    }
}

#[test]
fn good_policies_compile() {
    assert_eq!(errors(""), "");
    assert_eq!(errors(PolicySet::starter_text()), "");
    assert_eq!(compiled(PolicySet::starter_text()).rules(), ["granted-calls"]);
}

#[test]
fn bad_policies_do_not() {
    let rule = "permit (principal, action, resource);";
    assert!(!errors("permit (principal, action);").is_empty());
    assert!(errors(&format!("@id(\"a\") {rule} @id(\"a\") {rule}")).contains("stands twice"));
    assert!(errors(&format!("@id(\"attorn-x\") {rule}")).contains("`attorn-x`"));
    assert!(errors(&format!("@id(\"\") {rule}")).contains("empty"));
    assert!(errors("permit (principal == ?principal, action, resource);").contains("templates"));
    assert!(errors(&" ".repeat((1 << 20) + 1)).contains("1 MiB"));
    let two = "@id(\"b\") forbid (principal, action, resource) when { action.y && principal.x };";
    assert_eq!(errors(two).matches("rule `b`").count(), 2);
}

#[test]
fn every_kind_of_caller_can_be_named() {
    let scope = Scope::of_tool(Class::Write, "pay");
    let kinds = [AgentKind::Agent, AgentKind::Client, AgentKind::Gateway, AgentKind::Operator];
    for named in kinds {
        let entity_type = principal_type(named);
        for principal in [
            format!("principal is {entity_type}"),
            format!("principal == {entity_type}::\"billing\""),
        ] {
            let policies = compiled(&format!(
                "permit (principal, action, resource);
                 @id(\"no\") forbid ({principal}, action, resource);"
            ));
            for kind in kinds {
                let asked = Question { kind, ..question("crm", &scope, None) };
                let is_hit = policies.evaluate(&asked) == Verdict::Forbid { rule: "no".into() };
                assert_eq!(is_hit, kind == named, "{principal}: {kind:?}");
            }
        }
    }
}

#[test]
fn policies_reach_their_server_only() {
    let policies = compiled(
        "permit (principal, action, resource);
         @id(\"a\") forbid (principal, action, resource in Server::\"crm\");
         @id(\"b\") forbid (principal, action, resource == Tool::\"erp/pay\");",
    );
    assert_eq!(answer(&policies, "crm", None), Verdict::Forbid { rule: "a".into() });
    assert_eq!(answer(&policies, "erp", None), Verdict::Forbid { rule: "b".into() });
    assert_eq!(
        answer(&policies, "hr", None),
        Verdict::Permit { rule: "policy0".into(), terms: None }
    );
}

#[test]
fn an_error_denies_whatever_else_matches() {
    let policies = compiled(
        "permit (principal, action, resource);
         @id(\"e\") forbid (principal, action, resource) when { context.arguments.n > 1 };",
    );
    let error = Verdict::Error { rule: Some("e".into()) };
    assert_eq!(answer(&policies, "crm", Some("{}")), error);
    assert_eq!(answer(&policies, "crm", Some("[]")), Verdict::Error { rule: None });
    assert!(matches!(answer(&policies, "crm", Some("{\"n\":1}")), Verdict::Permit { .. }));
    let overflow = "@id(\"e\") permit (principal, action, resource)
        when { 9223372036854775807 + context.arguments.n > 0 };";
    assert_eq!(answer(&compiled(overflow), "crm", Some("{\"n\":1}")), error);
}

#[test]
fn a_rule_that_cannot_see_its_input_denies() {
    let policies = compiled(
        "permit (principal, action, resource);
         @id(\"cap\") forbid (principal, action, resource)
         when { context.arguments has amount && context.arguments.amount > 100 };",
    );
    // Cedar alone would find no `amount` here and let the call pass.
    for blind in ["{\"amount\":1000.5}", "{\"amount\":null}", "{\"amount\":1e300}"] {
        let error = Verdict::Error { rule: Some("cap".into()) };
        assert_eq!(answer(&policies, "crm", Some(blind)), error, "{blind}");
    }
    for seen in ["{\"amount\":5,\"weight\":0.5}", "{\"note\":null}", "{}"] {
        assert!(matches!(answer(&policies, "crm", Some(seen)), Verdict::Permit { .. }), "{seen}");
    }
    assert!(matches!(answer(&policies, "crm", Some("{\"amount\":1e3}")), Verdict::Forbid { .. }));
}

#[test]
fn a_rule_for_another_tool_is_not_blind_here() {
    let policies = compiled(
        "permit (principal, action, resource);
         forbid (principal, action, resource == Tool::\"crm/other\")
         when { context.arguments.amount > 100 };",
    );
    let blind = Some("{\"amount\":0.5}");
    assert!(matches!(answer(&policies, "crm", blind), Verdict::Permit { .. }));
}

#[test]
fn the_flag_is_visible() {
    let policies =
        compiled("permit (principal, action, resource) unless { context.arguments_incomplete };");
    assert_eq!(answer(&policies, "crm", Some("{\"a\":null}")), Verdict::NoPermit);
    assert!(matches!(answer(&policies, "crm", Some("{\"a\":1}")), Verdict::Permit { .. }));
}

#[test]
fn arguments_cannot_pose_as_entities() {
    let policies = compiled(
        "permit (principal, action, resource)
         when { context.arguments.who == Agent::\"root\" };",
    );
    let forged = "{\"who\":{\"__entity\":{\"type\":\"Agent\",\"id\":\"root\"}}}";
    assert_eq!(answer(&policies, "crm", Some(forged)), Verdict::NoPermit);
    assert_eq!(
        answer(&policies, "crm", Some("{\"who\":\"Agent::\\\"root\\\"\"}")),
        Verdict::NoPermit
    );
}

#[test]
fn oversize_arguments_are_an_error_only_where_a_rule_reads_them() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
    let plain = compiled("permit (principal, action, resource);");
    assert!(matches!(answer(&plain, "crm", Some(&long)), Verdict::Permit { .. }));
    let reading = compiled("permit (principal, action, resource) when { context has arguments };");
    assert_eq!(answer(&reading, "crm", Some(&long)), Verdict::Error { rule: None });
    assert!(matches!(answer(&reading, "crm", Some("{}")), Verdict::Permit { .. }));
}

#[test]
fn every_attribute_has_its_value() {
    let policies = compiled(
        "permit (principal, action, resource) when {
            principal.name == \"billing\" && principal.owner == \"ann\" &&
            resource.name == \"pay\" && resource.owner == \"ann\" && resource.server == \"crm\" &&
            context.now_s == 5 && context.scope == \"write:pay\" &&
            context.arguments == {} && context.arguments_incomplete == false };",
    );
    assert!(matches!(answer(&policies, "crm", None), Verdict::Permit { .. }));
}

/// A policy of a random effect, scope and condition.
fn policy() -> impl Strategy<Value = String> {
    let effect = prop_oneof![Just("permit"), Just("forbid")];
    let resource = prop_oneof![
        Just("resource"),
        Just("resource in Server::\"crm\""),
        Just("resource in Server::\"erp\""),
        Just("resource == Tool::\"crm/pay\""),
        Just("resource == Tool::\"crm/get\""),
        Just("resource == Tool::\"erp/pay\""),
        Just("resource is Tool"),
    ];
    let condition = prop_oneof![
        Just("true"),
        Just("false"),
        Just("context.arguments.n > 1"),
        Just("context.arguments has n && context.arguments.n > 1"),
        Just("principal.name like \"bill*\""),
        Just("resource.server == \"crm\""),
    ];
    (effect, resource, condition).prop_map(|(effect, resource, condition)| {
        format!("{effect} (principal, action, {resource}) when {{ {condition} }};")
    })
}

fn named(policies: &[(usize, String)]) -> String {
    policies.iter().map(|(place, text)| format!("@id(\"r{place}\") {text}\n")).collect()
}

fn arguments() -> impl Strategy<Value = Option<&'static str>> {
    const SOME: &[&str] = &["{}", "{\"n\":1}", "{\"n\":2}", "{\"n\":null}", "{\"n\":\"2\"}"];
    prop_oneof![Just(None), proptest::sample::select(SOME).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_policies_does_not_matter(
        shuffled in proptest::collection::vec(policy(), 0..7)
            .prop_map(|texts| texts.into_iter().enumerate().collect::<Vec<_>>())
            .prop_shuffle(),
        arguments in arguments(),
    ) {
        let mut sorted = shuffled.clone();
        sorted.sort();
        let (one, other) = (compiled(&named(&sorted)), compiled(&named(&shuffled)));
        for server in ["crm", "erp", "hr"] {
            prop_assert_eq!(answer(&one, server, arguments), answer(&other, server, arguments));
        }
    }

    #[test]
    fn a_forbid_always_wins(
        policies in proptest::collection::vec(policy(), 0..6),
        arguments in arguments(),
    ) {
        let text = policies.concat() + "forbid (principal, action, resource);";
        let verdict = answer(&compiled(&text), "crm", arguments);
        let denies = matches!(verdict, Verdict::Forbid { .. } | Verdict::Error { .. });
        prop_assert!(denies, "{:?}", verdict);
    }

    #[test]
    fn nothing_is_permitted_without_a_permit(
        policies in proptest::collection::vec(policy(), 0..6),
        arguments in arguments(),
    ) {
        let forbids = policies.into_iter().filter(|text| text.starts_with("forbid"));
        let verdict = answer(&compiled(&forbids.collect::<String>()), "crm", arguments);
        let permits = matches!(verdict, Verdict::Permit { .. });
        prop_assert!(!permits);
    }

    #[test]
    fn a_slice_answers_like_the_whole(
        policies in proptest::collection::vec(policy(), 0..7),
        arguments in arguments(),
    ) {
        let text = named(&policies.into_iter().enumerate().collect::<Vec<_>>());
        let mut policies = compiled(&text);
        let sliced = answer(&policies, "crm", arguments);
        let mut problems = Vec::new();
        let whole = Slice::of(&read_rules(&text, &mut problems).iter().collect::<Vec<_>>());
        policies.calls.by_name.clear();
        policies.calls.everywhere = whole;
        prop_assert_eq!(sliced, answer(&policies, "crm", arguments));
    }

    #[test]
    fn what_is_permitted_is_listed(
        policies in proptest::collection::vec(policy(), 0..7),
        arguments in arguments(),
    ) {
        let policies = compiled(&policies.concat());
        if let Verdict::Permit { .. } = answer(&policies, "crm", arguments) {
            let scope = Scope::of_tool(Class::Write, "pay");
            prop_assert!(policies.may_permit(&question("crm", &scope, None)));
        }
    }
}

#[test]
fn an_approval_is_asked_for_in_known_words_on_a_permit() {
    let compile = |text: &str| {
        PolicySet::compile(&PolicySource { version: 1, text: text.to_owned() }).is_ok()
    };
    for words in ["one", "two", "one not-owner", "two not-owner"] {
        assert!(compile(&format!("@approval(\"{words}\") permit (principal, action, resource);")));
    }
    for words in ["", "three", "not-owner", "one two", "two  not-owner"] {
        assert!(!compile(&format!("@approval(\"{words}\") permit (principal, action, resource);")));
    }
    assert!(!compile("@approval(\"one\") forbid (principal, action, resource);"));
    // Nobody is asked about a hop, so a rule about hops alone asks for nobody.
    assert!(!compile("@approval(\"one\") permit (principal, action, resource in Api::\"a\");"));
    assert!(compile("permit (principal, action, resource in Api::\"a\");"));
}
