use super::*;
use crate::Decision;

const T: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn at(log: &str, index: u64, entry: Entry) -> Located {
    Located { log: log.into(), index, entry }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn entry(kind: Kind, decision_id: &str) -> Entry {
    Entry { decision_id: some(decision_id), ..Entry::new(kind, 1) }
}

fn of_token(kind: Kind, decision_id: &str) -> Entry {
    Entry { token_jti: some("J"), agent: some("agt_1"), ..entry(kind, decision_id) }
}

/// The chain of one call of one agent, in three logs, out of order by time, beside the chain of
/// another call of the same token.
fn logs() -> Vec<Located> {
    let permit = Some(Decision::Permit);
    let call = |id: &str, trace: &str| Entry {
        decision: permit,
        trace_id: some(trace),
        ..of_token(Kind::CallDecided, id)
    };
    let exchange = |jti: &str, trace: &str| Entry {
        exchanged_jti: some(jti),
        trace_id: some(trace),
        ..of_token(Kind::TokenExchanged, "")
    };
    let access = |id: &str, jti: &str, trace: &str| Entry {
        exchanged_jti: some(jti),
        ..Entry { kind: Kind::ResourceAccessed, ..call(id, trace) }
    };
    let access_end = Entry {
        downstream_request_id: some("api-7"),
        trace_id: some(T),
        ..entry(Kind::CallCompleted, "dec_access")
    };
    let no_id = |located: Entry| Entry { decision_id: None, ..located };
    vec![
        at("guard", 0, access("dec_access", "X", T)),
        at("guard", 1, access_end),
        at("guard", 2, access("dec_other_access", "Y", "other")),
        at("gateway", 0, call("dec_call", T)),
        at("gateway", 1, call("dec_other", "other")),
        at("gateway", 2, Entry { trace_id: some(T), ..entry(Kind::CallCompleted, "dec_call") }),
        at("node", 0, no_id(of_token(Kind::TokenIssued, ""))),
        at("node", 1, no_id(exchange("X", T))),
        at("node", 2, no_id(exchange("Y", "other"))),
        at("node", 3, Entry { token_jti: some("K"), ..no_id(of_token(Kind::TokenIssued, "")) }),
    ]
}

fn places(found: &[Located]) -> Vec<(&str, u64)> {
    found.iter().map(|one| (one.log.as_str(), one.index)).collect()
}

#[test]
fn every_name_in_a_chain_leads_to_all_of_it_and_to_no_other() {
    let chain =
        [("gateway", 0), ("gateway", 2), ("guard", 0), ("guard", 1), ("node", 0), ("node", 1)];
    for term in [
        Term::guess("dec_call"),
        Term::guess("dec_access"),
        Term::guess(T),
        Term::guess("X"),
        Term::new(Key::DownstreamRequest, "api-7"),
    ] {
        assert_eq!(places(&select(logs(), term.clone())), chain, "{term:?}");
    }
    // A token has many chains.
    assert_eq!(select(logs(), Term::guess("J")).len(), 9);
    assert_eq!(select(logs(), Term::guess("agt_1")).len(), 10);
    assert!(select(logs(), Term::guess("dec_nobody")).is_empty());
    // The same log read twice is one.
    let twice = [logs(), logs()].concat();
    assert_eq!(places(&select(twice, Term::guess(T))), chain);
}

#[test]
fn a_person_is_found_by_whom_entries_are_about() {
    let about = |subject: &str| Entry {
        subject: Some(subject.to_owned()),
        ..Entry::new(Kind::ConsentGiven, 1)
    };
    let term = Term::guess("usr_ann");
    assert_eq!(term, Term::new(Key::Subject, "usr_ann"));
    assert!(term.finds(&about("usr_ann")) && !term.finds(&about("usr_bob")));
    assert!(!term.finds(&Entry { agent: Some("usr_ann".to_owned()), ..about("agt_1") }));
}

fn shape(node: &Node) -> String {
    let children: Vec<String> = node.children.iter().map(shape).collect();
    let findings: String = node.findings.iter().map(|one| format!("!{}", one.as_str())).collect();
    format!("{}{findings}({})", node.located.entry.kind, children.join(","))
}

fn shapes(entries: Vec<Located>) -> Vec<String> {
    assemble(entries).iter().map(shape).collect()
}

#[test]
fn the_tree_is_issuance_decision_exchange_access_outcome() {
    let found = select(logs(), Term::guess(T));
    assert_eq!(
        shapes(found),
        [
            "token.issued(call.decided(call.completed(),token.exchanged(resource.accessed(call.completed()))))"
        ]
    );
}

#[test]
fn what_is_missing_is_a_finding() {
    let without = |gone: (&str, u64)| {
        let mut found = select(logs(), Term::guess(T));
        found.retain(|one| (one.log.as_str(), one.index) != gone);
        shapes(found).join(" ")
    };
    assert!(without(("gateway", 2)).contains("call.decided!allowed_without_outcome"));
    assert!(without(("guard", 1)).contains("resource.accessed!allowed_without_outcome"));
    assert!(without(("guard", 0)).contains("token.exchanged!exchange_without_access"));
    let access = without(("node", 1));
    assert!(access.contains("resource.accessed!access_without_exchange("), "{access}");
    assert!(without(("gateway", 0)).contains("resource.accessed!access_without_decision("));
    // A refusal needs no outcome.
    let denied = Entry { decision: Some(Decision::Deny), ..of_token(Kind::CallDecided, "dec_no") };
    assert_eq!(shapes(vec![at("gateway", 0, denied)]), ["call.decided()"]);
}

#[test]
fn an_exchange_without_a_trace_is_of_the_token_and_of_no_call() {
    let mut all = logs();
    for one in &mut all {
        if one.entry.kind == Kind::TokenExchanged {
            one.entry.trace_id = None;
        }
    }
    let found = select(all, Term::guess("dec_call"));
    let shapes = shapes(found).join(" ");
    assert!(shapes.contains("token.exchanged!exchange_untraced(resource.accessed("), "{shapes}");
    assert!(shapes.starts_with("token.issued(call.decided"), "{shapes}");
}

#[test]
fn a_token_that_two_calls_use_hangs_its_accesses_under_their_own_calls() {
    let mut all = logs();
    // The second call used the token of the first; both left through the gateway.
    let out = |call: &str, trace: &str| {
        let mut entry = Entry {
            exchanged_jti: some("X"),
            decision: Some(Decision::Deny),
            trace_id: some(trace),
            ..of_token(Kind::ResourceAccessed, "dec_out")
        };
        entry.detail.insert("call".into(), call.into());
        entry
    };
    all.push(at("gateway", 7, out("dec_call", T)));
    all.push(at("gateway", 8, out("dec_other", "other")));
    // With a key of its own the API needs no token.
    let keyed =
        Entry { exchanged_jti: None, downstream_resource: some("res_1"), ..out("dec_call", T) };
    all.push(at("gateway", 9, keyed));
    let found: Vec<Located> =
        all.into_iter().filter(|one| one.log != "guard" && one.index != 2).collect();
    let shapes = shapes(found).join(" ");
    assert_eq!(
        shapes,
        "token.issued(call.decided!allowed_without_outcome(token.exchanged(resource.accessed()),\
         resource.accessed()),call.decided!allowed_without_outcome(resource.accessed())) \
         token.issued()"
    );
}

#[test]
fn what_a_person_approved_hangs_under_the_call() {
    let mut all = logs();
    for one in all.iter_mut().filter(|one| one.entry.kind == Kind::CallDecided) {
        one.entry.approval =
            one.entry.trace_id.as_deref().filter(|it| *it == T).map(|_| "apr_1".into());
    }
    let asked = Entry { approval: some("apr_1"), ..entry(Kind::ApprovalRequested, "dec_asked") };
    let other = Entry { approval: some("apr_2"), ..entry(Kind::ApprovalRequested, "dec_other") };
    all.push(at("node", 4, asked));
    all.push(at("node", 5, other));
    let found = select(all.clone(), Term::guess("apr_1"));
    assert_eq!(found, select(all, Term::guess(T)));
    let shapes = shapes(found).join(" ");
    assert!(
        shapes.contains("resource.accessed(call.completed())),approval.requested())"),
        "{shapes}"
    );
}

#[test]
fn names_say_what_they_are() {
    let key = |id: &str| Term::guess(id).key;
    assert_eq!(key("dec_1"), Key::Decision);
    assert_eq!(key("agt_1"), Key::Agent);
    assert_eq!(key("apr_1"), Key::Approval);
    assert_eq!(key(T), Key::Trace);
    assert_eq!(key("a_jti"), Key::Token);
}
