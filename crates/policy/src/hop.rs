//! The decision on a hop: an MCP server acts at an API, for whoever called it.
//!
//! The policies are those that decide calls, in other words: the server is the principal, an operation
//! of the API the resource, and the agent whose right is used stands in the context.
//!
//! Not looked at here, but before: the agent, its grants, the tokens, locks, and what the rules of the
//! API give (`Snapshot::verify_lineage`, `Snapshot::downstream_scopes`). Not looked at by anybody: the
//! arguments of the call, and the body of the request.

use std::collections::BTreeSet;

use attorn_registry::{
    AgentId, ApprovalTerms, McpServer, Owner, OwnerId, Person, PersonId, ReasonCode, Resource,
    Scope, ScopeSet, ScopeTarget, Snapshot,
};

use crate::analysis::Input;
use crate::cedar::{Asked, Verdict};
use crate::compile::{PolicySet, action_id};
use crate::memo::key_of;

/// Everything a decision on a hop looks at. One snapshot for all of it.
#[derive(Clone, Copy, Debug)]
pub struct HopRequest<'a> {
    /// The registry as it is now.
    pub snapshot: &'a Snapshot,
    /// The policies in force.
    pub policies: &'a PolicySet,
    /// The server that acts.
    pub server: &'a McpServer,
    /// The agent whose right it uses.
    pub agent: &'a AgentId,
    /// The person that the agent acts for, if it acts for one.
    pub person: Option<&'a PersonId>,
    /// Where it acts.
    pub api: &'a Resource,
    /// Whether a person approved the call that the hop is a part of.
    pub approved: Approved,
    /// Now, in Unix seconds.
    pub now_s: u64,
}

/// What is known of an approval of the call that a hop is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    /// The token names one. The exchange compared its terms, with the policies of then.
    Named,
    /// None, as far as anybody can prove.
    No,
    /// The registry knows it, under these terms.
    Under(ApprovalTerms),
}

/// The right to hand on some scopes at an API, or to use them there. Made by [`decide_hop`] and by
/// nothing else, and not copied.
#[derive(Debug)]
#[must_use = "a permit stands for one token or one request"]
pub struct HopPermit {
    // Invariant: private, so that no hop goes on without a decision.
    scopes: ScopeSet,
    policy_version: u64,
    rules: BTreeSet<String>,
}

/// Why a scope is not handed on, or an operation not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopDenial {
    /// What was asked about; nothing where nothing was.
    pub scope: Option<Scope>,
    /// `policy.…`, or `approval.required`.
    pub reason: ReasonCode,
    /// The deciding rule, if one decided.
    pub rule: Option<String>,
    /// The version of the policies that were asked.
    pub policy_version: u64,
}

/// What policies say of several scopes at an API, each by itself.
#[derive(Debug)]
pub struct HopDecision {
    permit: HopPermit,
    denials: Vec<HopDenial>,
}

/// Asks the policies about scopes at an API: each is one operation.
#[must_use]
pub fn decide_hop(request: &HopRequest<'_>, scopes: &ScopeSet) -> HopDecision {
    let policy_version = request.policies.version();
    let (mut permitted, mut rules, mut denials) = (Vec::new(), BTreeSet::new(), Vec::new());
    for scope in scopes.iter() {
        match decide_scope(request, scope) {
            Ok(rule) => {
                permitted.push(scope.clone());
                rules.insert(rule);
            }
            Err((reason, rule)) => {
                denials.push(HopDenial {
                    scope: Some(scope.clone()),
                    reason,
                    rule,
                    policy_version,
                });
            }
        }
    }
    let scopes = permitted.into_iter().collect();
    HopDecision { permit: HopPermit { scopes, policy_version, rules }, denials }
}

impl HopDecision {
    /// All of it or nothing.
    ///
    /// # Errors
    /// The first denial, in the order of scopes.
    pub fn whole(self) -> Result<HopPermit, HopDenial> {
        let Self { permit, denials } = self;
        match denials.into_iter().next() {
            Some(denial) => Err(denial),
            None => permit.or_nothing(),
        }
    }

    /// What is permitted, with what falls away.
    ///
    /// # Errors
    /// The first denial, where nothing is permitted.
    pub fn part(self) -> Result<(HopPermit, Vec<HopDenial>), HopDenial> {
        let Self { permit, denials } = self;
        match permit.or_nothing() {
            Ok(permit) => Ok((permit, denials)),
            Err(nothing) => Err(denials.into_iter().next().unwrap_or(nothing)),
        }
    }
}

impl HopPermit {
    /// A permit for nothing is none.
    fn or_nothing(self) -> Result<Self, HopDenial> {
        if !self.scopes.is_empty() {
            return Ok(self);
        }
        let (reason, policy_version) = (ReasonCode::PolicyNoPermit, self.policy_version);
        Err(HopDenial { scope: None, reason, rule: None, policy_version })
    }

