//! Whom a token is about: `sub` of RFC 7519 section 4.1.2 and RFC 9068 section 2.2.
//!
//! Implemented: agents that act for themselves, and persons for whom an agent acts (RFC 8693 section
//! 4.1). Not implemented: any other subject. One that is nobody of the registry is none.

use std::fmt;

use attorn_registry::{AgentId, PersonId};
use serde::{Serialize, Serializer};

/// The subject of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An agent that acts for itself.
    Agent(AgentId),
    /// A person for whom the token's agent acts.
    Person(PersonId),
}

/// A text that names no subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subject is an agent or a person")]
pub struct SubjectError;

impl Subject {
    /// Reads a subject. The two kinds of identifiers have prefixes of their own.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        if let Ok(agent) = AgentId::parse(text) {
            return Ok(Self::Agent(agent));
        }
        PersonId::parse(text).map(Self::Person).map_err(|_| SubjectError)
    }

    /// The identifier.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Agent(agent) => agent.as_str(),
            Self::Person(person) => person.as_str(),
        }
    }

    /// The person, if it is one.
    #[must_use]
    pub const fn person(&self) -> Option<&PersonId> {
        match self {
            Self::Agent(_) => None,
            Self::Person(person) => Some(person),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_somebody_of_the_registry() {
        let agent = AgentId::from_random(&[1; 16]);
        let person = PersonId::from_random(&[1; 16]);
        assert_eq!(Subject::parse(agent.as_str()), Ok(Subject::Agent(agent)));
        let of = Subject::parse(person.as_str()).unwrap();
        assert_eq!(of.person(), Some(&person));
        assert_eq!(serde_json::to_string(&of).unwrap(), format!("\"{person}\""));
        let server = attorn_registry::ServerId::from_random(&[1; 16]).to_string();
        for text in ["", "ann", "usr_", "root", &server, &format!("{person} ")] {
            assert_eq!(Subject::parse(text), Err(SubjectError), "{text:?}");
        }
    }
}
