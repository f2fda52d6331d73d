//! What the journal says of the policies where a server gets a token for an API.

use attorn_audit::Entry;
use attorn_policy::{HopDenial, HopPermit};
use attorn_registry::Scope;

/// What the entry of a refusal says besides the reason. Client, subject token and API were verified
/// before the policies were asked, so it names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedHop {
    pub(crate) denial: HopDenial,
    /// The agent whose token was to be exchanged.
    pub(crate) agent: String,
    /// The API.
    pub(crate) resource: String,
    pub(crate) server: String,
    pub(crate) subject: String,
    /// The subject token.
    pub(crate) token_jti: String,
}

impl RefusedHop {
    pub(crate) fn note(self, about: Entry) -> Entry {
        let HopDenial { scope, reason: _, rule, policy_version } = self.denial;
        Entry {
            agent: Some(self.agent),
            downstream_resource: Some(self.resource),
            policy_version: Some(policy_version.to_string()),
            rule,
            scope: scope.as_ref().map(Scope::to_string),
            server: Some(self.server),
            subject: Some(self.subject),
            token_jti: Some(self.token_jti),
            ..about
        }
    }
}

/// Notes what permitted a token, and what fell away: a token with less than the rules of the API give
/// says why.
pub(crate) fn note_permit(entry: &mut Entry, permit: &HopPermit, withheld: &[HopDenial]) {
    entry.policy_version = Some(permit.policy_version().to_string());
    let rules: Vec<&str> = permit.rules().collect();
    entry.rule = rules.first().map(|first| (*first).to_owned());
    if rules.len() > 1 {
        entry.detail.insert("rules".to_owned(), rules.join(", "));
    }
    let words = |denial: &HopDenial| {
        let scope = denial.scope.as_ref().map(Scope::to_string).unwrap_or_default();
        let rule = denial.rule.as_ref().map(|rule| format!(" {rule}")).unwrap_or_default();
        format!("{scope} {}{rule}", denial.reason)
    };
    if !withheld.is_empty() {
        let withheld: Vec<String> = withheld.iter().map(words).collect();
        entry.detail.insert("withheld".to_owned(), withheld.join("; "));
    }
}
