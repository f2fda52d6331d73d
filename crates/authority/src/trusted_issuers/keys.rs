//! Where the keys of a trusted issuer come from: a file, a URL, or what the issuer says of itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use attorn_jose::{Algorithm, Compact, PublicKey, Verified};
use attorn_oauth::issuer_metadata::{
    ISSUER_METADATA_BYTES_MAX, IssuerMetadataRefusal, jwks_uri_of, metadata_url_of,
};
use attorn_oauth::jwt_grant::JwtGrantRefusal;
use attorn_oauth::trusted_keys::{JWKS_BYTES_MAX, LeftOut, NoKey, TrustedKeys};

use super::config::{TrustedIssuer, TrustedIssuersRefusal};
use crate::issuer_keys::{FetchRefusal, IssuerClient, IssuerKeys, SignatureRefusal};

/// Where keys come from.
#[derive(Debug)]
pub(super) enum KeySource {
    Discovery(Discovery),
    File(KeyFile),
    Url { url: String, keys: IssuerKeys },
}

/// An issuer that says itself where its keys are.
#[derive(Debug)]
pub(super) struct Discovery {
    issuer: String,
    client: Arc<IssuerClient>,
    keys: IssuerKeys,
    found: Mutex<Found>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Found {
    /// The URL, and when it was told.
    url: Option<(String, u64)>,
    /// When the issuer was asked last, whatever it said.
    asked_s: Option<u64>,
}

/// Keys in a file that somebody keeps fresh.
#[derive(Debug)]
pub(super) struct KeyFile {
    issuer: String,
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    keys: TrustedKeys,
    looked_s: u64,
}

/// Why an issuer does not say where its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum DiscoveryRefusal {
    #[error(transparent)]
    Document(#[from] IssuerMetadataRefusal),
    #[error(transparent)]
    Fetch(#[from] FetchRefusal),
}

impl KeySource {
    pub(super) fn new(config: &TrustedIssuer, now_s: u64) -> Result<Self, TrustedIssuersRefusal> {
        if let Some(path) = &config.jwks_file {
            return KeyFile::open(&config.issuer, path, now_s).map(Self::File);
        }
        let client = IssuerClient::new(&config.issuer, &config.hosts, config.roots.as_deref());
        let client = client.map_err(|source| TrustedIssuersRefusal::Client {
            issuer: config.issuer.clone(),
            source,
        })?;
        let client = Arc::new(client);
        let keys = IssuerKeys::new(Arc::clone(&client), &Algorithm::OF_ISSUERS);
        Ok(match &config.jwks_uri {
            Some(url) => Self::Url { url: url.clone(), keys },
            None => Self::Discovery(Discovery {
                issuer: config.issuer.clone(),
                client,
                keys,
                found: Mutex::default(),
                asking: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Verifies the signature of a JWS under the key that it names.
    pub(super) async fn verify<'t>(
        &self,
        jws: Compact<'t>,
        now_s: u64,
    ) -> Result<Verified<'t>, JwtGrantRefusal> {
        let verified = match self {
            Self::File(file) => return file.verify(jws, now_s),
            Self::Url { url, keys } => keys.verify(url, jws, now_s).await,
            Self::Discovery(discovery) => {
                let url = discovery.url(now_s).await.ok_or(JwtGrantRefusal::KeysUnavailable)?;
                discovery.keys.verify(&url, jws, now_s).await
            }
        };
        verified.map_err(|refusal| match refusal {
            SignatureRefusal::Key(NoKey::Unknown | NoKey::Unnamed) => JwtGrantRefusal::KeyUnknown,
            SignatureRefusal::Signature => JwtGrantRefusal::Signature,
            SignatureRefusal::Unavailable => JwtGrantRefusal::KeysUnavailable,
        })
    }
}

impl Discovery {
    /// Where the keys are: as told within the hour, or before where the issuer does not answer.
    async fn url(&self, now_s: u64) -> Option<String> {
        if let Some(url) = self.told_within(KEEP_S, now_s) {
            return Some(url);
        }
        let _alone = self.asking.lock().await;
        if let Some(url) = self.told_within(KEEP_S, now_s) {
            return Some(url);
        }
        let asked_s = self.found().asked_s;
        if asked_s.and_then(|asked_s| now_s.checked_sub(asked_s)).is_none_or(|age| age >= RETRY_S) {
            // Before the question: one that is given up half-way was asked all the same.
            self.locked().asked_s = Some(now_s);
            match self.ask().await {
                Ok(url) => self.locked().url = Some((url, now_s)),
                Err(error) => {
                    tracing::warn!(issuer = %self.issuer, %error, "an issuer does not say where its keys are");
                }
            }
        }
        self.told_within(STALE_MAX_S, now_s)
    }

    async fn ask(&self) -> Result<String, DiscoveryRefusal> {
        let url = metadata_url_of(&self.issuer);
        let document = self.client.document(&url, ISSUER_METADATA_BYTES_MAX).await?;
        Ok(jwks_uri_of(&document, &self.issuer)?)
    }

    fn told_within(&self, age_max_s: u64, now_s: u64) -> Option<String> {
        let (url, told_s) = self.found().url?;
        now_s.checked_sub(told_s).is_some_and(|age_s| age_s < age_max_s).then_some(url)
    }

    fn found(&self) -> Found {
        self.locked().clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyFile {
    /// Reads the file. One that cannot be used now is a mistake that somebody is there to mend.
    fn open(issuer: &str, path: &Path, now_s: u64) -> Result<Self, TrustedIssuersRefusal> {
        let keys = load(issuer, path)
            .map_err(|why| TrustedIssuersRefusal::File { issuer: issuer.to_owned(), why })?;
        let read = Mutex::new(Read { keys, looked_s: now_s });
        Ok(Self { issuer: issuer.to_owned(), path: path.to_owned(), read })
    }

    fn verify<'t>(&self, jws: Compact<'t>, now_s: u64) -> Result<Verified<'t>, JwtGrantRefusal> {
        let key = self.key_of(&jws, now_s)?;
        jws.verify(&key).map_err(|_| JwtGrantRefusal::Signature)
    }

    fn key_of(&self, jws: &Compact<'_>, now_s: u64) -> Result<PublicKey, JwtGrantRefusal> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if now_s.abs_diff(read.looked_s) >= LOOK_S {
            read.looked_s = now_s;
            match load(&self.issuer, &self.path) {
                Ok(keys) => read.keys = keys,
                // Half a file counts for nothing, and the keys of before are still the issuer's.
                Err(why) => {
                    tracing::warn!(issuer = %self.issuer, why, "a file with keys is not read again");
                }
            }
        }
        read.keys.find(jws.header()).cloned().map_err(|_| JwtGrantRefusal::KeyUnknown)
    }
}

fn load(issuer: &str, path: &Path) -> Result<TrustedKeys, String> {
    let (keys, left_out) = read_key_file(path)?;
    for LeftOut { kid, why } in left_out {
        tracing::warn!(issuer, ?kid, %why, "a key of an issuer is left out");
    }
    Ok(keys)
}

/// The keys of a file, and those that count for nothing.
pub(crate) fn read_key_file(path: &Path) -> Result<(TrustedKeys, Vec<LeftOut>), String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if usize::try_from(length).map_or(true, |length| length > JWKS_BYTES_MAX) {
        return Err("it is too large".to_owned());
    }
    let document = std::fs::read(path).map_err(|error| error.to_string())?;
    TrustedKeys::parse(&document, &Algorithm::OF_ISSUERS).map_err(|error| error.to_string())
}

/// An issuer moves its keys rarely.
const KEEP_S: u64 = 3600;
/// Where it does not answer, they are where they were that long.
const STALE_MAX_S: u64 = 24 * 3600;
/// Between two questions while the issuer does not answer.
const RETRY_S: u64 = 5;
/// Between two looks at a file.
const LOOK_S: u64 = 60;

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
