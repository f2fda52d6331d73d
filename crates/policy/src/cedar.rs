//! One question to Cedar, about a call or a hop, and what its answer means.
//!
//! Requests are built from restricted expressions only. Cedar's JSON reader for contexts is never
//! used: it gives meaning to member names that a peer may choose. An error in any policy denies,
//! because Cedar itself skips a `forbid` that fails.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::str::FromStr as _;

use attorn_planted::{Bug, is_planted};
use attorn_registry::{AgentKind, ApprovalTerms, Class, Person, Scope};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    Request, Response, RestrictedExpression,
};

use crate::analysis::Input;
use crate::arguments::{Projection, project};
use crate::compile::{PolicySet, Slice, action_id, principal_type};
use crate::decide::Operation;

/// What policies are asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) kind: AgentKind,
    pub(crate) agent: &'a str,
    pub(crate) agent_owner: &'a str,
    /// Whom the agent acts for, if for somebody.
    pub(crate) person: Option<&'a Person>,
    pub(crate) server: &'a str,
    pub(crate) server_owner: &'a str,
    pub(crate) is_builtin: bool,
    pub(crate) operation: Operation<'a>,
    pub(crate) class: Class,
    pub(crate) scope: &'a Scope,
    pub(crate) arguments: Option<&'a str>,
    pub(crate) now_s: u64,
}

/// What policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No rule where the request itself could not be shown to the policies.
    Error {
        rule: Option<String>,
    },
    Forbid {
        rule: String,
    },
    NoPermit,
    Permit {
        rule: String,
        /// The approval that the permitting rules ask for together.
        terms: Option<ApprovalTerms>,
    },
}

/// The names of entity types, parsed once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    authorizer: Authorizer,
    types: HashMap<&'static str, EntityTypeName>,
}

const TYPES: [&str; 11] = [
    "Action",
    "Agent",
    "Api",
    "Client",
    "Gateway",
    "Operation",
    "Operator",
    "Prompts",
    "Resources",
    "Server",
    "Tool",
];

impl Vocabulary {
    pub(crate) fn new() -> Self {
        let parsed = |name| EntityTypeName::from_str(name).ok().map(|parsed| (name, parsed));
        Self {
            authorizer: Authorizer::new(),
            types: TYPES.into_iter().filter_map(parsed).collect(),
        }
    }

    pub(crate) fn uid(&self, entity_type: &str, id: &str) -> Option<EntityUid> {
        let entity_type = self.types.get(entity_type)?.clone();
        Some(EntityUid::from_type_name_and_id(entity_type, EntityId::new(id)))
    }
}

impl PolicySet {
    /// Asks the policies about one call.
    pub(crate) fn evaluate(&self, question: &Question<'_>) -> Verdict {
        let slice = self.slice(question.server, question.is_builtin);
        let [memo, _] = &self.memos;
        if slice.reads.any_argument() || slice.reads.clock() {
            return self.decide(slice, question);
        }
        memo.recall(question, || self.decide(slice, question))
    }

    fn decide(&self, slice: &Slice, question: &Question<'_>) -> Verdict {
        let Ok(projection) = self.projection(slice, question) else {
            return Verdict::Error { rule: None };
        };
        let left_out = projection.as_ref().map(|projection| projection.left_out.clone());
        let Some((request, entities)) = self.request(slice, question, projection) else {
            return Verdict::Error { rule: None };
        };
        if let Some(left_out) = left_out.filter(|names| !names.is_empty())
            && let Some(rule) = self.blind_rule(slice, &left_out, (&request, &entities))
        {
            return Verdict::Error { rule: Some(rule) };
        }
        self.deciding(slice, &request, &entities)
    }

    /// Asks what decides in a slice.
    pub(crate) fn deciding(
        &self,
        slice: &Slice,
        request: &Request,
        entities: &Entities,
    ) -> Verdict {
        let authorizer = &self.vocabulary.authorizer;
        self.verdict(&authorizer.is_authorized(request, &slice.deciding, entities))
    }

