//! A JSON Schema (2020-12) that the arguments of a call must satisfy.
//!
//! Schemas come from owners and from clients, so they are bounded before they are compiled: size,
//! depth, the work of one evaluation, local references only, and patterns without backtracking. A
//! keyword that would not be enforced is refused, because a misspelt limit is none.
//!
//! Not implemented: `format` and the content keywords, which only annotate; `$id`, `$anchor` and
//! the dynamic ones; references to other documents, which are never fetched.

use std::sync::{Arc, OnceLock};

use attorn_json::{Limits, parse};
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::schema_keyword::{Keyword, keyword};

/// A schema within its bounds. Clones share it and what was compiled of it.
#[derive(Clone, Debug)]
pub struct ArgumentsSchema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// RFC 8785 form.
    text: String,
    // Compiled when it is needed first. `None`: it cannot be, and nothing satisfies it.
    compiled: OnceLock<Option<Validator>>,
}

/// Why a schema is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaRefusal {
    /// It is no valid schema, or a pattern cannot be matched without backtracking.
    #[error("the schema does not compile")]
    Compile,
    /// A keyword that is unknown, or known and not enforced.
    #[error("the schema uses a keyword that is not enforced here")]
    Keyword,
    /// It is no JSON object, or holds a number that readers disagree about.
    #[error("the schema is no JSON object")]
    NotAnObject,
    /// A reference leads out of the schema, or nowhere.
    #[error("a reference in a schema stays inside it: `#/$defs/name`")]
    Reference,
    /// Larger, deeper or more work than allowed; a reference that leads to itself is, too.
    #[error("the schema is larger, deeper or more work than allowed")]
    TooLarge,
}

impl PartialEq for ArgumentsSchema {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for ArgumentsSchema {}

impl ArgumentsSchema {
    /// Reads a schema and compiles it.
    ///
    /// # Errors
    /// See [`SchemaRefusal`].
    pub fn parse(text: &str) -> Result<Self, SchemaRefusal> {
        let schema = Self::parse_uncompiled(text, &OWN)?;
        schema.compiled().map(|_| schema.clone()).ok_or(SchemaRefusal::Compile)
    }

    /// Reads a schema that was compiled before, when it was recorded or put into a token. It is
    /// compiled again when it is needed; if that fails nothing satisfies it.
    pub(crate) fn parse_made(text: &str) -> Result<Self, SchemaRefusal> {
        Self::parse_uncompiled(text, &MADE)
    }

    fn parse_uncompiled(text: &str, limits: &Limits) -> Result<Self, SchemaRefusal> {
        let document = parse(text.as_bytes(), limits).map_err(|error| match error {
            attorn_json::JsonError::ByteLimit { .. }
            | attorn_json::JsonError::DepthLimit { .. } => SchemaRefusal::TooLarge,
            attorn_json::JsonError::Bom
            | attorn_json::JsonError::DuplicateKey
            | attorn_json::JsonError::Encoding
            | attorn_json::JsonError::LoneSurrogate { .. }
            | attorn_json::JsonError::MemberLimit { .. }
            | attorn_json::JsonError::NulInKey { .. }
            | attorn_json::JsonError::NumberRange { .. }
            | attorn_json::JsonError::Syntax { .. }
            | attorn_json::JsonError::TrailingData { .. } => SchemaRefusal::NotAnObject,
        })?;
        if !document.is_object() {
            return Err(SchemaRefusal::NotAnObject);
        }
        let canonical = document.value().canonical().map_err(|_| SchemaRefusal::NotAnObject)?;
        let text = String::from_utf8(canonical).map_err(|_| SchemaRefusal::NotAnObject)?;
        let schema: Value = serde_json::from_str(&text).map_err(|_| SchemaRefusal::NotAnObject)?;
        Bounds { root: &schema, visited: 0 }.visit(&schema, 0)?;
        Ok(Self(Arc::new(Inner { text, compiled: OnceLock::new() })))
    }

    /// The schema in its canonical form (RFC 8785).
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether a value satisfies it. A schema that cannot be compiled is satisfied by nothing.
    pub(crate) fn is_satisfied_by(&self, value: &Value) -> bool {
        self.compiled().is_some_and(|validator| validator.is_valid(value))
    }

    /// The schema that holds where all of these do.
    pub(crate) fn all_of(schemas: &[Self]) -> Result<Self, SchemaRefusal> {
        Self::combined("allOf", schemas)
    }

