//! What a person is offered to give: asked, what they can give, and what they gave before.

use attorn_console::{Choice, ChoiceGroup, Gravity};
use attorn_json::Limits;
use attorn_oauth::client_metadata::shown_name;
use attorn_registry::{
    AgentId, Class, McpServer, PersonId, ReasonCode, Scope, ScopeSet, ScopeTarget, Snapshot,
};
use serde::Deserialize;

/// An offer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// What the person may choose from, in the order of the page.
    pub(crate) scopes: Vec<Scope>,
    /// What of it they gave before.
    before: ScopeSet,
}

/// Why nothing is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOffer {
    /// The person cannot give anything here; the server may as well not exist.
    Nothing(ReasonCode),
    /// The person can, but nothing of what was asked.
    NothingAsked,
}

impl Offer {
    /// Asked and grantable; and, since a step up must not take away what there was, what was given
    /// before and still can be. What cannot be given is left out.
    pub(crate) fn of(
        snapshot: &Snapshot,
        (person, agent, server): (&PersonId, &AgentId, &McpServer),
        asked: Option<&ScopeSet>,
        now_s: u64,
    ) -> Result<Self, NoOffer> {
        let grantable = snapshot.grantable_scopes(person, agent, &server.id, now_s);
        let grantable = grantable.map_err(NoOffer::Nothing)?;
        if grantable.is_empty() {
            return Err(NoOffer::Nothing(ReasonCode::ScopeMissing));
        }
        let asked = asked.map_or_else(|| grantable.clone(), |asked| asked.intersect(&grantable));
        if asked.is_empty() {
            return Err(NoOffer::NothingAsked);
        }
        let before = snapshot.delegated_scopes(person, agent, &server.id, now_s);
        let before = before.unwrap_or_default();
        let mut scopes: Vec<Scope> =
            asked.iter().chain(before.iter().filter(|one| !asked.contains(one))).cloned().collect();
        scopes.sort_by_key(|scope| (gravity_rank(scope.class), scope.to_string()));
        Ok(Self { scopes, before })
    }

    /// How many of them were given before.
    pub(crate) fn given_before(&self) -> usize {
        self.scopes.iter().filter(|scope| self.before.contains(scope)).count()
    }

    /// The page's groups, with the words of the approved definitions.
    pub(crate) fn groups(&self, server: &McpServer) -> Vec<ChoiceGroup> {
        let group = |class, gravity| {
            let of_class = self.scopes.iter().enumerate().filter(|(_, one)| one.class == class);
            let choices = of_class.map(|(number, scope)| self.choice(number, scope, server));
            ChoiceGroup { gravity, choices: choices.collect() }
        };
        let groups = [
            group(Class::Read, Gravity::Read),
            group(Class::Write, Gravity::Write),
            group(Class::Irreversible, Gravity::Irreversible),
        ];
        groups.into_iter().filter(|group| !group.choices.is_empty()).collect()
    }

    fn choice(&self, number: usize, scope: &Scope, server: &McpServer) -> Choice {
        let is_known = self.before.contains(scope);
        Choice {
            number,
            scope: scope.to_string(),
            title: title(scope, server),
            is_new: !is_known && !self.before.is_empty(),
            // What cannot be undone is chosen by hand, each time.
            is_chosen: scope.class != Class::Irreversible,
        }
    }
}

/// MCP 2026-07-28, Tool: its title, or that of its annotations.
#[derive(Deserialize)]
struct Definition {
    title: Option<String>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    title: Option<String>,
}

/// What a right unlocks, in the words of the definition that its owner approved, or its name.
fn title(scope: &Scope, server: &McpServer) -> String {
    let name = match &scope.tool {
        ScopeTarget::Prompts => return "Prompts of the server".to_owned(),
        ScopeTarget::Resources => return "Resources of the server".to_owned(),
        ScopeTarget::Tool(name) => name,
    };
    let definition = server.tools.get(name).map(|tool| tool.definition.as_bytes());
    let definition = definition.and_then(|bytes| attorn_json::parse(bytes, &DEFINITION).ok());
    let definition = definition.and_then(|document| document.to::<Definition>().ok());
    let titled = definition.and_then(|one| one.title.or(one.annotations?.title));
    titled.as_deref().and_then(shown_name).unwrap_or_else(|| name.clone())
}

/// Least weight first: what cannot be undone stands last and apart.
const fn gravity_rank(class: Class) -> u8 {
    match class {
        Class::Read => 0,
        Class::Write => 1,
        Class::Irreversible => 2,
    }
}

/// As large as a definition may be.
const DEFINITION: Limits = Limits { bytes_max: 1 << 20, depth_max: 64 };
