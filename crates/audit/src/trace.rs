//! Which entries of one or several logs belong to one chain: issuance, decision, exchange, access
//! and outcome; and what is missing in it.
//!
//! Joined by names alone: decision, trace, token and exchanged token. Never by time: two writers have
//! two clocks, and whoever calls twice at once would be mixed up.

mod assemble;

pub use assemble::{Finding, Node, assemble};

use crate::{Entry, Kind};

/// An entry and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The origin of the log.
    pub log: String,
    /// Its place there.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
}

/// What entries are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The agent.
    Agent,
    /// The approval.
    Approval,
    /// The decision.
    Decision,
    /// The name that an API gave a request.
    DownstreamRequest,
    /// A token that was got by exchange.
    Exchanged,
    /// The issuance of a token.
    Issued,
    /// The person or agent that a token is about.
    Subject,
    /// The token of an agent.
    Token,
    /// The trace.
    Trace,
    /// An exchange that names no trace, by the token that was exchanged.
    UntracedExchange,
}

/// One look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term {
    /// What by.
    pub key: Key,
    /// Its name.
    pub value: String,
}

impl Term {
    /// A look-up.
    #[must_use]
    pub fn new(key: Key, value: impl Into<String>) -> Self {
        Self { key, value: value.into() }
    }

    /// What an identifier is looked up by, where nobody says: `dec_…` names a decision, `agt_…` an
    /// agent, `usr_…` a person, `apr_…` an approval, 32 hexadecimal digits a trace, and the rest a token.
    #[must_use]
    pub fn guess(id: &str) -> Self {
        let is_trace =
            id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let key = match id.split_once('_').map(|(kind, _)| kind) {
            Some("dec") => Key::Decision,
            Some("agt") => Key::Agent,
            Some("apr") => Key::Approval,
            Some("usr") => Key::Subject,
            Some(_) | None if is_trace => Key::Trace,
            Some(_) | None => Key::Token,
        };
        Self::new(key, id)
    }

    /// The look-ups that an identifier begins with: a token may be an agent's or an exchanged one.
    #[must_use]
    pub fn seeds(self) -> Vec<Self> {
        match self.key {
            Key::Token => vec![Self::new(Key::Exchanged, self.value.clone()), self],
            Key::Agent
            | Key::Approval
            | Key::Decision
            | Key::DownstreamRequest
            | Key::Exchanged
            | Key::Issued
            | Key::Subject
            | Key::Trace
            | Key::UntracedExchange => vec![self],
        }
    }

    /// Whether an entry is what is looked up.
    #[must_use]
    pub fn finds(&self, entry: &Entry) -> bool {
        let is = |field: &Option<String>| field.as_deref() == Some(self.value.as_str());
        match self.key {
            Key::Agent => is(&entry.agent),
            Key::Approval => is(&entry.approval),
            Key::Decision => is(&entry.decision_id),
            Key::DownstreamRequest => is(&entry.downstream_request_id),
            Key::Exchanged => is(&entry.exchanged_jti),
            Key::Issued => entry.kind == Kind::TokenIssued && is(&entry.token_jti),
            Key::Subject => is(&entry.subject),
            Key::Token => is(&entry.token_jti),
            Key::Trace => is(&entry.trace_id),
            Key::UntracedExchange => {
                entry.kind == Kind::TokenExchanged
                    && entry.trace_id.is_none()
                    && is(&entry.token_jti)
            }
        }
    }
}

/// What an entry that was found leads to.
#[must_use]
pub fn leads_to(entry: &Entry) -> Vec<Term> {
    let named = [
        (Key::Approval, &entry.approval),
        (Key::Decision, &entry.decision_id),
        (Key::Exchanged, &entry.exchanged_jti),
        (Key::Issued, &entry.token_jti),
        (Key::Trace, &entry.trace_id),
    ];
    let mut terms: Vec<Term> =
        named.into_iter().filter_map(|(key, value)| Some(Term::new(key, value.clone()?))).collect();
    // Of a server that names no trace when it exchanges, no call can be told from another.
    if entry.kind == Kind::CallDecided
        && let Some(token) = &entry.token_jti
    {
        terms.push(Term::new(Key::UntracedExchange, token.clone()));
    }
    terms
}

/// The entries among `all` that belong to what is looked up, in their order. What another file
/// repeats is there once.
#[must_use]
pub fn select(all: Vec<Located>, wanted: Term) -> Vec<Located> {
    let mut terms = wanted.seeds();
    let mut done: Vec<Term> = Vec::new();
    let mut chosen = vec![false; all.len()];
    while let Some(term) = terms.pop() {
        if done.contains(&term) {
            continue;
        }
        for (located, chosen) in all.iter().zip(&mut chosen) {
            if !*chosen && term.finds(&located.entry) {
                *chosen = true;
                terms.extend(leads_to(&located.entry));
            }
        }
        done.push(term);
    }
    let mut found: Vec<Located> =
        all.into_iter().zip(chosen).filter_map(|(one, chosen)| chosen.then_some(one)).collect();
    found.sort_by(|one, other| (&one.log, one.index).cmp(&(&other.log, other.index)));
    found.dedup_by(|one, other| one.log == other.log && one.index == other.index);
    found
}

#[cfg(test)]
mod tests;
