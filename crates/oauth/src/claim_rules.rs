//! Which workload of a platform is which agent: rules on the claims of its JWT.
//!
//! Implemented: claims at the top level that are texts and equal a value byte by byte, or start with a
//! prefix that ends at a separator. A rule names at least one claim of the workload itself, so a rule
//! that everybody fits does not exist. Not implemented: wildcards, lists, numbers, nested claims, rules
//! that deny; a claim of another type fits nothing.

use std::collections::BTreeMap;

use attorn_json::Value;
use attorn_registry::Name;
use serde::{Deserialize, Serialize};

/// The rules of one issuer. Without any, nobody is anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimRules(Vec<ClaimRule>);

/// One rule: a workload whose claims all fit is this agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRule {
    /// Name of the agent.
    pub agent: Name,
    /// Claims of the JWT, each with the text it must be, or `{ prefix = "text/" }`.
    pub claims: BTreeMap<String, ClaimValue>,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// Exactly this text.
    Exactly(String),
    /// A text that starts with this one.
    Prefix(Prefix),
}

/// The form of a prefix, which nobody writes by mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// The text, up to and including a separator.
    pub prefix: String,
}

/// A rule that would fit more than it seems to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRuleRefusal {
    /// A claim that says nothing about a workload.
    #[error("a rule for `{agent}` names `{claim}`, which does not tell workloads apart")]
    Claim {
        /// Whose rule it is.
        agent: Name,
        /// The claim.
        claim: String,
    },
    /// No claim at all: everybody would fit.
    #[error("a rule for `{agent}` names no claim")]
    Empty {
        /// Whose rule it is.
        agent: Name,
    },
    /// A prefix that ends in the middle of a word also fits other words.
    #[error("the prefix of `{claim}` in a rule for `{agent}` does not end in `/` or `:`")]
    Prefix {
        /// Whose rule it is.
        agent: Name,
        /// The claim.
        claim: String,
    },
    /// Two rules have the same claims for different agents.
    #[error("two rules with the same claims name `{agent}` and another agent")]
    Twice {
        /// One of the agents.
        agent: Name,
    },
    /// An empty text, or one with a `*`, which is no wildcard here.
    #[error("the value of `{claim}` in a rule for `{agent}` is empty or holds a `*`")]
    Value {
        /// Whose rule it is.
        agent: Name,
        /// The claim.
        claim: String,
    },
}

/// Why the rules name nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    /// Rules of several agents fit.
    #[error("the claims fit rules of several agents")]
    Several,
    /// No rule fits.
    #[error("the claims fit no rule")]
    None,
}

impl ClaimRules {
    /// Takes rules as they are; see [`Self::verify`].
    #[must_use]
    pub const fn new(rules: Vec<ClaimRule>) -> Self {
        Self(rules)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses rules that fit more than they seem to. Called once, when the configuration is read.
    ///
    /// # Errors
    /// [`ClaimRuleRefusal`], the first that applies.
    pub fn verify(&self) -> Result<(), ClaimRuleRefusal> {
        let mut seen: Vec<&ClaimRule> = Vec::new();
        for rule in &self.0 {
            rule.verify()?;
            if seen.iter().any(|old| old.claims == rule.claims && old.agent != rule.agent) {
                return Err(ClaimRuleRefusal::Twice { agent: rule.agent.clone() });
            }
            seen.push(rule);
        }
        Ok(())
    }

    /// The one agent that verified claims name. Several rules of one agent are no contradiction.
    ///
    /// # Errors
    /// [`Unmapped`]: nobody, or several.
    pub fn agent_of(&self, claims: Value<'_>) -> Result<&Name, Unmapped> {
        let mut fitting = self.0.iter().filter(|rule| rule.fits(claims)).map(|rule| &rule.agent);
        let agent = fitting.next().ok_or(Unmapped::None)?;
        if fitting.all(|other| other == agent) { Ok(agent) } else { Err(Unmapped::Several) }
    }
}

impl ClaimRule {
    fn verify(&self) -> Result<(), ClaimRuleRefusal> {
        let agent = || self.agent.clone();
        if self.claims.is_empty() {
            return Err(ClaimRuleRefusal::Empty { agent: agent() });
        }
        for (claim, value) in &self.claims {
            // RFC 7519 section 4.1: these are the same for every workload, or new in every JWT.
            if claim.is_empty() || OF_EVERYBODY.contains(&claim.as_str()) {
                return Err(ClaimRuleRefusal::Claim { agent: agent(), claim: claim.clone() });
            }
            let text = value.text();
            if text.is_empty() || text.contains('*') {
                return Err(ClaimRuleRefusal::Value { agent: agent(), claim: claim.clone() });
            }
            // `repo:acme` would fit `repo:acme-evil/app` too.
            if matches!(value, ClaimValue::Prefix(_)) && !text.ends_with(['/', ':']) {
                return Err(ClaimRuleRefusal::Prefix { agent: agent(), claim: claim.clone() });
            }
        }
        Ok(())
    }

    fn fits(&self, claims: Value<'_>) -> bool {
        // Deny is the empty case, also where nobody called `verify`.
        !self.claims.is_empty()
            && self.claims.iter().all(|(name, value)| {
                let text = claims.member(name).and_then(Value::string);
                text.is_some_and(|text| value.fits(&text))
            })
    }
}

impl ClaimValue {
    fn text(&self) -> &str {
        match self {
            Self::Exactly(text) | Self::Prefix(Prefix { prefix: text }) => text,
        }
    }

    fn fits(&self, claim: &str) -> bool {
        match self {
            Self::Exactly(text) => claim == text,
            // Something must follow: the prefix alone names a group and nobody in it.
            Self::Prefix(Prefix { prefix }) => {
                claim.strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty())
            }
        }
    }
}

/// RFC 7519 section 4.1, without `sub`.
const OF_EVERYBODY: [&str; 6] = ["aud", "exp", "iat", "iss", "jti", "nbf"];

#[cfg(test)]
#[path = "claim_rules_tests.rs"]
mod tests;
