//! `attorn resource operation import`: the operations of an API out of its `OpenAPI` document.
//!
//! The document is read here and never sent: the authority gets the operations alone. Classes are
//! proposals, so nothing changes before somebody names the digest of what they were shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attorn_registry::{
    BaseRefusal, Class, DescribedOperations, LeftOut, LeftOutReason, OPENAPI_BYTES_MAX,
    OpenApiDocument, OpenApiRefusal, OperationChange, ResourceOperation,
};
use clap::Args;
use serde_json::{Value, json};

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::{at, member, set, text};
use crate::output::{clean, quoted};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ImportArgs {
    resource: String,
    /// The document: `OpenAPI` 3.0 or 3.1, in JSON. Nothing is fetched, and it is not sent
    file: PathBuf,
    /// Do what was shown, with its classes: the digest that came with it
    #[arg(long, value_name = "DIGEST", conflicts_with = "dry_run")]
    accept_classes: Option<String>,
    /// Your word on the class of an operation, in place of what is proposed; repeat for several
    #[arg(long, value_name = "ID=CLASS", value_parser = stated_class)]
    class: Vec<(String, Class)>,
    /// The address that the paths of the document are below, in place of its `servers`
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Name operations without an operationId of our form by method and path
    #[arg(long)]
    derive_names: bool,
    /// Take away the operations that the document does not have
    #[arg(long)]
    remove_others: bool,
    #[command(flatten)]
    change: Change,
}

const HELP: &str = "\
Examples:
  attorn resource operation import billing openapi.json              what would change, and its digest
  attorn resource operation import billing openapi.json --accept-classes DIGEST
  attorn resource operation import billing openapi.json --class searchInvoices=read
  attorn resource operation import billing openapi.json --base-url https://api.example.com/billing/v1

An operation is named by its operationId. GET and HEAD are proposed as read, POST, PUT and PATCH as
write, DELETE as irreversible; `x-attorn-class` in the document raises that and never lowers it. The
class of an operation that is there is raised, and lowered by --class alone. What cannot become an
operation is left out by name. All of it is changed, or nothing.

YAML is not read: yq -o json openapi.yaml > openapi.json

Exit codes: 0 done, nothing to do, or possible with --dry-run; 1 shown and not accepted yet, or
refused; 2 the document cannot be read.";

pub(super) async fn import(admin: &Admin, args: &ImportArgs) -> Result<Exit, Failure> {
    let bytes = files::read_bounded(&args.file, OPENAPI_BYTES_MAX as u64);
    let bytes = bytes.map_err(|failure| Failure { exit: Exit::Usage, ..failure })?;
    let document = OpenApiDocument::parse(&bytes).map_err(|why| unread(&args.file, &why))?;
    let resource = admin.read(Operation::ResourceShow, &[&args.resource], &[]).await?;
    let url = text(&resource, "url").unwrap_or_default();
    let base = document.base(url, args.base_url.as_deref()).map_err(|why| lost(url, &why))?;
    let described = document.operations(&base, args.derive_names);
    let described = described.map_err(|why| unread(&args.file, &why))?;
    if described.operations.is_empty() {
        show_left_out(admin, &described.left_out);
        return Err(Failure::no(format!("no operation of the document can be taken below {url}"))
            .next("attorn resource operation import --help"));
    }
    let mut list = list(args, &described)?;
    let place = [args.resource.as_str()];
    let plan = if let Some(digest) = &args.accept_classes {
        set(&mut list, "digest", digest.clone());
        // A dry run is another operation, and never comes with a digest.
        let change = Change { dry_run: false };
        let done = admin.send_change(Operation::ResourceOperationImport, &place, list, change);
        done.await.map_err(|failure| again(args, failure))?.unwrap_or_default()
    } else {
        admin.post_read_at(Operation::ResourceOperationPlan, &place, list).await?
    };
    Ok(show(admin, args, &plan, &described.left_out))
}

