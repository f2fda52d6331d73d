//! What an operator may hand on: no more of the administration than they hold, and for no longer.
//!
//! Without this, whoever may create grants or codes holds everything: they would grant it to
//! themselves, or enrol a key of their own for an operator who does. Grants at MCP servers are not
//! looked at here: who may give those may give all of them.

use attorn_registry::{Agent, McpServer, ScopePattern};

use super::context::Context;
use super::refusal::Refusal;

/// Refuses a grant at the built-in server that is wider or longer than the operator's own ones.
pub(crate) fn verify_grant(
    context: &Context,
    server: &McpServer,
    patterns: &[ScopePattern],
    expires_s: Option<u64>,
) -> Result<(), Refusal> {
    if !server.is_builtin() {
        return Ok(());
    }
    let own =
        || context.snapshot.counting_grants(&context.operator.id, &server.id, context.now_s());
    let is_held = |pattern: &ScopePattern| {
        own().any(|grant| {
            let includes = grant.patterns.iter().any(|held| held.includes(pattern));
            includes && ends_no_later(expires_s, grant.expires_s)
        })
    };
    if patterns.iter().all(is_held) { Ok(()) } else { Err(Refusal::Widened) }
}

/// Refuses a code for an agent who holds more of the administration than the operator: a code is
/// good for a new key, and whoever holds the key is the agent.
pub(crate) fn verify_code(context: &Context, agent: &Agent) -> Result<(), Refusal> {
    if agent.id == context.operator.id {
        return Ok(());
    }
    let builtin = context.snapshot.servers().filter(|server| server.is_builtin());
    for server in builtin {
        // A lock on a grant ends; the new key would still be there.
        let theirs = context.snapshot.grants(&agent.id, &server.id);
        for grant in theirs.iter().filter(|grant| grant.counts(context.now_s())) {
            verify_grant(context, server, &grant.patterns, grant.expires_s)?;
        }
    }
    Ok(())
}

fn ends_no_later(end_s: Option<u64>, limit_s: Option<u64>) -> bool {
    limit_s.is_none_or(|limit_s| end_s.is_some_and(|end_s| end_s <= limit_s))
}
