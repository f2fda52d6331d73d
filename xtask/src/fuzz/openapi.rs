//! The operations of an API out of its document.

use attorn_registry::{Class, DescribedOperations, OpenApiDocument, ResourceOperation};
use serde_json::{Value, json};

use super::corpus::Corpus;
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const OPENAPI_DOCUMENT: Target = Target {
    name: "openapi_document",
    oracle: "an operation is where serde_json finds one of its name, method and path, with no lower \
             class than its method has; all are told apart, and the same in any spelling",
    prepare,
};

const URL: &str = "https://api.example/billing";

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let get = json!({ "operationId": "invoice.get" });
    let document = |servers: Value| {
        json!({
            "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "servers": servers,
            "paths": {
                "/invoices/{id}": { "get": get, "options": {}, "parameters": [] },
                "/invoices/{id}/pay": {
                    "post": { "operationId": "invoice.pay", "x-attorn-class": "irreversible" },
                    "delete": { "operationId": "invoice.unpay", "x-attorn-class": "read" },
                },
                "/invoices/{id}.pdf": { "get": { "operationId": "pdf" } },
                "/x": { "$ref": "#/components/pathItems/x" }, "/y/": { "put": {} },
            },
        })
    };
    let seeds = [json!([]), json!([{ "url": "/" }]), json!([{ "url": URL }])];
    let seeds = seeds.map(|servers| document(servers).to_string().into_bytes()).to_vec();
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

fn read(input: &[u8]) -> Result<DescribedOperations, String> {
    let document = OpenApiDocument::parse(input).map_err(|refusal| format!("{refusal:?}"))?;
    let base = document.base(URL, Some(URL)).map_err(|refusal| format!("{refusal:?}"))?;
    document.operations(&base, false).map_err(|refusal| format!("{refusal:?}"))
}

/// The order of members means nothing.
fn sorted(described: &DescribedOperations) -> Vec<String> {
    let operations = described.operations.iter().map(ToString::to_string);
    let mut all: Vec<_> =
        operations.chain(described.left_out.iter().map(|one| format!("{one:?}"))).collect();
    all.sort_unstable();
    all
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let described = match read(input) {
        Ok(described) => described,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let whole: Value = serde_json::from_slice(input).map_err(|error| error.to_string())?;
    let operations = &described.operations;
    for one in operations {
        let item = whole.get("paths").and_then(|paths| paths.get(one.path.as_str()));
        let found = item.and_then(|item| item.get(one.method.as_str().to_ascii_lowercase()));
        let id = found.and_then(|found| found.get("operationId")).and_then(Value::as_str);
        ensure(id == Some(one.id.as_str()), "an operation is made up")?;
        let least = match one.method.as_str() {
            "GET" | "HEAD" => Class::Read,
            "DELETE" => Class::Irreversible,
            _ => Class::Write,
        };
        ensure(one.class >= least, "a class is lowered")?;
    }
    for (index, one) in operations.iter().enumerate() {
        let is_twin = |other: &ResourceOperation| {
            let is_there = one.method == other.method && one.path.is_same_place(&other.path);
            one.id == other.id || is_there
        };
        ensure(!operations.iter().skip(index + 1).any(is_twin), "two are one")?;
    }
    let spelled = respelled_bytes(input, &mut Random::of(input));
    let again = read(&spelled).map_err(|refusal| format!("in another spelling: {refusal}"))?;
    ensure(sorted(&again) == sorted(&described), "another spelling is read otherwise")?;
    let reasons: Vec<_> = described.left_out.iter().map(|one| one.reason.as_str()).collect();
    Ok(Seen { accepted: !operations.is_empty(), ..Seen::accepted(&(operations.len(), reasons)) })
}
