//! Why a call was decided as it was: the facts the journal holds about it, in the order they were
//! looked at, and past the first failure what would have happened.
//!
//! What was decided is told from the record alone. What comes after the failure was never decided:
//! it is judged with the policies that were in force then and with the registry as it is now, and
//! each step says so. Arguments are in the journal as digests, so rules about them are judged
//! without.

use attorn_audit::{Decision, Entry, Kind};
use attorn_policy::{
    Operation, Outcome, PolicySet, Request, Step, explain as explain_now, place_of,
};
use attorn_registry::{
    Agent, Holder, McpServer, Person, PersonId, PolicySource, ReasonCode, ScopeSet,
};

use super::access::{Explanation, StepView};
use super::audit::entries_of_decision;
use super::context::Context;
use super::refusal::{Missing, Refusal};

/// What the journal knows about one decision.
struct Recorded {
    /// The decision itself.
    decided: Entry,
    /// The issuance of its token.
    issued: Option<Entry>,
    /// How the call ended, if it was forwarded.
    ended: Option<Entry>,
}

/// The policies a decision was taken with.
struct PoliciesThen {
    source: PolicySource,
    /// `None` when they cannot be had any more.
    compiled: Option<PolicySet>,
}

/// The registry as it is now, where the decision's names still lead somewhere.
struct Present<'a> {
    agent: Option<&'a Agent>,
    /// Whom the agent acted for.
    person: Option<&'a Person>,
    server: Option<&'a McpServer>,
    steps: Vec<Step>,
}

/// Explains a recorded decision.
pub(crate) async fn explain_decision(context: Context) -> Result<Explanation, Refusal> {
    let entries = entries_of_decision(&context, context.segment("decision")).await?;
    let removed = context.shared.journal.first() > 0;
    let missing = if removed { Missing::DecisionOrRemoved } else { Missing::Decision };
    let recorded = Recorded::of(entries).ok_or(Refusal::Missing(missing))?;
    let policies = policies_then(&context, &recorded.decided).await?;
    let present = present(&context, &recorded, &policies);
    let decided = &recorded.decided;
    let failed = failed_at(decided);
    let steps: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(at, name)| step(at, name, failed, (&recorded, &policies, &present)))
        .collect();
    let named = |known: Option<String>, id: Option<&String>| known.or_else(|| id.cloned());
    let agent = present.agent.map(|agent| agent.name.to_string());
    let server = present.server.map(|server| server.name.to_string());
    Ok(Explanation {
        allowed: present.steps.iter().all(|step| step.outcome == Outcome::Ok)
            && !present.steps.is_empty(),
        decision: decided.decision.map(|decision| decision.as_str().to_owned()),
        reason: decided.reason.clone(),
        agent: named(agent, decided.agent.as_ref()).unwrap_or_default(),
        server: named(server, decided.server.as_ref()).unwrap_or_default(),
        tool: decided.tool.clone().unwrap_or_default(),
        time_ms: Some(decided.time_ms),
        policy_version: decided.policy_version.as_ref().and_then(|version| version.parse().ok()),
        effective: Some(effective(person_says(&recorded, &present.steps), &steps)),
        steps,
    })
}

impl Recorded {
    fn of(entries: Vec<Entry>) -> Option<Self> {
        let (mut decided, mut issued, mut ended) = (None, None, None);
        for entry in entries {
            if entry.kind == Kind::TokenIssued {
                issued = issued.or(Some(entry));
            } else if entry.kind == Kind::CallCompleted {
                ended = ended.or(Some(entry));
            } else if entry.decision.is_some() {
                decided = decided.or(Some(entry));
            }
        }
        // The decision may itself be the issuance of a token.
        let decided = decided.or_else(|| issued.clone())?;
        Some(Self { decided, issued, ended })
    }

    fn is_permit(&self) -> bool {
        self.decided.decision == Some(Decision::Permit)
    }

    /// The person that the agent acted for.
    fn person(&self) -> Option<PersonId> {
        PersonId::parse(self.decided.subject.as_deref()?).ok()
    }

    fn token_scope(&self) -> Option<ScopeSet> {
        ScopeSet::parse(self.issued.as_ref()?.scope.as_deref()?).ok()
    }
}

