use super::*;
use crate::fixtures::compiled;

const POLICY: &str = "
    @id(\"reads\") permit (principal, action == Action::\"read\", resource);
    @id(\"small\") permit (principal == Agent::\"billing\", action, resource == Tool::\"crm/pay\")
        when { context.arguments.amount <= 100 };
    @id(\"night\") forbid (principal, action, resource) when { context.now_s < 10 };";

fn run_one(case: &str) -> CaseOutcome {
    let file = format!("{{\"cases\":[{{\"name\":\"n\",\"agent\":\"billing\",{case}}}]}}");
    run_tests(&compiled(POLICY), file.as_bytes()).unwrap().remove(0)
}

fn pay(amount: &str, expect: &str) -> CaseOutcome {
    run_one(&format!(
        "\"server\":\"crm\",\"tool\":\"pay\",\"class\":\"write\",\"now\":50,
         \"arguments\":{{\"amount\":{amount}}},{expect}"
    ))
}

#[test]
fn cases_pass_and_fail() {
    assert!(pay("100", "\"expect\":\"permit\",\"rule\":\"small\"").passed);
    assert!(pay("101", "\"expect\":\"no_permit\"").passed);
    assert!(pay("\"1\"", "\"expect\":\"error\",\"rule\":\"small\"").passed);
    assert!(!pay("101", "\"expect\":\"permit\"").passed);
    let other_rule = pay("100", "\"expect\":\"permit\",\"rule\":\"reads\"");
    assert!(!other_rule.passed);
    assert_eq!(other_rule.observed.rule.as_deref(), Some("small"));
}

#[test]
fn the_time_is_part_of_a_case() {
    let base = "\"server\":\"crm\",\"tool\":\"@resources\",\"class\":\"read\"";
    assert!(run_one(&format!("{base},\"now\":9,\"expect\":\"forbid\",\"rule\":\"night\"")).passed);
    assert!(run_one(&format!("{base},\"now\":10,\"expect\":\"permit\"")).passed);
}

#[test]
fn a_hop_is_a_case_too() {
    let policies = compiled(
        "@id(\"granted\") permit (principal, action, resource);
         @id(\"robots\") forbid (principal == Server::\"crm\", action == Action::\"write\",
             resource in Api::\"billing\") when { context.agent == \"robot\" };
         @id(\"sales\") forbid (principal, action, resource == Operation::\"billing/pay\")
             when { context has person && !context.person.groups.contains(\"sales\") };
         @id(\"owner\") forbid (principal, action, resource is Operation)
             when { resource.owner == \"eve\" || principal.owner == \"eve\" };",
    );
    let run = |agent: &str, rest: &str| {
        let file = format!(
            "{{\"cases\":[{{\"name\":\"n\",\"agent\":\"{agent}\",\"server\":\"crm\",
               \"api\":\"billing\",\"operation\":\"pay\",{rest}}}]}}"
        );
        run_tests(&policies, file.as_bytes()).unwrap().remove(0)
    };
    let write = "\"class\":\"write\"";
    assert!(run("clerk", &format!("{write},\"expect\":\"permit\",\"rule\":\"granted\"")).passed);
    assert!(run("robot", &format!("{write},\"expect\":\"forbid\",\"rule\":\"robots\"")).passed);
    assert!(run("robot", "\"class\":\"read\",\"now\":5,\"expect\":\"permit\"").passed);
    assert!(!run("robot", &format!("{write},\"expect\":\"permit\"")).passed);
    let paula =
        |groups: &str| format!("{write},\"person\":{{\"name\":\"paula\",\"groups\":{groups}}}");
    assert!(run("clerk", &format!("{},\"expect\":\"forbid\"", paula("[]"))).passed);
    assert!(run("clerk", &format!("{},\"expect\":\"permit\"", paula("[\"sales\"]"))).passed);
    for owner in ["api_owner", "server_owner"] {
        let owned = format!("{write},\"{owner}\":\"eve\",\"expect\":\"forbid\",\"rule\":\"owner\"");
        assert!(run("clerk", &owned).passed, "{owner}");
    }
}

#[test]
fn a_case_that_asks_nothing_says_what_is_wrong() {
    let error = |rest: &str| {
        let file = format!(
            "{{\"cases\":[{{\"name\":\"odd\",\"agent\":\"a\",\"server\":\"crm\",\"class\":\"read\",
               \"expect\":\"permit\"{rest}}}]}}"
        );
        run_tests(&compiled(POLICY), file.as_bytes()).map(|_| ()).unwrap_err().to_string()
    };
    let hop = ",\"api\":\"billing\",\"operation\":\"pay\"";
    for (rest, expected) in [
        (
            String::new(),
            "case `odd`: a case is about a `tool`, or about an `operation` of an `api`: it has neither",
        ),
        (",\"api\":\"billing\"".to_owned(), "`api` and `operation` come together"),
        (",\"operation\":\"pay\"".to_owned(), "`api` and `operation` come together"),
        (format!("{hop},\"tool\":\"get\""), "and not about both"),
        (",\"tool\":\"get\",\"api\":\"billing\"".to_owned(), "and not about both"),
        (format!("{hop},\"arguments\":{{}}"), "`arguments` says nothing about a hop to an API"),
        (format!("{hop},\"owner\":\"ann\""), "`owner` says nothing about a hop to an API"),
        (format!("{hop},\"kind\":\"agent\""), "`kind` says nothing about a hop to an API"),
        (
            ",\"tool\":\"get\",\"api_owner\":\"ann\"".to_owned(),
            "`api_owner` says nothing about a call at an MCP server",
        ),
    ] {
        let told = error(&rest);
        assert!(told.contains(expected), "{rest}: {told}");
    }
    let named = error(",\"api\":\"billing\",\"operation\":\"a b\"");
    assert!(named.starts_with("case `odd`: an operation is named by"), "{named}");
}

#[test]
fn another_shape_is_refused() {
    let policies = compiled(POLICY);
    assert_eq!(run_tests(&policies, b"{\"cases\":[]}").unwrap(), Vec::new());
    for bad in ["", "[]", "{}", "{\"cases\":null}", "{\"cases\":[],\"x\":1}", "{\"cases\":[{}]}"] {
        assert!(run_tests(&policies, bad.as_bytes()).is_err(), "{bad}");
    }
}
