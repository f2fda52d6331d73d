//! How it went: status, severity, the decision, and a sentence.

use attorn_json::is_hidden;
use serde_json::Value;

use super::object::Object;
use crate::{Decision, Entry, Kind, Outcome};

/// What every class says of an entry.
pub(super) fn of(entry: &Entry) -> Object {
    let (status_id, status) = match succeeded(entry) {
        None => (0, "Unknown"),
        Some(true) => (1, "Success"),
        Some(false) => (2, "Failure"),
    };
    let (severity_id, severity) = severity(entry);
    Object::new()
        .with("message", message(entry))
        .with("severity", severity)
        .with("severity_id", severity_id)
        .with("status", status)
        .with_some("status_code", entry.reason.clone())
        .with_some("status_detail", entry.outcome.map(Outcome::as_str))
        .with("status_id", status_id)
        .and(entry.decision.map_or_else(Object::new, |decision| decided(entry, decision)))
}

/// OCSF 1.9.0, profile `security_control`.
fn decided(entry: &Entry, decision: Decision) -> Object {
    let (action_id, action, disposition) = match decision {
        Decision::Deny => (2, "Denied", "Blocked"),
        Decision::Permit => (1, "Allowed", "Allowed"),
    };
    let version = entry.policy_version.clone();
    let policy = entry
        .rule
        .clone()
        .map(|rule| Object::new().with("name", rule).with_some("version", version));
    let authorization =
        Object::new().with("decision", decision.as_str()).with_some("policy", policy);
    Object::new()
        .with("action", action)
        .with("action_id", action_id)
        .with("authorizations", vec![Value::from(authorization)])
        .with("disposition", disposition)
        // 1 is Allowed and 2 is Blocked, as 1 and 2 above are Allowed and Denied.
        .with("disposition_id", action_id)
}

/// Whether what the entry is about was done; nothing where the entry cannot know.
fn succeeded(entry: &Entry) -> Option<bool> {
    match (entry.outcome, entry.decision) {
        (Some(Outcome::Ok), _) => Some(true),
        (Some(Outcome::Unknown), _) => None,
        (
            Some(
                Outcome::Cancelled
                | Outcome::ProtocolError
                | Outcome::ToolError
                | Outcome::UpstreamError,
            ),
            _,
        )
        | (None, Some(Decision::Deny)) => Some(false),
        // Written before it is done: another entry says how it ended.
        (None, Some(Decision::Permit)) if is_intent(entry.kind) => None,
        (None, Some(Decision::Permit) | None) => Some(!is_refusal(entry.kind)),
    }
}

/// Kinds whose permits stand for something that is about to happen.
const fn is_intent(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::AdminChanged
            | Kind::AdminExported
            | Kind::AdminRead
            | Kind::CallDecided
            | Kind::ResourceAccessed
    )
}

/// Kinds that tell of something that was not done.
const fn is_refusal(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::AdminRefused
            | Kind::ConsentRefused
            | Kind::IdentityEnrolmentRefused
            | Kind::IdentityLoginRefused
            | Kind::PolicyRefused
            | Kind::PossessionFailed
            | Kind::TlsReloadRefused
            | Kind::TokenRefused
            | Kind::TokenReplayed
    )
}

/// What somebody has to look at is more than what was merely refused.
fn severity(entry: &Entry) -> (u64, &'static str) {
    let kind = entry.kind;
    if matches!(kind, Kind::JournalForked | Kind::TokenReplayed) {
        (4, "High")
    } else if matches!(
        kind,
        Kind::ClockSetBack | Kind::CredentialShared | Kind::TlsReloadRefused | Kind::ToolChanged
    ) {
        (3, "Medium")
    } else if succeeded(entry) == Some(false) {
        (2, "Low")
    } else {
        (1, "Informational")
    }
}

/// Such as `call.decided: deny pay_invoice (scope.missing)`: one line, whatever a caller called the
/// tool. Other attributes have the exact name, to be compared and not to be read.
fn message(entry: &Entry) -> String {
    let words = [
        entry.decision.map(Decision::as_str),
        entry.outcome.map(Outcome::as_str),
        entry.tool.as_deref(),
    ];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    let mut text = entry.kind.as_str().to_owned();
    if !words.is_empty() {
        text.push_str(": ");
        text.push_str(&words.join(" "));
    }
    if let Some(reason) = &entry.reason {
        text.push_str(" (");
        text.push_str(reason);
        text.push(')');
    }
    in_one_line(&text)
}

/// The text with every character that would end its line, or would not be seen, as `\u{…}`.
fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        // Tabs and line ends are control characters too, though no hidden ones.
        if character.is_control() || is_hidden(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line
}