/// The policies of the version in the record; those of now where it names none.
async fn policies_then(context: &Context, decided: &Entry) -> Result<PoliciesThen, Refusal> {
    let now = &context.snapshot.policy;
    let version = decided.policy_version.as_ref();
    let version: Option<u64> = version.and_then(|version| version.parse().ok());
    let source = match version {
        Some(version) if version != now.version => {
            let history = context.shared.store.policy_history(HISTORY_MAX).await?;
            history.into_iter().map(|record| record.source).find(|one| one.version == version)
        }
        Some(_) | None => Some(now.clone()),
    };
    let source = source.unwrap_or_default();
    let compiled = PolicySet::compile(&source).ok();
    Ok(PoliciesThen { source, compiled })
}

fn present<'a>(context: &'a Context, recorded: &Recorded, policies: &PoliciesThen) -> Present<'a> {
    let decided = &recorded.decided;
    let named = decided.agent.as_ref().or(decided.client_id.as_ref());
    let agent = named.and_then(|text| context.agent(text).ok());
    let server = decided.server.as_ref().and_then(|text| context.server(text).ok());
    let tool = decided.tool.as_deref().or(match decided.method.as_deref() {
        Some("prompts/get") => Some("@prompts"),
        Some("resources/read") => Some("@resources"),
        Some(_) | None => None,
    });
    let person = recorded.person();
    let mut steps = Vec::new();
    if let (Some(agent), Some(server), Some(tool), Some(compiled)) =
        (agent, server, tool, &policies.compiled)
    {
        let now_s = decided.time_ms / 1000;
        let holder = Holder { agent: &agent.id, person: person.as_ref() };
        // Who holds nothing any more is explained with nothing.
        let fresh = context.snapshot.held_scopes(holder, &server.id, now_s).unwrap_or_default();
        let held = recorded.token_scope();
        steps = explain_now(&Request {
            snapshot: &context.snapshot,
            policies: compiled,
            server,
            agent: &agent.id,
            person: person.as_ref(),
            token_scope: held.as_ref().unwrap_or(&fresh),
            token_jti: decided.token_jti.as_deref().unwrap_or_default(),
            token_key: decided.agent_key.as_ref().and_then(|key| key.parse().ok()),
            token_epoch: context.snapshot.epoch,
            token_issued_s: u64::MAX,
            operation: match tool {
                "@resources" => Operation::Resources,
                "@prompts" => Operation::Prompts,
                tool => Operation::Tool(tool),
            },
            // The journal holds digests of arguments only, so no rule on them is replayed.
            token_details: None,
            arguments: None,
            now_s,
        });
    }
    let person = person.and_then(|person| context.snapshot.person(&person));
    Present { agent, person, server, steps }
}

/// The steps of a request through the gateway.
const NAMES: [&str; 10] = [
    "transport",
    "token",
    "possession",
    "identities",
    "tool",
    "scope",
    "policy",
    "duties",
    "approval",
    "forward",
];

/// The step that a refusal belongs to; past the last one for a permit that was forwarded well.
fn failed_at(decided: &Entry) -> usize {
    let (Some(Decision::Deny), Some(reason)) = (decided.decision, &decided.reason) else {
        return NAMES.len();
    };
    let area = reason.split('.').next().unwrap_or_default();
    let name = match area {
        "frame" | "request" => "transport",
        "token" | "client" => "token",
        "possession" => "possession",
        "agent" | "person" | "consent" | "server" | "lock" => "identities",
        "tool" => "tool",
        "scope" | "constraint" => "scope",
        "policy" => "policy",
        "duty" => "duties",
        "approval" => "approval",
        "rate" => match decided.detail.get("limit").map(String::as_str) {
            Some("address" | "unauthenticated") => "token",
            Some("agent" | "key" | "token_client") => "possession",
            Some(_) | None => "forward",
        },
        _ => "forward",
    };
    NAMES.iter().position(|one| *one == name).unwrap_or(NAMES.len())
}

