//! The reason a person gives for a change; it goes into the journal.

use serde::Deserialize;
use utoipa::ToSchema;

use super::refusal::Refusal;

/// A reason that must be given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// Why; recorded.
    reason: String,
}

/// A reason that may be given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonWished {
    /// Why; recorded.
    reason: Option<String>,
}

impl Reason {
    pub(crate) fn of(text: &str) -> Self {
        Self { reason: text.to_owned() }
    }

    pub(crate) fn text(self) -> Result<String, Refusal> {
        if self.reason.trim().is_empty() { Err(Refusal::ReasonMissing) } else { Ok(self.reason) }
    }
}

impl ReasonWished {
    pub(crate) fn text(self) -> Option<String> {
        self.reason.filter(|reason| !reason.trim().is_empty())
    }
}
