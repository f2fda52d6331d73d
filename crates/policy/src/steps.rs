//! The steps of a decision, in order. [`crate::decide()`] stops at the first that fails;
//! [`crate::explain()`] walks on.
//!
//! What a caller has no right to know about looks like a tool that does not exist.

use attorn_planted::{Bug, is_planted};
use attorn_registry::{
    Agent, ApprovalTerms, AuthorizationDetails, Class, Delegation, Grant, GrantId, LockTarget,
    LockedSubject, ReasonCode, Scope, ScopeSet, ToolState,
};

use crate::approval;
use crate::cedar::{Question, Verdict};
use crate::decide::{Counted, Denial, GivenApproval, Operation, Request, Visibility};

/// One step.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&Request<'a>, &mut Facts<'a>) -> Result<(), Stop>,
    pub(crate) detail: fn(&Request<'_>, &Facts<'_>) -> String,
}

/// Every step. The order is part of the answer: who, then what, then whether.
pub(crate) const STEPS: [Rule; 10] = [
    Rule { name: "agent", run: agent, detail: agent_detail },
    Rule { name: "server", run: server, detail: server_detail },
    Rule { name: "lock", run: lock, detail: |_, _| "no lock in force".to_owned() },
    Rule { name: "person", run: person, detail: person_detail },
    Rule { name: "token", run: token, detail: |_, _| "not revoked, current epoch".to_owned() },
    Rule { name: "tool", run: tool, detail: tool_detail },
    Rule { name: "scope", run: scope, detail: scope_detail },
    Rule { name: "constraint", run: constraint, detail: constraint_detail },
    Rule { name: "policy", run: policy, detail: policy_detail },
    Rule { name: "approval", run: approval::approval, detail: approval::approval_detail },
];

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Call,
    Listing,
}

/// What the steps so far have found.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) mode: Mode,
    /// A tool whose arguments decide its class has several; a listing asks for each.
    pub(crate) listed: Option<Class>,
    pub(crate) agent: Option<&'a Agent>,
    /// What the person gave, where the agent acts for one.
    pub(crate) delegation: Option<Delegation<'a>>,
    pub(crate) class: Option<Class>,
    pub(crate) scope: Option<Scope>,
    pub(crate) grant: Option<&'a GrantId>,
    /// Whether the grant says anything of arguments.
    pub(crate) constrained: bool,
    pub(crate) counted: Counted,
    pub(crate) rule: Option<String>,
    /// The approval that the rules ask for, if they do.
    pub(crate) terms: Option<ApprovalTerms>,
    pub(crate) approval: Option<Box<GivenApproval>>,
}

impl Facts<'_> {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            listed: None,
            agent: None,
            delegation: None,
            class: None,
            scope: None,
            grant: None,
            constrained: false,
            counted: Counted::default(),
            rule: None,
            terms: None,
            approval: None,
        }
    }
}

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    Denied(Denial),
    /// An earlier step failed and left nothing to judge.
    NotEvaluated,
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

fn agent<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    // Kept even when it may not act, so that an explanation can go on.
    facts.agent = request.snapshot.agent(request.agent);
    let (snapshot, now_s) = (request.snapshot, request.now_s);
    let acting = match request.person {
        None => snapshot.acting_agent(request.agent, now_s),
        Some(_) => snapshot.acting_for_people(request.agent, now_s),
    };
    acting.map(drop).map_err(Denial::told)?;
    Ok(())
}

fn agent_detail(request: &Request<'_>, facts: &Facts<'_>) -> String {
    let owner = facts.agent.and_then(|agent| owner_name(request, agent)).unwrap_or("none");
    format!("active, owner {owner}")
}

fn server<'a>(request: &Request<'a>, _facts: &mut Facts<'a>) -> Result<(), Stop> {
    request.snapshot.verify_server(request.server).map_err(Denial::told)?;
    Ok(())
}

fn server_detail(request: &Request<'_>, _facts: &Facts<'_>) -> String {
    format!("{} is active", request.server.name)
}

fn lock<'a>(request: &Request<'a>, _facts: &mut Facts<'a>) -> Result<(), Stop> {
    if is_planted(Bug::LockIgnored) {
        return Ok(());
    }
    match request.snapshot.lock_on(&subject(request, tool_of(request)), request.now_s) {
        None => Ok(()),
        Some(lock) => match lock.target {
            // A locked tool leaves the listing, so it must not answer either.
            LockTarget::Tool { .. } => Err(Denial::hidden(ReasonCode::LockActive).into()),
            LockTarget::Agent { .. }
            | LockTarget::Grant { .. }
            | LockTarget::Key { .. }
            | LockTarget::Owner { .. }
            | LockTarget::Person { .. }
            // Resources are behind servers; `lock_on` does not look at them.
            | LockTarget::Resource { .. }
            | LockTarget::Server { .. }
            | LockTarget::Token { .. } => Err(Denial::told(ReasonCode::LockActive).into()),
        },
    }
}

