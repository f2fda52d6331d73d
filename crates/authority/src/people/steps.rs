//! The steps of a chain: who to whom, with which token, and what is missing.

use std::collections::{BTreeMap, BTreeSet};

use attorn_audit::trace::{Finding, Node};
use attorn_audit::{Decision, Entry, Kind, Outcome};
use attorn_console::{Chip, Fact, Lane, Tone, TraceStep, moment};
use attorn_registry::{PersonId, Snapshot};

use super::shown::seen;
use super::visitor::name_of;

/// Who takes part.
#[derive(Debug, Default)]
pub(crate) struct Names {
    people: BTreeSet<String>,
    agents: BTreeSet<String>,
    servers: BTreeSet<String>,
    apis: BTreeSet<String>,
}

impl Names {
    pub(crate) fn by_lane(self) -> [Vec<String>; 4] {
        [self.people, self.agents, self.servers, self.apis].map(|names| names.into_iter().collect())
    }

    /// Whether the one name of a lane says it, so that no step has to.
    fn says(lane: &BTreeSet<String>, name: &str) -> bool {
        lane.len() == 1 && lane.contains(name)
    }

    fn note(&mut self, snapshot: &Snapshot, entry: &Entry) {
        // Who looked at it since takes part in nothing.
        if is_administration(entry) {
            return;
        }
        let named = |id: &String| name_of(snapshot, id);
        let subject = entry.subject.as_ref().filter(|id| is_person(id));
        self.people.extend(subject.map(named));
        self.people.extend(entry.by.as_ref().filter(|id| is_person(id)).map(named));
        self.agents.extend(entry.agent.as_ref().map(named));
        self.servers.extend(entry.server.as_ref().map(named));
        self.apis.extend(entry.downstream_resource.as_ref().map(named));
    }
}

/// What an issued token was, to compare its uses with.
struct Issued {
    time_ms: u64,
    key: Option<String>,
}

/// Every entry as a step; what came of one stands after it.
pub(crate) fn steps(snapshot: &Snapshot, roots: Vec<Node>, names: &mut Names) -> Vec<TraceStep> {
    let mut nodes = Vec::new();
    roots.into_iter().for_each(|root| flatten(root, &mut nodes));
    let mut issued = BTreeMap::new();
    for (entry, ..) in nodes.iter().map(|(_, entry, findings)| (entry, findings)) {
        names.note(snapshot, entry);
        if entry.kind == Kind::TokenIssued
            && let Some(jti) = &entry.token_jti
        {
            let key = entry.proof_key.clone();
            issued.insert(jti.clone(), Issued { time_ms: entry.time_ms, key });
        }
    }
    let step = |(index, entry, findings): &(u64, Entry, Vec<Finding>)| TraceStep {
        index: *index,
        kind: entry.kind.as_str(),
        at: moment(entry.time_ms / 1000),
        from: way(entry).0,
        to: way(entry).1,
        verdict: verdict(entry),
        chips: chips(entry, &issued),
        facts: facts(snapshot, entry, names),
        findings: findings.iter().map(ToString::to_string).collect(),
    };
    nodes.iter().map(step).collect()
}

fn flatten(node: Node, into: &mut Vec<(u64, Entry, Vec<Finding>)>) {
    into.push((node.located.index, node.located.entry, node.findings));
    node.children.into_iter().for_each(|child| flatten(child, into));
}

/// From whom to whom.
fn way(entry: &Entry) -> (Lane, Lane) {
    use Lane::{Agent, Api, Person, Server};
    let is_of_api = entry.exchanged_jti.is_some() || entry.downstream_resource.is_some();
    let called = if is_of_api { (Server, Api) } else { (Agent, Server) };
    let ways = [
        (Kind::ApprovalApproved, (Person, Agent)),
        (Kind::ApprovalDenied, (Person, Agent)),
        (Kind::ApprovalRequested, (Agent, Person)),
        (Kind::ApprovalUsed, (Agent, Server)),
        (Kind::CallCompleted, (called.1, called.0)),
        (Kind::CallDecided, called),
        (Kind::CodeIssued, (Person, Agent)),
        (Kind::ResourceAccessed, called),
        (Kind::TokenExchanged, (Server, Api)),
    ];
    let known = ways.into_iter().find(|(kind, _)| *kind == entry.kind).map(|(_, way)| way);
    // What a person did by themselves is theirs; all else is about the agent.
    let is_of_person = entry.by.as_ref().is_some_and(|id| is_person(id));
    known.unwrap_or(if is_of_person { (Person, Person) } else { (Agent, Agent) })
}

