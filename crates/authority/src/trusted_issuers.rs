//! The other issuers whose assertions are taken as grants, and their keys.
//!
//! A key counts for the issuer whose set it is in and for no other: which set is asked is decided by
//! the `iss` that the assertion claims, and what was verified must say the same.

mod config;
mod keys;

use attorn_jose::Verified;
use attorn_oauth::jwt_grant::{Assertion, GrantUse, JwtGrantRefusal};

pub(crate) use config::verify;
pub use config::{ConsentBy, TrustedIssuer, TrustedIssuersRefusal};
use keys::KeySource;
pub(crate) use keys::read_key_file;

/// Every issuer that is trusted.
#[derive(Debug, Default)]
pub(crate) struct TrustedIssuers(Vec<Trusted>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) config: TrustedIssuer,
    keys: KeySource,
}

impl TrustedIssuers {
    /// Takes the issuers of a configuration. Key sets in files are read now.
    pub(crate) fn new(
        issuers: &[TrustedIssuer],
        own: &str,
        now_s: u64,
    ) -> Result<Self, TrustedIssuersRefusal> {
        verify(issuers, own)?;
        let trusted = issuers.iter().map(|config| {
            Ok(Trusted { keys: KeySource::new(config, now_s)?, config: config.clone() })
        });
        trusted.collect::<Result<_, _>>().map(Self)
    }

    /// Whether nobody is trusted.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What each is trusted for.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = GrantUse> {
        self.0.iter().map(|trusted| trusted.config.kind)
    }

    /// The issuer that an assertion claims to be from, if it is trusted for that kind.
    pub(crate) fn of(&self, assertion: &Assertion<'_>) -> Result<&Trusted, JwtGrantRefusal> {
        let kind = assertion.kind()?;
        let mut trusted = self.0.iter().filter(|trusted| trusted.config.kind == kind);
        // RFC 7523 section 3, item 1, compared byte by byte.
        let found = trusted.find(|trusted| trusted.config.issuer == assertion.issuer());
        found.ok_or(JwtGrantRefusal::Issuer)
    }
}

impl Trusted {
    /// Verifies the signature of an assertion under the keys of this issuer.
    pub(crate) async fn verify<'t>(
        &self,
        assertion: Assertion<'t>,
        now_s: u64,
    ) -> Result<Verified<'t>, JwtGrantRefusal> {
        self.keys.verify(assertion.into_jws(), now_s).await
    }
}