/// Whom the agent acts for, and what they gave it here. Judged before the tool: a caller whom nobody
/// gave anything does not learn which tools there are.
fn person<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let Some(person) = request.person else { return Ok(()) };
    let (agent, server) = (request.agent, &request.server.id);
    let given = request.snapshot.delegation(person, agent, server, request.now_s);
    facts.delegation = Some(given.map_err(Denial::told)?);
    Ok(())
}

fn person_detail(_request: &Request<'_>, facts: &Facts<'_>) -> String {
    let Some(given) = &facts.delegation else { return "acts for itself".to_owned() };
    let person = &given.grantable().person().name;
    format!("for {person}, consent {}", given.consent().id)
}

pub(crate) fn tool_of<'a>(request: &Request<'a>) -> Option<&'a str> {
    match request.operation {
        Operation::Tool(tool) => Some(tool),
        Operation::Prompts | Operation::Resources => None,
    }
}

fn subject<'a>(request: &Request<'a>, tool: Option<&'a str>) -> LockedSubject<'a> {
    LockedSubject {
        agent: request.agent,
        person: request.person,
        server: &request.server.id,
        tool,
        token_jti: Some(request.token_jti),
        key: request.token_key,
    }
}

fn token<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let before_epoch = request.token_epoch < request.snapshot.epoch;
    // A token outlives neither an emergency rotation nor the key or certificate it was given to.
    let key_ended = request.token_key.is_some_and(|jkt| {
        facts.agent.is_some_and(|agent: &Agent| agent.gave_up(&jkt, request.now_s))
    });
    let revoked = request.snapshot.is_revoked(request.token_jti);
    if before_epoch || key_ended || (revoked && !is_planted(Bug::RevocationIgnored)) {
        return Err(Denial::told(ReasonCode::TokenRevoked).into());
    }
    // A lock on the tool itself is looked at when it is known that the caller may see the tool.
    let from_s = request.snapshot.tokens_from_s(&subject(request, None), request.now_s);
    if request.token_issued_s < from_s {
        return Err(Denial::told(ReasonCode::TokenStopped).into());
    }
    Ok(())
}

/// Whether what the token holds of this tool, or of this grant, is from before a lock on it.
fn predates_stop(request: &Request<'_>, grant: &GrantId) -> bool {
    let tool = tool_of(request).map(|tool| (&request.server.id, tool));
    request.token_issued_s < request.snapshot.use_from_s(tool, grant, request.now_s)
}

fn tool<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let name = match request.operation {
        Operation::Prompts => {
            facts.class = Some(Class::Read);
            facts.scope = Some(Scope::PROMPTS);
            return Ok(());
        }
        Operation::Resources => {
            facts.class = Some(Class::Read);
            facts.scope = Some(Scope::RESOURCES);
            return Ok(());
        }
        Operation::Tool(name) => name,
    };
    let Some(tool) = request.server.tools.get(name) else {
        return Err(Denial::hidden(ReasonCode::ToolUnknown).into());
    };
    let (class, outcome) = match tool.state() {
        ToolState::Approved(class) => {
            // The class of these very arguments: the same text that is forwarded.
            let decided = || tool.approved.as_ref().map(|it| it.class_of(request.arguments));
            (facts.listed.or_else(decided).unwrap_or(class), Ok(()))
        }
        // The class it would have: only an explanation gets further than this.
        ToolState::Changed => {
            let class = tool.approved.as_ref().map_or(tool.proposed_class, |was| was.class);
            let passes = is_planted(Bug::DefinitionNotCompared);
            (class, if passes { Ok(()) } else { Err(ReasonCode::ToolDefinitionChanged) })
        }
        ToolState::Unconfirmed => (tool.proposed_class, Err(ReasonCode::ToolUnconfirmed)),
    };
    facts.class = Some(class);
    facts.scope = Some(Scope::of_tool(class, name));
    outcome.map_err(|reason| Denial::hidden(reason).into())
}

fn tool_detail(_request: &Request<'_>, facts: &Facts<'_>) -> String {
    facts.class.map_or_else(String::new, |class| format!("definition as approved, class {class}"))
}

