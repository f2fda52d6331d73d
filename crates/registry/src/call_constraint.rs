//! What a grant or a token says of the arguments of one tool: RFC 9396 authorization details of
//! the type `mcp_tool_call`.
//!
//! Every detail about a tool must hold. Tools that no detail names are limited by the scope alone.

use attorn_jose::sha256;
use attorn_json::{Limits, Value, parse};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::arguments_schema::{ArgumentsSchema, SchemaRefusal};

/// One detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallConstraint {
    /// The exact name of the tool.
    pub tool: String,
    /// What the arguments must satisfy.
    pub arguments: Option<ArgumentsSchema>,
    /// SHA-256 of the canonical arguments: exactly these and no others.
    pub arguments_digest: Option<[u8; 32]>,
    /// How many calls.
    pub max_calls: Option<u64>,
}

/// A list of details. Never empty: no details is another thing than an empty list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationDetails(Vec<CallConstraint>);

/// Why details are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailsRefusal {
    /// Two digests, so that no arguments could satisfy both.
    #[error("the details ask for two different sets of arguments")]
    Contradiction,
    /// A member is missing, unknown or of another type, or there is nothing to enforce.
    #[error(
        "a detail has `type`, `tool` and at least one of `arguments`, `arguments_digest`, `max_calls`"
    )]
    Form,
    /// The schema.
    #[error("{0}")]
    Schema(#[from] SchemaRefusal),
    /// Too many or too large.
    #[error("the details are too many or too large")]
    TooLarge,
    /// Another type of details.
    #[error("the only type of details is `{TYPE}`")]
    Type,
}

/// The one type of details.
pub const TYPE: &str = "mcp_tool_call";

/// How strictly a list is read.
#[derive(Clone, Copy)]
enum Origin {
    /// A peer or an owner: within the bounds for one schema, and compiled.
    Peer,
    /// Ourselves, from the registry or a signed token.
    Made,
}

impl CallConstraint {
    /// Whether a call with these arguments is within it. Calls are not counted here.
    #[must_use]
    pub fn holds(&self, arguments: Option<&str>) -> bool {
        if self.arguments.is_none() && self.arguments_digest.is_none() {
            return true;
        }
        let Ok(document) = parse(arguments.unwrap_or("{}").as_bytes(), &ARGUMENTS) else {
            return false;
        };
        // A schema about members says nothing of what has none.
        if !document.is_object() {
            return false;
        }
        // The canonical form is what goes on to the server. Numbers beyond 2^53 have none.
        let Ok(canonical) = document.value().canonical() else { return false };
        if self.arguments_digest.is_some_and(|expected| expected != sha256(&canonical)) {
            return false;
        }
        self.arguments.as_ref().is_none_or(|schema| {
            serde_json::from_slice(&canonical).is_ok_and(|value| schema.is_satisfied_by(&value))
        })
    }

    /// Both constraints as one: never wider than either.
    fn and(self, other: Self) -> Result<Self, DetailsRefusal> {
        let arguments = match (self.arguments, other.arguments) {
            (Some(one), Some(two)) if one != two => Some(ArgumentsSchema::all_of(&[one, two])?),
            (one, two) => one.or(two),
        };
        let arguments_digest = match (self.arguments_digest, other.arguments_digest) {
            (Some(one), Some(two)) if one != two => return Err(DetailsRefusal::Contradiction),
            (one, two) => one.or(two),
        };
        let max_calls = [self.max_calls, other.max_calls].into_iter().flatten().min();
        Ok(Self { tool: self.tool, arguments, arguments_digest, max_calls })
    }

    /// What holds where one of these does: for a tool under several grants. `None` where that is
    /// no constraint that one detail can say.
    fn any_of(constraints: &[Self]) -> Option<Self> {
        let (first, others) = constraints.split_first()?;
        if others.iter().all(|other| other == first) {
            return Some(first.clone());
        }
        let schemas: Option<Vec<ArgumentsSchema>> =
            constraints.iter().map(|one| one.arguments.clone()).collect();
        let most = constraints.iter().map(|one| one.max_calls).collect::<Option<Vec<_>>>();
        let arguments = schemas.and_then(|all| ArgumentsSchema::any_of(&all).ok());
        let max_calls = most.and_then(|all| all.into_iter().max());
        let tool = first.tool.clone();
        let some = arguments.is_some() || max_calls.is_some();
        some.then_some(Self { tool, arguments, arguments_digest: None, max_calls })
    }

    fn read(value: Value<'_>, from: Origin) -> Result<Self, DetailsRefusal> {
        let members = value.members().ok_or(DetailsRefusal::Form)?;
        // RFC 9396 section 2: the type decides what the other members mean.
        let named = value.member("type").and_then(Value::string).ok_or(DetailsRefusal::Form)?;
        if named != TYPE {
            return Err(DetailsRefusal::Type);
        }
        let (mut tool, mut arguments, mut digest, mut max_calls) = (None, None, None, None);
        for (name, member) in members {
            match name.as_ref() {
                "type" => {}
                "tool" => tool = member.string(),
                "arguments" => arguments = Some(from.schema(member.text())?),
                "arguments_digest" => {
                    let read = member.string().and_then(|text| digest_of(&text));
                    digest = Some(read.ok_or(DetailsRefusal::Form)?);
                }
                "max_calls" => {
                    let read = member.number().and_then(calls_of);
                    max_calls = Some(read.ok_or(DetailsRefusal::Form)?);
                }
                // RFC 9396 section 5: unknown fields are refused.
                _ => return Err(DetailsRefusal::Form),
            }
        }
        let constraint = Self {
            tool: tool.filter(|tool| is_name(tool)).ok_or(DetailsRefusal::Form)?.into_owned(),
            arguments,
            arguments_digest: digest,
            max_calls,
        };
        let limits_something = constraint.arguments.is_some()
            || constraint.arguments_digest.is_some()
            || constraint.max_calls.is_some();
        if limits_something { Ok(constraint) } else { Err(DetailsRefusal::Form) }
    }
}

