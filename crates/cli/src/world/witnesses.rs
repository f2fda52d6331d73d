//! Asks witnesses to cosign the checkpoints of this process's journal: the client of C2SP
//! tlog-witness.
//!
//! Off the path of calls: the newest checkpoint now and then, and at once when an export waits. A
//! witness that does not answer holds up nothing and nobody; one that says it has seen another
//! history does not either, for it proves nothing by that. It shows in metrics, in the log of the
//! process, and as an entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use attorn_audit::cosignature::{CosignerKey, cosignatures};
use attorn_audit::witness::AddCheckpoint;
use attorn_audit::{Entry, Kind};
use attorn_journal::{Journal, SignedCheckpoint};
use attorn_net::{Client, ClientConfig, Roots, Shutdown};
use attorn_telemetry::{Telemetry, families};
use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::task::JoinSet;

use crate::clock;
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::files;
use crate::outside::causes;

/// One witness, and what it knows of this log.
struct Witness {
    url: String,
    key: CosignerKey,
    client: Client,
    /// Size of the tree it cosigned last, as far as known here.
    known: u64,
    seen: Arc<Seen>,
    is_silent: bool,
}

/// What metrics tell.
#[derive(Debug, Default)]
struct Seen {
    cosigned: AtomicU64,
    is_forked: AtomicBool,
}

/// Why a checkpoint is not cosigned.
enum NotCosigned {
    /// The witness cosigned more entries than this checkpoint has, but not more than there are: it
    /// is asked about a newer one.
    Ahead,
    /// The witness has seen a tree of that size which this log does not extend.
    Forked(u64),
    /// It did not answer, or not as a witness does.
    Silent(String),
}

/// Starts asking, where witnesses are configured.
pub(super) fn start(
    config: &Config,
    journal: &Journal,
    (serving, shutdown): (&mut JoinSet<()>, &Shutdown),
    telemetry: &Telemetry,
) -> Result<(), Failure> {
    let config = &config.journal;
    let witnesses: Vec<_> = config.witnesses.iter().map(Witness::new).collect::<Result<_, _>>()?;
    if witnesses.is_empty() {
        return Ok(());
    }
    for witness in &witnesses {
        let (seen, name) = (Arc::clone(&witness.seen), witness.key.name().to_owned());
        telemetry.add_source(move |out| {
            let (cosigned, forked) = (&seen.cosigned, &seen.is_forked);
            let labels = [("witness", name.as_str())];
            out.sample(&families::JOURNAL_COSIGNED, &labels, cosigned.load(Ordering::SeqCst));
            let forked = u64::from(forked.load(Ordering::SeqCst));
            out.sample(&families::JOURNAL_FORKED, &labels, forked);
        });
    }
    journal.expect_cosignatures(witnesses.len());
    let every = Duration::from_secs(config.witness_every_s);
    serving.spawn(run(journal.clone(), witnesses, every, shutdown.clone()));
    Ok(())
}