fn verdict(entry: &Entry) -> Option<&'static str> {
    let outcome = entry.outcome.map(Outcome::as_str);
    outcome.or_else(|| entry.decision.map(Decision::as_str))
}

/// Audience, scope, age and key of the token.
fn chips(entry: &Entry, issued: &BTreeMap<String, Issued>) -> Vec<Chip> {
    let Some(jti) = &entry.token_jti else { return Vec::new() };
    let plain = |name, value: &String| Chip { name, value: seen(value), tone: Tone::Plain };
    let mut chips = Vec::new();
    chips.extend(entry.audience.as_ref().map(|audience| plain("audience", audience)));
    chips.extend(entry.scope.as_ref().map(|scope| plain("scope", scope)));
    let made = issued.get(jti);
    if entry.kind != Kind::TokenIssued
        && let Some(age_ms) = made.and_then(|made| entry.time_ms.checked_sub(made.time_ms))
    {
        chips.push(plain("age", &format!("{} s", age_ms / 1000)));
    }
    chips.extend(key_chip(entry, made));
    chips
}

/// Whether the key that was proven is the one that the token is bound to.
fn key_chip(entry: &Entry, made: Option<&Issued>) -> Option<Chip> {
    let is = |text: &str, tone| Some(Chip { name: "key", value: seen(text), tone });
    if entry.kind == Kind::TokenIssued {
        return match entry.proof_key {
            Some(_) => is("bound", Tone::Good),
            None => is("not bound to a key", Tone::Bad),
        };
    }
    if entry.detail.contains_key("bearer") {
        return is("none was proven", Tone::Bad);
    }
    let bound = made.and_then(|made| made.key.as_ref()).or(entry.agent_key.as_ref())?;
    match &entry.proof_key {
        Some(proven) if proven == bound => is("matches", Tone::Good),
        Some(_) => is("is another one", Tone::Bad),
        None => is("not proven", Tone::Bad),
    }
}

/// What is known, with names for identifiers, and ways to other chains.
fn facts(snapshot: &Snapshot, entry: &Entry, names: &Names) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut put = |name, value: &Option<String>, leads: bool| {
        let Some(value) = value else { return };
        let leads_to = leads.then(|| format!("/traces/{}", crate::admin::encoded(value)));
        facts.push(Fact { name, value: seen(value), leads_to });
    };
    let named = |id: &Option<String>| id.as_ref().map(|id| name_of(snapshot, id));
    let not_said = |name: Option<String>, lane: &BTreeSet<String>| {
        name.filter(|name| is_administration(entry) || !Names::says(lane, name))
    };
    let acts_for = entry.subject.as_ref().filter(|id| entry.agent.as_ref() != Some(*id)).cloned();
    let acts_for = acts_for.filter(|id| entry.by.as_ref() != Some(id));
    put("person", &not_said(named(&acts_for), &names.people), false);
    put("by", &named(&entry.by), false);
    put("agent", &not_said(named(&entry.agent), &names.agents), false);
    put("owner", &named(&entry.owner), false);
    put("server", &not_said(named(&entry.server), &names.servers), false);
    put("tool", &entry.tool, false);
    put("class", &entry.class, false);
    put("reason", &entry.reason, false);
    put("rule", &entry.rule, false);
    put("said", &entry.detail.get("reason").cloned(), false);
    put("grant", &entry.grant, false);
    put("API", &named(&entry.downstream_resource), false);
    put("request at the API", &entry.downstream_request_id, false);
    put("status there", &entry.downstream_status, false);
    put("decision", &entry.decision_id, true);
    put("approval", &entry.approval, true);
    put("trace", &entry.trace_id, true);
    put("token", &entry.token_jti, true);
    put("exchanged token", &entry.exchanged_jti, true);
    put("took", &entry.duration_us.map(|us| format!("{} ms", us / 1000)), false);
    put("from", &entry.detail.get("peer").cloned(), false);
    facts
}

fn is_administration(entry: &Entry) -> bool {
    let kinds = [Kind::AdminChanged, Kind::AdminExported, Kind::AdminRead, Kind::AdminRefused];
    kinds.contains(&entry.kind)
}

fn is_person(id: &str) -> bool {
    PersonId::parse(id).is_ok()
}
