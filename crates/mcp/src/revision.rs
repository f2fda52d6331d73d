//! The protocol revisions Attorn serves.

/// A revision of MCP, named by its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2025-03-26: the first with Streamable HTTP. Its JSON-RPC batches are refused.
    V2025_03_26,
    /// 2025-06-18: no batches, the `MCP-Protocol-Version` header, elicitation.
    V2025_06_18,
    /// 2025-11-25: URL elicitation, experimental tasks.
    V2025_11_25,
    /// 2026-07-28: stateless, no handshake, headers that mirror the body.
    V2026_07_28,
}

impl Revision {
    /// All revisions, oldest first.
    pub const ALL: [Self; 4] =
        [Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// What a request without `MCP-Protocol-Version` speaks: MCP 2025-11-25, Transports,
    /// Protocol Version Header.
    pub const WITHOUT_HEADER: Self = Self::V2025_03_26;

    /// Reads the exact date form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// The date form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether version and capabilities travel with every request, without a handshake: MCP
    /// 2026-07-28, Versioning, Terminology.
    pub fn is_modern(self) -> bool {
        match self {
            Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => false,
            Self::V2026_07_28 => true,
        }
    }
}