fn scope<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let Some(scope) = &facts.scope else { return Err(Stop::NotEvaluated) };
    let Some(covering) = covering(request, facts, scope)? else {
        return not_covered(request, facts, &scope.clone());
    };
    facts.grant = covering.ids().next();
    facts.constrained = covering.of_agent.is_some_and(|grant| !grant.constraints.is_empty());
    let all = is_planted(Bug::EmptyScopeMeansAll) && request.token_scope.is_empty();
    if all || facts.mode == Mode::Listing {
        return Ok(());
    }
    let holds = request.token_scope.contains(scope);
    if holds && !covering.ids().any(|grant| predates_stop(request, grant)) {
        return Ok(());
    }
    // Only a caller who could see the call in a listing is told what would help.
    let shown = question(request, facts).is_some_and(|q| request.policies.may_permit(&q));
    if holds {
        let visibility =
            if shown { Visibility::Told } else { other_class_visibility(request, facts) };
        return Err(Denial { reason: ReasonCode::TokenStopped, visibility, rule: None }.into());
    }
    let visibility =
        if shown { step_up(request, scope) } else { other_class_visibility(request, facts) };
    Err(Denial { reason: ReasonCode::ScopeMissing, visibility, rule: None }.into())
}

/// RFC 6750 section 3.1: `insufficient_scope` names the scope that is necessary. Clients ask for what it
/// names and for nothing else, so it names what the token has as well: else they would lose that.
fn step_up(request: &Request<'_>, scope: &Scope) -> Visibility {
    let kept = (request.token_scope.len() < STEP_UP_SCOPES_MAX).then_some(request.token_scope);
    let kept = kept.into_iter().flat_map(ScopeSet::iter).cloned();
    Visibility::StepUp(kept.chain([scope.clone()]).collect())
}

/// A header has to stay within what clients and proxies take: beyond this only what is missing is named.
const STEP_UP_SCOPES_MAX: usize = 64;

/// What the person could still give is in the listing, and asking them for it helps. Else more scope
/// would not help, so the caller learns nothing, unless other arguments have another class that they
/// may use: then the tool is in their listing.
fn not_covered<'a>(
    request: &Request<'a>,
    facts: &mut Facts<'a>,
    scope: &Scope,
) -> Result<(), Stop> {
    let given = facts.delegation.as_ref().map(Delegation::grantable);
    let given = given.filter(|given| given.covers(scope));
    let offered = given.and_then(|given| given.person_grant(scope));
    if let Some(grant) = offered.filter(|_| facts.mode == Mode::Listing) {
        facts.grant = Some(&grant.id);
        return Ok(());
    }
    let asks = offered.and_then(|_| question(request, facts));
    let visibility = if asks.is_some_and(|asked| request.policies.may_permit(&asked)) {
        step_up(request, scope)
    } else {
        other_class_visibility(request, facts)
    };
    Err(Denial { reason: ReasonCode::ScopeMissing, visibility, rule: None }.into())
}

/// What covers a scope: a grant of the agent, a grant of the person, or both.
struct Covering<'a> {
    of_agent: Option<&'a Grant>,
    of_person: Option<&'a GrantId>,
}

impl<'a> Covering<'a> {
    fn ids(&self) -> impl Iterator<Item = &'a GrantId> {
        self.of_agent.map(|grant| &grant.id).into_iter().chain(self.of_person)
    }
}

/// Who acts for a person is judged by the one rule of the registry.
fn covering<'a>(
    request: &Request<'a>,
    facts: &Facts<'a>,
    scope: &Scope,
) -> Result<Option<Covering<'a>>, Stop> {
    if request.person.is_none() {
        let (agent, server) = (request.agent, &request.server.id);
        let grant = request.snapshot.grant_for(agent, server, scope, request.now_s);
        return Ok(grant.map(|grant| Covering { of_agent: Some(grant), of_person: None }));
    }
    let given = facts.delegation.as_ref().ok_or(Stop::NotEvaluated)?;
    if !given.covers(scope) {
        return Ok(None);
    }
    let own = given.grantable().agent_grants().unwrap_or_default();
    let of_agent = own.iter().copied().find(|grant| grant.covers(scope));
    let of_person = given.grantable().person_grant(scope).map(|grant| &grant.id);
    Ok(Some(Covering { of_agent, of_person }))
}

fn scope_detail(_request: &Request<'_>, facts: &Facts<'_>) -> String {
    let scope = facts.scope.as_ref().map(ToString::to_string).unwrap_or_default();
    let grant = facts.grant.map_or("none", GrantId::as_str);
    let given = facts.delegation.as_ref().zip(facts.scope.as_ref());
    let of_person = given.and_then(|(given, scope)| given.grantable().person_grant(scope));
    match of_person {
        Some(of_person) => format!("{scope}, grant {grant}, grant of the person {}", of_person.id),
        None => format!("{scope}, grant {grant}"),
    }
}

