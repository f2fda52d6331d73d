//! Servers of a public registry: in quarantine with their findings, until an operator takes them by
//! naming each finding.
//!
//! Nothing is fetched: the document comes from the operator, and so does the digest of the package
//! at hand. What is registered is literal, as everywhere (threat model R27).

use attorn_audit::Kind;
use attorn_audit::note::{self, NoteVerifier};
use attorn_registry::{
    ApprovedNames, DocumentRefusal, ImportFacts, ImportFinding, ImportedPackage, LifeCycle,
    McpServer, ServerDocument, UpstreamSpec,
};
use attorn_store::{Import, ImportedName, NewImport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::operation::Operation;
use super::refusal::{Missing, Refusal};
use super::servers::{self, ServerNew, ServerView, Upstream};
use super::tools::hex;

/// A server of a registry. Without `Debug`: the command may hold secrets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportNew {
    /// The `server.json` as it came, or a registry's answer that holds it.
    document: String,
    /// Its name here; the last part of its name there unless said otherwise.
    name: Option<String>,
    /// Name or identifier of who answers for it.
    owner: String,
    /// The program that runs its package; without one its first Streamable HTTP address is used.
    command: Option<Upstream>,
    /// The package, if the document has several.
    package: Option<String>,
    /// SHA-256 of the package at hand, in hex.
    package_sha256: Option<String>,
    /// A signed note of a key of the namespace over name and digest of the document.
    proof: Option<String>,
}

/// What speaks against a server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FindingView {
    /// The word to name it by.
    finding: &'static str,
    meaning: &'static str,
}

/// A server that came from a registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportView {
    /// Its name here.
    server: String,
    state: &'static str,
    /// Its name in the registry.
    source: String,
    version: String,
    package: Option<String>,
    findings: Vec<FindingView>,
    /// SHA-256 of the document as it came.
    sha256: String,
    by: String,
    created_s: u64,
    accepted_by: Option<String>,
    accepted_s: Option<u64>,
}

/// A server and what speaks against it. Without `Debug`, like its parts.
#[derive(Serialize, ToSchema)]
pub(crate) struct Quarantined {
    server: ServerView,
    findings: Vec<FindingView>,
}

/// What is taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acceptance {
    /// Every finding, by its word.
    #[serde(default)]
    findings: Vec<String>,
    /// Why; recorded.
    reason: String,
}

pub(crate) async fn list(context: Context) -> Result<List<ImportView>, Refusal> {
    let imports = context.shared.store.imports().await?;
    Ok(imports.into_iter().map(|import| ImportView::of(&context, import)).collect())
}

pub(crate) async fn import(
    context: Context,
    new: ImportNew,
) -> Result<Effect<Quarantined>, Refusal> {
    let document = ServerDocument::parse(&new.document).map_err(document_refused)?;
    let package = package_of(&document, &new)?.cloned();
    let upstream = upstream_of(&context, &document, new.command)?;
    let name = new.name.unwrap_or_else(|| document.last_name().to_ascii_lowercase());
    let sha256 = hex(&attorn_jose::sha256(new.document.as_bytes()));
    let imported = context.shared.store.imported_names().await?;
    let approved = approved(&context, &imported);
    let findings = document.findings(&ImportFacts {
        name: &name,
        namespace_proven: is_proven(&context, &document, (&sha256, new.proof.as_deref())),
        package: package.as_ref(),
        package_sha256: new.package_sha256.as_deref(),
        approved: &approved,
    });
    let told = NewImport {
        source: document.name.clone(),
        version: document.version.clone(),
        package: package.map(|package| package.identifier),
        document: new.document,
        findings,
    };
    let server = servers::read(&context, ServerNew { name, owner: new.owner, upstream })?;
    let store = &context.shared.store;
    let server = store.import_server(&context.act(), &server, &told).await?.record;
    let mut fact = servers::registered(&context, &server);
    fact.detail.insert("source".to_owned(), format!("{} {}", told.source, told.version));
    fact.detail.insert("sha256".to_owned(), sha256);
    fact.detail.insert("findings".to_owned(), words(&told.findings));
    let findings = told.findings.iter().copied().map(FindingView::of).collect();
    let server = ServerView::of(&context, &server);
    Ok(Effect::new(Quarantined { server, findings }, fact))
}

