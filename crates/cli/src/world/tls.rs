//! The TLS of the listeners: read at the start, and again when a file changes or on SIGHUP.
//!
//! A reload is all or nothing: every file is read and understood before anything is replaced. What
//! cannot be used changes nothing and is recorded. A server certificate whose life is over is not
//! served, at a start as little as later.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use attorn_audit::{Entry, Kind};
use attorn_authority::TrustDomains;
use attorn_jose::PublicKey;
use attorn_journal::{Durability, Journal};
use attorn_net::{
    Anchors, Shutdown, Tls, TlsMaterial, TrustedProxy, certificates_of_pem, life_end_s, read_pem,
};
use attorn_oauth::metadata::ClientMethods;
use attorn_oauth::mtls::{CLIENT_CA, trust_domain_anchor};
use attorn_oauth::spiffe_bundle::SpiffeBundle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use super::bundles::Bundles;
use crate::clock;
use crate::config::{self, ClientAuth, Config, ListenerName};
use crate::exit::Failure;
use crate::outside::causes;

/// What the files of `[tls]` and `[[trusted_proxies]]` hold.
struct Read {
    material: TlsMaterial,
    proxies: Vec<Listed>,
    domains: HashMap<String, HashMap<String, PublicKey>>,
}

/// A proxy and the listeners at which it is listed.
struct Listed {
    at: Vec<ListenerName>,
    proxy: TrustedProxy,
}

impl Read {
    /// What one listener is told: each trusts its own proxies.
    fn material_of(&self, listener: Option<ListenerName>) -> TlsMaterial {
        let is_here = |listed: &&Listed| listener.is_some_and(|name| listed.at.contains(&name));
        let here = self.proxies.iter().filter(is_here);
        let proxies = here.map(|listed| listed.proxy.clone()).collect();
        TlsMaterial { proxies, ..self.material.clone() }
    }
}

/// What is read: `[tls]` and `[[trusted_proxies]]`.
#[derive(Clone, Debug)]
struct Files {
    tls: config::Tls,
    proxies: Vec<config::TrustedProxy>,
}

/// The TLS of this process, if it has one.
#[derive(Debug)]
pub(super) struct ProcessTls {
    files: Option<Files>,
    listeners: Vec<(Option<ListenerName>, Tls)>,
    pub(super) trust_domains: TrustDomains,
    pub(super) bundles: Bundles,
    seen: Stamps,
}

/// What was read: when each file was changed and its length, which is enough to see that one was
/// replaced, and which bundle was fetched for each trust domain.
type Stamps = (BTreeMap<PathBuf, Option<(SystemTime, u64)>>, Vec<Option<u64>>);

