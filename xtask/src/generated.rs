//! Documents that are made from the code: reason codes and configuration.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use attorn_registry::ReasonCode;

/// Reason codes that no negative row expects, each with what shows it instead, or what it waits for.
pub const REASONS_WITHOUT_A_ROW: &[(&str, &str)] = &[
    (
        "possession.unavailable",
        "tests of oauth and gateway: a full replay set, a shared memory that is gone",
    ),
    ("agent.ownerless", "tests of the authority: only a broken registry leaves an agent ownerless"),
    ("server.pending", "tests of the registry and of the authority: servers that wait"),
    ("agent.expired", "tests of the authority: an agent past its end, and one that nobody used"),
    ("credential.shared", "tests of the gateway and of the authority: two network addresses"),
    ("person.unknown", "tests of the gateway: a person who is gone"),
    ("person.pending", "tests of the authority: a person who has not used their code"),
    ("person.suspended", "tests of the gateway: a person who is stopped"),
    ("person.retired", "tests of the gateway: a person who has ended"),
    ("consent.missing", "tests of the gateway: a consent that was taken back"),
    ("operator.last", "tests of the authority: the last operator"),
    ("server.ownerless", "tests of the registry"),
    ("resource.unknown", "tests of the command line: an API that is not registered"),
    ("resource.pending", "tests of the registry: APIs are active from the start"),
    ("resource.suspended", "tests of the authority: an exchange for a closed API"),
    ("resource.retired", "tests of the store: an API that has ended"),
    ("resource.ownerless", "tests of the registry"),
    ("client.metadata", "tests of the authority: registration and documents"),
    ("refresh.invalid", "tests of the authority: refresh tokens"),
    ("login.code", "tests of the authority: log-in at a provider"),
    ("login.denied", "tests of the authority: log-in at a provider"),
    ("login.issuer", "tests of the authority: log-in at a provider"),
    ("login.not_recent", "tests of the authority: sign-in settings"),
    ("login.passwords_off", "tests of the authority: log-in at a provider"),
    ("login.person_unknown", "tests of the authority: log-in at a provider"),
    ("login.provider_unavailable", "tests of the authority: log-in at a provider"),
    ("login.state", "tests of the authority: log-in at a provider"),
    ("login.token", "tests of the authority: log-in at a provider"),
    ("passkey.challenge", "tests of the authority: passkeys"),
    ("passkey.counter", "tests of the authority: passkeys"),
    ("passkey.limit", "tests of the authority: sign-in settings"),
    ("passkey.refused", "tests of the authority: passkeys"),
    ("passkey.taken", "tests of the authority: sign-in settings"),
    ("passkey.unavailable", "tests of the authority: an issuer without a name"),
    ("passkey.unknown", "tests of the authority: passkeys"),
    ("consent.denied", "tests of the authority: consent"),
    ("assertion.audience", "tests of the authority: assertions for others"),
    ("assertion.expired", "tests of the authority: assertions past their end"),
    ("assertion.client", "tests of the authority: assertions for another client"),
    ("assertion.replayed", "tests of the authority: assertions that were used"),
    ("assertion.unmapped", "tests of the authority: workloads that no rule names"),
    (
        "issuer.unreachable",
        "tests of the authority: an issuer that does not say where its keys are",
    ),
    ("operation.unknown", "tests of the guard: what is no operation, and paths with two readings"),
    ("duty.conflict", "not built: separation of duties"),
    ("approval.expired", "tests of the gateway and of the authority: half an hour later"),
    ("approval.self", "tests of the authority: who asked, who is acted for, the first of two"),
    ("delegation.widened", "tests of the authority: who grants more than they hold"),
    ("delegation.evidence", "tests of the authority: a token without the proof it came with"),
    ("downstream.unattributed", "end-to-end tests of the command line: egress"),
    ("downstream.busy", "tests of the gateway: a server that hangs"),
    ("downstream.paused", "tests of the gateway: a server that fails"),
    ("journal.unavailable", "tests of the gateway and of the authority"),
    ("entry.removed", "end-to-end tests of the command line: retention"),
    ("payload.absent", "end-to-end tests of the command line: erasure"),
    ("payload.erased", "end-to-end tests of the command line: erasure"),
    ("authority.stale", "end-to-end tests of the command line: a gateway that is cut off"),
    ("gateway.copied", "end-to-end tests of the command line: a copied gateway"),
    ("gateway.log_forked", "tests of the registry and of the authority"),
];

/// Each generated document: its path and what it has to hold.
#[must_use]
pub fn documents(root: &Path) -> Vec<(String, String)> {
    vec![
        ("docs/reason-codes.md".to_owned(), reason_codes()),
        ("docs/config.md".to_owned(), configuration(root)),
        ("docs/metrics.md".to_owned(), metrics()),
        ("docs/mutants.md".to_owned(), crate::mutants::document_now()),
    ]
}

