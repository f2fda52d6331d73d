//! The invoices themselves: a fixed start, three operations.

use serde::Serialize;

/// One invoice as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) customer: String,
    /// In minor units of `currency`.
    pub(crate) amount_cents: u64,
    pub(crate) currency: &'static str,
    pub(crate) state: State,
    pub(crate) notes: Vec<String>,
}

/// Paid is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Open,
    Paid,
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoteLimit,
    PaidBefore,
    Unknown,
}

/// All invoices, in the order of their ids.
#[derive(Debug)]
pub(crate) struct Ledger {
    invoices: Vec<Invoice>,
}

impl Ledger {
    /// The same three invoices at every start.
    pub(crate) fn new() -> Self {
        let invoice = |id: &str, customer: &str, amount_cents| Invoice {
            id: id.to_owned(),
            customer: customer.to_owned(),
            amount_cents,
            currency: "EUR",
            state: State::Open,
            notes: Vec::new(),
        };
        Self {
            invoices: vec![
                invoice("inv-1001", "Ada Shipping", 125_000),
                invoice("inv-1002", "Brook Bakery", 8_450),
                invoice("inv-1003", "Cedar Labs", 990_000),
            ],
        }
    }

    /// Invoices whose id or customer contains `query`, letter case ignored; all when it is empty.
    pub(crate) fn search(&self, query: &str) -> Vec<Invoice> {
        let query = query.to_lowercase();
        let matches = |invoice: &&Invoice| {
            invoice.id.contains(&query) || invoice.customer.to_lowercase().contains(&query)
        };
        self.invoices.iter().filter(matches).cloned().collect()
    }

    /// One invoice by its id.
    pub(crate) fn invoice(&self, id: &str) -> Result<Invoice, Refusal> {
        self.invoices.iter().find(|invoice| invoice.id == id).cloned().ok_or(Refusal::Unknown)
    }

    /// Adds a note; at most [`NOTES_MAX`] stay on one invoice.
    pub(crate) fn add_note(&mut self, id: &str, note: &str) -> Result<Invoice, Refusal> {
        let invoice = self.by_id(id)?;
        if invoice.notes.len() >= NOTES_MAX {
            return Err(Refusal::NoteLimit);
        }
        invoice.notes.push(note.to_owned());
        Ok(invoice.clone())
    }

    /// Pays an invoice. Nothing takes a payment back.
    pub(crate) fn pay(&mut self, id: &str) -> Result<Invoice, Refusal> {
        let invoice = self.by_id(id)?;
        if invoice.state == State::Paid {
            return Err(Refusal::PaidBefore);
        }
        invoice.state = State::Paid;
        Ok(invoice.clone())
    }

    fn by_id(&mut self, id: &str) -> Result<&mut Invoice, Refusal> {
        self.invoices.iter_mut().find(|invoice| invoice.id == id).ok_or(Refusal::Unknown)
    }
}

const NOTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_ignores_letter_case_and_empty_means_all() {
        let ledger = Ledger::new();
        assert_eq!(ledger.search("ADA").len(), 1);
        assert_eq!(ledger.search("").len(), 3);
        assert_eq!(ledger.search("nobody").len(), 0);
    }

    #[test]
    fn an_invoice_is_paid_once() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.pay("inv-1002").map(|paid| paid.state), Ok(State::Paid));
        assert_eq!(ledger.pay("inv-1002"), Err(Refusal::PaidBefore));
        assert_eq!(ledger.pay("inv-9"), Err(Refusal::Unknown));
    }

    #[test]
    fn notes_are_kept_up_to_the_limit() {
        let mut ledger = Ledger::new();
        for _ in 0..NOTES_MAX {
            assert!(ledger.add_note("inv-1001", "seen").is_ok());
        }
        assert_eq!(ledger.add_note("inv-1001", "more"), Err(Refusal::NoteLimit));
    }
}
