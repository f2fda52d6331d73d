use attorn_registry::{
    Agent, AgentKind, AuthorizationDetails, Grant, LifeCycle, LockTarget, Owner, ServerId,
};
use attorn_registry::{Approval, ApprovalState, ApprovalTerms};
use attorn_registry::{KeyState, Lock, RevokedToken, ScopePattern, Tool};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{KEY, NOW_S, World, agent, lock, owner};

fn denial(world: &World, operation: Operation<'_>) -> Option<Denial> {
    world.ask(operation, |request| decide(request).err())
}

/// Refused for this reason, and permitted in the untouched world.
fn refused(world: &World, operation: Operation<'_>, reason: ReasonCode, visible: &Visibility) {
    let denial = denial(world, operation).expect("a denial");
    assert_eq!((denial.reason, &denial.visibility), (reason, visible));
}

const GET: Operation<'_> = Operation::Tool("get");

#[test]
fn a_call_that_everything_allows_is_permitted() {
    World::new().ask(Operation::Tool("pay"), |request| {
        let permit = decide(request).unwrap();
        assert_eq!(permit.class(), Class::Write);
        assert_eq!(permit.scope().to_string(), "write:pay");
        assert_eq!((permit.policy_version(), permit.rule()), (7, "granted-calls"));
        assert!(permit.grant().is_some());
    });
    for operation in [GET, Operation::Resources, Operation::Prompts] {
        assert_eq!(denial(&World::new(), operation), None, "{operation:?}");
    }
}

#[test]
fn only_an_active_owned_agent_acts() {
    let agents = [
        (Agent { state: LifeCycle::Pending, ..agent() }, ReasonCode::AgentPending),
        (Agent { state: LifeCycle::Suspended, ..agent() }, ReasonCode::AgentSuspended),
        (Agent { state: LifeCycle::Retired, ..agent() }, ReasonCode::AgentRetired),
        (Agent { owner: None, ..agent() }, ReasonCode::AgentOwnerless),
    ];
    for (agent, reason) in agents {
        let mut world = World::new();
        world.parts.agents = vec![agent];
        refused(&world, GET, reason, &Visibility::Told);
    }
    let mut world = World::new();
    world.parts.agents.clear();
    refused(&world, GET, ReasonCode::AgentUnknown, &Visibility::Told);
    let mut world = World::new();
    world.parts.owners = vec![Owner { state: LifeCycle::Suspended, ..owner() }];
    refused(&world, GET, ReasonCode::AgentOwnerless, &Visibility::Told);
}

#[test]
fn only_an_active_owned_server_is_called() {
    let mut world = World::new();
    world.parts.servers[0].state = LifeCycle::Suspended;
    refused(&world, GET, ReasonCode::ServerSuspended, &Visibility::Told);
    let mut world = World::new();
    world.parts.servers[0].owner = None;
    refused(&world, GET, ReasonCode::ServerOwnerless, &Visibility::Told);
}

#[test]
fn a_lock_stops_the_call() {
    let server = ServerId::from_random(&[10; 16]);
    for target in [
        LockTarget::Agent { agent: agent().id },
        LockTarget::Server { server: server.clone() },
        LockTarget::Owner { owner: owner().id },
        LockTarget::Token { jti: "t1".into() },
        LockTarget::Key { jkt: KEY },
    ] {
        let mut world = World::new();
        world.parts.locks = vec![lock(target)];
        refused(&world, GET, ReasonCode::LockActive, &Visibility::Told);
    }
    let mut world = World::new();
    world.parts.locks = vec![lock(LockTarget::Tool { server, tool: "get".into() })];
    refused(&world, GET, ReasonCode::LockActive, &Visibility::Hidden);
    assert_eq!(denial(&world, Operation::Tool("pay")), None);
}

#[test]
fn a_locked_grant_gives_nothing() {
    let mut world = World::new();
    let grant = world.parts.grants[0].id.clone();
    world.parts.locks = vec![lock(LockTarget::Grant { grant })];
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
}

