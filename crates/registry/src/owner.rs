//! Who answers for an identity.

use serde::{Deserialize, Serialize};

use crate::{LifeCycle, Name, OwnerId, PersonOrGroup};

/// The person or team that answers for agents and MCP servers. Nothing acts without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Stable identifier.
    pub id: OwnerId,
    /// Unique among owners.
    pub name: Name,
    /// Where to reach them. Kept out of tokens.
    pub email: Option<String>,
    /// An owner that is not active leaves everything they own unable to act.
    pub state: LifeCycle,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
    /// The second in which its last stop ended, if it had one: it was resumed.
    /// Tokens from before do not count again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ended_s: Option<u64>,
    /// The person or the group behind it. Where nobody of them is active, the successor answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<PersonOrGroup>,
    /// Who answers after them. Without one, what is theirs stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<OwnerId>,
}
