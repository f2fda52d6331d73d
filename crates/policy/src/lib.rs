//! Decides: a permit or a denial that explains itself.
//!
//! A call is allowed when the agent, its grants, the server, the tool as it was approved, the
//! token and the policies all allow it, judged anew at every call. Whatever is missing, unknown or
//! cannot be evaluated denies.
//!
//! What is implemented: [`decide()`] and [`explain()`] over one list of steps, filtering of lists,
//! Cedar policies sliced by server, and tests of policies. [`decide_hop()`] asks the same policies
//! where an MCP server goes on to an API: when it gets a token for it, and at each request there.
//!
//! Constraints on arguments in grants and tokens (RFC 9396) are one of the steps; calls they allow
//! a number of are counted by whoever forwards them.
//!
//! A call that cannot be undone, or that a rule with `@approval` permits, needs an approval of exactly
//! this call; whoever forwards it uses the approval up. `@approval("one")` asks for one person,
//! `@approval("two")` for two, and `not-owner` beside it for nobody who answers for the agent. Of
//! several rules that permit, all have their way.
//!
//! What is *not*: separation of duties.
//!
//! The words a policy may use:
//!
//! | Part | Entities of a call | Entities of a hop | Attributes |
//! |---|---|---|---|
//! | `principal` | `Agent::"name"`, `Client::"name"`, `Gateway::"name"`, `Operator::"name"` | `Server::"name"` | `name`, `owner` |
//! | `action` | `Action::"read"`, `Action::"write"`, `Action::"irreversible"` | the same, of the operation | |
//! | `resource` | `Tool::"server/tool"`, `Resources::"server"`, `Prompts::"server"`, each in `Server::"server"` | `Operation::"api/operation"` in `Api::"api"` | `name`, `owner`; `server` of a call, `api` of a hop |
//! | `context` | | | `agent`, `now_s`, `scope`, and `person` where the agent acts for one; `arguments`, `arguments_incomplete` of a call |
//!
//! `context.agent` is the name of whose right is used: at a call the caller, at a hop the agent that the
//! server acts for. A rule whose scope has no word of either is asked about calls and hops. Where it then
//! reads `context.arguments` or `resource.server`, it fails at every hop, and an error denies: such a rule
//! says `resource is Tool`. `resource.api` is for rules about hops alone; others do not compile with it.
//!
//! `null`, fractions and numbers beyond 2^53 cannot be shown to a policy. They are left out, and
//! `context.arguments_incomplete` is true. A rule that applies to the call and reads an argument of
//! which something was left out is an error, and an error denies.
//!
//! A policy whose scope names no server speaks of every server but Attorn's own administration, and,
//! unless its scope has a word of calls, of every API.
//!
//! Nobody but this crate makes a [`Permit`]:
//!
//! ```compile_fail,E0451
//! # use attorn_registry::{Class, Scope};
//! let forged = attorn_policy::Permit {
//!     class: Class::Read,
//!     scope: Scope::RESOURCES,
//!     policy_version: 1,
//!     rule: String::new(),
//!     grant: None,
//!     counted: attorn_policy::Counted::default(),
//!     approval: None,
//! };
//! ```
//!
//! nor a [`HopPermit`]:
//!
//! ```compile_fail,E0451
//! let (scopes, rules) = (Default::default(), Default::default());
//! let forged = attorn_policy::HopPermit { scopes, policy_version: 1, rules };
//! ```
//!
//! and nobody uses one twice:
//!
//! ```compile_fail,E0599
//! fn twice(permit: attorn_policy::Permit) -> [attorn_policy::Permit; 2] {
//!     [permit.clone(), permit]
//! }
//! ```

mod analysis;
mod approval;
mod arguments;
mod cases;
mod cedar;
mod compile;
mod decide;
mod explain;
mod hop;
mod memo;
mod place;
mod reach;
mod steps;

#[cfg(test)]
mod fixtures;

pub use analysis::Problem;
pub use cases::{Answer, CaseOutcome, CaseProblem, Observed, TestsError, run_tests};
pub use compile::{PolicyErrors, PolicyProblem, PolicySet};
pub use decide::{
    Counted, Denial, GivenApproval, Operation, Permit, Request, Visibility, Waiting, decide,
    is_visible, visible_tools,
};
pub use explain::{Outcome, Step, explain};
pub use hop::{Approved, HopDecision, HopDenial, HopPermit, HopRequest, decide_hop};
pub use place::{Place, place_of};
