//! What an operation is given: who asks, what for, and the picture it decides on.

use std::sync::Arc;

use attorn_audit::{Entry, Kind};
use attorn_registry::{
    Agent, AgentId, McpServer, Owner, OwnerId, Person, PersonId, ServerId, Snapshot,
};
use attorn_store::Act;

use super::guard::{Operator, Unadmitted};
use super::operation::Operation;
use super::refusal::{Missing, Refusal};
use crate::shared::Shared;

/// One admitted request.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    /// The registry as it was when the request was admitted last.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) operator: Operator,
    pub(crate) decision_id: String,
    pub(crate) now_ms: u64,
    /// The `{…}` parts of the path, decoded.
    pub(crate) segments: Vec<(String, String)>,
}

/// The result of a change: what to answer, and the facts to record before that.
#[derive(Debug)]
pub(crate) struct Effect<T> {
    pub(crate) output: T,
    pub(crate) facts: Vec<Entry>,
}

impl<T> Effect<T> {
    pub(crate) fn new(output: T, fact: Entry) -> Self {
        Self { output, facts: vec![fact] }
    }
}

impl Context {
    /// The same request on the registry and the clock as they are now.
    pub(crate) fn renewed(self, operation: Operation) -> Result<Self, Unadmitted> {
        let (snapshot, now_ms) = (self.shared.published.load(), self.shared.clock.now_ms());
        let operator =
            self.operator.admit_again(&self.shared, &snapshot, operation, now_ms / 1000)?;
        Ok(Self { snapshot, operator, now_ms, ..self })
    }

    pub(crate) const fn now_s(&self) -> u64 {
        self.now_ms / 1000
    }

    /// Whether the operator may also run another operation that this one stands for.
    pub(crate) fn may(&self, operation: Operation) -> Result<(), Refusal> {
        let may = self.operator.may(&self.shared, &self.snapshot, operation, self.now_s());
        may.map_err(|reason| Refusal::NotAllowed(operation, reason))
    }

    /// Who changes something, for the registry's own history.
    pub(crate) fn act(&self) -> Act<'_> {
        Act { by: self.operator.id.as_str(), now_s: self.now_s() }
    }

    /// The text of one `{…}` part; a part the route does not have is the empty text.
    pub(crate) fn segment(&self, name: &str) -> &str {
        self.segments.iter().find(|(key, _)| key == name).map_or("", |(_, text)| text)
    }

    /// An entry about a change this operator makes.
    pub(crate) fn fact(&self, kind: Kind) -> Entry {
        Entry {
            by: Some(self.operator.name.clone()),
            client_id: Some(self.operator.id.to_string()),
            decision_id: Some(self.decision_id.clone()),
            ..self.shared.entry(kind, self.now_ms)
        }
    }

    /// An agent by name or identifier.
    pub(crate) fn agent(&self, text: &str) -> Result<&Agent, Refusal> {
        let by_id = || self.snapshot.agent(&AgentId::parse(text).ok()?);
        let found = self.snapshot.agent_named(text).or_else(by_id);
        found.ok_or(Refusal::Missing(Missing::Agent))
    }

    /// An MCP server by name or identifier.
    pub(crate) fn server(&self, text: &str) -> Result<&McpServer, Refusal> {
        let by_id = || self.snapshot.server(&ServerId::parse(text).ok()?);
        let found = self.snapshot.server_named(text).or_else(by_id);
        found.ok_or(Refusal::Missing(Missing::Server))
    }

    /// An owner by name or identifier.
    pub(crate) fn owner(&self, text: &str) -> Result<&Owner, Refusal> {
        let by_id = || self.snapshot.owner(&OwnerId::parse(text).ok()?);
        let found = self.snapshot.owners().find(|owner| owner.name.as_str() == text).or_else(by_id);
        found.ok_or(Refusal::Missing(Missing::Owner))
    }

    /// A person by name or identifier.
    pub(crate) fn person(&self, text: &str) -> Result<&Person, Refusal> {
        let by_id = || self.snapshot.person(&PersonId::parse(text).ok()?);
        let found = self.snapshot.person_named(text).or_else(by_id);
        found.ok_or(Refusal::Missing(Missing::Person))
    }

    /// The name behind an identifier of who did something, for answers.
    pub(crate) fn name_of(&self, by: &str) -> String {
        name_of(&self.snapshot, by)
    }

    /// The name of an owner, for answers.
    pub(crate) fn owner_name(&self, id: Option<&OwnerId>) -> Option<String> {
        Some(self.snapshot.owner(id?)?.name.to_string())
    }
}

/// The name behind an identifier of an agent. A person is told by identifier: they may be called as
/// an agent is.
pub(crate) fn name_of(snapshot: &Snapshot, by: &str) -> String {
    let agent = AgentId::parse(by).ok().and_then(|id| snapshot.agent(&id));
    agent.map_or_else(|| by.to_owned(), |agent| agent.name.to_string())
}
