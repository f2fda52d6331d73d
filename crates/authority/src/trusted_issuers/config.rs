//! `[[authority.trusted_issuers]]` of the configuration: whose assertions count, and for what.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use attorn_oauth::claim_rules::{ClaimRuleRefusal, ClaimRules};
use attorn_oauth::jwt_grant::GrantUse;
use attorn_oauth::resource::{IssuerUrl, ResourceIndicator};
use serde::{Deserialize, Serialize};

use crate::issuer_keys::IssuerClientError;

/// Somebody else whose JWTs are taken as grants (RFC 7523). Without any, there is no such grant.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// Its name, byte for byte the `iss` of its JWTs.
    pub issuer: String,
    /// What it is trusted for, and nothing else: `workload`, a platform whose workloads are agents, or
    /// `id_jag`, an identity provider that speaks for people.
    pub kind: GrantUse,
    /// File with its key set (JWKS), read again each minute. Relative to the file. Without this and
    /// `jwks_uri`, the key set is found by the issuer's discovery document.
    pub jwks_file: Option<PathBuf>,
    /// URL of its key set.
    pub jwks_uri: Option<String>,
    /// Hosts beside the issuer's own, as `host` or `host:port`, that are asked for keys wherever they
    /// are: on an address of a private network, on another port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// PEM file of the certificate authorities of those hosts, instead of the public ones. Relative to
    /// the file.
    pub roots: Option<PathBuf>,
    /// The longest life of its JWTs in seconds. A workload's: default 3600, at most 86400. An ID-JAG's:
    /// default 300, at most 3600.
    pub lifetime_max_s: Option<u64>,
    /// Whether a workload's JWT is used once. Where a platform gives the same one for a while, `false`:
    /// then it counts with the key that it came with first, and with no other. Default true.
    #[serde(default = "default_single_use")]
    pub single_use: bool,
    /// The one tenant of an identity provider that has several under one name, as `tenant` names it.
    pub tenant: Option<String>,
    /// What becomes of a person whose consent is not there, where an identity provider speaks for them:
    /// `person`, they are asked by Attorn first, or `issuer`, the provider's word is recorded as theirs
    /// unless it was taken back here. Default `person`.
    #[serde(default)]
    pub consent: ConsentBy,
    /// Which workloads are which agents: `agent`, and `claims` with the text each must be, or
    /// `{ prefix = "text/" }`. All claims of a rule must fit.
    #[serde(default)]
    pub agents: ClaimRules,
}

/// Who gives a consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentBy {
    /// The provider, for its people.
    Issuer,
    /// The person alone.
    #[default]
    Person,
}

/// Issuers that cannot be trusted as configured.
#[derive(Debug, thiserror::Error)]
pub enum TrustedIssuersRefusal {
    /// The client for its endpoints cannot be made.
    #[error("`{issuer}`: {source}")]
    Client {
        /// Whose.
        issuer: String,
        /// Why not.
        source: IssuerClientError,
    },
    /// The file with its keys cannot be used.
    #[error("`{issuer}`: `jwks_file` cannot be used: {why}")]
    File {
        /// Whose.
        issuer: String,
        /// Why not.
        why: String,
    },
    /// Something of one issuer contradicts the rest.
    #[error("`{issuer}`: {what}")]
    Issuer {
        /// Whose.
        issuer: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A rule fits more than it seems to.
    #[error("`{issuer}`: {source}")]
    Rules {
        /// Whose.
        issuer: String,
        /// What is wrong.
        source: ClaimRuleRefusal,
    },
}

impl TrustedIssuer {
    /// Takes its paths as relative to the folder of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for path in [&mut self.jwks_file, &mut self.roots].into_iter().flatten() {
            *path = folder.join(&path);
        }
    }

    /// The longest life of its assertions.
    pub(crate) fn lifetime_max_s(&self) -> u64 {
        self.lifetime_max_s.unwrap_or(match self.kind {
            GrantUse::IdJag => 300,
            GrantUse::Workload => 3600,
        })
    }

    fn verify(&self, own: &str) -> Result<(), TrustedIssuersRefusal> {
        let refuse =
            |what| Err(TrustedIssuersRefusal::Issuer { issuer: self.issuer.clone(), what });
        // Unlike ours, some names end with a slash.
        let is_url =
            |url: &str| IssuerUrl::parse(url).is_ok() || ResourceIndicator::parse(url).is_ok();
        if !is_url(&self.issuer) {
            return refuse("not a canonical https URL");
        }
        // draft-ietf-oauth-identity-assertion-authz-grant-04 section 8.3: nobody gives tokens for what
        // they said themselves.
        if self.issuer == own {
            return refuse("is this authority itself");
        }
        if self.jwks_file.is_some() && self.jwks_uri.is_some() {
            return refuse("has a `jwks_file` and a `jwks_uri`");
        }
        if self.jwks_uri.as_deref().is_some_and(|url| ResourceIndicator::parse(url).is_err()) {
            return refuse("`jwks_uri` is not a canonical https URL");
        }
        let lifetime_bound_s = match self.kind {
            GrantUse::IdJag => 3600,
            GrantUse::Workload => 86_400,
        };
        if !(1..=lifetime_bound_s).contains(&self.lifetime_max_s()) {
            return refuse("`lifetime_max_s` is out of bounds");
        }
        self.verify_kind()
    }

    /// What belongs to one kind does not stand at the other.
    fn verify_kind(&self) -> Result<(), TrustedIssuersRefusal> {
        let issuer = || self.issuer.clone();
        let what = match self.kind {
            GrantUse::Workload if self.agents.is_empty() => "has no rule under `agents`",
            GrantUse::Workload if self.tenant.is_some() => "`tenant` is for `id_jag`",
            GrantUse::Workload if self.consent != ConsentBy::Person => "`consent` is for `id_jag`",
            GrantUse::IdJag if !self.agents.is_empty() => "`agents` is for `workload`",
            GrantUse::IdJag if !self.single_use => "an ID-JAG is used once",
            GrantUse::IdJag if self.tenant.as_deref() == Some("") => "`tenant` is empty",
            GrantUse::IdJag | GrantUse::Workload => {
                let rules = self.agents.verify();
                let refused = |source| TrustedIssuersRefusal::Rules { issuer: issuer(), source };
                return rules.map_err(refused);
            }
        };
        Err(TrustedIssuersRefusal::Issuer { issuer: issuer(), what })
    }
}

/// Refuses what would let in more than is meant.
pub(crate) fn verify(issuers: &[TrustedIssuer], own: &str) -> Result<(), TrustedIssuersRefusal> {
    let mut names = BTreeSet::new();
    for trusted in issuers {
        trusted.verify(own)?;
        // One use for each: else what is made for one could be taken for the other.
        if !names.insert(trusted.issuer.as_str()) {
            let issuer = trusted.issuer.clone();
            return Err(TrustedIssuersRefusal::Issuer { issuer, what: "is there twice" });
        }
    }
    Ok(())
}

const fn default_single_use() -> bool {
    true
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
