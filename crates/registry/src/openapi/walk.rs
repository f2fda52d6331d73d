//! The walk through the paths of a document.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use attorn_json::Value;

use super::base::BasePath;
use super::reach::Reach;
use super::{DescribedOperations, ITEMS_MAX, LeftOut, LeftOutReason, OpenApiRefusal};
use crate::path_template::PathTemplate;
use crate::{Class, HttpMethod, OperationId, ResourceOperation};

/// Each path item, in the order of the document.
pub(super) fn operations(
    paths: Value<'_>,
    base: &BasePath,
    derives_names: bool,
) -> Result<DescribedOperations, OpenApiRefusal> {
    let mut walk = Walk { base, derives_names, found: Vec::new(), left_out: Vec::new() };
    for (path, item) in paths.members().into_iter().flatten() {
        // OpenAPI 3.1.1, Specification Extensions.
        if path.starts_with("x-") {
            continue;
        }
        walk.path_item(&path, item);
        walk.verify_bound()?;
    }
    Ok(walk.end())
}

struct Walk<'w> {
    base: &'w BasePath,
    derives_names: bool,
    /// With the method and the path as the document has them.
    found: Vec<(ResourceOperation, String)>,
    /// With the class that it asks for.
    left_out: Vec<(LeftOut, Class)>,
}

/// What a path item says of all its operations.
#[derive(Clone, Copy)]
struct PathItem {
    has_servers: bool,
    asked: Result<Class, LeftOutReason>,
}

impl Walk<'_> {
    /// OpenAPI 3.1.1, Path Item Object.
    fn path_item(&mut self, path: &str, item: Value<'_>) {
        let below = self.base.template(path).ok();
        let left_out = |method, id, reason| {
            let (path, below) = (path.to_owned(), below.clone());
            LeftOut { method, path, below, id, reason }
        };
        if !item.is_object() {
            let one = left_out(None, None, LeftOutReason::Form);
            return self.left_out.push((one, Class::Read));
        }
        // Beside a reference the specification defines nothing, so nothing beside it is taken. What
        // it refers to may ask for anything, with any method.
        if item.member("$ref").is_some() {
            let one = left_out(None, None, LeftOutReason::Reference);
            return self.left_out.push((one, Class::Irreversible));
        }
        let has_servers = item.member("servers").is_some();
        let whole = PathItem { has_servers, asked: asked(item) };
        for (name, operation) in item.members().into_iter().flatten() {
            if OTHER_MEMBERS.contains(&name.as_ref()) || name.starts_with("x-") {
                continue;
            }
            match self.operation((path, name.as_ref()), operation, whole) {
                Ok(operation) => self.found.push((operation, path.to_owned())),
                Err(reason) => {
                    let id = operation.member("operationId").and_then(Value::string);
                    let id = id.map(std::borrow::Cow::into_owned);
                    let one = left_out(Some(name.to_ascii_uppercase()), id, reason);
                    // What cannot be read may ask for anything.
                    let class = whole.class(operation).unwrap_or(Class::Irreversible);
                    self.left_out.push((one, class));
                }
            }
        }
    }

    /// OpenAPI 3.1.1, Operation Object.
    fn operation(
        &self,
        (path, method): (&str, &str),
        described: Value<'_>,
        whole: PathItem,
    ) -> Result<ResourceOperation, LeftOutReason> {
        let known = METHODS.iter().find(|(name, ..)| *name == method);
        let (_, method, proposed) = *known.ok_or(LeftOutReason::Method)?;
        if !described.is_object() {
            return Err(LeftOutReason::Form);
        }
        let class = whole.class(described)?.max(proposed);
        // Whether those are at the URL of the API is more than we can say.
        if whole.has_servers || described.member("servers").is_some() {
            return Err(LeftOutReason::OwnServers);
        }
        let path = self.base.template(path)?;
        let id = self.id(described, method, &path)?;
        Ok(ResourceOperation { id, class, method, path })
    }

    fn id(
        &self,
        described: Value<'_>,
        method: HttpMethod,
        path: &PathTemplate,
    ) -> Result<OperationId, LeftOutReason> {
        let told = described.member("operationId");
        let refusal = if told.is_none() { LeftOutReason::IdMissing } else { LeftOutReason::IdForm };
        let told = told.and_then(Value::string).and_then(|id| OperationId::parse(&id).ok());
        match told {
            Some(id) => Ok(id),
            None if self.derives_names => derived(method, path).ok_or(LeftOutReason::IdForm),
            None => Err(refusal),
        }
    }

    fn verify_bound(&self) -> Result<(), OpenApiRefusal> {
        let is_full = self.found.len() > ITEMS_MAX || self.left_out.len() > ITEMS_MAX;
        if is_full { Err(OpenApiRefusal::TooMany) } else { Ok(()) }
    }

    /// Of two that cannot be told apart neither is taken: nobody knows which one was meant.
    fn end(self) -> DescribedOperations {
        let Self { base, found, mut left_out, .. } = self;
        let (mut ids, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (operation, _) in &found {
            *ids.entry(operation.id.clone()).or_insert(0_usize) += 1;
            *places.entry(operation.place()).or_insert(0_usize) += 1;
        }
        let mut operations = Vec::new();
        for (operation, path) in found {
            let is_once = |count: Option<&usize>| count == Some(&1);
            let reason = if !is_once(ids.get(&operation.id)) {
                LeftOutReason::IdTwice
            } else if !is_once(places.get(&operation.place())) {
                LeftOutReason::PlaceTwice
            } else {
                operations.push(operation);
                continue;
            };
            let method = Some(operation.method.as_str().to_owned());
            let id = Some(operation.id.as_str().to_owned());
            let below = Some(operation.path);
            left_out.push((LeftOut { method, path, below, id, reason }, operation.class));
        }
        let raised = raise(&mut operations, &left_out, base);
        let left_out = left_out.into_iter().map(|(one, _)| one).collect();
        DescribedOperations { operations, left_out, raised }
    }
}

