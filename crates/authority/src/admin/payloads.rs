//! Sealed arguments and results: given out for auditors, who alone can read them, and forgotten.

use attorn_audit::Kind;
use attorn_payloads::{Of, Part, SealedPayloads, UnsealError};
use attorn_registry::DecisionId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::entries_of_decision;
use super::context::{Context, Effect};
use super::refusal::{Missing, Refusal};

/// Which payload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayloadAsked {
    /// The decision about the call.
    decision: String,
    /// `arguments` or `result`.
    part: PayloadPart,
    /// Why; recorded.
    reason: String,
}

/// One half of a call.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PayloadPart {
    /// What the tool was called with.
    Arguments,
    /// What the server answered.
    Result,
}

/// A payload that only an auditor can read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PayloadView {
    decision: String,
    part: PayloadPart,
    /// The subject of the token.
    subject: String,
    /// A file in the format of age, base64url.
    age: String,
}

/// Whose payloads to forget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErasureNew {
    /// An agent or a person, by name or identifier; by identifier where both have the name. What an
    /// agent does for a person is sealed under the person.
    subject: String,
    /// Why; recorded.
    reason: String,
}

/// What was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErasureView {
    subject: String,
    /// Everything sealed until then, in Unix seconds.
    until_s: u64,
    /// Whether this process had sealed anything.
    had_payloads: bool,
}

/// Looking is recorded before anything is shown.
pub(crate) async fn open(
    context: Context,
    asked: PayloadAsked,
) -> Result<Effect<PayloadView>, Refusal> {
    let missing = Refusal::Missing(Missing::Decision);
    let decision = DecisionId::parse(&asked.decision).map_err(|_| missing)?;
    if asked.reason.trim().is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    let entries = entries_of_decision(&context, &asked.decision).await?;
    let mut own =
        entries.iter().filter(|entry| entry.decision_id.as_ref() == Some(&asked.decision));
    let subject = own.clone().find_map(|entry| entry.subject.clone());
    let seal = own.find_map(|entry| entry.detail.get(asked.part.sealed()));
    let (Some(subject), Some(seal)) = (subject, seal) else { return Err(Refusal::PayloadAbsent) };
    let seal = seal.parse().map_err(|_| Refusal::PayloadAbsent)?;
    let (part, of_whom) = (asked.part.part(), subject.clone());
    let age = blocking(&context, move |payloads| {
        payloads.unseal(Of { decision: &decision, part, subject: &of_whom }, seal)
    });
    let age = attorn_jose::base64url(&age.await?);
    let mut fact = context.fact(Kind::PayloadOpened);
    fact.subject = Some(subject.clone());
    fact.detail.insert("decision".to_owned(), asked.decision.clone());
    fact.detail.insert("part".to_owned(), part.as_str().to_owned());
    fact.detail.insert("reason".to_owned(), asked.reason);
    let view = PayloadView { decision: asked.decision, part: asked.part, subject, age };
    Ok(Effect::new(view, fact))
}

/// Every node forgets; this one before it answers.
pub(crate) async fn erase(
    context: Context,
    new: ErasureNew,
) -> Result<Effect<ErasureView>, Refusal> {
    if new.reason.trim().is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    let subject = subject(&context, &new.subject)?;
    let erasure = context.shared.store.erase_payloads(&context.act(), &subject).await?.record;
    let (of_whom, until_s) = (subject.clone(), erasure.until_s);
    let had_payloads =
        blocking(&context, move |payloads| Ok(payloads.erase(&of_whom, until_s)?)).await?;
    let mut fact = context.fact(Kind::PayloadErased);
    fact.subject = Some(subject.clone());
    fact.detail.insert("reason".to_owned(), new.reason);
    fact.detail.insert("until_s".to_owned(), until_s.to_string());
    Ok(Effect::new(ErasureView { subject, until_s, had_payloads }, fact))
}

/// The one agent or person of a name. What is erased does not come back, so nothing is guessed.
fn subject(context: &Context, text: &str) -> Result<String, Refusal> {
    match (context.agent(text), context.person(text)) {
        (Ok(_), Ok(_)) => Err(Refusal::Ambiguous),
        (Ok(agent), Err(_)) => Ok(agent.id.to_string()),
        (Err(_), Ok(person)) => Ok(person.id.to_string()),
        (Err(refusal), Err(_)) => Err(refusal),
    }
}

async fn blocking<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(SealedPayloads) -> Result<T, UnsealError> + Send + 'static,
) -> Result<T, Refusal> {
    let payloads = context.shared.payloads.clone();
    let done = tokio::task::spawn_blocking(move || work(payloads)).await;
    Ok(done.map_err(|_cut_off| Refusal::StoreUnavailable)??)
}

impl PayloadPart {
    const fn part(self) -> Part {
        match self {
            Self::Arguments => Part::Arguments,
            Self::Result => Part::Result,
        }
    }

    /// What the journal calls its seal.
    const fn sealed(self) -> &'static str {
        match self {
            Self::Arguments => "arguments_sealed",
            Self::Result => "result_sealed",
        }
    }
}