impl ProcessTls {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let proxies = config.trusted_proxies.clone();
        let files = config.tls.clone().map(|tls| Files { tls, proxies });
        let domains = files.as_ref().map(|files| files.tls.spiffe.as_slice());
        let bundles = Bundles::new(domains.unwrap_or_default())?;
        let now_s = clock::now_s();
        let seen = files.as_ref().map(|files| stamps(files, &bundles, now_s)).unwrap_or_default();
        Ok(Self { files, bundles, seen, ..Self::none() })
    }

    /// Without TLS.
    pub(super) fn none() -> Self {
        Self {
            files: None,
            listeners: Vec::new(),
            trust_domains: TrustDomains::default(),
            bundles: Bundles::default(),
            seen: Stamps::default(),
        }
    }

    /// The TLS of one more listener. Each has its own, so that no session moves between them.
    pub(super) fn listener(&mut self, name: Option<ListenerName>) -> Result<Option<Tls>, Failure> {
        let Some(files) = &self.files else { return Ok(None) };
        let wrong = |what: String| Failure::usage(what).next("see [tls] in attorn.toml");
        let read = read(files, &self.bundles, clock::now_s()).map_err(wrong)?;
        let tls = Tls::new(&read.material_of(name)).map_err(|e| wrong(causes(&e)))?;
        self.trust_domains.replace(read.domains);
        self.listeners.push((name, tls.clone()));
        Ok(Some(tls))
    }

    /// How clients may authenticate.
    pub(super) fn methods(&self) -> ClientMethods {
        let files = self.files.as_ref().map(|files| &files.tls);
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
            if asked {
                self.bundles.ask_again();
            }
            let now = stamps(&files, &self.bundles, clock::now_s());
            if std::mem::replace(&mut self.seen, now) != self.seen || asked {
                self.reload(&files, &journal).await;
            }
        }
    }

    async fn reload(&self, files: &Files, journal: &Journal) {
        let replaced = read(files, &self.bundles, clock::now_s()).and_then(|read| {
            // Understood once, so that no listener is left behind the others.
            Tls::new(&read.material).map_err(|e| causes(&e))?;
            for (name, tls) in &self.listeners {
                tls.replace(&read.material_of(*name)).map_err(|e| causes(&e))?;
            }
            self.trust_domains.replace(read.domains);
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

fn read(files: &Files, bundles: &Bundles, now_s: u64) -> Result<Read, String> {
    let Files { tls: files, proxies } = files;
    let mut anchors = Vec::new();
    if let Some(path) = &files.client_ca {
        let revoked_pem = files.client_revoked.as_deref().map(text).transpose()?;
        let authorities = certificates(path)?;
        anchors.push(Anchors { name: CLIENT_CA.to_owned(), authorities, revoked_pem });
    }
    let mut domains = HashMap::new();
    for domain in &files.spiffe {
        let bundle = match &domain.bundle {
            Some(path) => SpiffeBundle::parse(&text(path)?)
                .map_err(|e| format!("`{}`: {e}", path.display()))?,
            // None that counts: nobody vouches for this domain.
            None => bundles.current(&domain.trust_domain, now_s).unwrap_or_default().1,
        };
        anchors.push(Anchors {
            name: trust_domain_anchor(&domain.trust_domain),
            authorities: bundle.x509_authorities,
            revoked_pem: None,
        });
        domains.insert(domain.trust_domain.clone(), bundle.jwt_keys);
    }
    let certificates_pem = text(&files.certificates)?;
    verify_life(&certificates_pem, now_s)
        .map_err(|e| format!("`{}`: {e}", files.certificates.display()))?;
    let material = TlsMaterial {
        certificates_pem,
        key_pem: Zeroizing::new(text(&files.key)?),
        clients: match files.client_auth {
            ClientAuth::None => None,
            ClientAuth::Optional => Some(anchors),
        },
        proxies: Vec::new(),
    };
    let proxies = proxies.iter().map(listed).collect::<Result<_, _>>()?;
    Ok(Read { material, proxies, domains })
}

/// What no client accepts is not served, and does not take the place of what serves. An end that
/// cannot be read may be over.
fn verify_life(certificates_pem: &[u8], now_s: u64) -> Result<(), String> {
    // What holds no certificate at all is told by those who look for one.
    if certificates_of_pem(certificates_pem).is_err() {
        return Ok(());
    }
    match life_end_s(certificates_pem) {
        None => Err("the end of the certificate's life cannot be read".to_owned()),
        Some(end_s) if end_s < now_s => Err("the certificate's life is over".to_owned()),
        Some(_) => Ok(()),
    }
}

fn listed(proxy: &config::TrustedProxy) -> Result<Listed, String> {
    let own = proxy.certificates.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let thumbprints = own.iter().map(|der| attorn_jose::sha256(der)).collect();
    let (name, addresses) = (proxy.name.clone(), proxy.addresses.clone());
    let proxy_of = TrustedProxy { name, addresses, thumbprints };
    Ok(Listed { at: proxy.listeners.clone(), proxy: proxy_of })
}

fn text(path: &Path) -> Result<Vec<u8>, String> {
    read_pem(path).map_err(|e| causes(&e))
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    certificates_of_pem(&text(path)?).map_err(|e| format!("`{}`: {}", path.display(), causes(&e)))
}

fn stamps(files: &Files, bundles: &Bundles, now_s: u64) -> Stamps {
    let Files { tls, proxies } = files;
    let more = [tls.client_ca.as_ref(), tls.client_revoked.as_ref()];
    let fetched = tls.spiffe.iter().map(|domain| bundles.current(&domain.trust_domain, now_s));
    let fetched = fetched.map(|fetched| fetched.map(|(number, _)| number)).collect();
    let bundles = tls.spiffe.iter().filter_map(|domain| domain.bundle.as_ref());
    let proxies = proxies.iter().filter_map(|proxy| proxy.certificates.as_ref());
    let all = [&tls.certificates, &tls.key].into_iter().chain(more.into_iter().flatten());
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok();
        let stamp = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        (path.clone(), stamp)
    };
    (all.chain(bundles).chain(proxies).map(stamp).collect(), fetched)
}

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_is_over_or_cannot_be_read_is_refused() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let end_s = 1_893_456_000;
        assert_eq!(verify_life(made.pem().as_bytes(), end_s), Ok(()));
        assert!(verify_life(made.pem().as_bytes(), end_s + 1).unwrap_err().contains("over"));
        let cut = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(verify_life(cut.as_bytes(), 0).unwrap_err().contains("cannot be read"));
    }
}
