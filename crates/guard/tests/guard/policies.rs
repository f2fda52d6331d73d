//! The policies are asked about each request: the same question as when its token was exchanged, of
//! those that are in force here now.

use attorn_audit::{Entry, Kind};
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
async fn check(world: &World, text: &str, reason: &str, rule: Option<&str>) {
    let token = world.token(GET);
    assert_eq!(world.ask_with(&token, get()).await.status, StatusCode::OK);
    settled(world).await;
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
    settled(world).await;
}

/// Waits for the outcome of what passed, and forgets what the API saw.
async fn settled(world: &World) {
    drop(world.entries(|all| all.last().is_some_and(|one| one.outcome.is_some())).await);
    drop(world.api.take_seen());
}

/// The intent of the newest request that passed.
async fn intent(world: &World) -> Entry {
    let entries = world.entries(|all| all.last().is_some_and(|one| one.outcome.is_some())).await;
    entries.into_iter().rev().find(|one| one.kind == Kind::ResourceAccessed).unwrap()
}

#[tokio::test]
async fn what_policies_do_not_permit_is_refused_and_the_rule_is_on_record() {
    for version in BOTH {
        let world = World::new("policies", version).await;
        let forbid = |scope: &str| format!("{ALL} @id(\"no\") forbid ({scope});");
        for scope in [
            "principal == Server::\"crm\", action, resource",
            "principal, action == Action::\"read\", resource in Api::\"billing\"",
            "principal, action, resource == Operation::\"billing/invoice.get\"",
        ] {
            check(&world, &forbid(scope), "policy.forbid", Some("no")).await;
        }
        let agent = format!(
            "{ALL} @id(\"no\") forbid (principal, action, resource)
             when {{ context.agent == \"billing-agent\" }};"
        );
        check(&world, &agent, "policy.forbid", Some("no")).await;
        check(&world, "", "policy.no_permit", None).await;
        let agents = "permit (principal is Agent, action, resource);";
        check(&world, agents, "policy.no_permit", None).await;
        let blind = format!(
            "{ALL} @id(\"blind\") forbid (principal, action, resource)
             when {{ context.arguments has n }};"
        );
        check(&world, &blind, "policy.error", Some("blind")).await;
    }
}

#[tokio::test]
async fn what_policies_permit_passes_with_rule_and_version_on_record() {
    for version in BOTH {
        let world = World::new("permitted-by", version).await;
        assert_eq!(world.ask(GET, get()).await.status, StatusCode::OK);
        let entry = intent(&world).await;
        assert_eq!(entry.rule.as_deref(), Some("granted-calls"));
        assert_eq!(entry.policy_version.as_deref(), Some("7"));
        // Rules about others change nothing, and neither do those about calls at the server.
        let others = "@id(\"hops\") permit (principal is Server, action, resource);
            forbid (principal == Server::\"erp\", action, resource);
            forbid (principal, action, resource in Api::\"other\");
            forbid (principal, action, resource in Server::\"crm\");
            forbid (principal, action, resource) when { context.agent == \"robot\" };";
        world.change(under(others));
        assert_eq!(world.ask(GET, get()).await.status, StatusCode::OK);
        let entry = intent(&world).await;
        assert_eq!(entry.rule.as_deref(), Some("hops"));
        assert_eq!(entry.policy_version.as_deref(), Some("8"));
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
        let (both, search) = ("read:invoice.get read:invoice.search", "/invoices/search");
        let passes = async || {
            let answer = world.ask(both, ask("GET", search)).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            settled(&world).await;
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
        let entry = intent(&world).await;
        assert_eq!((entry.rule.as_deref(), &*entry.detail["rules"]), (Some("a"), "a, b"));
    }
}

#[tokio::test]
async fn a_rule_that_asks_for_a_person_permits_what_belongs_to_an_approved_call() {
    for version in BOTH {
        let world = World::new("approved", version).await;
        let rule = "@id(\"asks\") @approval(\"one\") permit (principal, action, resource);";
        check(&world, rule, "approval.required", Some("asks")).await;
        world.change(under(rule));
        let approval = Some(ApprovalId::from_random(&[5; 16]));
        let claims = AccessTokenClaims { attorn_approval: approval, ..world.claims(GET) };
        let answer = world.ask_with(&world.issue(&claims), get()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(intent(&world).await.rule.as_deref(), Some("asks"));
    }
}