#[test]
fn a_revoked_token_does_not_count() {
    let mut world = World::new();
    world.parts.revoked = vec![RevokedToken { jti: "t1".into(), expires_s: 1000 }];
    refused(&world, GET, ReasonCode::TokenRevoked, &Visibility::Told);
    let mut world = World::new();
    world.parts.epoch = 1;
    refused(&world, GET, ReasonCode::TokenRevoked, &Visibility::Told);
    world.token_epoch = 1;
    assert_eq!(denial(&world, GET), None);
}

#[test]
fn a_token_from_before_a_stop_does_not_count_again() {
    let mut world = World::new();
    world.parts.agents[0].stop_ended_s = Some(NOW_S - 5);
    refused(&world, GET, ReasonCode::TokenStopped, &Visibility::Told);
    world.token_issued_s = NOW_S - 5;
    refused(&world, GET, ReasonCode::TokenStopped, &Visibility::Told);
    world.token_issued_s = NOW_S - 4;
    assert_eq!(denial(&world, GET), None);
}

#[test]
fn a_token_from_before_a_lock_on_a_tool_or_a_grant_holds_neither_again() {
    let grant = World::new().parts.grants[0].id.clone();
    let server = World::new().parts.servers[0].id.clone();
    let tool = LockTarget::Tool { server, tool: "get".into() };
    for target in [tool, LockTarget::Grant { grant }] {
        let mut world = World::new();
        world.parts.locks = vec![Lock { expires_s: NOW_S - 5, ..lock(target) }];
        refused(&world, GET, ReasonCode::TokenStopped, &Visibility::Told);
        // Who may not see the tool does not learn that it was locked.
        let policy = world.policy.clone();
        world.policy = "forbid (principal, action, resource);".to_owned();
        refused(&world, GET, ReasonCode::TokenStopped, &Visibility::Hidden);
        world.policy = policy;
        world.token_issued_s = NOW_S - 4;
        assert_eq!(denial(&world, GET), None);
    }
}

#[test]
fn a_token_ends_with_its_key() {
    let mut world = World::new();
    world.parts.agents[0].keys[0].state = KeyState::Retired;
    world.parts.agents[0].keys[0].not_after_s = Some(NOW_S + 1);
    assert_eq!(denial(&world, GET), None);
    world.parts.agents[0].keys[0].not_after_s = Some(NOW_S);
    refused(&world, GET, ReasonCode::TokenRevoked, &Visibility::Told);
}

#[test]
fn what_may_not_be_called_looks_unknown() {
    for (name, reason) in [
        ("gone", ReasonCode::ToolUnknown),
        ("Get", ReasonCode::ToolUnknown),
        ("get\u{200b}", ReasonCode::ToolUnknown),
        ("new", ReasonCode::ToolUnconfirmed),
        ("changed", ReasonCode::ToolDefinitionChanged),
    ] {
        refused(&World::new(), Operation::Tool(name), reason, &Visibility::Hidden);
    }
}

#[test]
fn approving_again_frees_a_changed_tool() {
    let mut world = World::new();
    world.token_scope = ScopeSet::parse("read:changed").unwrap();
    refused(
        &world,
        Operation::Tool("changed"),
        ReasonCode::ToolDefinitionChanged,
        &Visibility::Hidden,
    );
    let tool: &mut Tool = world.parts.servers[0].tools.get_mut("changed").unwrap();
    tool.approved.as_mut().unwrap().digest = tool.digest;
    assert_eq!(denial(&world, Operation::Tool("changed")), None);
}

#[test]
fn a_scope_the_grants_cover_can_be_asked_for() {
    let mut world = World::new();
    world.token_scope = ScopeSet::parse("write:pay").unwrap();
    // What the token has is named as well: who asks for the new one alone would lose it.
    let step_up = |scopes| Visibility::StepUp(ScopeSet::parse(scopes).unwrap());
    refused(&world, GET, ReasonCode::ScopeMissing, &step_up("read:get write:pay"));
    world.token_scope = ScopeSet::default();
    refused(&world, GET, ReasonCode::ScopeMissing, &step_up("read:get"));
    let many = |count| (0..count).map(|number| format!("read:t{number}")).collect::<Vec<_>>();
    for (count, named) in [(63, 64), (64, 1)] {
        world.token_scope = ScopeSet::parse(&many(count).join(" ")).unwrap();
        let denied = world.ask(GET, decide).map(drop).unwrap_err();
        let Visibility::StepUp(offered) = denied.visibility else { panic!("{denied:?}") };
        assert_eq!(offered.len(), named);
    }
}

