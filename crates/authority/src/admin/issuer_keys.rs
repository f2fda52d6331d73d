//! The authority's signing keys: rotated calmly, or at once when one is lost.

use attorn_audit::Kind;
use attorn_registry::{IssuerKey, KeyState};
use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::reason::{Reason, ReasonWished};
use super::refusal::Refusal;
use crate::rotation;

/// A signing key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuerKeyView {
    kid: String,
    /// `prepublished`, `active`, `retired` or `removed`.
    state: &'static str,
}

pub(crate) async fn list(context: Context) -> Result<List<IssuerKeyView>, Refusal> {
    Ok(view(&context.snapshot.issuer_keys))
}

pub(crate) async fn rotate(
    context: Context,
    reason: ReasonWished,
) -> Result<Effect<List<IssuerKeyView>>, Refusal> {
    let keys =
        rotation::rotate(&context.shared, &context.act(), &context.snapshot.issuer_keys).await?;
    Ok(changed(&context, &keys, reason.text(), false))
}

pub(crate) async fn emergency_rotate(
    context: Context,
    reason: Reason,
) -> Result<Effect<List<IssuerKeyView>>, Refusal> {
    let reason = reason.text()?;
    let keys =
        rotation::emergency_rotate(&context.shared, &context.act(), &context.snapshot.issuer_keys)
            .await?;
    Ok(changed(&context, &keys, Some(reason), true))
}

fn changed(
    context: &Context,
    keys: &[IssuerKey],
    reason: Option<String>,
    emergency: bool,
) -> Effect<List<IssuerKeyView>> {
    let mut fact = context.fact(Kind::KeyRotated);
    let active = keys.iter().find(|key| key.state == KeyState::Active);
    fact.detail.extend(active.map(|key| ("kid".to_owned(), key.kid.clone())));
    fact.detail.extend(reason.map(|reason| ("reason".to_owned(), reason)));
    fact.detail.insert("emergency".to_owned(), emergency.to_string());
    Effect::new(view(keys), fact)
}

fn view(keys: &[IssuerKey]) -> List<IssuerKeyView> {
    keys.iter()
        .map(|key| IssuerKeyView { kid: key.kid.clone(), state: key.state.as_str() })
        .collect()
}
