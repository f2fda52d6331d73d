//! The policies are asked about each request: the same question as when its token was exchanged, of
//! those that are in force here now.

use attorn_audit::{Decision, Entry, Kind};
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_registry::{ApprovalId, Downstream, ScopePattern, SnapshotParts};
use http::StatusCode;

use crate::registry::{agent_id, policy};
use crate::world::{Ask, BOTH, World, ask, told};

const GET: &str = "read:invoice.get";
const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

fn get() -> Ask {
    ask("GET", "/invoices/7")
}

/// A change of the policies, version and all.
fn under(text: &str) -> impl FnOnce(&mut SnapshotParts) {
    let source = attorn_registry::PolicySource { version: 8, ..policy(text) };
    move |parts| parts.policy = source
}

/// The same token before, under these policies, and after.
async fn check(
    (world, passed): (&World, &mut usize),
    text: &str,
    reason: &str,
    rule: Option<&str>,
) {
    let token = world.token(GET);
    assert_eq!(world.ask_with(&token, get()).await.status, StatusCode::OK);
    settled(world, passed).await;
    let asked = world.proven(get(), &token).await;
    let refused = async {
        let answer = world.send(asked).await;
        world.refused(&answer).await
    };
    let refused = world.changed(under(text), refused).await;
    assert_eq!(told(&refused), (403, reason, ""), "{text}");
    let entry = world.newest().await;
    assert_eq!((entry.kind, entry.rule.as_deref()), (Kind::ResourceAccessed, rule), "{text}");
    assert_eq!(entry.policy_version.as_deref(), Some("8"), "{text}");
    assert_eq!(entry.agent.as_deref(), Some(agent_id().as_str()));
    assert_eq!(world.ask_with(&token, get()).await.status, StatusCode::OK);
    settled(world, passed).await;
}

/// Waits for the outcomes of all that passed, as many as the API saw, and forgets what it saw. What is
/// on record is seen a moment later.
async fn settled(world: &World, passed: &mut usize) {
    *passed += world.api.take_seen().len();
    let outcomes = |all: &[Entry]| all.iter().filter(|one| one.outcome.is_some()).count();
    drop(world.entries(|all| outcomes(all) >= *passed).await);
}

/// The intent of the request that passed under this version of the policies.
async fn intent(world: &World, version: &str) -> Entry {
    let is_it = |one: &&Entry| {
        one.kind == Kind::ResourceAccessed
            && one.decision == Some(Decision::Permit)
            && one.policy_version.as_deref() == Some(version)
    };
    let entries = world.entries(|all| all.iter().any(|one| is_it(&one))).await;
    entries.iter().find(is_it).unwrap().clone()
}