#[test]
fn a_scope_the_grants_do_not_cover_stays_hidden() {
    let ended = |grant: &Grant| Grant { expires_s: Some(NOW_S), ..grant.clone() };
    let mut world = World::new();
    world.parts.grants = world.parts.grants.iter().map(ended).collect();
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
    world.parts.grants.clear();
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
}

#[test]
fn a_grant_elsewhere_does_not_count_here() {
    let mut world = World::new();
    world.parts.grants.remove(0);
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
    world.server = "erp";
    assert_eq!(denial(&world, GET), None);
}

#[test]
fn step_up_is_not_offered_for_what_policy_hides() {
    let mut world = World::with_policy("forbid (principal, action, resource in Server::\"crm\");");
    world.token_scope = ScopeSet::default();
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
}

#[test]
fn no_policy_no_call() {
    for text in ["", "// nothing", "forbid (principal, action, resource) when { false };"] {
        let world = World::with_policy(text);
        refused(&world, GET, ReasonCode::PolicyNoPermit, &Visibility::Hidden);
    }
}

#[test]
fn a_forbid_names_its_rule() {
    let world = World::with_policy(
        "permit (principal, action, resource);
         @id(\"no-pay\") forbid (principal, action == Action::\"write\", resource);",
    );
    let found = denial(&world, Operation::Tool("pay")).unwrap();
    assert_eq!(found.reason, ReasonCode::PolicyForbid);
    assert_eq!(found.rule.as_deref(), Some("no-pay"));
    assert_eq!(denial(&world, GET), None);
}

#[test]
fn what_other_arguments_would_allow_is_told() {
    let mut world = World::with_policy(
        "permit (principal, action, resource);
         forbid (principal, action, resource == Tool::\"crm/pay\")
         when { context.arguments.amount > 100 };",
    );
    world.arguments = Some(r#"{"amount":101}"#);
    refused(&world, Operation::Tool("pay"), ReasonCode::PolicyForbid, &Visibility::Told);
    world.arguments = Some(r#"{"amount":100}"#);
    assert_eq!(denial(&world, Operation::Tool("pay")), None);
    // Missing, or of another type: the rule cannot be evaluated.
    for arguments in [None, Some("{}"), Some(r#"{"amount":"101"}"#), Some(r#"{"amount":null}"#)] {
        world.arguments = arguments;
        refused(&world, Operation::Tool("pay"), ReasonCode::PolicyError, &Visibility::Told);
    }
}

#[test]
fn an_irreversible_call_needs_a_person() {
    let drop = Operation::Tool("drop");
    let waits = denial(&World::new(), drop).unwrap();
    assert_eq!(waits.reason, ReasonCode::ApprovalRequired);
    assert!(matches!(waits.visibility, Visibility::Waits(_)));
    // The administration asks nobody: an operator is the person, and others may not.
    let mut world = World::with_policy(
        "permit (principal, action, resource in Server::\"admin\") unless { false };",
    );
    world.server = "admin";
    refused(&world, drop, ReasonCode::ApprovalRequired, &Visibility::Told);
    world.parts.agents[0].kind = AgentKind::Operator;
    assert_eq!(denial(&world, drop), None);
    world.server = "crm";
    world.policy = PolicySet::starter_text().to_owned();
    assert_eq!(denial(&world, drop).unwrap().reason, ReasonCode::ApprovalRequired);
}

/// The call that a denial waits for, approved or not.
fn approval_of(world: &World, operation: Operation<'_>, state: ApprovalState) -> Approval {
    let Some(Denial { visibility: Visibility::Waits(waiting), .. }) = denial(world, operation)
    else {
        panic!("nothing waits");
    };
    Approval {
        id: ApprovalId::from_random(&[7; 16]),
        call: waiting.call,
        excluded: Vec::new(),
        asked_s: NOW_S,
        expires_s: NOW_S + 60,
        state,
    }
}

fn approved() -> ApprovalState {
    ApprovalState::Approved { by: Vec::new() }
}

#[test]
fn an_approval_of_exactly_this_call_permits_it() {
    let drop = Operation::Tool("drop");
    let mut world = World::new();
    world.arguments = Some(r#"{"id":1}"#);
    let approval = approval_of(&world, drop, approved());
    world.parts.approvals = vec![approval.clone()];
    let given = world.ask(drop, |request| decide(request).unwrap().approval().cloned());
    assert_eq!(given.unwrap().id, approval.id);
    // Another spelling of the same arguments is the same call; other arguments are another one.
    world.arguments = Some(r#"{ "id": 1.0 }"#);
    assert_eq!(denial(&world, drop), None);
    world.arguments = Some(r#"{"id":2}"#);
    assert_eq!(denial(&world, drop).unwrap().reason, ReasonCode::ApprovalRequired);
    world.arguments = Some(r#"{"id":1}"#);
    for (state, expires_s, reason) in [
        (ApprovalState::Pending { first: None }, NOW_S + 60, ReasonCode::ApprovalPending),
        (approved(), NOW_S, ReasonCode::ApprovalRequired),
        (ApprovalState::Expired, NOW_S + 60, ReasonCode::ApprovalRequired),
    ] {
        world.parts.approvals = vec![Approval { state, expires_s, ..approval.clone() }];
        assert_eq!(denial(&world, drop).unwrap().reason, reason);
    }
    // Everything else is judged as ever.
    world.parts.approvals = vec![approval];
    assert_eq!(denial(&world, drop), None);
    world.parts.grants.clear();
    refused(&world, drop, ReasonCode::ScopeMissing, &Visibility::Hidden);
}

#[test]
fn an_approval_is_for_one_definition() {
    let drop = Operation::Tool("drop");
    let mut world = World::new();
    world.parts.approvals = vec![approval_of(&world, drop, approved())];
    assert_eq!(denial(&world, drop), None);
    let tool = world.parts.servers[0].tools.get_mut("drop").unwrap();
    tool.digest = [9; 32];
    tool.approved.as_mut().unwrap().digest = [9; 32];
    assert_eq!(denial(&world, drop).unwrap().reason, ReasonCode::ApprovalRequired);
}

#[test]
fn a_rule_may_ask_for_a_person() {
    let starter = PolicySet::starter_text();
    let asks =
        "@approval(\"two not-owner\") permit (principal, action, resource == Tool::\"crm/pay\");";
    let mut world = World::with_policy(&format!("{starter}{asks}"));
    let pay = Operation::Tool("pay");
    assert_eq!(denial(&world, GET), None);
    assert_eq!(denial(&World::new(), pay), None);
    // The rule that permits everything does not void it.
    let approval = approval_of(&world, pay, approved());
    assert_eq!(approval.call.terms, ApprovalTerms { two: true, not_owner: true });
    world.parts.approvals = vec![approval.clone()];
    assert_eq!(denial(&world, pay), None);
    // Given under weaker terms it does not count.
    let weaker = ApprovalCall { terms: ApprovalTerms::default(), ..approval.call.clone() };
    world.parts.approvals = vec![Approval { call: weaker, ..approval }];
    assert_eq!(denial(&world, pay).unwrap().reason, ReasonCode::ApprovalRequired);
}

#[test]
fn arguments_that_cannot_be_shown_cannot_be_approved() {
    let mut world = World::new();
    world.arguments = Some(r#"{"id":9007199254740993}"#);
    let drop = Operation::Tool("drop");
    refused(&world, drop, ReasonCode::RequestMalformed, &Visibility::Told);
    world.arguments = Some(r#"{"id":9007199254740991}"#);
    assert_eq!(denial(&world, drop).unwrap().reason, ReasonCode::ApprovalRequired);
}

#[test]
fn administration_cannot_be_locked_out_by_a_rule_for_servers() {
    let mut world = World::with_policy(
        "forbid (principal, action, resource) when { context.arguments.amount > 100 };",
    );
    world.server = "admin";
    refused(&world, GET, ReasonCode::PolicyNoPermit, &Visibility::Hidden);
    world.parts.agents[0].kind = AgentKind::Operator;
    assert_eq!(denial(&world, GET), None);
    world.parts.grants.clear();
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
}

fn listed(world: &World) -> Vec<String> {
    world.ask(GET, |request| {
        let mut names: Vec<_> = visible_tools(request).iter().map(|t| t.name.clone()).collect();
        names.sort();
        names
    })
}

#[test]
fn a_listing_shows_what_could_be_called() {
    assert_eq!(listed(&World::new()), ["drop", "get", "pay"]);
    let mut world = World::new();
    world.token_scope = ScopeSet::default();
    assert_eq!(listed(&world), ["drop", "get", "pay"]);
    world.parts.grants.clear();
    assert!(listed(&world).is_empty());
}

#[test]
fn a_listing_follows_policy_without_arguments() {
    let world = World::with_policy(
        "permit (principal, action, resource == Tool::\"crm/pay\")
         when { context.arguments.amount < 100 };
         permit (principal, action == Action::\"irreversible\", resource);
         forbid (principal, action, resource) when { resource.name == \"drop\" };
         forbid (principal, action, resource) when { context.arguments has x };",
    );
    assert_eq!(listed(&world), ["pay"]);
    assert!(listed(&World::with_policy("")).is_empty());
}

#[test]
fn a_hidden_tool_and_an_unknown_one_are_denied_alike() {
    let world = World::with_policy("forbid (principal, action, resource);");
    let hidden = denial(&world, GET).unwrap().visibility;
    assert_eq!(denial(&world, Operation::Tool("gone")).unwrap().visibility, hidden);
}

const PATTERNS: [&str; 6] =
    ["read:*", "write:*", "irreversible:*", "read:get", "write:pay", "write:get"];
const SCOPES: [&str; 5] = ["read:get", "write:pay", "irreversible:drop", "write:get", "read:new"];
const TOOLS: [&str; 5] = ["get", "pay", "drop", "new", "gone"];

fn subset<const N: usize>(all: [&'static str; N]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(all.to_vec(), 0..=N)
}

fn world_of(patterns: &[&str], scopes: &[&str]) -> World {
    let mut world = World::new();
    world.parts.grants[0].patterns =
        patterns.iter().map(|text| ScopePattern::parse(text).unwrap()).collect();
    world.token_scope = ScopeSet::parse(&scopes.join(" ")).unwrap();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_permit_is_covered_by_every_factor(
        patterns in subset(PATTERNS),
        scopes in subset(SCOPES),
        tool in proptest::sample::select(&TOOLS[..]),
    ) {
        world_of(&patterns, &scopes).ask(Operation::Tool(tool), |request| {
            let Ok(permit) = decide(request) else { return Ok(()) };
            let server = &request.server.id;
            let granted = request.snapshot.held_scopes(request.holder(), server, NOW_S).unwrap();
            prop_assert!(granted.contains(permit.scope()));
            prop_assert!(request.token_scope.contains(permit.scope()));
            prop_assert!(is_visible(request));
            let approved = request.server.approved_tool(tool).unwrap().approved_class();
            prop_assert_eq!(approved, Some(permit.class()));
            Ok(())
        })?;
    }

    #[test]
    fn taking_away_never_gives(
        patterns in subset(PATTERNS),
        scopes in subset(SCOPES),
        tool in proptest::sample::select(&TOOLS[..]),
        kept in 0..6_usize,
    ) {
        let before = denial(&world_of(&patterns, &scopes), Operation::Tool(tool));
        let fewer: Vec<_> = patterns.into_iter().take(kept).collect();
        let narrower: Vec<_> = scopes.into_iter().take(kept).collect();
        let after = denial(&world_of(&fewer, &narrower), Operation::Tool(tool));
        prop_assert!(before.is_none() || after.is_some());
    }

    #[test]
    fn step_up_offers_only_what_would_help(
        patterns in subset(PATTERNS),
        scopes in subset(SCOPES),
        tool in proptest::sample::select(&TOOLS[..]),
    ) {
        let mut world = world_of(&patterns, &scopes);
        let Some(denied) = denial(&world, Operation::Tool(tool)) else { return Ok(()) };
        let Visibility::StepUp(offered) = denied.visibility else { return Ok(()) };
        world.token_scope = offered;
        let next = denial(&world, Operation::Tool(tool)).map(|denied| denied.reason);
        prop_assert!(matches!(next, None | Some(ReasonCode::ApprovalRequired)), "{:?}", next);
    }
}

/// `get` reads, and writes when it is told to.
fn with_rules() -> World {
    let mut world = World::new();
    let rules = r#"[{"when":[{"at":"/mode","is":{"equals":"write"}}],"class":"write"}]"#;
    let get = world.parts.servers[0].tools.get_mut("get").unwrap();
    get.approved.as_mut().unwrap().rules = serde_json::from_str(rules).unwrap();
    world
}

#[test]
fn the_class_is_that_of_the_arguments() {
    let mut world = with_rules();
    world.token_scope = ScopeSet::parse("read:get write:get").unwrap();
    for (arguments, class) in [
        (None, Class::Read),
        (Some(r#"{"mode":"read"}"#), Class::Read),
        (Some(r#"{"mode":"write"}"#), Class::Write),
        (Some(r#"{"mode":["read"]}"#), Class::Write),
    ] {
        world.arguments = arguments;
        world.ask(GET, |request| assert_eq!(decide(request).unwrap().class(), class));
    }
}

#[test]
fn the_missing_scope_is_that_of_the_class() {
    let mut world = with_rules();
    world.arguments = Some(r#"{"mode":"write"}"#);
    world.token_scope = ScopeSet::parse("read:get").unwrap();
    let wanted = Visibility::StepUp(ScopeSet::parse("read:get write:get").unwrap());
    refused(&world, GET, ReasonCode::ScopeMissing, &wanted);
    // Out of reach, but listed for another class: told. Not listed at all: hidden.
    let read = [ScopePattern::parse("read:get").unwrap()];
    world.parts.grants[0].patterns = read.to_vec();
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Told);
    world.ask(GET, |request| assert!(is_visible(request)));
    world.parts.grants[0].patterns = vec![ScopePattern::parse("write:pay").unwrap()];
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
}

fn details(maximum: u64) -> AuthorizationDetails {
    let text = format!(
        r#"[{{"type":"mcp_tool_call","tool":"get","arguments":{{"required":["n"],"properties":{{"n":{{"maximum":{maximum}}}}}}},"max_calls":{maximum}}}]"#
    );
    AuthorizationDetails::parse(&text).unwrap()
}

#[test]
fn token_and_grant_both_limit_arguments() {
    let mut world = World::new();
    world.parts.grants[0].constraints = details(9).as_slice().to_vec();
    world.token_details = Some(details(5));
    world.arguments = Some(r#"{"n":5}"#);
    world.ask(GET, |request| {
        let counted = decide(request).unwrap().counted();
        assert_eq!((counted.grant_max, counted.token_max), (Some(9), Some(5)));
    });
    for beyond in [Some(r#"{"n":6}"#), Some("{}"), None] {
        world.arguments = beyond;
        refused(&world, GET, ReasonCode::ConstraintViolated, &Visibility::Told);
    }
    world.token_details = None;
    world.arguments = Some(r#"{"n":9}"#);
    assert_eq!(denial(&world, GET), None);
    world.arguments = Some(r#"{"n":10}"#);
    refused(&world, GET, ReasonCode::ConstraintViolated, &Visibility::Told);
    // Other tools and the listing do not care.
    assert_eq!(denial(&world, Operation::Tool("pay")), None);
    world.ask(GET, |request| assert!(is_visible(request)));
}

#[test]
fn one_grant_that_fits_is_enough() {
    let mut world = World::new();
    world.parts.grants[0].constraints = details(5).as_slice().to_vec();
    let mut wider = world.parts.grants[0].clone();
    wider.id = GrantId::from_random(&[77; 16]);
    wider.constraints = details(9).as_slice().to_vec();
    world.parts.grants.push(wider.clone());
    world.arguments = Some(r#"{"n":7}"#);
    world.ask(GET, |request| {
        assert_eq!(decide(request).unwrap().grant(), Some(&wider.id));
    });
    world.arguments = Some(r#"{"n":10}"#);
    refused(&world, GET, ReasonCode::ConstraintViolated, &Visibility::Told);
}

#[test]
fn a_grant_that_waits_for_a_second_owner_gives_nothing() {
    let mut world = World::new();
    world.parts.grants[0].awaits_second = true;
    refused(&world, GET, ReasonCode::ScopeMissing, &Visibility::Hidden);
    world.parts.grants[0].confirmed_by = Some("bea".into());
    assert_eq!(denial(&world, GET), None);
}
