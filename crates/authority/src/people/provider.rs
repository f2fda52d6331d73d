//! The OpenID Connect provider at which people log in.
//!
//! File to open first: `begin.rs`, then `callback.rs`.
//!
//! Implemented: the code flow of OpenID Connect Core 1.0 section 3.1 with RFC 7636 and RFC 9207, discovery
//! (OpenID Connect Discovery 1.0 section 4), `private_key_jwt`, `client_secret_basic` and `none`.
//! Not implemented: several providers, `UserInfo`, log-out at the provider, encrypted ID tokens, request
//! objects, pushed requests.

mod begin;
mod callback;
mod look;
mod redeem;
mod who;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use attorn_jose::SigningKey;
use attorn_net::Random;
use attorn_oauth::id_token::IdTokenRefusal;
use attorn_oauth::provider_metadata::{
    PROVIDER_METADATA_BYTES_MAX, ProviderIssuer, ProviderMetadata,
};
use attorn_registry::{Provided, ReasonCode};
use zeroize::Zeroizing;

pub(crate) use begin::begin;
pub(crate) use callback::callback;

use super::login_config::{LoginConfig, LoginRefusal};
use super::waiting::Held;
use crate::issuer_keys::{IssuerClient, IssuerKeys};

/// The provider, and the log-ins that are under way there.
#[derive(Debug)]
pub(crate) struct Provider {
    config: LoginConfig,
    issuer: ProviderIssuer,
    client: Arc<IssuerClient>,
    keys: IssuerKeys,
    credential: Credential,
    metadata: Mutex<Kept>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
    /// By the digest of their `state`.
    started: Held<Started>,
}

/// How the authority authenticates at the provider.
enum Credential {
    /// `private_key_jwt`: RFC 7523 section 2.2.
    Key(SigningKey),
    /// A public client: PKCE alone.
    None,
    /// `client_secret_basic`: RFC 6749 section 2.3.1.
    Secret(Zeroizing<String>),
}

#[derive(Debug, Default)]
struct Kept {
    metadata: Option<(Arc<ProviderMetadata>, u64)>,
    asked_s: Option<u64>,
}

/// A log-in that is under way at the provider.
#[derive(Clone)]
struct Started {
    /// SHA-256 of the name of the browser that began it. No other one ends it.
    browser: [u8; 32],
    /// The request that waits for the person, by its name, where one does.
    waiting: String,
    nonce: String,
    verifier: String,
    /// Where the person has to show anew who they are: when we asked.
    asked_s: Option<u64>,
}

/// Why nobody is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    /// The provider does not take the code, or answers without a token.
    Code,
    /// The provider says so, by an error of RFC 6749 section 4.1.2.1 or OpenID Connect Core 1.0
    /// section 3.1.2.6.
    Denied(String),
    /// The answer is not of this provider: RFC 9207 section 2.4.
    Issuer,
    /// The person is stopped.
    PersonStopped,
    /// Nobody here is linked to who logged in.
    PersonUnknown,
    /// The answer is of no log-in of this browser, or came twice, or too late.
    State,
    /// The ID token does not hold: which claim.
    Token(&'static str),
    /// The provider does not answer, or not as a provider does.
    Unavailable,
    /// Ours: the journal or the registry.
    Failed,
}

impl Refused {
    fn reason(&self) -> ReasonCode {
        match self {
            Self::Code => ReasonCode::LoginCode,
            Self::Denied(_) => ReasonCode::LoginDenied,
            Self::Issuer => ReasonCode::LoginIssuer,
            Self::PersonStopped => ReasonCode::LoginFailed,
            Self::PersonUnknown => ReasonCode::LoginPersonUnknown,
            Self::State => ReasonCode::LoginState,
            Self::Token(_) => ReasonCode::LoginToken,
            Self::Unavailable => ReasonCode::LoginProviderUnavailable,
            Self::Failed => ReasonCode::JournalUnavailable,
        }
    }

    /// What the journal says beside the reason.
    fn detail(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Denied(error) => Some(("error", error)),
            Self::Token(check) => Some(("check", check)),
            Self::Code
            | Self::Failed
            | Self::Issuer
            | Self::PersonStopped
            | Self::PersonUnknown
            | Self::State
            | Self::Unavailable => None,
        }
    }
}

impl From<IdTokenRefusal> for Refused {
    fn from(refusal: IdTokenRefusal) -> Self {
        Self::Token(refusal.check())
    }
}