/// Takes a server out of quarantine. Whoever does it has read what speaks against it: they name it.
pub(crate) async fn accept(
    context: Context,
    acceptance: Acceptance,
) -> Result<Effect<ServerView>, Refusal> {
    if acceptance.reason.trim().is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    let server = context.server(context.segment("server"))?;
    let findings = context.shared.store.import_findings(&server.id).await?;
    let findings = &findings.ok_or(Refusal::Missing(Missing::Import))?;
    let is_named =
        |finding: &ImportFinding| acceptance.findings.iter().any(|named| named == finding.as_str());
    if acceptance.findings.len() != findings.len() || !findings.iter().all(is_named) {
        return Err(Refusal::FindingsUnnamed(findings.clone()));
    }
    // Only now is it used, so it is this that starts a process or reaches an address.
    context.may(match server.upstream {
        UpstreamSpec::Stdio { .. } => Operation::ServerRegisterCommand,
        UpstreamSpec::Builtin | UpstreamSpec::Http { .. } => Operation::ServerRegister,
    })?;
    let store = &context.shared.store;
    let server = store.accept_import(&context.act(), &server.id).await?.record;
    let mut fact = servers::about(&context, Kind::AdminChanged, &server);
    fact.detail.insert("accepted".to_owned(), words(findings));
    fact.detail.insert("reason".to_owned(), acceptance.reason);
    Ok(Effect::new(ServerView::of(&context, &server), fact))
}

fn document_refused(refusal: DocumentRefusal) -> Refusal {
    Refusal::Item(refusal.to_string())
}

/// The package that a command is to run.
fn package_of<'a>(
    document: &'a ServerDocument,
    new: &ImportNew,
) -> Result<Option<&'a ImportedPackage>, Refusal> {
    let mut packages = document.packages.iter();
    let found = match (&new.command, &new.package) {
        (None, None) if new.package_sha256.is_none() => return Ok(None),
        (None, _) => {
            return Err(Refusal::Item("a package needs a command that runs it".to_owned()));
        }
        (Some(_), None) => packages.next(),
        (Some(_), Some(wanted)) => packages.find(|package| package.identifier == *wanted),
    };
    let missing = || Refusal::Item("the document has no such package".to_owned());
    found.map(Some).ok_or_else(missing)
}

fn upstream_of(
    context: &Context,
    document: &ServerDocument,
    command: Option<Upstream>,
) -> Result<Upstream, Refusal> {
    match command {
        Some(command @ Upstream::Stdio { .. }) => {
            context.may(Operation::ServerRegisterCommand)?;
            Ok(command)
        }
        Some(Upstream::Builtin | Upstream::Http { .. }) => Err(Refusal::Form),
        None => {
            context.may(Operation::ServerRegister)?;
            let url = document.remotes.first().cloned();
            let missing = "the document has no plain address; give the command that runs it";
            Ok(Upstream::Http { url: url.ok_or_else(|| Refusal::Item(missing.to_owned()))? })
        }
    }
}

/// Whether a configured key of the namespace signed this very document.
fn is_proven(
    context: &Context,
    document: &ServerDocument,
    (sha256, proof): (&str, Option<&str>),
) -> bool {
    let keys = context.shared.config.import_keys.iter();
    let keys: Vec<_> = keys
        .filter_map(|key| NoteVerifier::from_vkey(key).ok())
        .filter(|key| key.name() == document.namespace())
        .collect();
    let opened = proof.and_then(|proof| note::open(proof, &keys).ok());
    opened.is_some_and(|note| note.text == document.proof_text(sha256))
}

/// The servers that somebody could want to be taken for.
fn approved<'a>(context: &'a Context, imported: &'a [ImportedName]) -> Vec<ApprovedNames<'a>> {
    let is_approved = |server: &&McpServer| {
        matches!(server.state, LifeCycle::Active | LifeCycle::Suspended) && !server.is_builtin()
    };
    let names = |server: &'a McpServer| {
        let import = imported.iter().find(|import| import.server == server.id);
        ApprovedNames {
            name: server.name.as_str(),
            source: import.map(|import| import.source.as_str()),
            package: import.and_then(|import| import.package.as_deref()),
        }
    };
    context.snapshot.servers().filter(is_approved).map(names).collect()
}

fn words(findings: &[ImportFinding]) -> String {
    findings.iter().map(|finding| finding.as_str()).collect::<Vec<_>>().join(" ")
}

impl FindingView {
    fn of(finding: ImportFinding) -> Self {
        Self { finding: finding.as_str(), meaning: finding.meaning() }
    }
}

impl ImportView {
    fn of(context: &Context, import: Import) -> Self {
        let Import { server, told, by, at_s, accepted } = import;
        let found = context.snapshot.server(&server);
        let (accepted_by, accepted_s) = accepted.unzip();
        Self {
            server: found.map_or_else(|| server.to_string(), |server| server.name.to_string()),
            state: found.map_or("", |server| server.state.as_str()),
            source: told.source,
            version: told.version,
            package: told.package,
            findings: told.findings.into_iter().map(FindingView::of).collect(),
            sha256: hex(&attorn_jose::sha256(told.document.as_bytes())),
            by: context.name_of(&by),
            created_s: at_s,
            accepted_by: accepted_by.map(|by| context.name_of(&by)),
            accepted_s,
        }
    }
}
