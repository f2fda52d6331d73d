use attorn_registry::{
    AgentKind, Class, HttpMethod, LifeCycle, OperationId, PathTemplate, ResourceId,
    ResourceOperation, Role,
};
use proptest::prelude::*;

use super::*;
use crate::cedar::Question;
use crate::decide::Operation;
use crate::fixtures::{NOW_S, World, compiled, name, owner, person};

const GET: &str = "read:invoice.get";
const PAY: &str = "write:invoice.pay";

fn billing() -> Resource {
    let operation = |id: &str, class, method, path: &str| ResourceOperation {
        id: OperationId::parse(id).unwrap(),
        class,
        method,
        path: PathTemplate::parse(path).unwrap(),
    };
    Resource {
        id: ResourceId::from_random(&[20; 16]),
        name: name("billing"),
        url: "https://api.example/billing".into(),
        owner: Some(owner().id),
        state: LifeCycle::Active,
        key: None,
        operations: vec![
            operation("invoice.get", Class::Read, HttpMethod::Get, "/invoices/{id}"),
            operation("invoice.pay", Class::Write, HttpMethod::Post, "/invoices/{id}/pay"),
        ],
        // Not looked at here.
        downstreams: Vec::new(),
        created_s: 0,
    }
}

/// A hop of `crm` to `billing` for the agent `billing`, changed by a test before it asks.
struct Hop {
    world: World,
    api: Resource,
    person: Option<PersonId>,
    approved: Approved,
    now_s: u64,
}

impl Hop {
    fn under(policy: &str) -> Self {
        let mut world = World::with_policy(policy);
        world.parts.persons = vec![person()];
        Self { world, api: billing(), person: None, approved: Approved::No, now_s: NOW_S }
    }

    fn ask(&self, scopes: &str) -> HopDecision {
        let snapshot = Snapshot::new(self.world.parts.clone());
        let policies = compiled(&self.world.policy);
        let request = HopRequest {
            snapshot: &snapshot,
            policies: &policies,
            server: snapshot.server_named("crm").unwrap(),
            agent: &self.world.agent,
            person: self.person.as_ref(),
            api: &self.api,
            approved: self.approved,
            now_s: self.now_s,
        };
        let scopes = ScopeSet::parse(scopes).unwrap();
        // Asked again, from memory: the same.
        let first = format!("{:?}", decide_hop(&request, &scopes));
        let again = decide_hop(&request, &scopes);
        assert_eq!(first, format!("{again:?}"));
        again
    }

    /// The rules that permit, or why nothing does.
    fn answer(&self, scope: &str) -> Result<String, (ReasonCode, Option<String>)> {
        let decided = self.ask(scope).whole();
        decided
            .map(|permit| permit.rules().collect::<Vec<_>>().join(","))
            .map_err(|denial| (denial.reason, denial.rule))
    }
}

fn permitted(by: &str) -> Result<String, (ReasonCode, Option<String>)> {
    Ok(by.to_owned())
}

fn forbidden(by: &str) -> Result<String, (ReasonCode, Option<String>)> {
    Err((ReasonCode::PolicyForbid, Some(by.to_owned())))
}

fn failed(by: &str) -> Result<String, (ReasonCode, Option<String>)> {
    Err((ReasonCode::PolicyError, Some(by.to_owned())))
}

const NO_PERMIT: Result<String, (ReasonCode, Option<String>)> =
    Err((ReasonCode::PolicyNoPermit, None));

#[test]
fn the_starter_policy_permits_hops_and_an_empty_text_none() {
    let hop = Hop::under(PolicySet::starter_text());
    assert_eq!(hop.answer(GET), permitted("granted-calls"));
    let permit = hop.ask(GET).whole().unwrap();
    assert_eq!((permit.policy_version(), permit.scopes().to_string().as_str()), (7, GET));
    assert_eq!(Hop::under("").answer(GET), NO_PERMIT);
    // A permit for nothing is none, whatever the policies say.
    assert_eq!(hop.answer(""), NO_PERMIT);
    assert!(hop.ask("").part().is_err());
}