impl Provider {
    pub(crate) fn new(config: LoginConfig) -> Result<Self, LoginRefusal> {
        config.verify()?;
        let issuer = ProviderIssuer::parse(&config.issuer)?;
        let credential = match (&config.client_key, &config.client_secret) {
            (Some(path), _) => {
                Credential::Key(SigningKey::from_pkcs8_pem(&private_file("client_key", path)?)?)
            }
            (None, Some(path)) => {
                let secret = private_file("client_secret", path)?;
                let secret = Zeroizing::new(secret.trim_end().to_owned());
                if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(LoginRefusal::Text("client_secret"));
                }
                Credential::Secret(secret)
            }
            (None, None) => Credential::None,
        };
        let roots = config.provider_roots.as_deref();
        let client = IssuerClient::new(&config.issuer, &config.provider_hosts, roots)?;
        let client = Arc::new(client);
        Ok(Self {
            keys: IssuerKeys::new(Arc::clone(&client), &config.algorithms()?),
            issuer,
            client,
            credential,
            metadata: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            started: Held::new(STARTED_MAX, |_| false),
            config,
        })
    }

    /// What people call it.
    pub(crate) fn display_name(&self) -> &str {
        &self.config.display_name
    }

    /// Whether people may log in by name and password as well.
    pub(crate) const fn allows_passwords(&self) -> bool {
        self.config.passwords
    }

    /// What the provider says of itself, as it is or was lately.
    async fn metadata(&self, now_s: u64) -> Result<Arc<ProviderMetadata>, Refused> {
        if let Some(kept) = self.kept(KEEP_S, now_s) {
            return Ok(kept);
        }
        let _alone = self.asking.lock().await;
        // Whoever was before us may have asked.
        if let Some(kept) = self.kept(KEEP_S, now_s) {
            return Ok(kept);
        }
        if self.was_asked_before(RETRY_S, now_s) {
            self.ask(now_s).await;
        }
        self.kept(STALE_MAX_S, now_s).ok_or(Refused::Unavailable)
    }

    async fn ask(&self, now_s: u64) {
        self.locked().asked_s = Some(now_s);
        let url = self.issuer.metadata_url();
        let document = match self.client.document(&url, PROVIDER_METADATA_BYTES_MAX).await {
            Ok(document) => document,
            Err(error) => return tracing::warn!(url, %error, "the provider is not read"),
        };
        match ProviderMetadata::parse(&document, &self.issuer) {
            Ok(metadata) => self.locked().metadata = Some((Arc::new(metadata), now_s)),
            Err(error) => tracing::warn!(url, %error, "the provider is not usable"),
        }
    }

    fn kept(&self, age_max_s: u64, now_s: u64) -> Option<Arc<ProviderMetadata>> {
        let kept = self.locked();
        let (metadata, asked_s) = kept.metadata.as_ref()?;
        let age_s = now_s.checked_sub(*asked_s)?;
        (age_s < age_max_s).then(|| Arc::clone(metadata))
    }

    fn was_asked_before(&self, pause_s: u64, now_s: u64) -> bool {
        let asked_s = self.locked().asked_s;
        let age_s = asked_s.and_then(|asked_s| now_s.checked_sub(asked_s));
        age_s.is_none_or(|age_s| age_s >= pause_s)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the groups of a person at the provider give them here. `None` if none of them is named.
    fn provided(&self, groups: &[String]) -> Option<Provided> {
        let (roles, of_groups) = (&self.config.roles, &self.config.groups);
        let is_named =
            |group: &&String| roles.contains_key(*group) || of_groups.contains_key(*group);
        let named: BTreeSet<&String> = groups.iter().filter(is_named).collect();
        let roles = named.iter().filter_map(|group| roles.get(*group)).flatten().copied();
        let groups = named.iter().filter_map(|group| of_groups.get(*group)).flatten().cloned();
        let provided = Provided { roles: roles.collect(), groups: groups.collect() };
        (!named.is_empty()).then_some(provided)
    }
}

impl Started {
    fn new(random: &Random, browser: [u8; 32], waiting: String, asked_s: Option<u64>) -> Self {
        let text = || attorn_jose::base64url(&random.bytes::<32>());
        Self { browser, waiting, nonce: text(), verifier: text(), asked_s }
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Started([redacted])")
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential([redacted])")
    }
}

/// Reads a file that holds a secret, if nobody else can.
fn private_file(setting: &'static str, path: &Path) -> Result<Zeroizing<String>, LoginRefusal> {
    use std::os::unix::fs::PermissionsExt as _;

    let refused = |source| LoginRefusal::File { setting, source };
    let facts = std::fs::metadata(path).map_err(refused)?;
    if facts.permissions().mode() & 0o077 != 0 {
        let others = std::io::ErrorKind::PermissionDenied;
        return Err(refused(std::io::Error::new(others, "others can read it; chmod 600")));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(refused)
}

/// Endpoints of a provider change about never.
const KEEP_S: u64 = 600;
/// Where it does not answer, what it said within the last hour counts.
const STALE_MAX_S: u64 = 3600;
/// Between two questions while it does not answer.
const RETRY_S: u64 = 5;
/// As long as a person may take at the provider.
const STARTED_S: u64 = 600;
const STARTED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use attorn_registry::{Name, Role};

    use super::*;

    fn provider() -> Provider {
        let config = serde_json::json!({
            "issuer": "https://id.example", "display_name": "Example", "client_id": "attorn",
            "roles": {"it": ["operator", "viewer"], "audit": ["auditor"]},
            "groups": {"fin-eu": ["finance"], "it": ["platform"]},
        });
        Provider::new(serde_json::from_value(config).unwrap()).unwrap()
    }

    #[test]
    fn groups_give_what_the_operator_wrote_and_nothing_else() {
        let provider = provider();
        let given = |groups: &[&str]| {
            let groups: Vec<_> = groups.iter().map(|group| (*group).to_owned()).collect();
            provider.provided(&groups)
        };
        assert_eq!(given(&[]), None);
        assert_eq!(given(&["admin", "IT", "it ", "operator"]), None);
        let it = given(&["it", "it", "other"]).unwrap();
        assert_eq!(it.roles, BTreeSet::from([Role::Operator, Role::Viewer]));
        assert_eq!(it.groups, BTreeSet::from([Name::parse("platform").unwrap()]));
        let both = given(&["audit", "fin-eu"]).unwrap();
        assert_eq!(both.roles, BTreeSet::from([Role::Auditor]));
        assert_eq!(both.groups, BTreeSet::from([Name::parse("finance").unwrap()]));
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let path = std::env::temp_dir().join(format!("attorn-secret-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            private_file("client_secret", &path).map(|text| text.to_string())
        };
        assert!(matches!(mode(0o640), Err(LoginRefusal::File { .. })));
        assert_eq!(mode(0o600).unwrap(), "s3cret\n");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(private_file("client_secret", &path), Err(LoginRefusal::File { .. })));
    }
}
