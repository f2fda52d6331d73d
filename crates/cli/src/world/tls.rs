//! The TLS of the listeners: read at the start, and again when a file changes or on SIGHUP.
//!
//! A reload is all or nothing: every file is read and understood before anything is replaced. What
//! cannot be used changes nothing and is recorded.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use attorn_audit::{Entry, Kind};
use attorn_authority::TrustDomains;
use attorn_jose::PublicKey;
use attorn_journal::{Durability, Journal};
use attorn_net::{Anchors, Shutdown, Tls, TlsMaterial, certificates_of_pem, life_end_s, read_pem};
use attorn_oauth::metadata::ClientMethods;
use attorn_oauth::mtls::{CLIENT_CA, trust_domain_anchor};
use attorn_oauth::spiffe_bundle::SpiffeBundle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::clock;
use crate::config::{self, ClientAuth};
use crate::exit::Failure;
use crate::outside::causes;

/// What the files of `[tls]` hold.
struct Read {
    material: TlsMaterial,
    domains: HashMap<String, HashMap<String, PublicKey>>,
}

/// The TLS of this process, if it has one.
#[derive(Debug)]
pub(super) struct ProcessTls {
    files: Option<config::Tls>,
    listeners: Vec<Tls>,
    pub(super) trust_domains: TrustDomains,
    seen: Stamps,
}

type Stamps = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

impl ProcessTls {
    pub(super) fn new(files: Option<&config::Tls>) -> Self {
        Self {
            files: files.cloned(),
            listeners: Vec::new(),
            trust_domains: TrustDomains::default(),
            seen: files.map(stamps).unwrap_or_default(),
        }
    }

    /// The TLS of one more listener. Each has its own, so that no session moves between them.
    pub(super) fn listener(&mut self) -> Result<Option<Tls>, Failure> {
        let Some(files) = &self.files else { return Ok(None) };
        let wrong = |what: String| Failure::usage(what).next("see [tls] in attorn.toml");
        let Read { material, domains } = read(files).map_err(wrong)?;
        let tls = Tls::new(&material).map_err(|e| wrong(causes(&e)))?;
        self.trust_domains.replace(domains);
        self.listeners.push(tls.clone());
        Ok(Some(tls))
    }

    /// How clients may authenticate.
    pub(super) fn methods(&self) -> ClientMethods {
        let files = self.files.as_ref();
        ClientMethods {
            certificates: files.is_some_and(|tls| tls.client_auth == ClientAuth::Optional),
            spiffe: files.is_some_and(|tls| !tls.spiffe.is_empty()),
        }
    }

    /// Looks at the files again and again until `shutdown`.
    pub(super) async fn follow(mut self, journal: Journal, shutdown: Shutdown) {
        let Some(files) = self.files.clone() else { return };
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be listened for: certificates are not read again");
            return;
        };
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                () = shutdown.started() => return,
                _ = hangup.recv() => true,
                _ = tick.tick() => false,
            };
            let now = stamps(&files);
            if std::mem::replace(&mut self.seen, now) != self.seen || asked {
                self.reload(&files, &journal).await;
            }
        }
    }

    async fn reload(&self, files: &config::Tls, journal: &Journal) {
        let replaced = read(files).and_then(|Read { material, domains }| {
            // What no client accepts does not take the place of what serves.
            if life_end_s(&material.certificates_pem).is_some_and(|end_s| end_s < clock::now_s()) {
                return Err("the certificate's life is over".to_owned());
            }
            // Understood once, so that no listener is left behind the others.
            Tls::new(&material).map_err(|e| causes(&e))?;
            for tls in &self.listeners {
                tls.replace(&material).map_err(|e| causes(&e))?;
            }
            self.trust_domains.replace(domains);
            Ok(())
        });
        let mut entry = match replaced {
            Ok(()) => {
                tracing::info!("certificates and trust were read again");
                Entry::new(Kind::TlsReloaded, clock::now_ms())
            }
            Err(what) => {
                tracing::error!(%what, "certificates and trust stay as they were");
                let mut entry = Entry::new(Kind::TlsReloadRefused, clock::now_ms());
                entry.detail.insert("error".to_owned(), what);
                entry
            }
        };
        entry.role = Some("node".to_owned());
        if let Err(error) = journal.append(entry.to_canonical(), Durability::Written).await {
            tracing::error!(%error, "a reload could not be recorded");
        }
    }
}

fn read(files: &config::Tls) -> Result<Read, String> {
    let text = |path: &Path| read_pem(path).map_err(|e| causes(&e));
    let mut anchors = Vec::new();
    if let Some(path) = &files.client_ca {
        let authorities = certificates_of_pem(&text(path)?)
            .map_err(|e| format!("`{}`: {}", path.display(), causes(&e)))?;
        let revoked_pem = files.client_revoked.as_deref().map(text).transpose()?;
        anchors.push(Anchors { name: CLIENT_CA.to_owned(), authorities, revoked_pem });
    }
    let mut domains = HashMap::new();
    for domain in &files.spiffe {
        let bundle = SpiffeBundle::parse(&text(&domain.bundle)?)
            .map_err(|e| format!("`{}`: {e}", domain.bundle.display()))?;
        anchors.push(Anchors {
            name: trust_domain_anchor(&domain.trust_domain),
            authorities: bundle.x509_authorities,
            revoked_pem: None,
        });
        domains.insert(domain.trust_domain.clone(), bundle.jwt_keys);
    }
    let material = TlsMaterial {
        certificates_pem: text(&files.certificates)?,
        key_pem: Zeroizing::new(text(&files.key)?),
        clients: match files.client_auth {
            ClientAuth::None => None,
            ClientAuth::Optional => Some(anchors),
        },
    };
    Ok(Read { material, domains })
}

/// When each file was changed, and its length: enough to see that one was replaced.
fn stamps(files: &config::Tls) -> Stamps {
    let more = [files.client_ca.as_ref(), files.client_revoked.as_ref()];
    let bundles = files.spiffe.iter().map(|domain| &domain.bundle);
    let all = [&files.certificates, &files.key].into_iter().chain(more.into_iter().flatten());
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok();
        let stamp = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        (path.clone(), stamp)
    };
    all.chain(bundles).map(stamp).collect()
}

const LOOK_EVERY: Duration = Duration::from_secs(2);
