//! A payload that is sealed to auditors before the entry that names it is written.

use attorn_payloads::{Of, Part, Seal, SealError, SealedPayloads};
use attorn_registry::DecisionId;

/// One payload on its way to the disk.
#[derive(Debug)]
pub struct Payload {
    pub decision_id: String,
    pub subject: String,
    pub part: Part,
    pub bytes: Vec<u8>,
    pub now_s: u64,
    pub durable: bool,
}

impl Payload {
    /// Blocks.
    ///
    /// # Errors
    /// See [`SealError`]; also where the decision has no name.
    pub fn seal(self, payloads: &SealedPayloads) -> Result<Seal, SealError> {
        let decision = DecisionId::parse(&self.decision_id).map_err(|_| SealError::Encryption)?;
        let of = Of { decision: &decision, part: self.part, subject: &self.subject };
        payloads.seal(of, &self.bytes, self.now_s, self.durable)
    }
}
