//! The passkeys of a person, for operators: to see, and to take away when a device is lost.

use attorn_audit::Kind;
use attorn_registry::PasskeyId;
use attorn_store::Passkey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::refusal::Refusal;

/// A passkey of a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PasskeyView {
    id: String,
    /// What the person calls it.
    name: String,
    created_s: u64,
    /// When it was used last, if it was.
    used_s: Option<u64>,
}

/// What is taken away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasskeyRemoval {
    /// One passkey; absent, all that the person has.
    passkey: Option<String>,
    /// Why; recorded.
    reason: String,
}

/// What was taken away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PasskeysRemoved {
    person: String,
    removed: Vec<String>,
}

pub(crate) async fn list(context: Context) -> Result<List<PasskeyView>, Refusal> {
    let person = context.person(context.segment("person"))?;
    let passkeys = context.shared.store.passkeys_of(&person.id).await?;
    Ok(passkeys.iter().map(PasskeyView::of).collect())
}

/// Takes passkeys away. Sessions end, and what clients have: whoever has the device may be in.
pub(crate) async fn remove(
    context: Context,
    removal: PasskeyRemoval,
) -> Result<Effect<PasskeysRemoved>, Refusal> {
    let person = context.person(context.segment("person"))?;
    if removal.reason.trim().is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    let one = removal.passkey.as_deref().map(PasskeyId::parse).transpose();
    let one = one.map_err(|_| Refusal::Form)?;
    let store = &context.shared.store;
    let removed = store.withdraw_passkeys(&context.act(), &person.id, one.as_ref()).await?.record;
    let mut fact = context.fact(Kind::KeyRemoved);
    fact.subject = Some(person.id.to_string());
    let removed: Vec<_> = removed.iter().map(|passkey| passkey.id.to_string()).collect();
    fact.detail.extend([
        ("kind".to_owned(), "passkey".to_owned()),
        ("name".to_owned(), person.name.to_string()),
        ("passkey".to_owned(), removed.join(" ")),
        ("reason".to_owned(), removal.reason),
    ]);
    Ok(Effect::new(PasskeysRemoved { person: person.name.to_string(), removed }, fact))
}

impl PasskeyView {
    fn of(passkey: &Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name.clone(),
            created_s: passkey.created_s,
            used_s: passkey.used_s,
        }
    }
}