    /// The schema that holds where one of these does.
    pub(crate) fn any_of(schemas: &[Self]) -> Result<Self, SchemaRefusal> {
        Self::combined("anyOf", schemas)
    }

    fn combined(keyword: &str, schemas: &[Self]) -> Result<Self, SchemaRefusal> {
        if let [only] = schemas {
            return Ok(only.clone());
        }
        let mut parts = Vec::with_capacity(schemas.len());
        for (index, schema) in schemas.iter().enumerate() {
            let mut part: Value =
                serde_json::from_str(schema.text()).map_err(|_| SchemaRefusal::NotAnObject)?;
            rebase(&mut part, &format!("#/{keyword}/{index}"));
            parts.push(part);
        }
        let mut combined = Map::new();
        combined.insert(keyword.to_owned(), Value::Array(parts));
        Self::parse_made(&Value::Object(combined).to_string())
    }

    fn compiled(&self) -> Option<&Validator> {
        let compile = || {
            let schema: Value = serde_json::from_str(&self.0.text).ok()?;
            let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
            let options = jsonschema::options().with_draft(Draft::Draft202012).offline();
            options.with_pattern_options(patterns).build(&schema).ok()
        };
        self.0.compiled.get_or_init(compile).as_ref()
    }
}

/// Walks a schema as an evaluation does, through references.
struct Bounds<'a> {
    root: &'a Value,
    visited: usize,
}

impl<'a> Bounds<'a> {
    fn visit(&mut self, schema: &'a Value, depth: usize) -> Result<(), SchemaRefusal> {
        self.visited += 1;
        if self.visited > VISITS_MAX || depth > DEPTH_MAX {
            return Err(SchemaRefusal::TooLarge);
        }
        let members = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(members) => members,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(SchemaRefusal::Compile);
            }
        };
        for (name, value) in members {
            match keyword(name).ok_or(SchemaRefusal::Keyword)? {
                Keyword::Plain => {}
                Keyword::Dialect if value.as_str() == Some(DIALECT) => {}
                Keyword::Dialect => return Err(SchemaRefusal::Keyword),
                Keyword::Reference => self.visit(self.target(value)?, depth + 1)?,
                Keyword::Schema => self.visit(value, depth + 1)?,
                Keyword::List => {
                    for part in value.as_array().into_iter().flatten() {
                        self.visit(part, depth + 1)?;
                    }
                }
                Keyword::Map => {
                    for part in value.as_object().into_iter().flatten().map(|(_, part)| part) {
                        self.visit(part, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// JSON Schema 2020-12, section 8.2.3.1, local and by pointer only. What could be spelled in
    /// two ways is refused.
    fn target(&self, reference: &Value) -> Result<&'a Value, SchemaRefusal> {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
        let pointer = pointer.filter(|text| !text.contains('%')).ok_or(SchemaRefusal::Reference)?;
        self.root.pointer(pointer).ok_or(SchemaRefusal::Reference)
    }
}

/// Makes the references of a schema that is put into another lead where they led.
fn rebase(schema: &mut Value, prefix: &str) {
    let Value::Object(members) = schema else { return };
    for (name, value) in members {
        match keyword(name) {
            Some(Keyword::Reference) => {
                if let Some(rest) = value.as_str().and_then(|text| text.strip_prefix('#')) {
                    *value = Value::String(format!("{prefix}{rest}"));
                }
            }
            Some(Keyword::Schema) => rebase(value, prefix),
            Some(Keyword::List) => {
                value.as_array_mut().into_iter().flatten().for_each(|part| rebase(part, prefix));
            }
            Some(Keyword::Map) => {
                let parts = value.as_object_mut().into_iter().flatten();
                parts.for_each(|(_, part)| rebase(part, prefix));
            }
            Some(Keyword::Plain | Keyword::Dialect) | None => {}
        }
    }
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// A schema goes into a token, of which there are 8 KiB and depth 16 in all.
const OWN: Limits = Limits { bytes_max: 2 << 10, depth_max: 8 };
/// Several schemas combined: two levels for `allOf`, two for `anyOf`.
const MADE: Limits = Limits { bytes_max: 6 << 10, depth_max: 12 };
/// Subschemas that one evaluation may meet, and how deep.
const VISITS_MAX: usize = 500;
const DEPTH_MAX: usize = 32;
/// A compiled pattern.
const PATTERN_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
#[path = "arguments_schema_tests.rs"]
mod tests;
