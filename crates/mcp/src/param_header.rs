//! `x-mcp-header` declarations: MCP 2026-07-28, Streamable HTTP, Schema Extension.

use std::borrow::Cow;

use attorn_json::Value;

/// One argument of a tool that is mirrored into an `Mcp-Param-*` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    name: String,
    path: Vec<String>,
    kind: ParamKind,
}

/// The type of a mirrored argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// `true` or `false`.
    Boolean,
    /// An integer within ±(2^53 - 1).
    Integer,
    /// A string.
    Text,
}

/// Why a declaration makes its tool invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamHeaderFault {
    /// Two declarations share a name but for its case.
    #[error("repeated header name")]
    Duplicate,
    /// The name is no HTTP token.
    #[error("malformed header name")]
    Name,
    /// The property is not reached by `properties` keys alone.
    #[error("header declared outside the properties chain")]
    Place,
    /// The name is that of a header with a meaning of its own.
    #[error("reserved header name")]
    Reserved,
    /// The property is no string, integer or boolean.
    #[error("header declared for another type")]
    Type,
}

/// An argument does not have the type its schema declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArgumentType;

impl ParamHeader {
    /// The part of the header name behind `Mcp-Param-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The declared type.
    pub fn kind(&self) -> ParamKind {
        self.kind
    }

    /// The value the header must have; none when the argument is absent or null.
    pub(crate) fn expected<'a>(
        &self,
        arguments: Option<Value<'a>>,
    ) -> Result<Option<Cow<'a, str>>, ArgumentType> {
        let mut found = arguments;
        for step in &self.path {
            found = found.and_then(|value| value.member(step));
        }
        let Some(value) = found.filter(|value| !value.is_null()) else { return Ok(None) };
        let text = match self.kind {
            ParamKind::Boolean => value.boolean().map(|_| Cow::Borrowed(value.text())),
            ParamKind::Integer => {
                value.number().and_then(safe_integer).map(|integer| Cow::Owned(integer.to_string()))
            }
            ParamKind::Text => value.string(),
        };
        text.map(Some).ok_or(ArgumentType)
    }
}

/// Reads the declarations of an `inputSchema`.
///
/// # Errors
/// The first fault; the tool is then left out of lists and cannot be called.
pub fn param_headers(input_schema: Value<'_>) -> Result<Vec<ParamHeader>, ParamHeaderFault> {
    let mut declared = Vec::new();
    // Most schemas declare none, and the walk is not free.
    if input_schema.text().contains("x-mcp-header") || input_schema.text().contains("\\u") {
        walk_schema(input_schema, &mut Vec::new(), Place::Chain, &mut declared)?;
    }
    Ok(declared)
}

/// Whether a schema position is reached by `properties` keys alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Chain,
    Elsewhere,
}

/// Recursion is bounded by the depth limit of the message.
fn walk_schema(
    schema: Value<'_>,
    path: &mut Vec<String>,
    place: Place,
    declared: &mut Vec<ParamHeader>,
) -> Result<(), ParamHeaderFault> {
    for item in schema.items().into_iter().flatten() {
        walk_schema(item, path, Place::Elsewhere, declared)?;
    }
    for (keyword, value) in schema.members().into_iter().flatten() {
        match keyword.as_ref() {
            "x-mcp-header" => {
                if place == Place::Elsewhere || path.is_empty() {
                    return Err(ParamHeaderFault::Place);
                }
                declare(value, schema, path, declared)?;
            }
            "properties" => {
                for (name, property) in value.members().into_iter().flatten() {
                    path.push(name.into_owned());
                    walk_schema(property, path, place, declared)?;
                    path.pop();
                }
            }
            // Maps from names to schemas.
            "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                for (_, subschema) in value.members().into_iter().flatten() {
                    walk_schema(subschema, path, Place::Elsewhere, declared)?;
                }
            }
            // Instance values, not schemas.
            "const" | "default" | "enum" | "examples" => {}
            _ => walk_schema(value, path, Place::Elsewhere, declared)?,
        }
    }
    Ok(())
}

fn declare(
    annotation: Value<'_>,
    schema: Value<'_>,
    path: &[String],
    declared: &mut Vec<ParamHeader>,
) -> Result<(), ParamHeaderFault> {
    let name = annotation.string().ok_or(ParamHeaderFault::Name)?.into_owned();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_tchar) {
        return Err(ParamHeaderFault::Name);
    }
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(&name)) {
        return Err(ParamHeaderFault::Reserved);
    }
    if declared.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
        return Err(ParamHeaderFault::Duplicate);
    }
    let kind = match schema.member("type").and_then(Value::string).as_deref() {
        Some("boolean") => ParamKind::Boolean,
        Some("integer") => ParamKind::Integer,
        Some("string") => ParamKind::Text,
        Some(_) | None => return Err(ParamHeaderFault::Type),
    };
    declared.push(ParamHeader { name, path: path.to_vec(), kind });
    Ok(())
}

/// Reads a decimal integer within ±(2^53 - 1); `42.0` is 42.
pub(crate) fn safe_integer(text: &str) -> Option<i64> {
    let well_formed =
        text.strip_prefix('-').unwrap_or(text).starts_with(|first: char| first.is_ascii_digit());
    let number = text.parse::<f64>().ok().filter(|_| well_formed)?;
    if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_991.0 {
        return None;
    }
    // A whole double of this size prints as the integer it is. Minus zero is zero.
    format!("{:.0}", number + 0.0).parse().ok()
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const NAME_BYTES_MAX: usize = 64;

/// Names that a careless intermediary might unwrap into the real header.
const RESERVED: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "dpop",
    "forwarded",
    "host",
    "proxy-authorization",
    "set-cookie",
    "transfer-encoding",
    "upgrade",
];