/// RFC 9396: what token and grant say of the arguments. All of the token's details hold, and all of
/// at least one grant's. Nothing is parsed where neither says anything.
fn constraint<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let Some(scope) = &facts.scope else { return Err(Stop::NotEvaluated) };
    let Operation::Tool(tool) = request.operation else { return Ok(()) };
    if facts.grant.is_none() {
        return Err(Stop::NotEvaluated);
    }
    let says_nothing = !facts.constrained && request.token_details.is_none();
    if facts.mode == Mode::Listing || says_nothing {
        return Ok(());
    }
    let violated = || Denial::told(ReasonCode::ConstraintViolated);
    let details = request.token_details.map_or(&[][..], AuthorizationDetails::as_slice);
    for detail in details.iter().filter(|detail| detail.tool == tool) {
        if !detail.holds(request.arguments) {
            return Err(violated().into());
        }
        facts.counted.token_max = fewer(facts.counted.token_max, detail.max_calls);
    }
    // A public client has no grants of its own, and those of people say nothing of arguments.
    let given = facts.delegation.as_ref();
    if given.is_some_and(|given| given.grantable().agent_grants().is_none()) {
        return Ok(());
    }
    let (agent, server) = (request.agent, &request.server.id);
    let within = |grant: &&Grant| {
        grant.covers(scope)
            && grant.constraints_on(tool).all(|constraint| constraint.holds(request.arguments))
    };
    let mut grants =
        request.snapshot.counting_grants(agent, server, request.now_s).filter(within).peekable();
    // The grants were looked at before: that none is within them now is their constraints' doing.
    let first = *grants.peek().ok_or_else(violated)?;
    let is_counted = |grant: &&Grant| grant.constraints_on(tool).any(|it| it.max_calls.is_some());
    let chosen = grants.find(|grant| !is_counted(grant)).unwrap_or(first);
    facts.grant = Some(&chosen.id);
    facts.counted.grant_max =
        chosen.constraints_on(tool).fold(None, |max, one| fewer(max, one.max_calls));
    Ok(())
}

fn constraint_detail(_request: &Request<'_>, facts: &Facts<'_>) -> String {
    let of = |name: &str, max: Option<u64>| max.map(|max| format!("at most {max} calls {name}"));
    let limits = [
        of("under the grant", facts.counted.grant_max),
        of("with the token", facts.counted.token_max),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if limits.is_empty() {
        "the arguments are within grant and token".to_owned()
    } else {
        limits.join(", ")
    }
}

fn fewer(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

fn policy<'a>(request: &Request<'a>, facts: &mut Facts<'a>) -> Result<(), Stop> {
    let question = question(request, facts).ok_or(Stop::NotEvaluated)?;
    if facts.mode == Mode::Listing {
        let shown = request.policies.may_permit(&question);
        return if shown { Ok(()) } else { Err(Denial::hidden(ReasonCode::PolicyForbid).into()) };
    }
    let (reason, rule) = match request.policies.evaluate(&question) {
        Verdict::Permit { rule, terms } => {
            facts.rule = Some(rule);
            facts.terms = terms;
            return Ok(());
        }
        Verdict::Error { rule } => (ReasonCode::PolicyError, rule),
        Verdict::Forbid { rule } => (ReasonCode::PolicyForbid, Some(rule)),
        Verdict::NoPermit => (ReasonCode::PolicyNoPermit, None),
    };
    // What other arguments would have allowed is in the listing and may be told about.
    let shown = request.policies.may_permit(&question);
    let visibility = if shown { Visibility::Told } else { other_class_visibility(request, facts) };
    Err(Denial { reason, visibility, rule }.into())
}

/// What a caller learns of a call out of reach: that it was refused if calls with other arguments
/// are in the listing, and nothing if the tool is not there at all.
fn other_class_visibility(request: &Request<'_>, facts: &Facts<'_>) -> Visibility {
    let listed = facts.mode == Mode::Call && crate::decide::is_visible(request);
    if listed { Visibility::Told } else { Visibility::Hidden }
}

fn policy_detail(request: &Request<'_>, facts: &Facts<'_>) -> String {
    let rule = facts.rule.as_deref().unwrap_or_default();
    format!("permitted by `{rule}` in version {}", request.policies.version())
}

/// What to ask the policies, if the call is known well enough.
fn question<'q>(request: &Request<'q>, facts: &'q Facts<'_>) -> Option<Question<'q>> {
    let agent = facts.agent?;
    let server_owner = request.server.owner.as_ref().and_then(|id| request.snapshot.owner(id));
    Some(Question {
        kind: agent.kind,
        agent: agent.name.as_str(),
        agent_owner: owner_name(request, agent).unwrap_or_default(),
        person: request.person.and_then(|id| request.snapshot.person(id)),
        server: request.server.name.as_str(),
        server_owner: server_owner.map_or("", |owner| owner.name.as_str()),
        is_builtin: request.server.is_builtin(),
        operation: request.operation,
        class: facts.class?,
        scope: facts.scope.as_ref()?,
        arguments: request.arguments,
        now_s: request.now_s,
    })
}

fn owner_name<'a>(request: &Request<'a>, agent: &Agent) -> Option<&'a str> {
    Some(request.snapshot.owner(agent.owner.as_ref()?)?.name.as_str())
}
