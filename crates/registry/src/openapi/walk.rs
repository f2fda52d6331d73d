//! The walk through the paths of a document.

use std::collections::BTreeMap;

use attorn_json::Value;

use super::base::BasePath;
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
    left_out: Vec<LeftOut>,
}

impl Walk<'_> {
    /// OpenAPI 3.1.1, Path Item Object.
    fn path_item(&mut self, path: &str, item: Value<'_>) {
        let whole = |reason| LeftOut { method: None, path: path.to_owned(), id: None, reason };
        if !item.is_object() {
            return self.left_out.push(whole(LeftOutReason::Form));
        }
        // Beside a reference the specification defines nothing, so nothing beside it is taken.
        if item.member("$ref").is_some() {
            return self.left_out.push(whole(LeftOutReason::Reference));
        }
        let has_servers = item.member("servers").is_some();
        for (name, operation) in item.members().into_iter().flatten() {
            if OTHER_MEMBERS.contains(&name.as_ref()) || name.starts_with("x-") {
                continue;
            }
            let read = self.operation((path, name.as_ref()), operation, has_servers);
            match read {
                Ok(operation) => self.found.push((operation, path.to_owned())),
                Err(reason) => {
                    let id = operation.member("operationId").and_then(Value::string);
                    self.left_out.push(LeftOut {
                        method: Some(name.to_ascii_uppercase()),
                        path: path.to_owned(),
                        id: id.map(std::borrow::Cow::into_owned),
                        reason,
                    });
                }
            }
        }
    }

    /// OpenAPI 3.1.1, Operation Object.
    fn operation(
        &self,
        (path, method): (&str, &str),
        described: Value<'_>,
        has_servers: bool,
    ) -> Result<ResourceOperation, LeftOutReason> {
        let known = METHODS.iter().find(|(name, ..)| *name == method);
        let (_, method, proposed) = *known.ok_or(LeftOutReason::Method)?;
        if !described.is_object() {
            return Err(LeftOutReason::Form);
        }
        // Whether those are at the URL of the API is more than we can say.
        if has_servers || described.member("servers").is_some() {
            return Err(LeftOutReason::OwnServers);
        }
        let path = self.base.template(path)?;
        let class = class(described, proposed)?;
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
        let Self { found, mut left_out, .. } = self;
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
            left_out.push(LeftOut { method, path, id, reason });
        }
        DescribedOperations { operations, left_out }
    }
}

/// What the document asks for counts where it is more than what the method says: its author can warn,
/// and cannot play down.
fn class(described: Value<'_>, proposed: Class) -> Result<Class, LeftOutReason> {
    let Some(asked) = described.member("x-attorn-class") else { return Ok(proposed) };
    let asked = asked.string().and_then(|asked| asked.parse::<Class>().ok());
    Ok(asked.ok_or(LeftOutReason::Class)?.max(proposed))
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