impl Origin {
    fn schema(self, text: &str) -> Result<ArgumentsSchema, SchemaRefusal> {
        match self {
            Self::Peer => ArgumentsSchema::parse(text),
            Self::Made => ArgumentsSchema::parse_made(text),
        }
    }
}

impl AuthorizationDetails {
    /// Reads a list from a peer or an owner, and compiles its schemas.
    ///
    /// # Errors
    /// See [`DetailsRefusal`].
    pub fn parse(text: &str) -> Result<Self, DetailsRefusal> {
        Self::read(text, Origin::Peer)
    }

    /// Reads a list that was checked when it was made: from the registry, or a signed token.
    ///
    /// # Errors
    /// See [`DetailsRefusal`].
    pub fn parse_made(text: &str) -> Result<Self, DetailsRefusal> {
        Self::read(text, Origin::Made)
    }

    fn read(text: &str, from: Origin) -> Result<Self, DetailsRefusal> {
        let document = parse(text.as_bytes(), &LIST).map_err(|_| DetailsRefusal::Form)?;
        // RFC 9396 section 2: an array of objects.
        let items = document.value().items().ok_or(DetailsRefusal::Form)?;
        let mut details = Vec::new();
        for item in items {
            if details.len() >= DETAILS_MAX {
                return Err(DetailsRefusal::TooLarge);
            }
            details.push(CallConstraint::read(item, from)?);
        }
        if details.is_empty() { Err(DetailsRefusal::Form) } else { Ok(Self(details)) }
    }

    /// The details, in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[CallConstraint] {
        &self.0
    }

    /// The canonical text (RFC 8785).
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// What is left of what was asked under what was granted, one detail per tool: both hold.
    /// `granted` names for each tool the constraints of every grant that covers it.
    ///
    /// # Errors
    /// Nothing could satisfy both, or the result is too large for a token.
    pub fn narrow(
        asked: Option<&Self>,
        granted: &[Vec<CallConstraint>],
    ) -> Result<Option<Self>, DetailsRefusal> {
        let asked = asked.into_iter().flat_map(|asked| asked.0.iter().cloned());
        let of_grants = granted.iter().filter_map(|grants| CallConstraint::any_of(grants));
        let mut narrowed: Vec<CallConstraint> = Vec::new();
        for constraint in asked.chain(of_grants) {
            let place = narrowed.iter().position(|known| known.tool == constraint.tool);
            let merged = match place {
                Some(place) => narrowed.swap_remove(place).and(constraint)?,
                None => constraint,
            };
            narrowed.push(merged);
        }
        if narrowed.is_empty() {
            return Ok(None);
        }
        narrowed.sort_by(|a, b| a.tool.cmp(&b.tool));
        let details = Self(narrowed);
        if details.to_text().len() > TOKEN_BYTES_MAX {
            return Err(DetailsRefusal::TooLarge);
        }
        Ok(Some(details))
    }
}

/// The constraints of one grant on one tool as one.
///
/// # Errors
/// They contradict each other, or are too large together.
pub(crate) fn merged(
    constraints: &[CallConstraint],
    tool: &str,
) -> Result<Option<CallConstraint>, DetailsRefusal> {
    let mut merged: Option<CallConstraint> = None;
    for constraint in constraints.iter().filter(|constraint| constraint.tool == tool) {
        merged = Some(match merged {
            Some(before) => before.and(constraint.clone())?,
            None => constraint.clone(),
        });
    }
    Ok(merged)
}

impl Serialize for CallConstraint {
    /// Members in the order of RFC 8785.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            arguments: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            arguments_digest: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            max_calls: Option<u64>,
            tool: &'a str,
            r#type: &'a str,
        }
        let raw = self.arguments.as_ref().map(|schema| serde_json::from_str(schema.text()));
        let wire = Wire {
            arguments: raw.transpose().map_err(serde::ser::Error::custom)?,
            arguments_digest: self.arguments_digest.map(|digest| attorn_jose::base64url(&digest)),
            max_calls: self.max_calls,
            tool: &self.tool,
            r#type: TYPE,
        };
        wire.serialize(to)
    }
}

impl<'de> Deserialize<'de> for CallConstraint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Only what was made here is read so; a tagged record cannot give its raw text.
        let text = serde_json::Value::deserialize(from)?.to_string();
        let document = parse(text.as_bytes(), &LIST).map_err(D::Error::custom)?;
        Self::read(document.value(), Origin::Made).map_err(D::Error::custom)
    }
}

impl Serialize for AuthorizationDetails {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    attorn_jose::from_base64url(text).ok()?.try_into().ok()
}

fn calls_of(token: &str) -> Option<u64> {
    token.parse().ok().filter(|calls| (1..=CALLS_MAX).contains(calls))
}

fn is_name(tool: &str) -> bool {
    !tool.is_empty() && tool.len() <= NAME_BYTES_MAX
}

/// Larger arguments satisfy no constraint.
const ARGUMENTS: Limits = Limits { bytes_max: 64 << 10, depth_max: 32 };
const LIST: Limits = Limits { bytes_max: 16 << 10, depth_max: 16 };
const DETAILS_MAX: usize = 16;
const CALLS_MAX: u64 = 1_000_000;
const NAME_BYTES_MAX: usize = 256;
/// What details may take of the 8 KiB of a token.
const TOKEN_BYTES_MAX: usize = 5 << 10;

#[cfg(test)]
#[path = "call_constraint_tests.rs"]
mod tests;
