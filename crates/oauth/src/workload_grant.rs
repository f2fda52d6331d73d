//! The JWT of a platform's workload as a grant: RFC 7523 section 2.1, for one agent.
//!
//! A platform (Kubernetes, a build service, a cloud) tells who a piece of software is. Whoever trusts
//! the platform for it needs no key of that software. Implemented: claims that name one agent by rule,
//! `aud` the issuer or the token endpoint, a bounded life.
//!
//! Such a JWT is a bearer credential, and some platforms give the same one for an hour. So it is either
//! used once, or with one key until its end. Which of them is configured, and the edge remembers it.

use attorn_jose::{Jkt, Verified};
use attorn_registry::{Agent, Authentication, Name, ReasonCode};
use serde::Deserialize;

use crate::claim::{Text, is_identifier, present};
use crate::claim_rules::ClaimRules;
use crate::client_assertion::AuthenticatedClient;
use crate::jwt_grant::{
    AudienceClaim, GrantUse, JwtGrantRefusal, LIMITS, Times, is_subject, kind_of, single_use,
};

/// What the JWT of a workload must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer whose key it was, and whose rules these are.
    pub issuer: &'a str,
    /// The issuer identifier of this authorization server, from configuration.
    pub audience: &'a str,
    /// The URL of the token endpoint, from configuration.
    pub token_endpoint: &'a str,
    /// Which workload is which agent.
    pub rules: &'a ClaimRules,
    /// The longest life, in seconds.
    pub lifetime_max_s: u64,
}

/// A workload that its platform vouched for just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedWorkload {
    // Invariant: the signature, the audience and the times held, and the rules name one agent.
    agent: Name,
    issuer: String,
    subject: String,
    jti: Option<String>,
    single_use: [u8; 32],
    expires_s: u64,
    key: Jkt,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow)]
    aud: AudienceClaim<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    jti: Option<Text<'a>>,
    exp: u64,
    iat: u64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
}

/// Judges what the JWT of a workload says, which its signature holds for under a key of `issuer`.
/// Nothing is used up by it.
///
/// # Errors
/// [`JwtGrantRefusal`], the first that applies.
pub fn verify(
    verified: &Verified<'_>,
    expected: &Expected<'_>,
    now_s: u64,
) -> Result<VerifiedWorkload, JwtGrantRefusal> {
    if kind_of(verified.header())? != GrantUse::Workload {
        return Err(JwtGrantRefusal::Issuer);
    }
    let document = verified.claims(&LIMITS).map_err(|_| JwtGrantRefusal::Claims)?;
    let wire: Wire<'_> = document.to().map_err(|_| JwtGrantRefusal::Claims)?;
    // RFC 8725 section 3.8: the key is this issuer's, so nobody else may stand in `iss`.
    if !wire.iss.is(expected.issuer) {
        return Err(JwtGrantRefusal::Issuer);
    }
    wire.aud.verify(&[expected.audience, expected.token_endpoint])?;
    let times = Times { exp: wire.exp, iat: wire.iat, nbf: wire.nbf };
    times.verify(expected.lifetime_max_s, now_s)?;
    if !is_subject(&wire.sub.0) {
        return Err(JwtGrantRefusal::Claims);
    }
    // RFC 7523 section 3, item 7: it may be absent, and is a name where it is not.
    if wire.jti.as_ref().is_some_and(|jti| !is_identifier(&jti.0)) {
        return Err(JwtGrantRefusal::Jti);
    }
    let agent = expected.rules.agent_of(document.value())?.clone();
    let jti = wire.jti.map(|jti| jti.0.into_owned());
    Ok(VerifiedWorkload {
        agent,
        issuer: expected.issuer.to_owned(),
        subject: wire.sub.0.into_owned(),
        single_use: single_use(verified, expected.issuer, jti.as_deref()),
        jti,
        expires_s: wire.exp,
        key: verified.key(),
    })
}

impl VerifiedWorkload {
    /// The client that it stands for: the agent of its rule, where that is registered for workloads of
    /// this platform. An agent has one way in, so that no weaker one is open beside it.
    ///
    /// # Errors
    /// [`JwtGrantRefusal::Standing`]: another agent, or one that is registered otherwise.
    pub fn client(&self, agent: &Agent) -> Result<AuthenticatedClient, JwtGrantRefusal> {
        let is_registered = match &agent.authentication {
            Authentication::Workload { issuer } => *issuer == self.issuer,
            Authentication::None
            | Authentication::PrivateKeyJwt
            | Authentication::SelfSignedTlsClientAuth { .. }
            | Authentication::Spiffe { .. }
            | Authentication::TlsClientAuth { .. } => false,
        };
        if is_registered && agent.name == self.agent {
            Ok(AuthenticatedClient::vouched_for(agent.id.clone(), self.key))
        } else {
            Err(JwtGrantRefusal::Standing(ReasonCode::ClientAuthentication))
        }
    }

    /// The agent that it is.
    #[must_use]
    pub const fn agent(&self) -> &Name {
        &self.agent
    }

    /// Who it is at its platform, for the log.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its identifier, for the log.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// What is remembered when it is used.
    #[must_use]
    pub const fn single_use(&self) -> &[u8; 32] {
        &self.single_use
    }

    /// Until when it is remembered: it counts for nobody afterwards.
    #[must_use]
    pub const fn expires_s(&self) -> u64 {
        self.expires_s
    }

    /// The key of the platform that vouched for it.
    #[must_use]
    pub const fn key(&self) -> Jkt {
        self.key
    }
}

#[cfg(test)]
#[path = "workload_grant_tests.rs"]
mod tests;
