//! Guard-rail policies: checked before they are in force, never half in force.

use attorn_audit::{Entry, Kind};
use attorn_policy::{PolicySet, run_tests};
use attorn_registry::PolicySource;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::refusal::{Missing, Refusal};

/// The policies in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyView {
    version: u64,
    /// Cedar.
    text: String,
}

/// One version of the policies.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyVersionView {
    version: u64,
    by: String,
    reason: String,
    created_s: u64,
    /// Whether it is in force.
    active: bool,
}

/// Policies to put in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyNew {
    /// Cedar.
    pub(crate) text: String,
    /// Why; recorded.
    pub(crate) reason: Option<String>,
}

/// Policies to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyText {
    /// Cedar.
    text: String,
}

/// Policies and their tests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyTests {
    /// Cedar; the policies in force if absent.
    text: Option<String>,
    /// `{"cases": […]}`
    #[schema(value_type = Object)]
    tests: Box<RawValue>,
}

/// Which version to return to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyWanted {
    version: u64,
    /// Why; recorded.
    reason: String,
}

/// What policies are made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyValid {
    valid: bool,
    /// The names of the rules, in the order of the text.
    rules: Vec<String>,
}

/// How tests went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyTested {
    passed: bool,
    #[schema(value_type = Vec<Object>)]
    cases: Vec<attorn_policy::CaseOutcome>,
}

pub(crate) async fn show(context: Context) -> Result<PolicyView, Refusal> {
    Ok(PolicyView::of(&context.snapshot.policy))
}

pub(crate) async fn validate(_: Context, new: PolicyText) -> Result<PolicyValid, Refusal> {
    let compiled = compile(new.text, 0)?;
    Ok(PolicyValid { valid: true, rules: compiled.rules().to_vec() })
}

pub(crate) async fn test(context: Context, asked: PolicyTests) -> Result<PolicyTested, Refusal> {
    let text = asked.text.unwrap_or_else(|| context.snapshot.policy.text.clone());
    let compiled = compile(text, 0)?;
    let tests = asked.tests.get().as_bytes();
    let cases = run_tests(&compiled, tests).map_err(|error| Refusal::Policy(error.to_string()))?;
    Ok(PolicyTested { passed: cases.iter().all(|case| case.passed), cases })
}

pub(crate) async fn history(context: Context) -> Result<List<PolicyVersionView>, Refusal> {
    let active = context.snapshot.policy.version;
    let versions = context.shared.store.policy_history(HISTORY_MAX).await?;
    Ok(versions
        .into_iter()
        .map(|record| PolicyVersionView {
            active: record.source.version == active,
            version: record.source.version,
            by: context.name_of(&record.by),
            reason: record.reason,
            created_s: record.at_s,
        })
        .collect())
}

pub(crate) async fn apply(context: Context, new: PolicyNew) -> Result<Effect<PolicyView>, Refusal> {
    let reason = new.reason.unwrap_or_default();
    put_in_force(&context, new.text, reason, Kind::PolicyApplied).await
}

pub(crate) async fn rollback(
    context: Context,
    wanted: PolicyWanted,
) -> Result<Effect<PolicyView>, Refusal> {
    let versions = context.shared.store.policy_history(HISTORY_MAX).await?;
    let earlier = versions.into_iter().find(|one| one.source.version == wanted.version);
    let text = earlier.ok_or(Refusal::Missing(Missing::PolicyVersion))?.source.text;
    // A new version with the old text: the history only grows.
    let reason = format!("{} (version {})", wanted.reason, wanted.version);
    put_in_force(&context, text, reason, Kind::PolicyRolledBack).await
}

async fn put_in_force(
    context: &Context,
    text: String,
    reason: String,
    kind: Kind,
) -> Result<Effect<PolicyView>, Refusal> {
    let compiled = compile(text.clone(), 0)?;
    let store = &context.shared.store;
    let source = store.apply_policy(&context.act(), &text, &reason).await?.record;
    let fact = about(context, kind, (&source, &compiled), reason);
    Ok(Effect::new(PolicyView::of(&source), fact))
}

/// What the journal says of policies that are put in force.
pub(crate) fn about(
    context: &Context,
    kind: Kind,
    (source, compiled): (&PolicySource, &PolicySet),
    reason: String,
) -> Entry {
    let version = source.version.to_string();
    let mut fact = Entry { policy_version: Some(version), ..context.fact(kind) };
    fact.detail.insert("reason".to_owned(), reason);
    fact.detail.insert("rules".to_owned(), compiled.rules().len().to_string());
    let digest = super::tools::hex(&attorn_jose::sha256(source.text.as_bytes()));
    fact.detail.insert("sha256".to_owned(), digest);
    fact
}

pub(crate) fn compile(text: String, version: u64) -> Result<PolicySet, Refusal> {
    let compiled = PolicySet::compile(&PolicySource { version, text });
    compiled.map_err(|errors| Refusal::Policy(errors.to_string()))
}

/// More versions than anybody looks back.
const HISTORY_MAX: u32 = 1000;

impl PolicyView {
    fn of(source: &PolicySource) -> Self {
        Self { version: source.version, text: source.text.clone() }
    }
}
