//! Contents of calls, sealed to auditors before the entry that names them is written.

use attorn_enforce::sealing::Payload;
use attorn_journal::Durability;
use attorn_json::Value;
use attorn_payloads::Part;

use crate::exchange::Exchange;
use crate::refusal::Refusal;

impl Exchange {
    /// Seals what a tool is called with, where that is switched on. What cannot be sealed is not
    /// forwarded.
    pub(crate) async fn seal_arguments(
        &mut self,
        arguments: Option<Value<'_>>,
        durability: Durability,
    ) -> Result<(), Refusal> {
        let Some(payloads) = self.gateway.recorder.payloads() else { return Ok(()) };
        let Some(arguments) = arguments else { return Ok(()) };
        let payload = Payload {
            decision_id: self.decision_id().to_owned(),
            subject: self.entry.subject.clone().unwrap_or_default(),
            part: Part::Arguments,
            bytes: arguments.text().as_bytes().to_vec(),
            now_s: self.now_s,
            durable: durability == Durability::Fsync,
        };
        let payloads = payloads.clone();
        let sealed = tokio::task::spawn_blocking(move || payload.seal(&payloads)).await;
        match sealed {
            Ok(Ok(seal)) => {
                self.entry.detail.insert("arguments_sealed".to_owned(), seal.to_string());
                Ok(())
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "arguments could not be sealed; nothing is forwarded");
                Err(Refusal::JournalUnavailable)
            }
            Err(_cut_off) => Err(Refusal::JournalUnavailable),
        }
    }
}
