//! Policies: what narrows never widens, and the same text decides the same.

use attorn_policy::{Operation, PolicySet, Request, decide, is_visible};
use attorn_registry::{PolicySource, ScopeSet};

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};
use super::world::{Ask, World};

pub(crate) const POLICY_PARSE_EVAL: Target = Target {
    name: "policy_parse_eval",
    oracle: "accepted policies decide the same when compiled again and when asked again; a forbid \
             more, or a scope less, permits nothing more; forbid-all denies all; permitted is \
             listed",
    prepare,
};

const WORDS: &[&str] = &[
    "permit",
    "forbid",
    "(principal, action, resource)",
    "when { ",
    "unless { ",
    " };",
    "@id(\"r\")",
    "principal == Agent::\"billing\"",
    "resource in Server::\"crm\"",
    "resource == Tool::\"crm/get\"",
    "principal is Server",
    "resource in Api::\"billing\"",
    "context.agent == \"billing\"",
    "action == Action::\"read\"",
    "context.arguments",
    ".amount < 10",
    " has amount && ",
    "context.now_s",
    "context.arguments_incomplete",
    "principal.owner == \"ann\"",
    "true",
    "false",
    "&&",
    "||",
    "!",
    "like \"a*\"",
    "?principal",
    "9223372036854775807",
    "in [",
    "]",
    "is Agent",
    "// x\n",
    "\"",
    "\\",
    ";",
];

const SEEDS: &[&str] = &[
    "permit(principal, action, resource);",
    "@id(\"a\") permit(principal, action, resource in Server::\"crm\");\n@id(\"b\") \
     forbid(principal, action == Action::\"write\", resource) when { \
     context.arguments.amount > 100 };",
    "permit(principal is Agent, action, resource) when { principal.owner == \"ann\" };",
    "permit(principal, action == Action::\"read\", resource == Tool::\"crm/get\") when { \
     context.arguments has id && context.arguments.id like \"a*\" };",
    "forbid(principal, action, resource) unless { context.now_s < 2000 };\npermit(principal, \
     action, resource);",
    "permit(principal == Agent::\"billing\", action, resource) when { \
     !context.arguments_incomplete };",
    "permit(principal == Server::\"crm\", action, resource == Operation::\"billing/get\") when { \
     resource.api == \"billing\" };\npermit(principal, action, resource) when { \
     context.agent == \"billing\" };",
];

/// What the calls of the questions carry.
const ARGUMENTS: [Option<&str>; 4] =
    [None, Some("{}"), Some(r#"{"amount":250,"id":"abc"}"#), Some(r#"{"amount":1.5,"id":null}"#)];

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let world = World::new()?;
    let mut seeds: Vec<Vec<u8>> = SEEDS.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.push(PolicySet::starter_text().as_bytes().to_vec());
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        check_text(text, &world)
    };
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn compiled(text: &str) -> Result<PolicySet, String> {
    let source = PolicySource { version: 7, text: text.to_owned() };
    PolicySet::compile(&source).map_err(|error| format!("{error:?}"))
}

/// Decisions on a fixed list of calls.
fn decisions(
    world: &World,
    policies: &PolicySet,
    scope: &str,
) -> Result<Vec<(bool, String)>, String> {
    let scope = ScopeSet::parse(scope).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for server in ["crm", "erp"] {
        for operation in [
            Operation::Tool("get"),
            Operation::Tool("pay"),
            Operation::Tool("new"),
            Operation::Tool("nobody"),
            Operation::Resources,
        ] {
            for arguments in ARGUMENTS {
                let ask = Ask { server, operation, scope: &scope, arguments };
                let decided = world.ask(policies, &ask, one).ok_or("no such server")??;
                all.push(decided);
            }
        }
    }
    Ok(all)
}

fn one(request: &Request<'_>) -> Result<(bool, String), String> {
    let outcome = decide(request);
    ensure(decide(request).is_ok() == outcome.is_ok(), "asked again, another answer")?;
    ensure(outcome.is_err() || is_visible(request), "permitted, and not in the list")?;
    match outcome {
        Ok(permit) => Ok((true, permit.rule().to_owned())),
        Err(denial) => Ok((false, format!("{:?}", denial.reason))),
    }
}

const EVERY: &str = "read:get write:pay read:@resources read:@prompts";

fn check_text(text: &str, world: &World) -> Result<Seen, String> {
    let policies = match compiled(text) {
        Ok(policies) => policies,
        Err(refusal) => {
            let kind: String = refusal.chars().take(60).collect();
            return Ok(Seen::refused(&kind));
        }
    };
    let all = decisions(world, &policies, EVERY)?;
    ensure(decisions(world, &compiled(text)?, EVERY)? == all, "compiled again, another answer")?;
    let narrower = |what: &str, other: &[(bool, String)]| {
        let widened = all.iter().zip(other).any(|((before, _), (after, _))| !before && *after);
        ensure(!widened, what)
    };
    narrower("less scope permits more", &decisions(world, &policies, "read:get")?)?;
    let none = decisions(world, &policies, "")?;
    ensure(none.iter().all(|(permitted, _)| !permitted), "permitted without a scope")?;
    let forbid = "@id(\"zz-more\") forbid(principal, action, resource == Tool::\"crm/get\");";
    // Only where the text ends with a whole policy can another follow.
    if let Ok(policies) = compiled(&format!("{text}\n{forbid}")) {
        narrower("a forbid more permits more", &decisions(world, &policies, EVERY)?)?;
    }
    let nothing = "@id(\"zz-all\") forbid(principal, action, resource);";
    if let Ok(policies) = compiled(&format!("{text}\n{nothing}")) {
        let left = decisions(world, &policies, EVERY)?;
        ensure(left.iter().all(|(permitted, _)| !permitted), "permitted where all is forbidden")?;
    }
    let shape: Vec<&str> = all.iter().map(|(_, why)| why.as_str()).collect();
    Ok(Seen::accepted(&(policies.rules().len().min(3), shape.len(), all.iter().any(|one| one.0))))
}
