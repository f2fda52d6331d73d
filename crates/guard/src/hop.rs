//! What the policies say of a request: the same question as when its token was exchanged, asked of
//! those that are in force here now.

use attorn_oauth::access_token::AccessTokenClaims;
use attorn_policy::{Approved, HopPermit, HopRequest, decide_hop};
use attorn_registry::{Ancestor, ReasonCode, Resource, ScopeSet, ServerId};

use crate::access::Access;
use crate::refusal::DecisionRefusal;

impl Access {
    /// Asks about everything that the API could take the request for, and notes what is said.
    pub(crate) fn ask_policies(
        &mut self,
        (claims, parent): (&AccessTokenClaims<ServerId>, &Ancestor),
        api: &Resource,
        needed: &ScopeSet,
    ) -> Result<HopPermit, DecisionRefusal> {
        let (snapshot, entry) = (&self.view.snapshot, &mut self.entry);
        // A text that does not compile permits nothing.
        let policies = self.view.policies.as_deref();
        let policies = policies.ok_or(DecisionRefusal::Policy(ReasonCode::PolicyError))?;
        let server = snapshot.server(&claims.client_id);
        let server = server.ok_or(DecisionRefusal::Standing(ReasonCode::ServerUnknown))?;
        entry.policy_version = Some(policies.version().to_string());
        // The token says that a person approved the call that it is for, and the exchange knew how.
        let approved =
            if claims.attorn_approval.is_some() { Approved::Named } else { Approved::No };
        let request = HopRequest {
            snapshot,
            policies,
            server,
            agent: &parent.client_id,
            person: claims.sub.person(),
            api,
            approved,
            now_s: self.now_s,
        };
        match decide_hop(&request, needed).whole() {
            Ok(permit) => {
                let rules: Vec<&str> = permit.rules().collect();
                entry.rule = rules.first().map(|first| (*first).to_owned());
                if rules.len() > 1 {
                    entry.detail.insert("rules".to_owned(), rules.join(", "));
                }
                Ok(permit)
            }
            Err(denial) => {
                entry.rule = denial.rule;
                Err(DecisionRefusal::Policy(denial.reason))
            }
        }
    }
}
