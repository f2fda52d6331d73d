//! `attorn resource operation import`: the operations of an API out of its `OpenAPI` document.
//!
//! The document is read here and never sent: the authority gets the operations alone. Classes are
//! proposals, so nothing changes before somebody names the digest of what they were shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attorn_registry::{
    BaseRefusal, Class, DescribedOperations, LeftOut, LeftOutReason, OPENAPI_BYTES_MAX,
    OpenApiDocument, OpenApiRefusal, OperationChange, OperationId, PathTemplate, ResourceOperation,
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
    /// Take away the operations that the document does not have, not even left out
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
operation is left out by name, and the class that it asks for counts for each operation that could
take its requests. All of it is changed, or nothing.

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
    if args.remove_others
        && let [id, others @ ..] = described_and_missing(&resource, &described).as_slice()
    {
        show_left_out(admin, &described.left_out);
        return Err(not_gone(args, id, others.len()));
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
    Ok(show(admin, args, &plan, &described))
}

/// Operations of the API that the list does not have although the document does: they are left out.
fn described_and_missing<'r>(resource: &'r Value, described: &DescribedOperations) -> Vec<&'r str> {
    let is_left_out = |own: &Value| {
        let (id, method) = (text(own, "id"), text(own, "method"));
        let path = text(own, "path").and_then(|path| PathTemplate::parse(path).ok());
        described.left_out.iter().any(|one| {
            let is_method = one.method.is_none() || one.method.as_deref() == method;
            let both = one.below.as_ref().zip(path.as_ref());
            let is_path = both.is_some_and(|(below, path)| below.is_same_place(path));
            (one.id.is_some() && one.id.as_deref() == id) || (is_method && is_path)
        })
    };
    let is_listed = |id: &str| described.operations.iter().any(|one| one.id.as_str() == id);
    let there = items(member(resource, "operations")).iter().filter(|own| is_left_out(own));
    there.filter_map(|own| text(own, "id")).filter(|id| !is_listed(id)).collect()
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

fn show(admin: &Admin, args: &ImportArgs, plan: &Value, described: &DescribedOperations) -> Exit {
    let (output, left_out) = (admin.output, &described.left_out);
    let planned = items(member(plan, "operations"));
    if output.is_machine() {
        let mut whole = plan.clone();
        set(&mut whole, "left_out", left_out.iter().map(told).collect::<Vec<_>>());
        let warning = |(id, one): &(OperationId, LeftOut)| json!({ "operation": id.as_str(), "left_out": told(one) });
        set(&mut whole, "warnings", described.raised.iter().map(warning).collect::<Vec<_>>());
        output.object(&whole);
    } else {
        let rows = planned.iter().map(|one| row(one, described));
        let rows = rows.chain(left_out.iter().map(left_out_row));
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
fn row(planned: &Value, described: &DescribedOperations) -> Value {
    let of = |name: &str| at(planned, &format!("/operation/{name}")).clone();
    let change = text(planned, "change").unwrap_or_default();
    let before = text(planned, "before").unwrap_or_default();
    let is = |one: OperationChange| change == one.as_str();
    let mut remarks = Vec::new();
    if is(OperationChange::Class) || is(OperationChange::Moved) {
        remarks.push(format!("was {before}"));
    }
    if is(OperationChange::Taken) {
        remarks.push(format!("left out: `{before}` is there"));
    } else {
        let id = of("id");
        let own = described.raised.iter().filter(|(raised, _)| id == raised.as_str());
        remarks.extend(own.map(|(_, one)| warning(one)));
    }
    json!({
        "change": change, "operation": of("id"), "class": of("class"), "method": of("method"),
        "path": of("path"), "remark": remarks.join("; "),
    })
}

/// Why a class is higher than what is said of the operation itself. It is told beside a class that
/// the owner states, too.
fn warning(one: &LeftOut) -> String {
    let method = one.method.as_deref().map_or_else(String::new, |method| format!("{method} "));
    format!("takes requests for `{method}{}`, left out, which asks for a higher class", one.path)
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

fn not_gone(args: &ImportArgs, id: &str, more: usize) -> Failure {
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let what = format!(
        "`--remove-others` would take away `{}`{more}, which the document has: it is left out, and \
         not gone",
        clean(id)
    );
    Failure::no(what).next(format!(
        "correct the document, or take it away by name: attorn resource operation remove {} {}",
        quoted(&clean(&args.resource)),
        quoted(&clean(id))
    ))
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
        | OpenApiRefusal::TooManyServers
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

    fn read(paths: &str) -> DescribedOperations {
        let text = format!(r#"{{"openapi":"3.1.0","paths":{paths}}}"#);
        let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
        let base = document.base("https://api.example/", None).unwrap();
        document.operations(&base, false).unwrap()
    }

    fn described() -> DescribedOperations {
        read(r#"{"/a":{"get":{"operationId":"get"},"post":{"operationId":"search"},"trace":{}}}"#)
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
    fn what_the_document_has_is_not_taken_away() {
        let described = read(
            r#"{"/a":{"get":{"operationId":"get"}},"/c/{id}":{"put":{}},"/d":{"$ref":"x"},
                "/b":{"get":{"operationId":"b","x-attorn-class":"Write"}},
                "/e/{id}.pdf":{"get":{"operationId":"pdf"}}}"#,
        );
        for (id, method, path, is_there) in [
            ("get", "GET", "/a", false),
            ("b", "POST", "/moved", true),
            ("other", "GET", "/b", true),
            ("other", "POST", "/b", false),
            ("put", "PUT", "/C/{name}", true),
            ("d", "DELETE", "/d", true),
            ("pdf", "GET", "/e/{id}", true),
            ("gone", "GET", "/gone", false),
        ] {
            let own = json!({ "id": id, "class": "read", "method": method, "path": path });
            let resource = json!({ "operations": [own] });
            let expected = if is_there { vec![id] } else { Vec::new() };
            assert_eq!(described_and_missing(&resource, &described), expected, "{method} {path}");
        }
        let failure = not_gone(&args(&["--remove-others"]), "b", 2);
        assert!(failure.what.contains("`b` and 2 more"), "{failure}");
        let next = failure.next.unwrap_or_default();
        assert!(next.ends_with(": attorn resource operation remove billing b"), "{next}");
        assert_eq!(failure.exit, Exit::No);
    }

    #[test]
    fn a_class_that_something_left_out_raised_is_told() {
        let described = read(
            r#"{"/items/{id}":{"get":{"operationId":"item.get"}},
                "/items/{id}:purge":{"get":{"x-attorn-class":"irreversible"}}}"#,
        );
        let list = list(&args(&[]), &described).unwrap();
        assert_eq!(list["operations"][0]["class"], "irreversible");
        let remark = |change: &str, id: &str| {
            let planned = json!({ "change": change, "operation": { "id": id }, "before": "x" });
            row(&planned, &described)["remark"].as_str().unwrap().to_owned()
        };
        let why = "takes requests for `GET /items/{id}:purge`, left out, which asks for a higher \
                   class";
        assert_eq!(remark("new", "item.get"), why);
        assert_eq!(remark("class", "item.get"), format!("was x; {why}"));
        assert_eq!(remark("taken", "item.get"), "left out: `x` is there");
        assert_eq!(remark("removed", "other"), "");
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
