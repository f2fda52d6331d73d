//! What another system has accepted, in a small file that survives a loss of power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use attorn_audit::tree::{Hash, leaf_hash};
use attorn_journal::{Journal, ReadError};
use serde_json::{Value, json};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// It is not what was written there.
    #[error("`{0}` is not a cursor; if it is removed, everything is sent again")]
    Form(PathBuf),
    /// Reading or writing failed.
    #[error("the cursor `{0}` cannot be used")]
    Io(PathBuf, #[source] io::Error),
    /// It cannot be compared with the journal.
    #[error("the journal cannot be read")]
    Journal(#[from] ReadError),
}

#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// Origin of the journal.
    log: String,
    /// The first entry that was not accepted.
    next: u64,
    /// The batch that may be under way, sent again as it was: its end, and the leaf hash of its
    /// last entry.
    sending: Option<(u64, Hash)>,
    /// Leaf hash of the entry before `next`.
    last: Option<Hash>,
}

/// The first entry that was not accepted, by the cursor in this file; 0 if there is none yet, or if
/// it is of another journal: what it says of that one says nothing of this one.
///
/// # Errors
/// The file is there and cannot be used, or the journal cannot be read.
pub async fn shipped(path: &Path, journal: &Journal) -> Result<u64, CursorError> {
    let Some(state) = read(path)? else { return Ok(0) };
    Ok(if state.is_of(journal).await? { state.next } else { 0 })
}

impl Cursor {
    /// The cursor in this file; without one, of `log` at `first`.
    pub(super) fn open(path: &Path, log: &str, first: u64) -> Result<Self, CursorError> {
        let new = || State { log: log.to_owned(), next: first, sending: None, last: None };
        let state = read(path)?.unwrap_or_else(new);
        Ok(Self { path: path.to_owned(), state })
    }

    pub(super) const fn next(&self) -> u64 {
        self.state.next
    }

    /// The end of the batch that may be under way.
    pub(super) fn sending(&self) -> Option<u64> {
        self.state.sending.map(|(end, _)| end)
    }

    pub(super) fn log(&self) -> &str {
        &self.state.log
    }

    /// Whether it tells of this journal.
    pub(super) async fn is_of(&self, journal: &Journal) -> Result<bool, ReadError> {
        self.state.is_of(journal).await
    }

    /// The batch up to `end`, whose last entry has the hash `last`, is sent next.
    pub(super) async fn begin(&mut self, end: u64, last: Hash) -> Result<(), CursorError> {
        let sending = Some((end, last));
        if self.state.sending == sending {
            return Ok(());
        }
        self.set(State { sending, ..self.state.clone() }).await
    }

    /// Everything before `end` was accepted.
    pub(super) async fn accepted(
        &mut self,
        end: u64,
        last: Option<Hash>,
    ) -> Result<(), CursorError> {
        self.set(State { next: end, sending: None, last, ..self.state.clone() }).await
    }

    async fn set(&mut self, state: State) -> Result<(), CursorError> {
        let (path, bytes) = (self.path.clone(), state.to_bytes());
        let written = tokio::task::spawn_blocking(move || write(&path, &bytes)).await;
        let written = written.unwrap_or_else(|error| Err(error.into()));
        written.map_err(|error| CursorError::Io(self.path.clone(), error))?;
        self.state = state;
        Ok(())
    }
}

impl State {
    /// Whether what was accepted, and what may be under way, is what this journal has there.
    /// Entries that retention removed cannot be compared.
    async fn is_of(&self, journal: &Journal) -> Result<bool, ReadError> {
        let Self { log, next, sending, last } = self;
        let first = journal.first();
        // Without a hash nothing was accepted: then it began where the journal began, or before.
        let is_unknown = last.is_none() && *next > first;
        if is_unknown || *log != journal.checkpoint().checkpoint.origin {
            return Ok(false);
        }
        let known = last.map(|hash| (*next, hash)).into_iter().chain(*sending);
        for (end, hash) in known.filter(|(end, _)| *end > first) {
            // Nothing is read where the journal is shorter.
            let entries = journal.read(end - 1..end).await?;
            if entries.first().map(|entry| leaf_hash(entry)) != Some(hash) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Self { log, next, sending, last } = self;
        let sending = sending.map(|(end, last)| json!({ "end": end, "last": last.to_base64() }));
        let last = last.map(|hash| hash.to_base64());
        json!({ "log": log, "next": next, "sending": sending, "last": last }).to_string().into()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let optional = |name: &str| value.get(name).filter(|member| !member.is_null());
        let next = value.get("next")?.as_u64()?;
        let hash = |hash: &Value| hash.as_str().and_then(Hash::from_base64);
        let batch = |batch: &Value| Some((batch.get("end")?.as_u64()?, hash(batch.get("last")?)?));
        let (sending, last) = (optional("sending").map(batch), optional("last").map(hash));
        let state = Self {
            log: value.get("log")?.as_str()?.to_owned(),
            next,
            sending: sending.map_or(Some(None), |batch| batch.map(Some))?,
            last: last.map_or(Some(None), |hash| hash.map(Some))?,
        };
        state.sending.is_none_or(|(end, _)| end > next).then_some(state)
    }
}

fn read(path: &Path) -> Result<Option<State>, CursorError> {
    match fs::read(path) {
        Ok(bytes) => match State::parse(&bytes) {
            Some(state) => Ok(Some(state)),
            None => Err(CursorError::Form(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CursorError::Io(path.to_owned(), error)),
    }
}

/// The old content or the new one, whatever happens on the way.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn only_what_was_written_is_a_cursor() {
        let hash = attorn_audit::tree::leaf_hash(b"x");
        let sending = Some((9, hash));
        let state = State { log: "a/b".into(), next: 7, sending, last: Some(hash) };
        assert_eq!(State::parse(&state.to_bytes()), Some(state.clone()));
        let behind = State { next: 9, ..state.clone() };
        assert_eq!(State::parse(&behind.to_bytes()), None);
        let rest = State { sending: None, last: None, ..state };
        assert_eq!(State::parse(&rest.to_bytes()), Some(rest));
        for bad in [
            "",
            "{}",
            r#"{"log":"a","next":-1}"#,
            r#"{"log":"a","next":7,"sending":8}"#,
            r#"{"log":"a","next":7,"sending":{"end":8}}"#,
            r#"{"log":"a","next":7,"sending":{"end":8,"last":"AAAA"}}"#,
            r#"{"log":"a","next":7,"last":"AAAA"}"#,
        ] {
            assert_eq!(State::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