#[tokio::test]
async fn what_policies_do_not_permit_is_refused_and_the_rule_is_on_record() {
    for version in BOTH {
        let world = World::new("policies", version).await;
        let mut passed = 0;
        let forbid = |scope: &str| format!("{ALL} @id(\"no\") forbid ({scope});");
        for scope in [
            "principal == Server::\"crm\", action, resource",
            "principal, action == Action::\"read\", resource in Api::\"billing\"",
            "principal, action, resource == Operation::\"billing/invoice.get\"",
        ] {
            check((&world, &mut passed), &forbid(scope), "policy.forbid", Some("no")).await;
        }
        let agent = format!(
            "{ALL} @id(\"no\") forbid (principal, action, resource)
             when {{ context.agent == \"billing-agent\" }};"
        );
        check((&world, &mut passed), &agent, "policy.forbid", Some("no")).await;
        check((&world, &mut passed), "", "policy.no_permit", None).await;
        let agents = "permit (principal is Agent, action, resource);";
        check((&world, &mut passed), agents, "policy.no_permit", None).await;
        let blind = format!(
            "{ALL} @id(\"blind\") forbid (principal, action, resource)
             when {{ context.arguments has n }};"
        );
        check((&world, &mut passed), &blind, "policy.error", Some("blind")).await;
    }
}

#[tokio::test]
async fn what_policies_permit_passes_with_rule_and_version_on_record() {
    for version in BOTH {
        let world = World::new("permitted-by", version).await;
        assert_eq!(world.ask(GET, get()).await.status, StatusCode::OK);
        let entry = intent(&world, "7").await;
        assert_eq!(entry.rule.as_deref(), Some("granted-calls"));
        // Rules about others change nothing, and neither do those about calls at the server.
        let others = "@id(\"hops\") permit (principal is Server, action, resource);
            forbid (principal == Server::\"erp\", action, resource);
            forbid (principal, action, resource in Api::\"other\");
            forbid (principal, action, resource in Server::\"crm\");
            forbid (principal, action, resource) when { context.agent == \"robot\" };";
        world.change(under(others));
        assert_eq!(world.ask(GET, get()).await.status, StatusCode::OK);
        let entry = intent(&world, "8").await;
        assert_eq!(entry.rule.as_deref(), Some("hops"));
    }
}

#[tokio::test]
async fn policies_that_do_not_compile_permit_nothing() {
    for version in BOTH {
        let world = World::new("broken-policies", version).await;
        let asked = world.proven(get(), &world.token(GET)).await;
        let refused = async {
            let answer = world.send(asked).await;
            world.refused(&answer).await
        };
        let refused = world.changed(under("permit (principal"), refused).await;
        assert_eq!(told(&refused), (403, "policy.error", ""));
        world.passes().await;
    }
}

/// An API that reads a path otherwise is not a way around a rule.
#[tokio::test]
async fn everything_that_a_request_could_be_taken_for_has_to_be_permitted() {
    for version in BOTH {
        let world = World::new("both-operations", version).await;
        world.change(|parts| {
            let rule = parts.resources[0].downstreams[0].clone();
            let to = ScopePattern::parse("read:invoice.search").unwrap();
            parts.resources[0].downstreams.push(Downstream { to, ..rule });
        });
        let mut passed = 0;
        let (both, search) = ("read:invoice.get read:invoice.search", "/invoices/search");
        let mut passes = async || {
            let answer = world.ask(both, ask("GET", search)).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            settled(&world, &mut passed).await;
        };
        passes().await;
        for operation in ["invoice.get", "invoice.search"] {
            let asked = world.proven(ask("GET", search), &world.token(both)).await;
            let refused = async {
                let answer = world.send(asked).await;
                world.refused(&answer).await
            };
            let rule = format!("resource == Operation::\"billing/{operation}\"");
            let text = format!("{ALL} @id(\"no\") forbid (principal, action, {rule});");
            let refused = world.changed(under(&text), refused).await;
            assert_eq!(told(&refused), (403, "policy.forbid", ""), "{operation}");
        }
        passes().await;
        // Each by a rule of its own: both are on record.
        let rules = "@id(\"a\") permit (principal, action,
                resource == Operation::\"billing/invoice.search\");
            @id(\"b\") permit (principal, action, resource == Operation::\"billing/invoice.get\");";
        world.change(under(rules));
        let answer = world.ask(both, ask("GET", search)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let entry = intent(&world, "8").await;
        assert_eq!((entry.rule.as_deref(), &*entry.detail["rules"]), (Some("a"), "a, b"));
    }
}

#[tokio::test]
async fn a_rule_that_asks_for_a_person_permits_what_belongs_to_an_approved_call() {
    for version in BOTH {
        let world = World::new("approved", version).await;
        let mut passed = 0;
        let rule = "@id(\"asks\") @approval(\"one\") permit (principal, action, resource);";
        check((&world, &mut passed), rule, "approval.required", Some("asks")).await;
        world.change(under(rule));
        let approval = Some(ApprovalId::from_random(&[5; 16]));
        let claims = AccessTokenClaims { attorn_approval: approval, ..world.claims(GET) };
        let answer = world.ask_with(&world.issue(&claims), get()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(intent(&world, "8").await.rule.as_deref(), Some("asks"));
    }
}