async fn run(journal: Journal, mut witnesses: Vec<Witness>, every: Duration, shutdown: Shutdown) {
    loop {
        let is_ahead = tokio::select! {
            () = shutdown.started() => return,
            is_ahead = ask_all(&journal, &mut witnesses) => is_ahead,
        };
        // A checkpoint that covers what the witness named comes soon.
        let pause = if is_ahead { every.min(AGAIN_AFTER) } else { every };
        tokio::select! {
            () = shutdown.started() => return,
            () = journal.cosignature_wanted() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round: the newest checkpoint to all at once, and what comes back into the journal's folder
/// as it comes. Says whether one of them was ahead of that checkpoint.
async fn ask_all(journal: &Journal, witnesses: &mut Vec<Witness>) -> bool {
    let signed = journal.checkpoint();
    let before = journal.cosigned().map(|before| before.checkpoint.size);
    let is_told = witnesses.iter().all(|witness| witness.known == signed.checkpoint.size);
    if is_told && before == Some(signed.checkpoint.size) {
        return false;
    }
    let mut asking = JoinSet::new();
    for mut witness in witnesses.drain(..) {
        let (journal, signed) = (journal.clone(), signed.clone());
        asking.spawn(async move {
            let answer = witness.cosign(&journal, &signed).await;
            (witness, answer)
        });
    }
    let (mut is_ahead, mut lines) = (false, String::new());
    // Dropped at the shutdown, with all that is under way.
    while let Some(asked) = asking.join_next().await {
        let Ok((mut witness, answer)) = asked else { continue };
        match answer {
            Ok(line) => {
                lines.push_str(&line);
                witness.answered(signed.checkpoint.size);
                publish(journal, &signed, &lines).await;
            }
            Err(NotCosigned::Ahead) => is_ahead = true,
            Err(NotCosigned::Forked(size)) => witness.forked(journal, &signed, size),
            Err(NotCosigned::Silent(why)) => witness.silent(&why),
        }
        witnesses.push(witness);
    }
    is_ahead
}

async fn publish(journal: &Journal, signed: &SignedCheckpoint, lines: &str) {
    let note = format!("{}{lines}", signed.note).into();
    let cosigned = SignedCheckpoint { note, ..signed.clone() };
    if let Err(error) = journal.publish_cosigned(cosigned).await {
        tracing::warn!(%error, "a cosigned checkpoint cannot be written to the journal's folder");
    }
}

impl NotCosigned {
    /// The witness cosigned a tree of `size`, which is more than the checkpoint it was asked about.
    /// If it is also more than there is, entries were lost, or somebody else writes this log.
    fn beyond(size: u64, journal: &Journal) -> Self {
        if size > journal.size() { Self::Forked(size) } else { Self::Ahead }
    }
}

impl Witness {
    fn new(config: &config::Witness) -> Result<Self, Failure> {
        let key = CosignerKey::from_vkey(&config.key)
            .map_err(|e| Failure::usage(format!("`journal.witnesses.key`: {e}")))?;
        let url = format!("{}/add-checkpoint", config.url.trim_end_matches('/'));
        Request::post(&url)
            .body(())
            .map_err(|e| Failure::usage(format!("`journal.witnesses.url`: {e}")))?;
        let roots = match &config.roots {
            Some(path) => Roots::Pem(files::read_text(path)?),
            None => Roots::Public,
        };
        let client = ClientConfig {
            roots,
            connect_timeout: ANSWER_WITHIN,
            head_timeout: ANSWER_WITHIN,
            body_timeout: Some(ANSWER_WITHIN),
            ..ClientConfig::default()
        };
        let client = Client::new(client)
            .map_err(|e| Failure::usage(format!("cannot set up TLS: {}", causes(&e))))?;
        let seen = Arc::new(Seen::default());
        Ok(Self { url, key, client, known: 0, seen, is_silent: false })
    }

    /// The cosignature of this witness, as a line.
    async fn cosign(
        &mut self,
        journal: &Journal,
        signed: &SignedCheckpoint,
    ) -> Result<String, NotCosigned> {
        // The second question begins from what the first one told.
        for _ in 0..2 {
            let (old_size, size) = (self.known, signed.checkpoint.size);
            let proof = journal.prove_extension(old_size, signed).await;
            let proof = proof.map_err(|e| NotCosigned::Silent(causes(&e)))?;
            let proof = proof.ok_or_else(|| NotCosigned::beyond(old_size, journal))?;
            let request = AddCheckpoint { old_size, proof, note: &signed.note };
            let (status, answer) = self.post(request.to_body()).await?;
            match status {
                StatusCode::OK => return self.line_of(signed, &answer),
                // C2SP tlog-witness: the body is the size it cosigned last. If that is the size we
                // named, the roots differ.
                StatusCode::CONFLICT => match answer.trim_end().parse::<u64>() {
                    Ok(known) if known != old_size => self.known = known,
                    Ok(_) => return Err(NotCosigned::Forked(old_size)),
                    Err(_) if old_size == size => return Err(NotCosigned::Forked(size)),
                    Err(_) => return Err(NotCosigned::Silent("409 without a size".to_owned())),
                },
                // The proof is made of our own tree: what the witness cosigned is not in it.
                StatusCode::UNPROCESSABLE_ENTITY => return Err(NotCosigned::Forked(old_size)),
                status => return Err(NotCosigned::Silent(status.to_string())),
            }
        }
        Err(NotCosigned::Silent("it names another size each time".to_owned()))
    }

    async fn post(&self, body: String) -> Result<(StatusCode, String), NotCosigned> {
        let silent = |e: &dyn std::error::Error| NotCosigned::Silent(causes(e));
        let request = Request::post(&self.url).body(Bytes::from(body)).map_err(|e| silent(&e))?;
        let response = self.client.send(request).await.map_err(|e| silent(&e))?;
        let status = response.status();
        let body = response.into_body().bytes(ANSWER_BYTES_MAX).await.map_err(|e| silent(&e))?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// C2SP tlog-witness: cosignatures by other keys are ignored.
    fn line_of(&self, signed: &SignedCheckpoint, answer: &str) -> Result<String, NotCosigned> {
        let keys = std::slice::from_ref(&self.key);
        let mine = answer.split_inclusive('\n').find(|line| {
            let note = format!("{}{line}", signed.note);
            cosignatures(&note, keys).is_ok_and(|found| !found.is_empty())
        });
        let missing = || NotCosigned::Silent("no cosignature by its key".to_owned());
        mine.map(str::to_owned).ok_or_else(missing)
    }

    fn answered(&mut self, size: u64) {
        self.known = size;
        self.seen.cosigned.store(size, Ordering::SeqCst);
        self.is_silent = false;
        self.seen.is_forked.store(false, Ordering::SeqCst);
    }

    fn silent(&mut self, why: &str) {
        // The age of what it cosigned is in the metrics; the log says it once.
        if !std::mem::replace(&mut self.is_silent, true) {
            let witness = self.key.name();
            tracing::warn!(witness, error = why, "a witness does not cosign the journal");
        }
    }

    fn forked(&mut self, journal: &Journal, signed: &SignedCheckpoint, size: u64) {
        if self.seen.is_forked.swap(true, Ordering::SeqCst) {
            return;
        }
        let (witness, own) = (self.key.name(), signed.checkpoint.size);
        tracing::error!(
            witness,
            size,
            own,
            "a witness has seen another history of this journal: entries were lost or changed, or a \
             copy of this process writes under the same key; keep both folders as they are"
        );
        let mut entry = Entry::new(Kind::JournalForked, clock::now_ms());
        entry.detail.insert("witness".to_owned(), witness.to_owned());
        entry.detail.insert("witness_size".to_owned(), size.to_string());
        entry.detail.insert("own_size".to_owned(), own.to_string());
        if let Err(error) = journal.append_unawaited(entry.to_canonical()) {
            tracing::error!(%error, "the fork has no entry");
        }
    }
}

const AGAIN_AFTER: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
