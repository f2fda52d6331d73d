//! Delegation, and `oidc-provider` next to it: started where one of their cases is asked for.

use super::delegation::{self, Delegation};
use super::flows::FlowFigure;
use super::provider::{self, Provider};
use super::{CONNECTIONS, Figure, Plan};
use crate::step::StepFailed;

/// How many people are asked at once. Each is a thread of the load generator.
const BROWSERS: [usize; 2] = [1, 8];

/// What runs.
#[derive(Debug)]
pub(super) struct Beside {
    delegation: Option<Delegation>,
    provider: Option<Provider>,
}

impl Beside {
    pub(super) fn start(plan: &Plan, upstream: &str) -> Result<Self, StepFailed> {
        let wanted = |names: &[&str]| {
            let mut counts = CONNECTIONS.iter().chain(&BROWSERS);
            counts.any(|count| names.iter().any(|name| plan.wants(name, *count)))
        };
        let delegation = wanted(&delegation::CASES).then(|| Delegation::start(upstream));
        let provider = wanted(&provider::CASES).then(Provider::start);
        Ok(Self { delegation: delegation.transpose()?, provider: provider.transpose()? })
    }

    /// The cases of one request each.
    pub(super) fn calls(&self, plan: &Plan, connections: usize) -> Result<Vec<Figure>, StepFailed> {
        let mut figures = Vec::new();
        if let Some(delegation) = &self.delegation {
            figures.extend(delegation.exchanges(plan, connections)?);
        }
        if let Some(provider) = &self.provider {
            figures.extend(provider.credentials(plan, connections)?);
        }
        Ok(figures)
    }

    /// The cases of whole flows.
    pub(super) fn flows(&self, plan: &Plan) -> Result<Vec<FlowFigure>, StepFailed> {
        let mut figures = Vec::new();
        for browsers in BROWSERS {
            if let Some(delegation) = &self.delegation {
                figures.extend(delegation.flows(plan, browsers)?);
            }
            if let Some(provider) = &self.provider {
                figures.extend(provider.flows(plan, browsers)?);
            }
        }
        Ok(figures)
    }
}
