use super::*;
use crate::fixtures::World;
use crate::{Operation, decide};

fn outcomes(world: &World, operation: Operation<'_>) -> String {
    let letter = |step: &Step| match step.outcome {
        Outcome::Ok => '+',
        Outcome::Fail => '!',
        Outcome::WouldDeny => 'd',
        Outcome::WouldPass => 'p',
        Outcome::NotEvaluated => '?',
    };
    world.ask(operation, |request| explain(request).iter().map(letter).collect())
}

#[test]
fn a_permitted_call_passes_every_step() {
    assert_eq!(outcomes(&World::new(), Operation::Tool("get")), "++++++++++");
}

#[test]
fn steps_past_the_failure_are_marked() {
    let mut world = World::with_policy("forbid (principal, action, resource);");
    world.parts.agents[0].owner = None;
    assert_eq!(outcomes(&world, Operation::Tool("drop")), "!pppppppdd");
    assert_eq!(outcomes(&World::new(), Operation::Tool("gone")), "+++++!????");
    assert_eq!(outcomes(&World::new(), Operation::Tool("new")), "+++++!dppp");
}

#[test]
fn an_unknown_agent_still_gets_an_explanation() {
    let mut world = World::new();
    world.parts.agents.clear();
    assert_eq!(outcomes(&world, Operation::Tool("get")), "!ppppppp?p");
}

#[test]
fn the_failing_step_says_why() {
    let world = World::with_policy(
        "@id(\"no-reads\") forbid (principal, action == Action::\"read\", resource);",
    );
    let steps = world.ask(Operation::Tool("get"), explain);
    assert_eq!(steps[8].name, "policy");
    assert_eq!(steps[8].number, 9);
    assert_eq!(steps[8].detail, "policy.forbid: a policy forbids the call, rule `no-reads`");
}

#[test]
fn decision_and_explanation_agree() {
    for policy in ["", "permit (principal, action, resource);"] {
        for name in ["get", "pay", "drop", "new", "changed", "gone"] {
            for change in [false, true] {
                let mut world = World::with_policy(policy);
                if change {
                    world.parts.grants.clear();
                }
                world.ask(Operation::Tool(name), |request| {
                    let failed = explain(request).iter().any(|step| step.outcome == Outcome::Fail);
                    assert_eq!(decide(request).is_err(), failed, "{policy} {name} {change}");
                });
            }
        }
    }
}
