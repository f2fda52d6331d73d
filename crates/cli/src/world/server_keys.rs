//! The keys of the servers this process fronts: made here, kept here, one per server.
//!
//! A server nobody changed has no key of its own. The gateway before it holds one in its name: the
//! private part in a file only its owner can read, the public part in the registry.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attorn_audit::{Entry, Kind};
use attorn_authority::Authority;
use attorn_jose::{Algorithm, Jkt, SigningKey};
use attorn_journal::{Durability, Journal};
use attorn_net::Shutdown;
use attorn_registry::{KeyHolder, LifeCycle, McpServer, Published, ServerId, Snapshot};
use attorn_store::{Act, Store};
use zeroize::Zeroizing;

use crate::clock;
use crate::exit::Failure;
use crate::files;
use crate::outside::causes;

/// The folder of the private keys, and where their public parts are told.
#[derive(Debug)]
pub(super) struct ServerKeys {
    folder: PathBuf,
    store: Store,
    journal: Journal,
    authority: Authority,
    /// What is known to be in order, so that a change elsewhere reads no files.
    held: HashMap<ServerId, Jkt>,
    ended: HashSet<ServerId>,
}

impl ServerKeys {
    pub(super) fn open(
        folder: &Path,
        store: &Store,
        journal: &Journal,
        authority: &Authority,
    ) -> Result<Self, Failure> {
        let folder = self::folder(folder);
        files::make_private_folder(&folder)?;
        Ok(Self {
            folder,
            store: store.clone(),
            journal: journal.clone(),
            authority: authority.clone(),
            held: HashMap::new(),
            ended: HashSet::new(),
        })
    }

    /// Follows the registry until the shutdown.
    pub(super) async fn follow(mut self, published: Arc<Published>, shutdown: Shutdown) {
        let mut followed = None;
        loop {
            let snapshot = published.load();
            let mut pause = PAUSE;
            if followed != Some(snapshot.version) {
                match self.put_in_order(&snapshot).await {
                    Ok(()) => followed = Some(snapshot.version),
                    Err(failure) => {
                        tracing::error!(error = failure.what, "a server's key is not in order");
                        pause = PAUSE_AFTER_FAILURE;
                    }
                }
            }
            tokio::select! {
                () = shutdown.started() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn put_in_order(&mut self, snapshot: &Snapshot) -> Result<(), Failure> {
        let mut changed = false;
        for server in snapshot.servers().filter(|server| !server.is_builtin()) {
            changed |= match server.state {
                LifeCycle::Retired => self.end(server).await?,
                LifeCycle::Discovered
                | LifeCycle::Pending
                | LifeCycle::Active
                | LifeCycle::Suspended => self.hold(server).await?,
            };
        }
        if changed {
            self.authority.publish().await.map_err(|e| Failure::broken(causes(&e)))?;
        }
        Ok(())
    }

    /// Makes the key if there is none, and tells its public part; true if something changed.
    async fn hold(&mut self, server: &McpServer) -> Result<bool, Failure> {
        let active = server.active_key().map(|key| key.jkt);
        let held = self.held.get(&server.id).copied();
        if held.is_some() && held == active {
            return Ok(false);
        }
        let key = self.load_or_make(server)?;
        let jkt = key.public().thumbprint();
        if active != Some(jkt) {
            // Dies before this line: the file is there, and the next start tells of it.
            self.record(Kind::KeyAdded, server, jkt).await?;
            let jwk = key.public().to_jwk(None);
            let added = self
                .store
                .add_server_key(&act(), &server.id, (jkt, &jwk), KeyHolder::Gateway)
                .await;
            added.map_err(|e| Failure::broken(causes(&e)))?;
        }
        self.held.insert(server.id.clone(), jkt);
        Ok(active != Some(jkt))
    }

    /// Ends the key of a server that has ended; true if something changed.
    async fn end(&mut self, server: &McpServer) -> Result<bool, Failure> {
        let active = server.active_key();
        if let Some(key) = active {
            self.record(Kind::KeyRetired, server, key.jkt).await?;
            let retired = self.store.retire_server_keys(&act(), &server.id).await;
            retired.map_err(|e| Failure::broken(causes(&e)))?;
        }
        // After the registry knows. A crash before this line is made good at the next start.
        if active.is_some() || !self.ended.contains(&server.id) {
            files::remove_if_there(&self.path(server))?;
            self.ended.insert(server.id.clone());
        }
        Ok(active.is_some())
    }

    /// The key in the file. One that was retired, as in a folder from a backup, does not come back.
    fn load_or_make(&self, server: &McpServer) -> Result<SigningKey, Failure> {
        let path = self.path(server);
        if path.exists() {
            let text = Zeroizing::new(files::read_private(&path)?);
            let key = SigningKey::from_pkcs8_pem(&text)
                .map_err(|e| Failure::broken(format!("`{}`: {e}", path.display())))?;
            let jkt = key.public().thumbprint();
            let active = server.active_key().map(|key| key.jkt);
            if active == Some(jkt) || server.keys.iter().all(|key| key.jkt != jkt) {
                return Ok(key);
            }
        }
        let seed = Zeroizing::new(clock::random::<32>());
        let key = SigningKey::from_seed(Algorithm::EdDsa, &seed)
            .map_err(|e| Failure::broken(e.to_string()))?;
        let pem = key.to_pkcs8_pem().map_err(|e| Failure::broken(e.to_string()))?;
        files::write_private(&path, pem.as_bytes())?;
        Ok(key)
    }

    async fn record(&self, kind: Kind, server: &McpServer, jkt: Jkt) -> Result<(), Failure> {
        let entry = Entry {
            role: Some(ROLE.to_owned()),
            server: Some(server.id.to_string()),
            server_key: Some(jkt.to_string()),
            ..Entry::new(kind, clock::now_ms())
        };
        let recorded = self.journal.append(entry.to_canonical(), Durability::Fsync).await;
        recorded.map(drop).map_err(|e| Failure::broken(causes(&e)))
    }

    fn path(&self, server: &McpServer) -> PathBuf {
        path(&self.folder, server)
    }
}

/// Where the keys are, below the state folder.
pub(super) fn folder(state: &Path) -> PathBuf {
    state.join("server-keys")
}

/// The key that is held for a server, if it is the one that counts now.
pub(super) fn held(folder: &Path, server: &McpServer) -> Option<SigningKey> {
    let text = Zeroizing::new(files::read_private(&path(folder, server)).ok()?);
    let key = SigningKey::from_pkcs8_pem(&text).ok()?;
    let active = server.active_key()?.jkt;
    (key.public().thumbprint() == active).then_some(key)
}

/// Identifiers hold no separator.
fn path(folder: &Path, server: &McpServer) -> PathBuf {
    folder.join(format!("{}.pem", server.id))
}

fn act() -> Act<'static> {
    Act { by: ROLE, now_s: clock::now_s() }
}

/// Who holds the keys, in registry and journal.
const ROLE: &str = "gateway";
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);
