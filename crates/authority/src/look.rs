//! A look at another issuer, once, by the client and the rules that an authority uses. Nothing is kept.
//!
//! *Not* checked: that the issuer signs with the keys that it shows, and that a provider takes us for
//! who we say we are. What a provider says of what it supports is told, and not believed.

use std::collections::BTreeSet;
use std::fmt;

use attorn_jose::Algorithm;
use attorn_oauth::issuer_metadata::{
    ISSUER_METADATA_BYTES_MAX, IssuerMetadataRefusal, jwks_uri_of, metadata_url_of,
};
use attorn_oauth::jwks::JwksRefusal;
use attorn_oauth::provider_metadata::MetadataRefusal;
use attorn_oauth::trusted_keys::{JWKS_BYTES_MAX, LeftOut, TrustedKeys};
use bytes::Bytes;

use crate::issuer_keys::{FetchRefusal, IssuerClient, IssuerClientError, is_usual};
use crate::people::{LoginConfig, LoginRefusal, Provider};
use crate::trusted_issuers::{TrustedIssuer, read_key_file};

/// What an issuer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenIssuer {
    /// The file or the URL of its keys.
    pub keys_at: String,
    /// How many keys count.
    pub keys: usize,
    /// What they sign with.
    pub algorithms: BTreeSet<&'static str>,
    /// What stops nothing by itself.
    pub findings: Vec<IssuerFinding>,
}

/// Something to know of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerFinding {
    /// A key that counts for nothing, and should.
    KeyLeftOut {
        /// Its name.
        kid: Option<String>,
        /// Why.
        why: String,
    },
    /// It says that it signs ID tokens with none of the algorithms that are configured.
    NoAlgorithm,
    /// It says that it takes another way of authentication than ours.
    NoAuthentication(&'static str),
    /// It does not say that it takes PKCE with `S256`, where that matters.
    NoS256,
}

/// Why the keys of an issuer cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LookRefusal {
    /// The client for its endpoints cannot be made.
    #[error("{0}")]
    Client(#[from] IssuerClientError),
    /// Its document.
    #[error("{url}: {why}")]
    Document {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: IssuerMetadataRefusal,
    },
    /// Something is not fetched.
    #[error("{url}: {why}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why.
        why: FetchRefusal,
    },
    /// The file with its keys.
    #[error("`jwks_file`: {0}")]
    File(String),
    /// Its key set.
    #[error("{url}: {why}")]
    Keys {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: JwksRefusal,
    },
    /// Our own part of the configuration, its files included.
    #[error("{0}")]
    Login(#[from] LoginRefusal),
    /// The document of a provider.
    #[error("{url}: {why}")]
    Provider {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: MetadataRefusal,
    },
}

/// Looks at an issuer of workloads or of ID-JAGs, where it is asked from.
///
/// # Errors
/// See [`LookRefusal`].
pub async fn look_at_issuer(config: &TrustedIssuer) -> Result<SeenIssuer, LookRefusal> {
    if let Some(path) = &config.jwks_file {
        let (keys, left_out) = read_key_file(path).map_err(LookRefusal::File)?;
        return Ok(SeenIssuer::of(path.display().to_string(), &keys, left_out));
    }
    let client = IssuerClient::new(&config.issuer, &config.hosts, config.roots.as_deref())?;
    let url = if let Some(url) = &config.jwks_uri {
        url.clone()
    } else {
        let url = metadata_url_of(&config.issuer);
        let document = fetched(&client, &url, ISSUER_METADATA_BYTES_MAX).await?;
        jwks_uri_of(&document, &config.issuer).map_err(|why| LookRefusal::Document { url, why })?
    };
    keys_at(&client, url, &Algorithm::OF_ISSUERS).await
}

/// Looks at the provider at which people log in, and at what we need for it.
///
/// # Errors
/// See [`LookRefusal`].
pub async fn look_at_provider(config: &LoginConfig) -> Result<SeenIssuer, LookRefusal> {
    Provider::new(config.clone())?.look().await
}

/// A document of an issuer.
pub(crate) async fn fetched(
    client: &IssuerClient,
    url: &str,
    bytes_max: usize,
) -> Result<Bytes, LookRefusal> {
    let document = client.document(url, bytes_max).await;
    document.map_err(|why| LookRefusal::Fetch { url: url.to_owned(), why })
}

/// The keys of an issuer.
pub(crate) async fn keys_at(
    client: &IssuerClient,
    url: String,
    algorithms: &[Algorithm],
) -> Result<SeenIssuer, LookRefusal> {
    let document = fetched(client, &url, JWKS_BYTES_MAX).await?;
    match TrustedKeys::parse(&document, algorithms) {
        Ok((keys, left_out)) => Ok(SeenIssuer::of(url, &keys, left_out)),
        Err(why) => Err(LookRefusal::Keys { url, why }),
    }
}

impl SeenIssuer {
    fn of(keys_at: String, keys: &TrustedKeys, left_out: Vec<LeftOut>) -> Self {
        let findings = left_out
            .into_iter()
            .filter(|one| !is_usual(&one.why))
            .map(|LeftOut { kid, why }| IssuerFinding::KeyLeftOut { kid, why: why.to_string() });
        Self {
            keys_at,
            keys: keys.len(),
            algorithms: keys.algorithms().map(Algorithm::name).collect(),
            findings: findings.collect(),
        }
    }
}

impl fmt::Display for IssuerFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyLeftOut { kid: Some(kid), why } => {
                write!(f, "its key `{kid}` counts for nothing: {why}")
            }
            Self::KeyLeftOut { kid: None, why } => {
                write!(f, "a key of it without a name counts for nothing: {why}")
            }
            Self::NoAlgorithm => {
                f.write_str("it says that it signs ID tokens with none of our `algorithms`")
            }
            Self::NoAuthentication(ours) => write!(f, "it does not say that it takes `{ours}`"),
            Self::NoS256 => f.write_str("it does not say that it takes PKCE with `S256`"),
        }
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
