use super::*;

fn analysed(text: &str) -> (Reads, Vec<Problem>) {
    analyse(&cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap())
}

fn argument_names(text: &str) -> Vec<String> {
    match analysed(text).0.arguments {
        ArgumentReads::All => vec!["*".into()],
        ArgumentReads::Names(names) => names.into_iter().collect(),
    }
}

fn problem(text: &str) -> String {
    let (_, problems) = analysed(text);
    problems.first().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn arguments_are_found_by_name() {
    let rule = "forbid (principal, action, resource) when { context.arguments has a &&
        context.arguments.b.c > 1 && context.arguments[\"d e\"] == 2 };";
    assert_eq!(argument_names(rule), ["a", "b", "d e"]);
    let rule = "permit (principal, action, resource) unless { context has arguments.a.b };";
    assert_eq!(argument_names(rule), ["a"]);
    let rule = "forbid (principal, action, resource) when { context.arguments has a.b };";
    assert_eq!(argument_names(rule), ["a"]);
    assert!(argument_names("permit (principal, action, resource);").is_empty());
}

#[test]
fn asking_for_the_arguments_is_not_reading_one() {
    let (reads, problems) =
        analysed("permit (principal, action, resource) when { context has arguments };");
    assert_eq!(reads.arguments, ArgumentReads::Names(BTreeSet::new()));
    assert!(reads.any_argument() && problems.is_empty());
}

#[test]
fn arguments_as_a_whole_are_all_of_them() {
    for condition in [
        "context.arguments == {}",
        "context == {}",
        "[context].contains({})",
        "{x: context}.x.arguments.a == 1",
        "(if true then context.arguments else {}) has a",
        "[context.arguments].isEmpty()",
    ] {
        let rule = format!("forbid (principal, action, resource) when {{ {condition} }};");
        assert_eq!(argument_names(&rule), ["*"], "{condition}");
        assert!(analysed(&rule).0.any_argument(), "{condition}");
    }
}

#[test]
fn inputs_are_found() {
    let rule = "forbid (principal, action, resource) when { principal.owner == \"ann\" &&
        resource.name like \"delete*\" && context.now_s > 5 };";
    let expected = [Input::NowS, Input::PrincipalOwner, Input::ResourceName];
    assert_eq!(analysed(rule).0.inputs, BTreeSet::from(expected));
    assert!(!analysed(rule).0.any_argument());
}

#[test]
fn entities_are_built_only_where_they_matter() {
    for (rule, expected) in [
        ("permit (principal, action, resource);", false),
        ("permit (principal == Agent::\"a\", action, resource == Tool::\"crm/get\");", false),
        ("permit (principal is Agent, action, resource) when { context.now_s > 5 };", false),
        ("permit (principal, action, resource in Server::\"crm\");", true),
        ("permit (principal, action, resource is Tool in Server::\"crm\");", true),
        ("permit (principal, action, resource) when { resource in Server::\"crm\" };", true),
        (
            "permit (principal, action, resource) when { resource is Tool in Server::\"crm\" };",
            true,
        ),
        ("permit (principal, action, resource) when { principal.name == \"a\" };", true),
        ("permit (principal, action, resource) unless { resource has owner };", true),
    ] {
        assert_eq!(analysed(rule).0.any_entity(), expected, "{rule}");
    }
}

#[test]
fn what_exists_is_no_problem() {
    for rule in [
        "permit (principal == Agent::\"billing\", action == Action::\"read\", resource);",
        "permit (principal is Operator, action, resource in Server::\"crm\");",
        "permit (principal, action in [Action::\"read\", Action::\"write\"], resource is Tool);",
        "forbid (principal, action, resource == Tool::\"crm/a/b\") when { resource is Tool };",
        "@type(\"x\") @note(\"Nobody::\") permit (principal, action, resource);",
        "permit (principal, action, resource) when { {type: \"x\", id: \"y\"} has id };",
    ] {
        assert_eq!(problem(rule), "", "{rule}");
    }
}

#[test]
fn what_cannot_exist_is_a_problem() {
    for (rule, expected) in [
        ("permit (principal == agent::\"x\", action, resource);", "no entity type `agent`"),
        ("forbid (principal is Robot, action, resource);", "no entity type `Robot`"),
        ("forbid (principal, action == Action::\"call\", resource);", "Action::\"call\""),
        ("forbid (principal, action, resource == Tool::\"get\");", "Tool::\"get\""),
        ("forbid (principal, action, resource in Server::\"CRM\");", "Server::\"CRM\""),
        (
            "forbid (principal, action, resource) when { principal == X::Agent::\"a\" };",
            "no entity type `X::Agent`",
        ),
        (
            "forbid (principal, action, resource) when { principal.nmae == \"x\" };",
            "`principal` has no attribute `nmae`",
        ),
        (
            "forbid (principal, action, resource) when { context has args };",
            "`context` has no attribute `args`",
        ),
        (
            "forbid (principal, action, resource) when { resource is Toool };",
            "no entity type `Toool`",
        ),
    ] {
        assert!(problem(rule).contains(expected), "{rule}: {}", problem(rule));
    }
}
