//! A tool is its definition: what the owner approved is the digest of the whole object.
//!
//! Not here: compiling `inputSchema`. No reference in it is ever fetched.

use attorn_json::{TextFinding, Value, text_findings};
use aws_lc_rs::digest;

use crate::param_header::{ParamHeader, ParamHeaderFault, param_headers};

/// One tool as an upstream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolDefinition {
    /// The name calls use.
    pub name: String,
    /// RFC 8785 form of the whole object, which is what the digest covers.
    pub canonical: String,
    /// SHA-256 of `canonical`.
    pub digest: [u8; 32],
    /// What the server's annotations suggest. A proposal, never a decision.
    pub hint: ClassHint,
    /// Arguments that are mirrored into headers.
    pub param_headers: Vec<ParamHeader>,
    /// What an owner should look at before approving.
    pub findings: Vec<TextFinding>,
}

/// The class the annotations of a tool suggest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassHint {
    /// `readOnlyHint` is true.
    Read,
    /// Neither read-only nor explicitly destructive.
    Write,
    /// `destructiveHint` is true, and the tool is not read-only.
    Irreversible,
}

/// Why a tool is left out of lists and cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionFault {
    /// `inputSchema` is missing or no schema of an object.
    #[error("malformed input schema")]
    InputSchema,
    /// The name is missing, empty, too long, or has a control character.
    #[error("malformed name")]
    Name,
    /// A header declaration is invalid.
    #[error(transparent)]
    ParamHeader(#[from] ParamHeaderFault),
    /// A reference points outside the schema.
    #[error("remote reference in a schema")]
    RemoteReference,
    /// The definition is larger than allowed.
    #[error("definition larger than {max} bytes")]
    TooLarge {
        /// Bytes allowed.
        max: usize,
    },
}

/// Bytes of one definition: a model has to read it, and an owner.
pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a tool name. MCP recommends at most 128 characters.
const NAME_BYTES_MAX: usize = 256;

impl ToolDefinition {
    /// Reads one item of a tool list.
    ///
    /// # Errors
    /// [`DefinitionFault`]; this tool alone is dropped, the others stay.
    pub fn parse(item: Value<'_>) -> Result<Self, DefinitionFault> {
        if item.text().len() > DEFINITION_BYTES_MAX {
            return Err(DefinitionFault::TooLarge { max: DEFINITION_BYTES_MAX });
        }
        let name = item.member("name").and_then(Value::string).ok_or(DefinitionFault::Name)?;
        // MCP 2025-11-25, Tools, Tool Names: letters, digits and three marks. A control character is
        // in no name that anybody reads, and a NUL in no text of every database.
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            return Err(DefinitionFault::Name);
        }
        let schema = item.member("inputSchema").ok_or(DefinitionFault::InputSchema)?;
        // MCP 2026-07-28, Tools: arguments are always objects.
        if schema.member("type").and_then(Value::string).as_deref() != Some("object") {
            return Err(DefinitionFault::InputSchema);
        }
        // MCP 2026-07-28, Base Protocol, `$ref` Resolution: nothing is dereferenced.
        if has_remote_reference(schema) {
            return Err(DefinitionFault::RemoteReference);
        }
        let canonical = canonical_text(item);
        Ok(Self {
            name: name.into_owned(),
            digest: sha256(canonical.as_bytes()),
            canonical,
            hint: class_hint(item.member("annotations")),
            param_headers: param_headers(schema)?,
            findings: text_findings(item),
        })
    }
}

/// The digest a listed tool has, without reading the rest of it.
pub fn definition_digest(item: Value<'_>) -> [u8; 32] {
    sha256(canonical_text(item).as_bytes())
}