fn step(
    at: usize,
    name: &'static str,
    failed: usize,
    (recorded, policies, present): (&Recorded, &PoliciesThen, &Present<'_>),
) -> StepView {
    let now = verdict_now(name, &present.steps);
    let view = |outcome, detail, basis, now| StepView {
        number: at + 1,
        name,
        outcome,
        detail,
        basis: Some(basis),
        now,
    };
    if name == "duties" {
        return view(Outcome::NotEvaluated, NO_DUTIES.to_owned(), "none", None);
    }
    match at.cmp(&failed) {
        std::cmp::Ordering::Less => {
            let outcome = match &recorded.ended {
                None if name == "forward" => Outcome::NotEvaluated,
                Some(_) | None => Outcome::Ok,
            };
            // Only what would go otherwise now is news.
            let changed = now.filter(|(passes, _)| !passes).map(|(_, detail)| detail);
            view(outcome, detail_then(name, recorded, policies, present), "recorded", changed)
        }
        std::cmp::Ordering::Equal => {
            let changed = now.filter(|(passes, _)| *passes).map(|(_, detail)| detail);
            view(Outcome::Fail, why(recorded, policies), "recorded", changed)
        }
        std::cmp::Ordering::Greater => match now {
            None => view(Outcome::NotEvaluated, String::new(), "none", None),
            Some((true, detail)) => {
                view(Outcome::WouldPass, pointed(detail, policies), "present", None)
            }
            Some((false, detail)) => {
                let detail = pointed(detail, policies);
                view(Outcome::WouldDeny, detail, "present", None)
            }
        },
    }
}

/// How the steps of a decision that make up `name` would go now: whether all pass, and the words of
/// the first that does not, else of the last.
fn verdict_now(name: &str, steps: &[Step]) -> Option<(bool, String)> {
    let parts: &[&str] = match name {
        "identities" => &["agent", "server", "lock", "person", "token"],
        "tool" => &["tool"],
        "scope" => &["scope"],
        "policy" => &["policy"],
        "approval" => &["approval"],
        _ => &[],
    };
    let mut told = None;
    for step in steps.iter().filter(|step| parts.contains(&step.name)) {
        match step.outcome {
            Outcome::Ok | Outcome::WouldPass => told = Some((true, step.detail.clone())),
            Outcome::Fail | Outcome::WouldDeny => return Some((false, step.detail.clone())),
            Outcome::NotEvaluated => return None,
        }
    }
    told
}

/// What the record says about a step that passed.
fn detail_then(
    name: &str,
    recorded: &Recorded,
    policies: &PoliciesThen,
    present: &Present<'_>,
) -> String {
    let Recorded { decided, issued, ended } = recorded;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    match name {
        "transport" => {
            format!("MCP {}, {}", or_dash(&decided.mcp_version), or_dash(&decided.method))
        }
        "token" => {
            let age = issued.as_ref().map(|issued| decided.time_ms.saturating_sub(issued.time_ms));
            let age = age.map_or_else(
                || "its issuance is not in this log".to_owned(),
                |age_ms| format!("issued {} s before", age_ms / 1000),
            );
            format!("audience {}, {age}", or_dash(&decided.audience))
        }
        "possession" => format!("proof by key {}", or_dash(&decided.proof_key)),
        "identities" => {
            let owner = present.agent.and_then(|agent| agent.owner.as_ref());
            let owner = decided.owner.clone().or_else(|| owner.map(ToString::to_string));
            let acts = present.person.map(|person| format!(", for {}", person.name));
            let acts = acts.unwrap_or_default();
            format!("agent and server active, owner {}, no lock{acts}", or_dash(&owner))
        }
        "tool" => match (&decided.tool, &decided.tool_digest) {
            (Some(_), Some(digest)) => {
                let short = digest.get(..12).unwrap_or(digest);
                format!("definition {short}… as approved, class {}", or_dash(&decided.class))
            }
            (Some(_), None) | (None, _) => "no tool is asked for".to_owned(),
        },
        "scope" => format!("{}, grant {}", or_dash(&decided.scope), or_dash(&decided.grant)),
        "policy" => rule_then(decided, policies).unwrap_or_else(|| "no rule on record".to_owned()),
        "approval" => match &decided.approval {
            Some(approval) => format!("approved as {approval}, and used for this call"),
            None => "none needed".to_owned(),
        },
        _ => match ended {
            None if recorded.is_permit() => "no outcome on record yet".to_owned(),
            None => String::new(),
            Some(ended) => {
                let outcome = ended.outcome.map_or("-", attorn_audit::Outcome::as_str);
                let ms = ended.duration_us.unwrap_or_default() / 1000;
                format!("{outcome} after {ms} ms")
            }
        },
    }
}

/// Why the step that decided did not pass.
fn why(recorded: &Recorded, policies: &PoliciesThen) -> String {
    let decided = &recorded.decided;
    let code = decided.reason.as_deref().unwrap_or_default();
    let meaning = code.parse().map_or("", ReasonCode::meaning);
    if code == ReasonCode::ScopeMissing.as_str() {
        let held = recorded.token_scope().map(|scope| scope.to_string());
        let held = held.unwrap_or_else(|| "unknown".to_owned());
        return format!("{code}: {meaning}; the token has: {held}");
    }
    if let Some(approval) = decided.approval.as_ref().filter(|_| code.starts_with("approval.")) {
        return format!("{code}: {meaning}; request {approval}");
    }
    match rule_then(decided, policies) {
        Some(rule) => format!("{code}: {rule}"),
        None => format!("{code}: {meaning}"),
    }
}

/// The deciding rule and the line it stands on in the version of then.
fn rule_then(decided: &Entry, policies: &PoliciesThen) -> Option<String> {
    let rule = decided.rule.as_ref()?;
    Some(pointed_rule(rule, &policies.source).unwrap_or_else(|| format!("rule \"{rule}\"")))
}

fn pointed_rule(rule: &str, source: &PolicySource) -> Option<String> {
    let place = place_of(&source.text, rule)?;
    Some(format!("{} \"{rule}\" (policies v{}:{})", place.effect, source.version, place.line))
}

/// Adds the line to a detail that names a rule between back quotes.
fn pointed(detail: String, policies: &PoliciesThen) -> String {
    let rule = detail.split('`').nth(1);
    match rule.and_then(|rule| pointed_rule(rule, &policies.source)) {
        Some(rule) => format!("{detail}: {rule}"),
        None => detail,
    }
}

/// Whether the person who was acted for had a say in it, and which. What is on record counts; after a
/// refusal for something else, it is what they would say now.
fn person_says(recorded: &Recorded, now: &[Step]) -> &'static str {
    if recorded.person().is_none() {
        return "n/a";
    }
    let reason = recorded.decided.reason.as_deref().unwrap_or_default();
    if reason.starts_with("person.") || reason.starts_with("consent.") {
        return "no";
    }
    let looked_at = NAMES.iter().position(|name| *name == "identities");
    if Some(failed_at(&recorded.decided)) > looked_at {
        return "yes";
    }
    match now.iter().find(|step| step.name == "person").map(|step| step.outcome) {
        Some(Outcome::Ok | Outcome::WouldPass) => "yes",
        Some(Outcome::Fail | Outcome::WouldDeny) => "no",
        Some(Outcome::NotEvaluated) | None => "n/a",
    }
}