    /// Whether some arguments could be permitted, as far as policies that do not read arguments
    /// can tell. A listing shows no more than this.
    pub(crate) fn may_permit(&self, question: &Question<'_>) -> bool {
        let slice = self.slice(question.server, question.is_builtin);
        let [_, memo] = &self.memos;
        let verdict = if slice.reads.clock() {
            self.list(slice, question)
        } else {
            memo.recall(question, || self.list(slice, question))
        };
        matches!(verdict, Verdict::Permit { .. })
    }

    fn list(&self, slice: &Slice, question: &Question<'_>) -> Verdict {
        let Some((request, entities)) = self.request(slice, question, None) else {
            return Verdict::Error { rule: None };
        };
        self.verdict(&self.vocabulary.authorizer.is_authorized(&request, &slice.listing, &entities))
    }

    fn projection(
        &self,
        slice: &Slice,
        question: &Question<'_>,
    ) -> Result<Option<Projection>, crate::arguments::ArgumentsRefused> {
        if slice.reads.any_argument() { project(question.arguments).map(Some) } else { Ok(None) }
    }

    /// A rule that applies to this call and reads an argument of which something was left out.
    fn blind_rule(
        &self,
        slice: &Slice,
        left_out: &BTreeSet<String>,
        (request, entities): (&Request, &Entities),
    ) -> Option<String> {
        let response = self.vocabulary.authorizer.is_authorized(request, &slice.reading, entities);
        let matching: BTreeSet<&PolicyId> = response.diagnostics().reason().collect();
        let reads = |rule: &&&PolicyId| {
            slice.reads_by_rule.get(**rule).is_some_and(|reads| reads.any_of(left_out))
        };
        matching.iter().find(reads).map(ToString::to_string)
    }

    fn request(
        &self,
        slice: &Slice,
        question: &Question<'_>,
        projection: Option<Projection>,
    ) -> Option<(Request, Entities)> {
        let words = &self.vocabulary;
        let server = words.uid("Server", question.server)?;
        let resource = match question.operation {
            // The server's name holds no `/`, so two tools never share this text.
            Operation::Tool(tool) => words.uid("Tool", &format!("{}/{tool}", question.server))?,
            Operation::Resources => words.uid("Resources", question.server)?,
            Operation::Prompts => words.uid("Prompts", question.server)?,
        };
        let asked = Asked {
            principal: words.uid(principal_type(question.kind), question.agent)?,
            of_principal: [question.agent, question.agent_owner],
            action: words.uid("Action", action_id(question.class))?,
            resource,
            of_resource: [question.operation.name(), question.server_owner],
            place: (Input::ResourceServer, "server", question.server),
            within: server,
            agent: question.agent,
            person: question.person,
            scope: question.scope,
            now_s: question.now_s,
        };
        asked.request(slice, projection)
    }
}