/// RFC 8785 form. A definition with integers beyond 2^53, such as the bounds of a 64-bit
/// parameter, has none; its own text without line ends stands in, which is stricter: the same
/// value in another spelling counts as a change.
fn canonical_text(item: Value<'_>) -> String {
    let canonical = item.canonical().ok().and_then(|bytes| String::from_utf8(bytes).ok());
    canonical.unwrap_or_else(|| item.text().replace(['\n', '\r'], ""))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// MCP 2026-07-28, Tools, Annotations: hints only. `destructiveHint` defaults to true there; only
/// an explicit one makes the proposal irreversible, or nearly every tool would be.
fn class_hint(annotations: Option<Value<'_>>) -> ClassHint {
    let hint = |name| {
        annotations.and_then(|all| all.member(name)).and_then(Value::boolean).unwrap_or(false)
    };
    if hint("readOnlyHint") {
        ClassHint::Read
    } else if hint("destructiveHint") {
        ClassHint::Irreversible
    } else {
        ClassHint::Write
    }
}

/// Recursion is bounded by the depth limit of the message.
fn has_remote_reference(schema: Value<'_>) -> bool {
    let in_items = schema.items().into_iter().flatten().any(has_remote_reference);
    in_items
        || schema.members().into_iter().flatten().any(|(name, value)| {
            let remote = matches!(name.as_ref(), "$ref" | "$dynamicRef")
                && value.string().is_some_and(|target| !target.starts_with('#'));
            remote || has_remote_reference(value)
        })
}

#[cfg(test)]
mod tests {
    use attorn_json::{Limits, parse};

    use super::*;

    fn definition(text: &str) -> ToolDefinition {
        let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        ToolDefinition::parse(document.value()).unwrap()
    }

    fn annotated(annotations: &str) -> ClassHint {
        let schema = r#""inputSchema":{"type":"object"}"#;
        definition(&format!(r#"{{"name":"t",{schema},"annotations":{annotations}}}"#)).hint
    }

    #[test]
    fn the_class_is_proposed_from_explicit_hints() {
        assert_eq!(annotated("{}"), ClassHint::Write);
        assert_eq!(annotated(r#"{"readOnlyHint":true}"#), ClassHint::Read);
        assert_eq!(annotated(r#"{"readOnlyHint":true,"destructiveHint":true}"#), ClassHint::Read);
        assert_eq!(annotated(r#"{"destructiveHint":true}"#), ClassHint::Irreversible);
        assert_eq!(annotated(r#"{"destructiveHint":false}"#), ClassHint::Write);
        assert_eq!(annotated(r#"{"readOnlyHint":"true"}"#), ClassHint::Write);
        assert_eq!(annotated("null"), ClassHint::Write);
    }

    #[test]
    fn the_digest_covers_the_value_and_not_its_spelling() {
        let one = definition(r#"{"name":"t","inputSchema":{"type":"object","x":1.0}}"#);
        let same =
            definition("{\"inputSchema\":{\"x\":1,\n\"type\":\"object\"},\"n\\u0061me\":\"t\"}");
        let other = definition(r#"{"name":"t","inputSchema":{"type":"object","x":2}}"#);
        let more = definition(r#"{"name":"t","inputSchema":{"type":"object","x":1},"vendor":0}"#);
        assert_eq!(one.digest, same.digest);
        assert_ne!(one.digest, other.digest);
        assert_ne!(one.digest, more.digest);
        let document = parse(one.canonical.as_bytes(), &Limits::MESSAGE).unwrap();
        assert_eq!(definition_digest(document.value()), one.digest);
    }

    #[test]
    fn a_huge_definition_is_refused() {
        let text = format!(
            r#"{{"name":"t","inputSchema":{{"type":"object"}},"description":"{}"}}"#,
            "x".repeat(DEFINITION_BYTES_MAX)
        );
        let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        let refused = ToolDefinition::parse(document.value());
        assert_eq!(refused, Err(DefinitionFault::TooLarge { max: DEFINITION_BYTES_MAX }));
    }

    #[test]
    fn a_name_is_not_too_long_and_has_no_control_character() {
        let check = |name: &str, expected: bool| {
            let text = format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
            let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            let read = ToolDefinition::parse(document.value()).map(|tool| tool.name.len());
            let named = if expected { Ok(read.unwrap_or(0)) } else { Err(DefinitionFault::Name) };
            assert_eq!(read, named, "{name}");
        };
        check("get_invoice", true);
        check("caf\u{e9} / 2", true);
        check(&"n".repeat(NAME_BYTES_MAX), true);
        check(&"n".repeat(NAME_BYTES_MAX + 1), false);
        for control in ["", "a\\u0000b", "a\\nb", "\\u001b[2K", "a\\u007f", "a\\u0085"] {
            check(control, false);
        }
    }

    #[test]
    fn hidden_text_is_found_wherever_it_stands() {
        for (description, expected) in [
            ("plain, caf\u{e9} \u{4e16}\u{754c}\\n", vec![]),
            ("\\u001b[31mred", vec![TextFinding::Control]),
            ("\\u202eabc", vec![TextFinding::Bidirectional]),
            ("a\\u200bb", vec![TextFinding::Invisible]),
            ("\\udb40\\udc41", vec![TextFinding::Tag]),
            (" JavaScript:alert(1)", vec![TextFinding::InlineUri]),
            ("data:image/svg+xml,x", vec![TextFinding::InlineUri]),
            ("\\u200b\\u202e\\u200b", vec![TextFinding::Bidirectional, TextFinding::Invisible]),
        ] {
            let text = format!(
                r#"{{"name":"t","inputSchema":{{"type":"object","properties":{{"a":{{"description":"{description}"}}}}}}}}"#
            );
            assert_eq!(definition(&text).findings, expected, "{description}");
        }
        let in_a_name = r#"{"name":"t\u200b","inputSchema":{"type":"object"}}"#;
        assert_eq!(definition(in_a_name).findings, [TextFinding::Invisible]);
    }
}
