use attorn_registry::PolicySource;

use super::*;
use crate::PolicySet;
use crate::analysis::analyse;

fn policy(text: &str) -> Policy {
    Policy::parse(None, text).unwrap()
}

fn reach(scope: &str) -> Result<(bool, bool, Option<String>), Problem> {
    reach_of(&policy(&format!("forbid ({scope});"))).map(|it| (it.calls, it.hops, it.place))
}

fn error(text: &str) -> String {
    PolicySet::compile(&PolicySource { version: 1, text: text.to_owned() })
        .err()
        .map(|errors| errors.to_string())
        .unwrap_or_default()
}

#[test]
fn a_scope_says_what_it_is_about() {
    let (both, calls, hops) = ((true, true), (true, false), (false, true));
    for (scope, (calls, hops), place) in [
        ("principal, action, resource", both, None),
        ("principal, action == Action::\"read\", resource", both, None),
        ("principal is Agent, action, resource", calls, None),
        ("principal == Client::\"editor\", action, resource", calls, None),
        ("principal, action, resource is Tool", calls, None),
        ("principal, action, resource in Server::\"crm\"", calls, Some("crm")),
        ("principal, action, resource is Tool in Server::\"crm\"", calls, Some("crm")),
        ("principal, action, resource == Tool::\"crm/a/b\"", calls, Some("crm")),
        ("principal, action, resource == Prompts::\"crm\"", calls, Some("crm")),
        ("principal is Server, action, resource", hops, None),
        ("principal == Server::\"crm\", action, resource", hops, None),
        ("principal, action, resource is Operation", hops, None),
        ("principal, action, resource in Api::\"billing\"", hops, Some("billing")),
        ("principal, action, resource is Operation in Api::\"billing\"", hops, Some("billing")),
        ("principal, action, resource == Operation::\"billing/a.b\"", hops, Some("billing")),
    ] {
        assert_eq!(reach(scope), Ok((calls, hops, place.map(str::to_owned))), "{scope}");
    }
}

#[test]
fn a_scope_that_matches_nothing_is_refused() {
    for scope in [
        "principal, action, resource == Server::\"crm\"",
        "principal, action, resource == Api::\"billing\"",
        "principal, action, resource == Agent::\"billing\"",
        "principal, action, resource in Tool::\"crm/pay\"",
        "principal, action, resource in Operation::\"billing/a\"",
        "principal, action, resource is Server",
        "principal, action, resource is Api",
        "principal is Tool, action, resource",
        "principal is Api, action, resource",
        "principal in Agent::\"billing\", action, resource",
        "principal in Server::\"crm\", action, resource",
    ] {
        assert!(error(&format!("forbid ({scope});")).contains("matches no request"), "{scope}");
    }
}

#[test]
fn words_of_calls_and_of_hops_are_not_mixed() {
    for scope in [
        "principal is Agent, action, resource in Api::\"billing\"",
        "principal == Server::\"crm\", action, resource is Tool",
        "principal == Server::\"crm\", action, resource in Server::\"crm\"",
        "principal, action, resource is Tool in Api::\"billing\"",
        "principal, action, resource is Operation in Server::\"crm\"",
    ] {
        let text = error(&format!("permit ({scope});"));
        assert!(text.contains("beside words of hops"), "{scope}: {text}");
    }
}

#[test]
fn what_a_rule_reads_is_there_for_what_it_can_match() {
    let elsewhere = |scope: &str, condition: &str| {
        error(&format!("forbid (principal, action, {scope}) when {{ {condition} }};"))
    };
    let (any, hops, calls) = ("resource", "resource in Api::\"a\"", "resource is Tool");
    for (scope, condition, expected) in [
        (any, "resource.api == \"a\"", "`resource.api` is there for hops"),
        (calls, "resource.api == \"a\"", "`resource.api` is there for hops"),
        (hops, "resource.api == \"a\"", ""),
        (hops, "context.arguments.n > 1", "`context.arguments` is there for calls"),
        (hops, "context.arguments_incomplete", "`context.arguments` is there for calls"),
        (hops, "resource.server == \"crm\"", "`resource.server` is there for calls"),
        (calls, "context.arguments.n > 1 && resource.server == \"crm\"", ""),
        // From before there were hops: compiles, and fails at each of them.
        (any, "context.arguments.n > 1 && resource.server == \"crm\"", ""),
        (any, "context.agent == \"a\" && context.scope == \"read:a\"", ""),
        (hops, "context.agent == \"a\" && context.now_s > 5 && context has person", ""),
        (hops, "context.agnet == \"a\"", "`context` has no attribute `agnet`"),
        (hops, "context.depth > 1", "`context` has no attribute `depth`"),
        (hops, "resource.apo == \"a\"", "`resource` has no attribute `apo`"),
        (any, "resource == Operation::\"a\"", "`Operation::\"a\"` cannot exist"),
        (any, "resource == Operation::\"a/b c\"", "`Operation::\"a/b c\"` cannot exist"),
        (any, "resource in Api::\"A\"", "`Api::\"A\"` cannot exist"),
        (any, "resource in Apis::\"a\"", "no entity type `Apis`"),
    ] {
        let text = elsewhere(scope, condition);
        assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{text}");
    }
}

#[test]
fn the_words_of_hops_are_inputs() {
    let rule = "forbid (principal, action, resource) when { context.agent == \"a\" };";
    let (reads, _) = analyse(&policy(rule).to_json().unwrap());
    assert!(reads.inputs.contains(&Input::Agent) && !reads.any_entity());
    let rule = "forbid (principal, action, resource is Operation) when { resource.api == \"a\" };";
    let (reads, _) = analyse(&policy(rule).to_json().unwrap());
    assert!(reads.inputs.contains(&Input::ResourceApi) && reads.any_entity());
}
