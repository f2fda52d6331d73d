//! Scopes: one per tool and class, read relative to one MCP server.
//!
//! RFC 6749 section 3.3 gives the alphabet of a scope token. The class and the `@` targets are
//! our own profile. What is not here: scopes of single resources (`read:@resource/<name>`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a call can do to the world. Ordered: reading is less than writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Leaves things as they are.
    Read,
    /// Changes something that can be changed back.
    Write,
    /// Cannot be undone. A person approves each call.
    Irreversible,
}

/// A text that names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a class is read, write or irreversible")]
pub struct ClassError;

impl Class {
    /// Every class, in order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Irreversible];

    /// The class in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Irreversible => "irreversible",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = ClassError;
    fn from_str(text: &str) -> Result<Self, ClassError> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(ClassError)
    }
}

/// What a scope unlocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeTarget {
    /// The prompts of the server, `@prompts`.
    Prompts,
    /// The resources of the server, `@resources`.
    Resources,
    /// One tool, by its exact name.
    Tool(String),
}

/// One scope token, for example `read:get_invoice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    /// What the call can do.
    pub class: Class,
    /// What it is done to.
    pub tool: ScopeTarget,
}

/// Why a text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The text before `:` is no class, or there is no `:`.
    #[error("a scope starts with `read:`, `write:` or `irreversible:`")]
    Class,
    /// A percent-encoding that our own spelling would not produce.
    #[error("a tool name in a scope is percent-encoded outside A-Z, a-z, 0-9, `_`, `.` and `-`")]
    Encoding,
    /// The same scope twice in a list.
    #[error("a scope stands twice in the list")]
    Repeated,
    /// An `@` target that does not exist, or one that is not read.
    #[error("the targets besides tools are `read:@resources` and `read:@prompts`")]
    Target,
    /// A wildcard where only exact scopes may stand.
    #[error("a wildcard is for grants only")]
    Wildcard,
}

impl Scope {
    /// The scope of one tool at one class.
    #[must_use]
    pub fn of_tool(class: Class, tool: &str) -> Self {
        Self { class, tool: ScopeTarget::Tool(tool.to_owned()) }
    }

    /// The scope `read:@resources`.
    pub const RESOURCES: Self = Self { class: Class::Read, tool: ScopeTarget::Resources };

    /// The scope `read:@prompts`.
    pub const PROMPTS: Self = Self { class: Class::Read, tool: ScopeTarget::Prompts };

    /// Reads one scope token. Exactly one text is accepted per scope.
    ///
    /// # Errors
    /// The class, the target or the encoding is not ours, or it is a wildcard.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let (class, target) = text.split_once(':').ok_or(ScopeError::Class)?;
        let class: Class = class.parse().map_err(|ClassError| ScopeError::Class)?;
        match target {
            "*" => Err(ScopeError::Wildcard),
            "@resources" if class == Class::Read => Ok(Self::RESOURCES),
            "@prompts" if class == Class::Read => Ok(Self::PROMPTS),
            special if special.starts_with('@') => Err(ScopeError::Target),
            encoded => Ok(Self { class, tool: ScopeTarget::Tool(decode(encoded)?) }),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.class)?;
        match &self.tool {
            ScopeTarget::Prompts => f.write_str("@prompts"),
            ScopeTarget::Resources => f.write_str("@resources"),
            ScopeTarget::Tool(name) => encode(name, f),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        Self::parse(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// What a grant holds: an exact scope, or every scope of a class.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ScopePattern {
    /// `<class>:*`: every approved tool of that class, and for `read` resources and prompts.
    All(Class),
    /// Exactly this scope.
    Exact(Scope),
}

impl ScopePattern {
    /// Reads a pattern. `*` alone is not one: a grant always names its class.
    ///
    /// # Errors
    /// The text is neither a scope nor `<class>:*`.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        match text.strip_suffix(":*") {
            Some(class) => class.parse().map(Self::All).map_err(|ClassError| ScopeError::Class),
            None => Scope::parse(text).map(Self::Exact),
        }
    }

    /// The class of everything it covers.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::All(class) => *class,
            Self::Exact(scope) => scope.class,
        }
    }

    /// Whether the pattern covers a scope.
    #[must_use]
    pub fn matches(&self, scope: &Scope) -> bool {
        match self {
            Self::All(class) => *class == scope.class,
            Self::Exact(exact) => exact == scope,
        }
    }

    /// Whether this pattern covers everything the other one does, now and with tools to come.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        match other {
            Self::All(_) => self == other,
            Self::Exact(scope) => self.matches(scope),
        }
    }
}

impl fmt::Display for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(class) => write!(f, "{class}:*"),
            Self::Exact(scope) => scope.fmt(f),
        }
    }
}

impl FromStr for ScopePattern {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ScopePattern {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        Self::parse(&text)
    }
}

impl From<ScopePattern> for String {
    fn from(pattern: ScopePattern) -> Self {
        pattern.to_string()
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn encode(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in name.bytes() {
        if is_plain(byte) {
            fmt::Write::write_char(f, char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// The inverse of [`encode`] and nothing more: upper-case digits only, and only where needed, so
/// that one tool has one scope text.
fn decode(text: &str) -> Result<String, ScopeError> {
    if text.is_empty() {
        return Err(ScopeError::Target);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = rest.next().zip(rest.next()).ok_or(ScopeError::Encoding)?;
            let decoded = (digit(high)? << 4) | digit(low)?;
            if is_plain(decoded) {
                return Err(ScopeError::Encoding);
            }
            bytes.push(decoded);
        } else if is_plain(byte) {
            bytes.push(byte);
        } else {
            return Err(ScopeError::Encoding);
        }
    }
    String::from_utf8(bytes).map_err(|_not_utf8| ScopeError::Encoding)
}

fn digit(byte: u8) -> Result<u8, ScopeError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ScopeError::Encoding),
    }
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