/// A question in entities of Cedar. Nothing of it but these entities and texts is shown to policies.
pub(crate) struct Asked<'a> {
    pub(crate) principal: EntityUid,
    /// Name and owner.
    pub(crate) of_principal: [&'a str; 2],
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    /// Name and owner.
    pub(crate) of_resource: [&'a str; 2],
    /// What the resource is in: as an attribute of it, and as an entity.
    pub(crate) place: (Input, &'static str, &'a str),
    pub(crate) within: EntityUid,
    /// Whose right is used.
    pub(crate) agent: &'a str,
    pub(crate) person: Option<&'a Person>,
    pub(crate) scope: &'a Scope,
    pub(crate) now_s: u64,
}

impl Asked<'_> {
    /// The question with what the policies of a slice read, and with no more.
    pub(crate) fn request(
        self,
        slice: &Slice,
        projection: Option<Projection>,
    ) -> Option<(Request, Entities)> {
        let entities = if slice.reads.any_entity() {
            self.entities(slice)?
        } else {
            // Most of the cost of a request lies in its entities.
            Entities::empty()
        };
        let context = self.context(slice, projection)?;
        let request = Request::new(self.principal, self.action, self.resource, context, None);
        Some((request.ok()?, entities))
    }

    fn entities(&self, slice: &Slice) -> Option<Entities> {
        let wanted = |input: Input| slice.reads.inputs.contains(&input);
        let [name, owner] = self.of_principal;
        let of_principal =
            [(Input::PrincipalName, "name", name), (Input::PrincipalOwner, "owner", owner)];
        let [name, owner] = self.of_resource;
        let of_resource = [
            (Input::ResourceName, "name", name),
            (Input::ResourceOwner, "owner", owner),
            self.place,
        ];
        let within = HashSet::from([self.within.clone()]);
        let entities = [
            entity(&self.principal, &of_principal, HashSet::new(), wanted)?,
            entity(&self.resource, &of_resource, within, wanted)?,
        ];
        Entities::from_entities(entities, None).ok()
    }

    fn context(&self, slice: &Slice, projection: Option<Projection>) -> Option<Context> {
        let wanted = |input: Input| slice.reads.inputs.contains(&input);
        let mut pairs = Vec::new();
        if wanted(Input::Agent) {
            let agent = RestrictedExpression::new_string(self.agent.to_owned());
            pairs.push(("agent".to_owned(), agent));
        }
        if wanted(Input::NowS) {
            let now_s = i64::try_from(self.now_s).ok()?;
            pairs.push(("now_s".to_owned(), RestrictedExpression::new_long(now_s)));
        }
        if wanted(Input::Scope) {
            let scope = RestrictedExpression::new_string(self.scope.to_string());
            pairs.push(("scope".to_owned(), scope));
        }
        if let Some(person) = self.person.filter(|_| wanted(Input::Person)) {
            pairs.push(("person".to_owned(), record_of(person)?));
        }
        if let Some(projection) = projection {
            let incomplete = RestrictedExpression::new_bool(!projection.left_out.is_empty());
            pairs.push(("arguments_incomplete".to_owned(), incomplete));
            let arguments = RestrictedExpression::new_record(projection.fields).ok()?;
            pairs.push(("arguments".to_owned(), arguments));
        }
        if pairs.is_empty() { Some(Context::empty()) } else { Context::from_pairs(pairs).ok() }
    }
}

fn entity(
    uid: &EntityUid,
    attributes: &[(Input, &str, &str)],
    parents: HashSet<EntityUid>,
    wanted: impl Fn(Input) -> bool,
) -> Option<Entity> {
    let attributes: HashMap<String, RestrictedExpression> = attributes
        .iter()
        .filter(|(input, ..)| wanted(*input))
        .map(|(_, name, text)| {
            ((*name).to_owned(), RestrictedExpression::new_string((*text).to_owned()))
        })
        .collect();
    if attributes.is_empty() {
        return Some(Entity::new_no_attrs(uid.clone(), parents));
    }
    Entity::new(uid.clone(), attributes, parents).ok()
}

/// The person as policies see them. Nothing that they chose themselves is in it.
fn record_of(person: &Person) -> Option<RestrictedExpression> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let groups = person.groups.iter().map(|group| text(group.as_str()));
    let roles = person.roles.iter().map(|role| text(role.as_str()));
    RestrictedExpression::new_record([
        ("id".to_owned(), text(person.id.as_str())),
        ("name".to_owned(), text(person.name.as_str())),
        ("groups".to_owned(), RestrictedExpression::new_set(groups)),
        ("roles".to_owned(), RestrictedExpression::new_set(roles)),
    ])
    .ok()
}

impl PolicySet {
    fn verdict(&self, response: &Response) -> Verdict {
        let errors = response.diagnostics().errors().map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                error.policy_id().to_string()
            }
        });
        // Sorted, so that the order of policies cannot show.
        if let Some(rule) = errors.min()
            && !is_planted(Bug::PolicyErrorSkipped)
        {
            return Verdict::Error { rule: Some(rule) };
        }
        let rule = response.diagnostics().reason().min().map(ToString::to_string);
        match (response.decision(), rule) {
            (Decision::Allow, Some(rule)) => {
                // Another rule that permits as well takes no person away.
                let asked = response.diagnostics().reason().filter_map(|id| self.approvals.get(id));
                let terms = asked.copied().reduce(ApprovalTerms::and);
                Verdict::Permit { rule, terms }
            }
            (Decision::Deny, Some(rule)) => Verdict::Forbid { rule },
            (Decision::Allow | Decision::Deny, None) => Verdict::NoPermit,
        }
    }
}
