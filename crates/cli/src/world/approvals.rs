//! Where the gateway of this process asks about calls that need a person: at the authority beside it,
//! or at the one it follows.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use attorn_authority::Authority;
use attorn_gateway::{ApprovalDesk, DeskSilent, UseAnswer};
use attorn_policy::GivenApproval;
use attorn_registry::{ApprovalAnswer, AskedCall};
use serde_json::{Value, json};

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::exit::Failure;
use crate::json::{member, text};
use crate::output::{Format, Output};
use crate::outside::causes;
use crate::profile::Profile;

/// The desk of an authority in this process.
pub(super) fn beside(authority: &Authority) -> Arc<dyn ApprovalDesk> {
    Arc::new(Beside(authority.clone()))
}

/// The desk of an authority elsewhere.
pub(super) fn elsewhere(profile: Profile) -> Arc<dyn ApprovalDesk> {
    Arc::new(Elsewhere { profile, admin: tokio::sync::Mutex::default() })
}

#[derive(Debug)]
struct Beside(Authority);

/// One question after the other: they are few, and each waits for a person in the end.
struct Elsewhere {
    profile: Profile,
    admin: tokio::sync::Mutex<Option<Admin>>,
}

impl ApprovalDesk for Beside {
    fn ask(
        &self,
        asked: AskedCall,
    ) -> Pin<Box<dyn Future<Output = Result<ApprovalAnswer, DeskSilent>> + Send + '_>> {
        // A task of its own: a caller that leaves does not leave half of it.
        let authority = self.0.clone();
        let asking = tokio::spawn(async move { authority.ask_approval(ROLE, asked).await });
        Box::pin(async move {
            let answer = asking.await.map_err(|_stopped| DeskSilent)?;
            answer.map_err(|error| silent(&causes(&error)))
        })
    }

    fn use_up(
        &self,
        given: GivenApproval,
        decision: String,
    ) -> Pin<Box<dyn Future<Output = Result<UseAnswer, DeskSilent>> + Send + '_>> {
        let authority = self.0.clone();
        let using = tokio::spawn(async move {
            authority.use_approval(ROLE, (&given.id, &given.call), &decision).await
        });
        Box::pin(async move {
            let used = using.await.map_err(|_stopped| DeskSilent)?;
            let used = used.map_err(|error| silent(&causes(&error)))?;
            Ok(used.map_or_else(UseAnswer::Refused, |()| UseAnswer::Used))
        })
    }
}

impl Elsewhere {
    async fn send(
        &self,
        operation: Operation,
        place: &[&str],
        body: Value,
    ) -> Result<Value, DeskSilent> {
        let mut admin = self.admin.lock().await;
        let sent = async {
            let admin = if let Some(admin) = &mut *admin {
                admin
            } else {
                let output = Output::new(Format::Ndjson);
                admin.insert(Admin::with_profile(self.profile.renewed()?, output).await?)
            };
            let change = Change { dry_run: false };
            admin.send_change(operation, place, body, change).await
        };
        let answer: Result<Option<Value>, Failure> = sent.await;
        // It may be the certificate that has ended: the next question goes with the one of then.
        if answer.is_err() && self.profile.is_certified() {
            *admin = None;
        }
        answer.map(Option::unwrap_or_default).map_err(|failure| silent(&failure.what))
    }
}

impl ApprovalDesk for Elsewhere {
    fn ask(
        &self,
        asked: AskedCall,
    ) -> Pin<Box<dyn Future<Output = Result<ApprovalAnswer, DeskSilent>> + Send + '_>> {
        Box::pin(async move {
            let body = json!({ "asked": asked });
            let answer = self.send(Operation::ApprovalAsk, &[], body).await?;
            let answer = serde_json::from_value(member(&answer, "answer").clone());
            answer.map_err(|error| silent(&error.to_string()))
        })
    }

    fn use_up(
        &self,
        given: GivenApproval,
        decision: String,
    ) -> Pin<Box<dyn Future<Output = Result<UseAnswer, DeskSilent>> + Send + '_>> {
        Box::pin(async move {
            let body = json!({ "call": given.call, "decision": decision });
            let place = [given.id.as_str()];
            let answer = self.send(Operation::ApprovalUse, &place, body).await?;
            if member(&answer, "used") == true {
                return Ok(UseAnswer::Used);
            }
            let reason = text(&answer, "reason").and_then(|code| code.parse().ok());
            reason.map(UseAnswer::Refused).ok_or_else(|| silent("an answer without a reason"))
        })
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere")
            .field("issuer", &self.profile.identity.issuer)
            .finish_non_exhaustive()
    }
}

fn silent(error: &str) -> DeskSilent {
    tracing::error!(error, "the authority says nothing of an approval");
    DeskSilent
}

/// Who asks, in registry and journal.
const ROLE: &str = "gateway";