/// The operations in the form of the admin API.
fn list(args: &ImportArgs, described: &DescribedOperations) -> Result<Value, Failure> {
    let mut stated: BTreeMap<&str, Class> = BTreeMap::new();
    for (id, class) in &args.class {
        if stated.insert(id, *class).is_some() {
            return Err(Failure::usage(format!("`--class` names `{}` twice", clean(id))));
        }
    }
    let mut one = |operation: &ResourceOperation| {
        let word = stated.remove(operation.id.as_str());
        json!({
            "id": operation.id.as_str(),
            "class": word.unwrap_or(operation.class).as_str(),
            "method": operation.method.as_str(),
            "path": operation.path.as_str(),
            "stated": word.is_some(),
        })
    };
    let operations: Vec<_> = described.operations.iter().map(&mut one).collect();
    if let Some((id, _)) = stated.first_key_value() {
        let what =
            format!("`--class` names `{}`, which is no operation of the document", clean(id));
        return Err(Failure::usage(what));
    }
    Ok(json!({ "operations": operations, "remove_others": args.remove_others }))
}

fn show(admin: &Admin, args: &ImportArgs, plan: &Value, left_out: &[LeftOut]) -> Exit {
    let output = admin.output;
    let planned = items(member(plan, "operations"));
    if output.is_machine() {
        let mut whole = plan.clone();
        set(&mut whole, "left_out", left_out.iter().map(told).collect::<Vec<_>>());
        output.object(&whole);
    } else {
        let rows = planned.iter().map(row).chain(left_out.iter().map(left_out_row));
        let columns = ["change", "operation", "class", "method", "path", "remark"];
        output.list(&rows.collect::<Vec<_>>(), &columns);
    }
    let is = |one: &&Value, change: OperationChange| text(one, "change") == Some(change.as_str());
    let taken = planned.iter().filter(|one| is(one, OperationChange::Taken)).count();
    let same = planned.iter().filter(|one| is(one, OperationChange::Same)).count();
    let changes = planned.len().saturating_sub(taken + same);
    let out = left_out.len() + taken;
    let is_applied = member(plan, "applied") == true;
    let verb = if is_applied { "made" } else { "to make" };
    output.say(&format!("{changes} changes {verb}, {same} as they are, {out} left out"));
    let has = |reasons: &[LeftOutReason]| left_out.iter().any(|one| reasons.contains(&one.reason));
    if has(&[LeftOutReason::IdForm, LeftOutReason::IdMissing]) && !args.derive_names {
        output.say("give them an operationId, or name them by method and path: --derive-names");
    }
    let digest = text(plan, "digest").filter(|_| !is_applied && !args.change.dry_run);
    let Some(digest) = digest else { return Exit::Yes };
    output.say("nothing is changed yet: the classes are proposals");
    output.say(&format!("next: {}", command(args, Some(digest))));
    Exit::No
}

/// An operation of a plan, flat.
fn row(planned: &Value) -> Value {
    let of = |name: &str| at(planned, &format!("/operation/{name}")).clone();
    let change = text(planned, "change").unwrap_or_default();
    let before = text(planned, "before").unwrap_or_default();
    let is = |one: OperationChange| change == one.as_str();
    let remark = if is(OperationChange::Class) || is(OperationChange::Moved) {
        format!("was {before}")
    } else if is(OperationChange::Taken) {
        format!("left out: `{before}` is there")
    } else {
        String::new()
    };
    json!({
        "change": change, "operation": of("id"), "class": of("class"), "method": of("method"),
        "path": of("path"), "remark": remark,
    })
}

fn left_out_row(one: &LeftOut) -> Value {
    json!({
        "change": "left out", "operation": one.id, "method": one.method, "path": one.path,
        "remark": one.reason.meaning(),
    })
}

fn told(one: &LeftOut) -> Value {
    json!({
        "id": one.id, "method": one.method, "path": one.path,
        "reason": one.reason.as_str(), "meaning": one.reason.meaning(),
    })
}

fn show_left_out(admin: &Admin, left_out: &[LeftOut]) {
    if admin.output.is_machine() {
        admin.output.object(&json!({ "left_out": left_out.iter().map(told).collect::<Vec<_>>() }));
    } else if !left_out.is_empty() {
        let rows: Vec<_> = left_out.iter().map(left_out_row).collect();
        admin.output.list(&rows, &["change", "operation", "method", "path", "remark"]);
    }
}