#[test]
fn a_rule_about_agents_says_nothing_of_hops() {
    for scope in ["principal is Agent", "principal == Agent::\"billing\"", "principal is Client"] {
        let rule = format!("permit ({scope}, action, resource);");
        assert_eq!(Hop::under(&rule).answer(GET), NO_PERMIT, "{scope}");
        let forbid =
            format!("permit (principal, action, resource); forbid ({scope}, action, resource);");
        assert_eq!(Hop::under(&forbid).answer(GET), permitted("policy0"), "{scope}");
    }
    let both = "@id(\"calls\") permit (principal is Agent, action, resource);
        @id(\"hops\") permit (principal is Server, action, resource);";
    assert_eq!(Hop::under(both).answer(GET), permitted("hops"));
}

#[test]
fn server_class_and_operation_are_the_words_of_a_hop() {
    let hop = |scope: &str| {
        let text = format!("permit (principal, action, resource); @id(\"no\") forbid ({scope});");
        Hop::under(&text)
    };
    for (scope, get, pay) in [
        ("principal == Server::\"crm\", action, resource", true, true),
        ("principal == Server::\"erp\", action, resource", false, false),
        ("principal, action == Action::\"write\", resource", false, true),
        ("principal, action, resource in Api::\"billing\"", true, true),
        ("principal, action, resource in Api::\"other\"", false, false),
        ("principal, action, resource == Operation::\"billing/invoice.pay\"", false, true),
        ("principal, action, resource == Operation::\"other/invoice.pay\"", false, false),
        ("principal, action, resource is Operation in Api::\"billing\"", true, true),
        ("principal, action, resource in Server::\"crm\"", false, false),
        ("principal, action, resource == Tool::\"billing/invoice.pay\"", false, false),
    ] {
        let expected = |denied| if denied { forbidden("no") } else { permitted("policy0") };
        assert_eq!(hop(scope).answer(GET), expected(get), "{scope}");
        assert_eq!(hop(scope).answer(PAY), expected(pay), "{scope}");
    }
}

#[test]
fn every_attribute_has_its_value() {
    let rule = "permit (principal, action, resource is Operation) when {
        principal.name == \"crm\" && principal.owner == \"ann\" &&
        resource.name == \"invoice.get\" && resource.owner == \"ann\" &&
        resource.api == \"billing\" && resource in Api::\"billing\" &&
        context.agent == \"billing\" && context.scope == \"read:invoice.get\" &&
        context.now_s == 1000 && !(context has person) };";
    assert_eq!(Hop::under(rule).answer(GET), permitted("policy0"));
    let mut hop = Hop::under(rule);
    hop.now_s += 1;
    assert_eq!(hop.answer(GET), NO_PERMIT);
}

