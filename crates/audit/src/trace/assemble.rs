//! The tree of a chain.

use std::fmt;

use super::Located;
use crate::{Decision, Entry, Kind};

/// One entry and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The entry.
    pub located: Located,
    /// What is missing or cannot be told.
    pub findings: Vec<Finding>,
    /// What came of it.
    pub children: Vec<Self>,
}

/// What a chain lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An API was asked, and no decision about a tool call has the trace.
    AccessWithoutDecision,
    /// An API was asked with a token whose exchange is not here.
    AccessWithoutExchange,
    /// It was allowed, and nothing says how it ended.
    AllowedWithoutOutcome,
    /// A token was got, and no request with it is here.
    ExchangeWithoutAccess,
    /// The exchange names no trace: any call of the token may have caused it.
    ExchangeUntraced,
}

impl Finding {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessWithoutDecision => "access_without_decision",
            Self::AccessWithoutExchange => "access_without_exchange",
            Self::AllowedWithoutOutcome => "allowed_without_outcome",
            Self::ExchangeWithoutAccess => "exchange_without_access",
            Self::ExchangeUntraced => "exchange_untraced",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessWithoutDecision => "no decision about a tool call has this trace",
            Self::AccessWithoutExchange => "the exchange of its token is not here",
            Self::AllowedWithoutOutcome => "allowed, and no outcome is here",
            Self::ExchangeWithoutAccess => "no request with this token is here",
            Self::ExchangeUntraced => "no trace: any call of the token may have caused it",
        })
    }
}

/// Where an entry hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Access,
    Call,
    Exchange,
    Issuance,
    Outcome,
    Other,
}

fn part(entry: &Entry) -> Part {
    // Of a resource or prompt of a server it is a call; of an API behind it, an access.
    let is_of_api = entry.exchanged_jti.is_some() || entry.downstream_resource.is_some();
    let accessed = if is_of_api { Part::Access } else { Part::Call };
    let parts = [
        (Kind::TokenIssued, Part::Issuance),
        (Kind::TokenExchanged, Part::Exchange),
        (Kind::CallDecided, Part::Call),
        (Kind::CallCompleted, Part::Outcome),
        (Kind::ResourceAccessed, accessed),
    ];
    let found = parts.into_iter().find(|(kind, _)| *kind == entry.kind);
    found.map_or(Part::Other, |(_, part)| part)
}

/// Puts entries under what caused them, as far as names tell; entries keep their order.
#[must_use]
pub fn assemble(entries: Vec<Located>) -> Vec<Node> {
    let parents: Vec<Option<usize>> =
        entries.iter().enumerate().map(|(at, _)| parent(&entries, at)).collect();
    let findings: Vec<Vec<Finding>> =
        entries.iter().enumerate().map(|(at, _)| findings(&entries, &parents, at)).collect();
    let mut nodes: Vec<Option<Node>> = entries
        .into_iter()
        .zip(findings)
        .map(|(located, findings)| Some(Node { located, findings, children: Vec::new() }))
        .collect();
    let roots = (0..nodes.len()).filter(|at| parents.get(*at).copied().flatten().is_none());
    let roots: Vec<usize> = roots.collect();
    roots.into_iter().filter_map(|root| take(&mut nodes, &parents, root)).collect()
}

/// A parent is of an earlier part of the chain than its child, so that there is no circle.
fn take(nodes: &mut [Option<Node>], parents: &[Option<usize>], at: usize) -> Option<Node> {
    let mut node = nodes.get_mut(at)?.take()?;
    for (child, parent) in parents.iter().enumerate() {
        if *parent == Some(at) {
            node.children.extend(take(nodes, parents, child));
        }
    }
    Some(node)
}

fn parent(entries: &[Located], at: usize) -> Option<usize> {
    let child = &entries.get(at)?.entry;
    let find = |of: Part, is: &dyn Fn(&Entry) -> bool| {
        entries.iter().position(|one| part(&one.entry) == of && is(&one.entry))
    };
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    let issuance = || find(Part::Issuance, &|one| same(&one.token_jti, &child.token_jti));
    let call = || {
        find(Part::Call, &|one| {
            same(&one.token_jti, &child.token_jti) && same(&one.trace_id, &child.trace_id)
        })
    };
    match part(child) {
        Part::Issuance => None,
        // What persons said of a call that waited for them.
        Part::Other => find(Part::Call, &|one| same(&one.approval, &child.approval)),
        Part::Call => issuance(),
        Part::Exchange => call().or_else(issuance),
        // A token may be used by several calls: the one with this trace, where there is one.
        Part::Access => {
            let exchanged = |one: &Entry| same(&one.exchanged_jti, &child.exchanged_jti);
            let of_trace = |one: &Entry| {
                exchanged(one) && (one.trace_id.is_none() || one.trace_id == child.trace_id)
            };
            let named = || {
                let call = child.detail.get(CALL)?;
                find(Part::Call, &|one| one.decision_id.as_ref() == Some(call))
            };
            find(Part::Exchange, &of_trace)
                .or_else(named)
                .or_else(call)
                .or_else(|| find(Part::Exchange, &exchanged))
                .or_else(issuance)
        }
        Part::Outcome => {
            let of = |one: &Entry| same(&one.decision_id, &child.decision_id);
            find(Part::Access, &of).or_else(|| find(Part::Call, &of))
        }
    }
}

fn findings(entries: &[Located], parents: &[Option<usize>], at: usize) -> Vec<Finding> {
    let Some(entry) = entries.get(at).map(|one| &one.entry) else { return Vec::new() };
    let is_child = |of: Part| {
        let mut pairs = entries.iter().zip(parents);
        pairs.any(|(one, parent)| *parent == Some(at) && part(&one.entry) == of)
    };
    let uses = |of: Part| {
        entries.iter().any(|one| {
            let is_same = one.entry.exchanged_jti == entry.exchanged_jti;
            part(&one.entry) == of && is_same && entry.exchanged_jti.is_some()
        })
    };
    let has_call = || {
        let mut calls = entries.iter().filter(|one| part(&one.entry) == Part::Call);
        calls.any(|one| {
            let is_named = entry
                .detail
                .get(CALL)
                .is_some_and(|call| one.entry.decision_id.as_ref() == Some(call));
            let is_same = one.entry.trace_id.is_some()
                && one.entry.trace_id == entry.trace_id
                && one.entry.token_jti == entry.token_jti;
            is_named || is_same
        })
    };
    let is_open = || entry.decision == Some(Decision::Permit) && !is_child(Part::Outcome);
    let found: [(bool, Finding); 3] = match part(entry) {
        Part::Call => [
            (is_open(), Finding::AllowedWithoutOutcome),
            (false, Finding::AccessWithoutExchange),
            (false, Finding::AccessWithoutDecision),
        ],
        Part::Access => [
            (is_open(), Finding::AllowedWithoutOutcome),
            (
                entry.exchanged_jti.is_some() && !uses(Part::Exchange),
                Finding::AccessWithoutExchange,
            ),
            (!has_call(), Finding::AccessWithoutDecision),
        ],
        Part::Exchange => [
            (!uses(Part::Access), Finding::ExchangeWithoutAccess),
            (entry.trace_id.is_none(), Finding::ExchangeUntraced),
            (false, Finding::AllowedWithoutOutcome),
        ],
        Part::Issuance | Part::Outcome | Part::Other => return Vec::new(),
    };
    found.into_iter().filter_map(|(is, finding)| is.then_some(finding)).collect()
}

/// In `detail` of a request that a server sent on its way out: the decision about the call it
/// belongs to.
const CALL: &str = "call";