    /// What is permitted.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The version of the policies that permitted it.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// The rules that permitted it, by name. Of several that permit one scope the first.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(String::as_str)
    }
}

impl Approved {
    /// Whether what a rule asks for was done before the hop.
    fn covers(self, terms: ApprovalTerms) -> bool {
        match self {
            Self::Named => true,
            Self::No => false,
            Self::Under(given) => given.and(terms) == given,
        }
    }
}

/// The rule that permits one scope, or why none does.
fn decide_scope(
    request: &HopRequest<'_>,
    scope: &Scope,
) -> Result<String, (ReasonCode, Option<String>)> {
    // What cannot be shown to the policies whole is not shown to them in part.
    let question = HopQuestion::of(request, scope).ok_or((ReasonCode::PolicyError, None))?;
    match request.policies.evaluate_hop(&question) {
        Verdict::Error { rule } => Err((ReasonCode::PolicyError, rule)),
        Verdict::Forbid { rule } => Err((ReasonCode::PolicyForbid, Some(rule))),
        Verdict::NoPermit => Err((ReasonCode::PolicyNoPermit, None)),
        // Nobody can be asked here: what the rule asks for was done when the call was made, or not.
        Verdict::Permit { rule, terms } => match terms {
            Some(terms) if !request.approved.covers(terms) => {
                Err((ReasonCode::ApprovalRequired, Some(rule)))
            }
            Some(_) | None => Ok(rule),
        },
    }
}

/// What policies are asked about one hop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HopQuestion<'a> {
    pub(crate) server: &'a str,
    pub(crate) server_owner: &'a str,
    pub(crate) api: &'a str,
    pub(crate) api_owner: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) scope: &'a Scope,
    /// Whose right is used.
    pub(crate) agent: &'a str,
    /// Whom the agent acts for, if for somebody.
    pub(crate) person: Option<&'a Person>,
    pub(crate) now_s: u64,
}

impl<'a> HopQuestion<'a> {
    fn of(request: &HopRequest<'a>, scope: &'a Scope) -> Option<Self> {
        let HopRequest { snapshot, server, api, .. } = *request;
        let ScopeTarget::Tool(operation) = &scope.tool else { return None };
        let person = match request.person {
            // Somebody the registry does not know is not nobody.
            Some(id) => Some(snapshot.person(id)?),
            None => None,
        };
        let name_of = |id: Option<&OwnerId>| {
            let owner: Option<&Owner> = id.and_then(|id| snapshot.owner(id));
            owner.map_or("", |owner| owner.name.as_str())
        };
        Some(Self {
            server: server.name.as_str(),
            server_owner: name_of(server.owner.as_ref()),
            api: api.name.as_str(),
            api_owner: name_of(api.owner.as_ref()),
            operation,
            scope,
            agent: snapshot.agent(request.agent)?.name.as_str(),
            person,
            now_s: request.now_s,
        })
    }

    /// Everything policies can look at but the clock.
    fn key(&self) -> String {
        let Self { server, server_owner, api, api_owner, operation, agent, .. } = *self;
        let texts = [server, server_owner, api, api_owner, operation, agent];
        let mut key = key_of(&texts, self.person);
        key.push_str(action_id(self.scope.class));
        key
    }
}

impl PolicySet {
    /// Asks the policies about one hop.
    pub(crate) fn evaluate_hop(&self, question: &HopQuestion<'_>) -> Verdict {
        let slice = self.hop_slice(question.api);
        let ask = || {
            let Some((request, entities)) = self.hop_request(question) else {
                return Verdict::Error { rule: None };
            };
            self.deciding(slice, &request, &entities)
        };
        // No answer depends on arguments: there are none.
        if slice.reads.clock() { ask() } else { self.hop_memo.recall_by(question.key(), ask) }
    }

    fn hop_request(
        &self,
        question: &HopQuestion<'_>,
    ) -> Option<(cedar_policy::Request, cedar_policy::Entities)> {
        let (words, HopQuestion { api, operation, .. }) = (&self.vocabulary, *question);
        let asked = Asked {
            principal: words.uid("Server", question.server)?,
            of_principal: [question.server, question.server_owner],
            action: words.uid("Action", action_id(question.scope.class))?,
            // A name holds no `/`, so no two operations share this text.
            resource: words.uid("Operation", &format!("{api}/{operation}"))?,
            of_resource: [operation, question.api_owner],
            place: (Input::ResourceApi, "api", api),
            within: words.uid("Api", api)?,
            agent: question.agent,
            person: question.person,
            scope: question.scope,
            now_s: question.now_s,
        };
        asked.request(self.hop_slice(api), None)
    }
}

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