#[test]
fn the_agent_is_who_is_acted_for_at_calls_and_hops_alike() {
    let rule = "permit (principal, action, resource);
        @id(\"robot\") forbid (principal, action, resource) when { context.agent == \"billing\" };";
    assert_eq!(Hop::under(rule).answer(GET), forbidden("robot"));
    let other = rule.replace("\"billing\"", "\"other\"");
    assert_eq!(Hop::under(&other).answer(GET), permitted("policy0"));
    let call = |text: &str| {
        let ask = |request: &crate::Request<'_>| crate::decide(request).map(drop);
        World::with_policy(text).ask(Operation::Tool("get"), ask).map_err(|denial| denial.reason)
    };
    assert_eq!(call(rule), Err(ReasonCode::PolicyForbid));
    assert_eq!(call(&other), Ok(()));
}

#[test]
fn the_person_is_part_of_the_question() {
    let rule = "permit (principal, action, resource);
        @id(\"approvers\") forbid (principal, action, resource in Api::\"billing\")
        when { context has person && !context.person.roles.contains(\"approver\") };";
    let mut hop = Hop::under(rule);
    assert_eq!(hop.answer(GET), permitted("policy0"));
    hop.person = Some(person().id);
    assert_eq!(hop.answer(GET), forbidden("approvers"));
    hop.world.parts.persons[0].roles.insert(Role::Approver);
    assert_eq!(hop.answer(GET), permitted("policy0"));
    // Somebody unknown is not nobody.
    hop.world.parts.persons.clear();
    assert_eq!(hop.answer(GET), Err((ReasonCode::PolicyError, None)));
}

#[test]
fn what_cannot_be_evaluated_denies() {
    let hop = |condition: &str| {
        Hop::under(&format!(
            "permit (principal, action, resource);
             @id(\"e\") forbid (principal, action, resource) when {{ {condition} }};"
        ))
    };
    // From before there were hops: a hop has no arguments and is at no server.
    assert_eq!(hop("context.arguments.n > 1").answer(GET), failed("e"));
    assert_eq!(hop("context.arguments has n && context.arguments.n > 1").answer(GET), failed("e"));
    assert_eq!(hop("context.arguments_incomplete").answer(GET), failed("e"));
    assert_eq!(hop("resource.server == \"crm\"").answer(GET), failed("e"));
    assert_eq!(hop("context.person.name == \"paula\"").answer(GET), failed("e"));
    let guarded = "context has arguments && context.arguments has n && context.arguments.n > 1";
    assert_eq!(hop(guarded).answer(GET), permitted("policy0"));
    // Of calls alone, and never asked.
    let tools = "permit (principal, action, resource);
        forbid (principal, action, resource is Tool) when { context.arguments.n > 1 };";
    assert_eq!(Hop::under(tools).answer(GET), permitted("policy0"));
    let mut unknown = Hop::under(PolicySet::starter_text());
    unknown.world.parts.agents.clear();
    assert_eq!(unknown.answer(GET), Err((ReasonCode::PolicyError, None)));
}

#[test]
fn a_scope_of_no_operation_is_an_error() {
    let hop = Hop::under(PolicySet::starter_text());
    assert_eq!(hop.answer("read:@resources"), Err((ReasonCode::PolicyError, None)));
}

#[test]
fn each_scope_is_asked_about_by_itself() {
    let hop = Hop::under(
        "@id(\"reads\") permit (principal, action == Action::\"read\", resource);
         @id(\"all\") permit (principal, action, resource);
         @id(\"no-pay\") forbid (principal, action, resource == Operation::\"billing/invoice.pay\");",
    );
    let both = format!("{GET} {PAY}");
    assert_eq!(hop.answer(&both), forbidden("no-pay"));
    let (permit, denials) = hop.ask(&both).part().unwrap();
    assert_eq!(permit.scopes().to_string(), GET);
    assert_eq!(permit.rules().collect::<Vec<_>>(), ["all"]);
    let denied: Vec<_> =
        denials.iter().map(|one| one.scope.as_ref().unwrap().to_string()).collect();
    assert_eq!(denied, [PAY]);
    assert_eq!((denials[0].reason, denials[0].policy_version), (ReasonCode::PolicyForbid, 7));
    assert_eq!(hop.ask(PAY).part().map(drop).unwrap_err().rule.as_deref(), Some("no-pay"));
}

#[test]
fn a_rule_that_asks_for_a_person_permits_what_is_a_part_of_an_approved_call() {
    let terms = |two, not_owner| ApprovalTerms { two, not_owner };
    let hop = |asks: &str, approved| {
        let rule = format!("@approval(\"{asks}\") permit (principal, action, resource);");
        Hop { approved, ..Hop::under(&rule) }.answer(GET)
    };
    let required = Err((ReasonCode::ApprovalRequired, Some("policy0".to_owned())));
    assert_eq!(hop("one", Approved::No), required);
    assert_eq!(hop("one", Approved::Named), permitted("policy0"));
    assert_eq!(hop("one", Approved::Under(terms(false, false))), permitted("policy0"));
    assert_eq!(hop("two", Approved::Under(terms(false, false))), required);
    assert_eq!(hop("two", Approved::Under(terms(true, false))), permitted("policy0"));
    assert_eq!(hop("one not-owner", Approved::Under(terms(true, false))), required);
    assert_eq!(hop("one not-owner", Approved::Under(terms(true, true))), permitted("policy0"));
    // Another rule that permits as well takes no person away.
    let also = "@approval(\"one\") permit (principal, action, resource);
        permit (principal is Server, action, resource);";
    assert_eq!(Hop::under(also).answer(GET), required);
}

/// A call of `pay` at the server of this name.
fn call(policies: &PolicySet, server: &str, is_builtin: bool, kind: AgentKind) -> Verdict {
    policies.evaluate(&Question {
        kind,
        agent: "billing",
        agent_owner: "ann",
        person: None,
        server,
        server_owner: "ann",
        is_builtin,
        operation: Operation::Tool("pay"),
        class: Class::Write,
        scope: &Scope::of_tool(Class::Write, "pay"),
        arguments: None,
        now_s: 5,
    })
}

fn hop_at(policies: &PolicySet, api: &str) -> Verdict {
    policies.evaluate_hop(&HopQuestion {
        server: "crm",
        server_owner: "ann",
        api,
        api_owner: "ann",
        operation: "pay",
        scope: &Scope::of_tool(Class::Write, "pay"),
        agent: "billing",
        person: None,
        now_s: 5,
    })
}

/// Server, API and operation have the names of each other here.
#[test]
fn rules_about_servers_and_rules_about_apis_do_not_meet() {
    let policies = compiled(
        "permit (principal, action, resource);
         @id(\"server\") forbid (principal, action, resource in Server::\"crm\");
         @id(\"api\") forbid (principal, action, resource in Api::\"erp\");
         @id(\"night\") forbid (principal, action, resource is Operation) when { context.now_s < 0 };
         @id(\"blind\") forbid (principal, action, resource is Tool)
         when { context has arguments && context.arguments has n && context.arguments.n > 5 };",
    );
    let forbid = |rule: &str| Verdict::Forbid { rule: rule.to_owned() };
    let permit = || Verdict::Permit { rule: "policy0".to_owned(), terms: None };
    let at = |server| call(&policies, server, false, AgentKind::Agent);
    assert_eq!((at("crm"), hop_at(&policies, "crm")), (forbid("server"), permit()));
    assert_eq!((at("erp"), hop_at(&policies, "erp")), (permit(), forbid("api")));
    // What the one reads costs the other nothing: each slice reads what its own rules read.
    let (of_calls, of_hops) = (policies.slice("hr", false), policies.hop_slice("hr"));
    assert!(of_calls.reads.any_argument() && !of_calls.reads.clock());
    assert!(!of_hops.reads.any_argument() && of_hops.reads.clock());
    let rules = |slice: &crate::compile::Slice| slice.deciding.policies().count();
    assert_eq!((rules(policies.slice("crm", false)), rules(policies.hop_slice("crm"))), (3, 2));
}

#[test]
fn the_administration_is_out_of_the_reach_of_hops() {
    let policies = compiled(
        "@id(\"admin\") permit (principal, action, resource in Server::\"admin\");
         @id(\"closed\") forbid (principal, action, resource in Api::\"admin\");",
    );
    // Our own rules and those that name the administration permit there, and at no API of that name.
    let own = call(&policies, "admin", true, AgentKind::Operator);
    assert!(matches!(own, Verdict::Permit { ref rule, .. } if rule == "admin"), "{own:?}");
    assert_eq!(hop_at(&policies, "admin"), Verdict::Forbid { rule: "closed".to_owned() });
    assert_eq!(hop_at(&policies, "billing"), Verdict::NoPermit);
    assert_eq!(hop_at(&compiled(""), "admin"), Verdict::NoPermit);
    // And a rule for everything permits at an API of that name what it does not at the administration.
    let all = compiled(PolicySet::starter_text());
    assert!(matches!(hop_at(&all, "admin"), Verdict::Permit { .. }));
    assert_eq!(call(&all, "admin", true, AgentKind::Agent), Verdict::NoPermit);
}

#[test]
fn every_part_of_the_question_is_remembered_apart() {
    let (names, scope) = (["crm", "ann", "billing", "bob", "pay", "robot"], Scope::of_tool);
    let (read, write) = (scope(Class::Read, "pay"), scope(Class::Write, "pay"));
    let (paula, now_s) = (person(), 5);
    let question = |texts: [&'static str; 6], scope, person| {
        let [server, server_owner, api, api_owner, operation, agent] = texts;
        HopQuestion { server, server_owner, api, api_owner, operation, agent, scope, person, now_s }
            .key()
    };
    let mut keys = BTreeSet::from([
        question(names, &read, None),
        question(names, &write, None),
        question(names, &read, Some(&paula)),
        // Names that would run together without their lengths.
        question(["crm3", "ann", "billing", "bob", "pay", "robot"], &read, None),
    ]);
    for at in 0..names.len() {
        let mut other = names;
        other[at] = "other";
        keys.insert(question(other, &read, None));
    }
    assert_eq!(keys.len(), 4 + names.len());
}

/// A policy of a random effect, scope and condition.
fn policy() -> impl Strategy<Value = String> {
    let effect = prop_oneof![Just("permit"), Just("forbid")];
    let scope = prop_oneof![
        Just("principal, action, resource"),
        Just("principal is Server, action, resource"),
        Just("principal == Server::\"erp\", action, resource"),
        Just("principal, action, resource in Api::\"billing\""),
        Just("principal, action, resource in Api::\"other\""),
        Just("principal, action, resource == Operation::\"billing/pay\""),
        Just("principal, action == Action::\"write\", resource"),
        Just("principal is Agent, action, resource"),
        Just("principal, action, resource is Tool"),
        Just("principal, action, resource in Server::\"billing\""),
    ];
    let condition = prop_oneof![
        Just("true"),
        Just("false"),
        Just("principal.name like \"c*\""),
        Just("context.agent == \"billing\""),
        Just("context.person.name == \"paula\""),
        Just("context.now_s < 10"),
    ];
    (effect, scope, condition).prop_map(|(effect, scope, condition)| {
        format!("{effect} ({scope}) when {{ {condition} }};")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_forbid_always_wins(policies in proptest::collection::vec(policy(), 0..6)) {
        let text = policies.concat() + "forbid (principal, action, resource);";
        let verdict = hop_at(&compiled(&text), "billing");
        let denies = matches!(verdict, Verdict::Forbid { .. } | Verdict::Error { .. });
        prop_assert!(denies, "{:?}", verdict);
    }

    #[test]
    fn nothing_is_permitted_without_a_permit(
        policies in proptest::collection::vec(policy(), 0..6),
    ) {
        let forbids = policies.into_iter().filter(|text| text.starts_with("forbid"));
        let verdict = hop_at(&compiled(&forbids.collect::<String>()), "billing");
        let permits = matches!(verdict, Verdict::Permit { .. });
        prop_assert!(!permits);
    }

    /// What a slice leaves out could not have matched, and a rule about hops changes no call.
    #[test]
    fn rules_of_one_side_change_nothing_on_the_other(
        policies in proptest::collection::vec(policy(), 0..6),
    ) {
        let text = policies.concat();
        let call_of = |text: &str| call(&compiled(text), "crm", false, AgentKind::Agent);
        let hops = "@id(\"x\") forbid (principal, action, resource is Operation);
            @id(\"y\") forbid (principal is Server, action, resource);";
        prop_assert_eq!(call_of(&text), call_of(&format!("{text}{hops}")));
        let calls = "@id(\"x\") forbid (principal, action, resource is Tool);
            @id(\"y\") forbid (principal is Agent, action, resource);";
        let hop_of = |text: &str| hop_at(&compiled(text), "billing");
        prop_assert_eq!(hop_of(&text), hop_of(&format!("{text}{calls}")));
    }
}
