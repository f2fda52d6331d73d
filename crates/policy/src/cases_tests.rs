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
fn another_shape_is_refused() {
    let policies = compiled(POLICY);
    assert_eq!(run_tests(&policies, b"{\"cases\":[]}").unwrap(), Vec::new());
    for bad in ["", "[]", "{}", "{\"cases\":null}", "{\"cases\":[],\"x\":1}", "{\"cases\":[{}]}"] {
        assert!(run_tests(&policies, bad.as_bytes()).is_err(), "{bad}");
    }
}
