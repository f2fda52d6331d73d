//! A call that a person decides about before the case: the case then brings its approval along.

use serde::Deserialize;
use serde_json::{Value, json};

use super::case;
use super::play::exchanged;
use super::rows::{Case, Forged};
use super::world::World;
use crate::step::StepFailed;

/// The call, and what becomes of it before the case. `${approval}` in the body of the case is its
/// request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approved {
    /// The arguments of `wipe`.
    arguments: Value,
    /// What a person says.
    answer: Answer,
    /// Whether the call is made.
    #[serde(default)]
    used: bool,
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Approve,
    Deny,
    Nothing,
}

/// Alpha asks, and a person answers. Gives the identifier of the request.
///
/// # Errors
/// When the call does not wait, or an approved one is not made.
pub(super) fn prepare(world: &World, wanted: &Approved) -> Result<String, StepFailed> {
    // What was used a moment ago at another gateway is known here, too.
    world.settle()?;
    let asked = call(world, wanted)?;
    let id = asked.pointer("/result/_meta/dev.attorn~1approval").and_then(Value::as_str);
    let id = id.ok_or_else(|| StepFailed::Check(format!("nothing waits: {asked}")))?;
    let command = match wanted.answer {
        Answer::Approve => Some("approve"),
        Answer::Deny => Some("deny"),
        Answer::Nothing => None,
    };
    if let Some(command) = command {
        let command = ["request", command, id, "--reason", "a row"].map(str::to_owned);
        world.cli(&command)?;
    } else {
        world.settle()?;
    }
    if wanted.used {
        let made = call(world, wanted)?;
        if made.pointer("/result/isError") != Some(&Value::Bool(false)) {
            return Err(StepFailed::Check(format!("an approved call is not made: {made}")));
        }
        world.settle()?;
    }
    Ok(id.to_owned())
}

fn call(world: &World, wanted: &Approved) -> Result<Value, StepFailed> {
    let scope = json!({ "scope": "irreversible:wipe" });
    let params = json!({ "name": "wipe", "arguments": wanted.arguments });
    let asking = Case {
        name: "a call that waits".to_owned(),
        rpc: Some(json!({ "params": params })),
        token: Some(Forged { claims: Some(scope), ..Forged::default() }),
        ..Case::default()
    };
    let request = case::build(world, &asking)?;
    let reply = exchanged(world, &asking, world.peer("call")?, &request);
    let reply = reply.map_err(|error| StepFailed::Check(format!("{}: {error}", asking.name)))?;
    world.learn_nonce("call", &reply);
    serde_json::from_str(&reply.text())
        .map_err(|error| StepFailed::Check(format!("{}: {error}", asking.name)))
}