impl PathItem {
    /// The class that the document asks for. It counts where it is more than what the method says:
    /// an author can warn, and cannot play down.
    fn class(self, described: Value<'_>) -> Result<Class, LeftOutReason> {
        Ok(self.asked?.max(asked(described)?))
    }
}

fn asked(described: Value<'_>) -> Result<Class, LeftOutReason> {
    // What it refers to is not read, and says more than what is beside it.
    if described.member("$ref").is_some() {
        return Err(LeftOutReason::Reference);
    }
    let Some(asked) = described.member("x-attorn-class") else { return Ok(Class::Read) };
    let asked = asked.string().and_then(|asked| asked.parse::<Class>().ok());
    asked.ok_or(LeftOutReason::Class)
}

/// What is left out is still at the API, and a guard may take a request for it as one of another
/// operation. Without the higher class of the two there, the warning of the document would be lost.
fn raise(
    operations: &mut [ResourceOperation],
    left_out: &[(LeftOut, Class)],
    base: &BasePath,
) -> Vec<(OperationId, LeftOut)> {
    let mut warnings: Vec<_> = left_out.iter().collect();
    // The highest come first, so that nothing is raised twice.
    warnings.sort_by_key(|(_, class)| Reverse(*class));
    let mut raised = Vec::new();
    for (one, class) in warnings {
        let Some(reach) = Reach::of(&one.path, base) else { continue };
        for operation in &mut *operations {
            let method = operation.method.as_str();
            let is_method = one.method.as_deref().is_none_or(|asked| asked == method);
            if is_method && operation.class < *class && reach.meets(&operation.path) {
                operation.class = *class;
                raised.push((operation.id.clone(), one.clone()));
            }
        }
    }
    raised
}

/// `get.invoices.id` of `GET /invoices/{id}`.
fn derived(method: HttpMethod, path: &PathTemplate) -> Option<OperationId> {
    let mut name = method.as_str().to_ascii_lowercase();
    for part in path.as_str().split('/').filter(|part| !part.is_empty()) {
        name.push('.');
        name.extend(part.chars().filter(|c| !matches!(c, '{' | '}')).map(|c| match c {
            '~' => '-',
            c => c,
        }));
    }
    OperationId::parse(&name).ok()
}

/// RFC 9110 section 9.2.1: GET and HEAD are safe. Whether a POST changes something, and whether a
/// DELETE can be undone, only the API's owner knows.
const METHODS: [(&str, HttpMethod, Class); 6] = [
    ("delete", HttpMethod::Delete, Class::Irreversible),
    ("get", HttpMethod::Get, Class::Read),
    ("head", HttpMethod::Head, Class::Read),
    ("patch", HttpMethod::Patch, Class::Write),
    ("post", HttpMethod::Post, Class::Write),
    ("put", HttpMethod::Put, Class::Write),
];
/// Of a path item, what is no operation.
const OTHER_MEMBERS: [&str; 4] = ["description", "parameters", "servers", "summary"];
