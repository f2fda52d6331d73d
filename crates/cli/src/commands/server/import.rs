//! `attorn server import`: servers of a public registry, in quarantine until somebody takes them.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::upstream;
use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::{member, text};
use crate::output::clean;

#[derive(Debug, Args)]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// The `server.json`, or a registry's answer that holds it. Nothing is fetched
    file: PathBuf,
    /// Who answers for it
    #[arg(long)]
    owner: String,
    /// Its name here [default: the last part of its name there]
    #[arg(long)]
    name: Option<String>,
    /// The package as it was downloaded, to compare with the hash of the document
    #[arg(long, value_name = "FILE", requires = "command")]
    package: Option<PathBuf>,
    /// Which package, where the document has several
    #[arg(long, value_name = "IDENTIFIER", requires = "command")]
    package_name: Option<String>,
    /// A signed note of the namespace's key over name and digest of the document
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// A variable for the command, as for `server register`
    #[arg(long = "env", value_name = "NAME[=VALUE]", requires = "command")]
    variables: Vec<String>,
    #[command(flatten)]
    change: Change,
    /// The command that runs its package; without one its Streamable HTTP address is used
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = ACCEPT_HELP)]
pub(crate) struct AcceptArgs {
    server: String,
    /// A finding that is accepted; all of them have to be named
    #[arg(long, value_name = "FINDING")]
    finding: Vec<String>,
    /// Why; recorded
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    change: Change,
}

const IMPORT_HELP: &str = "\
Examples:
  attorn server import server.json --owner it
  attorn server import server.json --owner it --package weather.mcpb -- /opt/weather/run
  attorn server import server.json --owner it --proof server.json.note

The server is registered, pending: it is neither started nor asked, and nothing of it can be called.
What speaks against it is told as findings. Then:
  attorn server imports
  attorn server accept weather --finding namespace_unproven --reason \"asked the maintainers\"

Findings: looks_like_approved, namespace_unproven, package_hash_differs, package_hash_missing,
package_not_compared, withdrawn.";

const ACCEPT_HELP: &str = "\
Examples:
  attorn server accept weather --finding namespace_unproven --reason \"asked the maintainers\"
  attorn server retire weather --reason \"not what it says\"       the other way out";

pub(super) async fn import(admin: &Admin, args: ImportArgs) -> Result<Exit, Failure> {
    let read = |path: &PathBuf| files::read_bounded(path, DOCUMENT_BYTES_MAX);
    let as_text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes);
        text.map_err(|_| Failure::usage("a document and its proof are UTF-8"))
    };
    let document = as_text(read(&args.file)?)?;
    let proof = args.proof.as_ref().map(|path| as_text(read(path)?)).transpose()?;
    let package_sha256 = args.package.as_ref().map(|path| files::sha256_of(path)).transpose()?;
    let command = match args.command.as_slice() {
        [] => Value::Null,
        command => upstream(None, command, &args.variables)?,
    };
    let body = json!({
        "document": document,
        "owner": args.owner,
        "name": args.name,
        "command": command,
        "package": args.package_name,
        "package_sha256": package_sha256,
        "proof": proof,
    });
    let Some(answer) = admin.send_change(Operation::ServerImport, &[], body, args.change).await?
    else {
        return Ok(Exit::Yes);
    };
    let server = member(&answer, "server");
    let name = clean(text(server, "name").unwrap_or_default());
    if admin.output.is_machine() {
        admin.output.object(&answer);
    } else {
        admin.output.object(server);
    }
    tell_findings(admin, &answer);
    let named: String = items(member(&answer, "findings"))
        .iter()
        .map(|finding| {
            format!(" --finding {}", clean(text(finding, "finding").unwrap_or_default()))
        })
        .collect();
    admin.output.say(&format!("waits: attorn server accept {name}{named} --reason WHY"));
    Ok(Exit::Yes)
}

pub(super) async fn list(admin: &Admin) -> Result<Exit, Failure> {
    let answer = admin.read(Operation::ImportList, &[], &[]).await?;
    let columns = ["server", "state", "source", "version", "accepted_by"];
    admin.output.list(items(&answer), &columns);
    if !admin.output.is_machine() {
        items(&answer).iter().for_each(|import| tell_findings(admin, import));
    }
    Ok(Exit::Yes)
}

pub(super) async fn accept(admin: &Admin, args: AcceptArgs) -> Result<Exit, Failure> {
    let body = json!({ "findings": args.finding, "reason": args.reason });
    let accepted = admin.change(Operation::ServerAccept, &[&args.server], body, args.change).await;
    accepted.map_err(|failure| match failure.exit {
        Exit::No => failure.next("attorn server imports"),
        Exit::Yes | Exit::Usage | Exit::Unreachable | Exit::Broken => failure,
    })
}

fn tell_findings(admin: &Admin, import: &Value) {
    // In a list it is named; in an answer it is what was printed just before.
    let name = text(import, "server").map(|name| format!("{}: ", clean(name)));
    for finding in items(member(import, "findings")) {
        let of = |member_name| clean(text(finding, member_name).unwrap_or_default());
        let name = name.as_deref().unwrap_or_default();
        admin.output.say(&format!("finding: {name}{}: {}", of("finding"), of("meaning")));
    }
}

/// A document is some kilobytes; the authority takes 64.
const DOCUMENT_BYTES_MAX: u64 = 64 << 10;
