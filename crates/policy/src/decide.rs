//! The decision on one call.

use attorn_registry::{
    AgentId, ApprovalCall, ApprovalId, AuthorizationDetails, Class, GrantId, Holder, Jkt,
    McpServer, PersonId, ReasonCode, Scope, ScopeSet, Snapshot, Tool,
};

use crate::compile::PolicySet;
use crate::steps::{Facts, Mode, STEPS, Stop};

/// Everything a decision looks at. One snapshot for all of it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The registry as it is now, not as it was when the token was issued.
    pub snapshot: &'a Snapshot,
    /// The policies in force.
    pub policies: &'a PolicySet,
    /// The server called.
    pub server: &'a McpServer,
    /// The caller.
    pub agent: &'a AgentId,
    /// The person it acts for, if it acts for one.
    pub person: Option<&'a PersonId>,
    /// What the token holds.
    pub token_scope: &'a ScopeSet,
    /// The `jti` of the token.
    pub token_jti: &'a str,
    /// The key the token is bound to.
    pub token_key: Option<Jkt>,
    /// What the token says of arguments.
    pub token_details: Option<&'a AuthorizationDetails>,
    /// The epoch the token was issued in.
    pub token_epoch: u64,
    /// When the token was issued, in Unix seconds; `u64::MAX` where one is only thought of.
    pub token_issued_s: u64,
    /// What is called.
    pub operation: Operation<'a>,
    /// The raw JSON of the arguments.
    pub arguments: Option<&'a str>,
    /// Now, in Unix seconds.
    pub now_s: u64,
}

/// What is called. Handshakes and lists need no scope and are not decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Use of the server's prompts.
    Prompts,
    /// Use of the server's resources.
    Resources,
    /// A call of the tool of this exact name.
    Tool(&'a str),
}

impl<'a> Request<'a> {
    /// Whose right is used.
    #[must_use]
    pub const fn holder(&self) -> Holder<'a> {
        Holder { agent: self.agent, person: self.person }
    }
}

impl<'a> Operation<'a> {
    /// The name as policies see it.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Prompts => "@prompts",
            Self::Resources => "@resources",
            Self::Tool(name) => name,
        }
    }
}

/// The right to forward one call. Made by [`decide`] and by nothing else, and not copied.
#[derive(Debug)]
#[must_use = "a permit stands for one call"]
pub struct Permit {
    // Invariant: private, so that a call cannot be forwarded without a decision.
    class: Class,
    scope: Scope,
    policy_version: u64,
    rule: String,
    grant: Option<GrantId>,
    counted: Counted,
    approval: Option<Box<GivenApproval>>,
}

/// The approval that a permit rests on. Who forwards the call uses it up before that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenApproval {
    /// Which one.
    pub id: ApprovalId,
    /// The call it is for.
    pub call: ApprovalCall,
}

/// A call that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The call to approve.
    pub call: ApprovalCall,
    /// Its class.
    pub class: Class,
    /// The request that waits already, and its end.
    pub pending: Option<(ApprovalId, u64)>,
}

/// How many calls grant and token allow. Who forwards the call counts it before that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls of the tool under the grant, for as long as it lives.
    pub grant_max: Option<u64>,
    /// Calls of the tool with this token.
    pub token_max: Option<u64>,
}

impl Counted {
    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Permit {
    /// The class of the call, which decides how durable its record has to be.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The scope that was used.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The version of the policies that permitted it.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// The rule that permitted it. Of several the first by name.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// What has to be counted before the call is forwarded.
    #[must_use]
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// The approval that has to be used up before the call is forwarded.
    #[must_use]
    pub fn approval(&self) -> Option<&GivenApproval> {
        self.approval.as_deref()
    }

    /// The grant that covers it.
    #[must_use]
    pub fn grant(&self) -> Option<&GrantId> {
        self.grant.as_ref()
    }
}

/// Why a call is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// For the log, always; for the caller only as far as `visibility` goes.
    pub reason: ReasonCode,
    /// What the caller learns.
    pub visibility: Visibility,
    /// The deciding rule, if a policy decided.
    pub rule: Option<String>,
}

/// How much a caller learns about a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Nothing: the answer is the one for a tool that does not exist.
    Hidden,
    /// These scopes would help, and the caller's grants cover them.
    StepUp(ScopeSet),
    /// That the call was refused, and the decision's identifier.
    Told,
    /// That a person has to approve it, and how it stands.
    Waits(Box<Waiting>),
}

impl Denial {
    pub(crate) fn hidden(reason: ReasonCode) -> Self {
        Self { reason, visibility: Visibility::Hidden, rule: None }
    }

    pub(crate) fn told(reason: ReasonCode) -> Self {
        Self { reason, visibility: Visibility::Told, rule: None }
    }
}

/// Decides one call: the first step that fails is the answer.
///
/// # Errors
/// The denial, which says what the log and what the caller may know.
pub fn decide(request: &Request<'_>) -> Result<Permit, Denial> {
    let facts = walk(request, Facts::new(Mode::Call))?;
    // Steps that pass leave all of this behind. If one did not, nothing is allowed.
    let (Some(class), Some(scope), Some(rule)) = (facts.class, facts.scope, facts.rule) else {
        return Err(Denial::hidden(ReasonCode::PolicyError));
    };
    let policy_version = request.policies.version();
    let (grant, counted, approval) = (facts.grant.cloned(), facts.counted, facts.approval);
    Ok(Permit { class, scope, policy_version, rule, grant, counted, approval })
}

/// Whether a listing shows what the request is about.
///
/// The same steps as [`decide`], but the token's scope does not matter, since a caller may ask for
/// more, and neither do policies on arguments nor an approval that is still to be given.
#[must_use]
pub fn is_visible(request: &Request<'_>) -> bool {
    let tool = match request.operation {
        Operation::Tool(name) => request.server.tools.get(name),
        Operation::Prompts | Operation::Resources => None,
    };
    let Some(approved) = tool.and_then(|tool| tool.approved.as_ref()) else {
        return walk(request, Facts::new(Mode::Listing)).is_ok();
    };
    // Visible if calls of any of its classes are within reach.
    approved.classes().any(|class| {
        let facts = Facts { listed: Some(class), ..Facts::new(Mode::Listing) };
        walk(request, facts).is_ok()
    })
}

/// The tools a listing shows, in no order. The operation of the request does not matter.
#[must_use]
pub fn visible_tools<'a>(request: &Request<'a>) -> Vec<&'a Tool> {
    let shown = |tool: &&'a Tool| {
        is_visible(&Request { operation: Operation::Tool(&tool.name), ..*request })
    };
    request.server.tools.values().filter(shown).collect()
}

fn walk<'a>(request: &Request<'a>, mut facts: Facts<'a>) -> Result<Facts<'a>, Denial> {
    for step in STEPS {
        (step.run)(request, &mut facts).map_err(|stop| match stop {
            Stop::Denied(denial) => denial,
            // Only possible after a step that failed, so it is never the first one.
            Stop::NotEvaluated => Denial::hidden(ReasonCode::PolicyError),
        })?;
    }
    Ok(facts)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "person_tests.rs"]
mod person_tests;
