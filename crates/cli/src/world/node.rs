//! What every node has: a private folder with its journal and the key of its digests.

use std::path::Path;

use attorn_audit::digest::PayloadKey;
use attorn_audit::note::NoteSigner;
use attorn_journal::{Config as JournalConfig, Journal, OpenError};
use attorn_net::Clock;
use attorn_payloads::SealedPayloads;
use zeroize::Zeroizing;

use crate::clock;
use crate::config::Config;
use crate::exit::Failure;
use crate::files;
use crate::outside::{causes, system_clock};

use super::clock_steps;

/// The open journal of one node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) journal: Journal,
    /// Turns arguments and results into digests that cannot be guessed back.
    pub(super) payload_key: PayloadKey,
    /// What was sealed for auditors here.
    pub(crate) payloads: SealedPayloads,
}

impl Node {
    /// Opens the folder of a node that served before.
    pub(crate) async fn open_existing(config: &Config) -> Result<Self, Failure> {
        let key = config.state.join("journal.key");
        if !key.exists() {
            return Err(Failure::usage(format!(
                "there is no journal in `{}`",
                config.state.display()
            )));
        }
        // The name is that of the key.
        Self::open(config, "", &system_clock()).await
    }

    /// Opens the folder and makes what is missing. `name` is that of a new log.
    pub(super) async fn open(config: &Config, name: &str, now: &Clock) -> Result<Self, Failure> {
        let folder = &config.state;
        files::make_private_folder(folder)?;
        // The journal first: its lock keeps a second process away from the rest.
        let signer = log_signer(&folder.join("journal.key"), name)?;
        let origin = signer.verifier().name().to_owned();
        let sealed = folder.join("sealed");
        let payloads = SealedPayloads::open(sealed, &config.journal.auditors, clock::random::<32>)
            .map_err(|e| Failure::usage(format!("`journal.auditors`: {}", causes(&e))))?;
        let segment_bytes_max = u64::from(config.journal.segment_mib) << 20;
        let config = JournalConfig {
            segment_bytes_max,
            ..JournalConfig::new(folder.join("journal"), origin)
        };
        let opened = tokio::task::spawn_blocking(move || Journal::open(config, signer)).await;
        let (journal, recovered) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(unopened(folder, &error)),
            Err(_) => return Err(Failure::usage("opening the journal was cut off")),
        };
        clock_steps::remind(now, &journal).await?;
        // Before anybody is served: a call that a crash cut off must not stay without an outcome.
        let interrupted = journal
            .end_interrupted_calls(&recovered, now.now_ms())
            .await
            .map_err(|e| Failure::broken(format!("cannot write the journal: {e}")))?;
        let (size, cut_bytes) = (recovered.size, recovered.cut_bytes);
        tracing::info!(size, cut_bytes, interrupted, "journal open");
        let payload_key = payload_key(&folder.join("payload.key"))?;
        Ok(Self { journal, payload_key, payloads })
    }
}

/// The name of the log of a node: the deployment, what the node is, and which one.
pub(super) fn log_name(issuer: &str, role: &str, node: &str) -> String {
    let deployment = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    format!("{}/{role}/{node}", deployment.replace(['+', ' '], "-"))
}

/// The key that signs checkpoints. Its name is the log's origin and never changes, also when the
/// issuer does: an auditor knows the log by it.
fn log_signer(path: &Path, name: &str) -> Result<NoteSigner, Failure> {
    if path.exists() {
        let text = Zeroizing::new(files::read_private(path)?);
        return NoteSigner::from_skey(text.trim_end())
            .map_err(|e| Failure::broken(format!("`{}`: {e}", path.display())));
    }
    let seed = Zeroizing::new(clock::random::<32>());
    let signer = NoteSigner::from_seed(name, &seed).map_err(|e| Failure::usage(e.to_string()))?;
    files::write_private(path, Zeroizing::new(signer.to_skey()).as_bytes())?;
    Ok(signer)
}

/// The key of digests. An auditor who is given it can check a digest.
fn payload_key(path: &Path) -> Result<PayloadKey, Failure> {
    if !path.exists() {
        let secret = Zeroizing::new(clock::random::<32>());
        let text = Zeroizing::new(attorn_jose::base64url(&*secret));
        files::write_private(path, text.as_bytes())?;
    }
    let text = Zeroizing::new(files::read_private(path)?);
    let secret = attorn_jose::from_base64url(text.trim_end()).map(Zeroizing::new).ok();
    secret
        .and_then(|secret| Some(PayloadKey::new(secret.as_slice().try_into().ok()?)))
        .ok_or_else(|| Failure::broken(format!("`{}` holds no key", path.display())))
}

fn unopened(folder: &Path, error: &OpenError) -> Failure {
    let what = format!("cannot open the journal in `{}`: {}", folder.display(), causes(error));
    match error {
        OpenError::Locked => {
            Failure::usage(what).next("stop the other attorn of this folder first")
        }
        OpenError::Io(_) => Failure::usage(what),
        OpenError::AcknowledgedLost { .. }
        | OpenError::CheckpointMismatch { .. }
        | OpenError::CheckpointMissing
        | OpenError::CheckpointRefused(_)
        | OpenError::OriginMismatch
        | OpenError::RecordBroken { .. }
        | OpenError::TileBroken { .. }
        | OpenError::TombstoneMismatch { .. }
        | OpenError::TombstoneRefused(_) => {
            Failure::broken(what).next("keep the folder as it is, and start from a copy")
        }
    }
}