fn reason_codes() -> String {
    let mut text = String::from(
        "# Reason codes\n\nEvery refusal carries one of these codes in the journal. They are stable. \
         The client is told less: see [errors](errors.md).\n\nMade by `cargo xtask docs`.\n\n\
         | Code | Meaning |\n|---|---|\n",
    );
    for code in ReasonCode::ALL {
        let _ = writeln!(text, "| `{}` | {} |", code.as_str(), code.meaning());
    }
    text
}

fn metrics() -> String {
    let mut text = String::from(
        "# Metrics\n\n`/metrics` on the address of `[listen] metrics` has these, in Prometheus' text \
         format. See [operate](operate.md).\n\nMade by `cargo xtask docs`.\n\n\
         | Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for family in attorn_telemetry::FAMILIES {
        let labels = if family.labels().is_empty() {
            String::new()
        } else {
            format!("`{}`", family.labels().replace(',', "`, `"))
        };
        let (name, kind, help) = (family.name(), family.kind(), family.help());
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}

/// The configuration structs, read as text: a doc comment above each field is its documentation.
const CONFIGURATION: &[(&str, &str, &str)] = &[
    ("", "crates/cli/src/config.rs", "Config"),
    ("registry", "crates/store/src/config.rs", "Config"),
    ("listen", "crates/cli/src/config/listen.rs", "Listen"),
    ("tls", "crates/cli/src/config.rs", "Tls"),
    ("[tls.spiffe]", "crates/cli/src/config.rs", "TrustDomain"),
    ("[trusted_proxies]", "crates/cli/src/config.rs", "TrustedProxy"),
    ("journal", "crates/cli/src/config.rs", "Journal"),
    ("[ship]", "crates/cli/src/config.rs", "Ship"),
    ("[journal.witnesses]", "crates/cli/src/config.rs", "Witness"),
    ("shared_replays", "crates/cli/src/config.rs", "SharedReplays"),
    ("otlp", "crates/cli/src/config.rs", "Otlp"),
    ("authority", "crates/authority/src/config.rs", "Config"),
    (
        "[authority.trusted_issuers]",
        "crates/authority/src/trusted_issuers/config.rs",
        "TrustedIssuer",
    ),
    ("authority.limits", "crates/authority/src/limits.rs", "Limits"),
    ("authority.clients", "crates/authority/src/people/config.rs", "ClientsConfig"),
    ("authority.login", "crates/authority/src/people/login_config.rs", "LoginConfig"),
    ("gateway", "crates/gateway/src/config.rs", "Config"),
    ("gateway.limits", "crates/gateway/src/limits.rs", "Limits"),
    ("[guard]", "crates/guard/src/config.rs", "Config"),
    ("guard.limits", "crates/guard/src/limits.rs", "Limits"),
    ("[egress]", "crates/egress/src/config.rs", "Config"),
    ("egress.key", "crates/egress/src/config.rs", "StaticKey"),
    ("follow", "crates/cli/src/config.rs", "Follow"),
];

fn configuration(root: &Path) -> String {
    let mut text = String::from(
        "# Configuration\n\nOne TOML file, `attorn.toml`. Unknown keys are refused. Secrets are paths, \
         never values.\n\nMade by `cargo xtask docs`.\n",
    );
    for (table, path, name) in CONFIGURATION {
        let title = if table.is_empty() { "The file".to_owned() } else { format!("`[{table}]`") };
        let _ = write!(text, "\n## {title}\n\n| Key | Type | Meaning |\n|---|---|---|\n");
        let source = fs::read_to_string(root.join(path)).unwrap_or_default();
        for (name, kind, meaning) in fields(&source, name) {
            let _ = writeln!(text, "| `{name}` | `{kind}` | {meaning} |");
        }
    }
    text
}

/// The keys of one struct of a file: name, type, doc comment. A field that serde skips is none.
fn fields(source: &str, of: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut meaning = String::new();
    let mut is_skipped = false;
    let opening = format!("struct {of} {{");
    let starts = |line: &&str| !line.contains(&opening);
    let body = source.lines().skip_while(starts);
    for line in body.skip(1).take_while(|line| *line != "}").map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            meaning.push_str(comment);
        } else if line == "#[serde(skip)]" {
            is_skipped = true;
        } else if let Some((name, kind)) = line
            .strip_prefix("pub(crate) ")
            .or_else(|| line.strip_prefix("pub "))
            .and_then(|field| field.split_once(": "))
        {
            let kind = kind.trim_end_matches(',').to_owned();
            if !is_skipped {
                found.push((name.to_owned(), kind, meaning.trim().to_owned()));
            }
            meaning.clear();
            is_skipped = false;
        }
    }
    found
}