/// Person, agent, server, token and policy: what each of them says.
fn effective(person: &str, steps: &[StepView]) -> String {
    let says = |names: &[&str]| {
        let of = steps.iter().filter(|step| names.contains(&step.name));
        let outcomes: Vec<_> = of.map(|step| step.outcome).collect();
        let no = |outcome: &Outcome| matches!(outcome, Outcome::Fail | Outcome::WouldDeny);
        let unknown = |outcome: &Outcome| *outcome == Outcome::NotEvaluated;
        if outcomes.iter().any(no) {
            "no"
        } else if outcomes.iter().all(unknown) {
            "n/a"
        } else {
            "yes"
        }
    };
    format!(
        "person {person} ∩ agent and server {} ∩ tool {} ∩ token {} ∩ policy {}",
        says(&["identities"]),
        says(&["tool"]),
        says(&["token", "possession", "scope"]),
        says(&["policy", "approval"]),
    )
}

const NO_DUTIES: &str = "separation of duties is not checked yet";
/// More versions than anybody looks back.
const HISTORY_MAX: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(subject: &str, reason: Option<&str>, now: Option<Outcome>, expected: &str) {
        let mut decided = Entry::new(Kind::CallDecided, 1_000);
        decided.subject = Some(subject.to_owned());
        decided.decision = Some(if reason.is_some() { Decision::Deny } else { Decision::Permit });
        decided.reason = reason.map(str::to_owned);
        let recorded = Recorded { decided, issued: None, ended: None };
        let step = |outcome| Step { number: 4, name: "person", outcome, detail: String::new() };
        let steps: Vec<_> = now.map(step).into_iter().collect();
        assert_eq!(person_says(&recorded, &steps), expected, "{subject} {reason:?} {now:?}");
    }

    #[test]
    fn what_a_person_says_is_on_record_or_of_now() {
        let person = PersonId::from_random(&[1; 16]).to_string();
        check("agt_x", None, Some(Outcome::Ok), "n/a");
        check(&person, None, None, "yes");
        check(&person, Some("scope.missing"), Some(Outcome::Fail), "yes");
        check(&person, Some("consent.missing"), Some(Outcome::Ok), "no");
        check(&person, Some("person.suspended"), Some(Outcome::Ok), "no");
        // The agent was locked: nobody asked the person then.
        check(&person, Some("lock.active"), Some(Outcome::WouldPass), "yes");
        check(&person, Some("lock.active"), Some(Outcome::WouldDeny), "no");
        check(&person, Some("token.expired"), None, "n/a");
    }
}