/// The same command once more.
fn command(args: &ImportArgs, digest: Option<&str>) -> String {
    let file = args.file.display().to_string();
    let mut command = "attorn resource operation import".to_owned();
    let mut put = |word: &str| {
        command.push(' ');
        command.push_str(&quoted(&clean(word)));
    };
    put(&args.resource);
    put(&file);
    for (id, class) in &args.class {
        put("--class");
        put(&format!("{id}={class}"));
    }
    if let Some(url) = &args.base_url {
        put("--base-url");
        put(url);
    }
    if args.derive_names {
        put("--derive-names");
    }
    if args.remove_others {
        put("--remove-others");
    }
    if let Some(digest) = digest {
        put("--accept-classes");
        put(digest);
    }
    command
}

fn again(args: &ImportArgs, failure: Failure) -> Failure {
    match failure.exit {
        Exit::No => failure.next(command(args, None)),
        Exit::Yes | Exit::Usage | Exit::Unreachable | Exit::Broken => failure,
    }
}

fn unread(file: &Path, why: &OpenApiRefusal) -> Failure {
    let failure = Failure::usage(format!("`{}`: {why}", file.display()));
    match why {
        OpenApiRefusal::Json(_) => {
            let file = quoted(&clean(&file.display().to_string()));
            failure.next(format!("if it is YAML: yq -o json {file} > openapi.json"))
        }
        OpenApiRefusal::Form(_)
        | OpenApiRefusal::Swagger
        | OpenApiRefusal::TooMany
        | OpenApiRefusal::Version => failure.next("attorn resource operation import --help"),
    }
}

fn lost(url: &str, why: &BaseRefusal) -> Failure {
    Failure::usage(clean(&why.to_string())).next(format!(
        "say what the paths of the document are below, {} if directly below the API: --base-url URL",
        quoted(url)
    ))
}

fn stated_class(text: &str) -> Result<(String, Class), String> {
    let wrong = || "expected ID=CLASS, for example `invoice.search=read`".to_owned();
    let (id, class) = text.split_once('=').ok_or_else(wrong)?;
    let class = class.parse::<Class>().map_err(|error| error.to_string())?;
    if id.is_empty() { Err(wrong()) } else { Ok((id.to_owned(), class)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ImportArgs,
    }

    fn args(more: &[&str]) -> ImportArgs {
        let words = [&["import", "billing", "open api.json"], more].concat();
        Line::try_parse_from(words).unwrap().args
    }

    fn described() -> DescribedOperations {
        let text = r#"{"openapi":"3.1.0","paths":{"/a":{
            "get":{"operationId":"get"},"post":{"operationId":"search"},"trace":{}}}}"#;
        let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
        let base = document.base("https://api.example/", None).unwrap();
        document.operations(&base, false).unwrap()
    }

    #[test]
    fn a_class_of_the_owner_takes_the_place_of_the_proposed_one() {
        let classes = |more: &[&str]| {
            let list = list(&args(more), &described()).ok()?;
            let of = |n: usize| {
                let one = &list["operations"][n];
                format!("{} {}", one["class"].as_str().unwrap(), one["stated"])
            };
            Some([of(0), of(1)])
        };
        let both = |one: &str, other: &str| Some([one.to_owned(), other.to_owned()]);
        assert_eq!(classes(&[]), both("read false", "write false"));
        assert_eq!(classes(&["--class", "search=read"]), both("read false", "read true"));
        assert_eq!(classes(&["--class", "other=read"]), None);
        assert_eq!(classes(&["--class", "get=write", "--class", "get=read"]), None);
        for wrong in ["search", "search=none", "=read", "search:read"] {
            assert!(stated_class(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_next_command_is_the_same_with_the_digest() {
        let more =
            ["--class", "search=read", "--base-url", "https://a.example/", "--remove-others"];
        let command = command(&args(&more), Some("7a"));
        let expected = "attorn resource operation import billing 'open api.json' --class \
                        'search=read' --base-url 'https://a.example/' --remove-others \
                        --accept-classes 7a";
        assert_eq!(command, expected);
        let both = ["import", "billing", "a.json", "--dry-run", "--accept-classes", "7a"];
        assert!(Line::try_parse_from(both).is_err());
    }

    #[test]
    fn a_document_that_is_no_json_is_told_how_to_become_one() {
        let why = OpenApiDocument::parse(b"openapi: 3.1.0\n").unwrap_err();
        let failure = unread(Path::new("openapi.yaml"), &why);
        let next = failure.next.unwrap_or_default();
        assert_eq!(
            (failure.exit, next.as_str()),
            (Exit::Usage, "if it is YAML: yq -o json openapi.yaml > openapi.json")
        );
    }
}
