//! What another system has accepted, in a small file that survives a loss of power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use attorn_audit::tree::Hash;
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
    /// The end of the batch that may be under way: it is sent again as it was.
    sending: Option<u64>,
    /// Leaf hash of the entry before `next`.
    last: Option<Hash>,
}

/// The first entry that was not accepted, by the cursor in this file; 0 if there is none yet.
///
/// # Errors
/// The file is there and cannot be used.
pub fn shipped(path: &Path) -> Result<u64, CursorError> {
    Ok(read(path)?.map_or(0, |state| state.next))
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

    pub(super) const fn sending(&self) -> Option<u64> {
        self.state.sending
    }

    pub(super) const fn last(&self) -> Option<Hash> {
        self.state.last
    }

    pub(super) fn log(&self) -> &str {
        &self.state.log
    }

    pub(super) fn is_of(&self, log: &str) -> bool {
        self.state.log == log
    }

    /// The batch up to `end` is sent next.
    pub(super) async fn begin(&mut self, end: u64) -> Result<(), CursorError> {
        if self.state.sending == Some(end) {
            return Ok(());
        }
        self.set(State { sending: Some(end), ..self.state.clone() }).await
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
    fn to_bytes(&self) -> Vec<u8> {
        let Self { log, next, sending, last } = self;
        let last = last.map(|hash| hash.to_base64());
        json!({ "log": log, "next": next, "sending": sending, "last": last }).to_string().into()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let optional = |name: &str| value.get(name).filter(|member| !member.is_null());
        let next = value.get("next")?.as_u64()?;
        let sending = optional("sending").map(Value::as_u64);
        let last = optional("last").map(|hash| hash.as_str().and_then(Hash::from_base64));
        let state = Self {
            log: value.get("log")?.as_str()?.to_owned(),
            next,
            sending: sending.map_or(Some(None), |end| end.map(Some))?,
            last: last.map_or(Some(None), |hash| hash.map(Some))?,
        };
        state.sending.is_none_or(|end| end > next).then_some(state)
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
        let state = State { log: "a/b".into(), next: 7, sending: Some(9), last: Some(hash) };
        assert_eq!(State::parse(&state.to_bytes()), Some(state.clone()));
        let rest = State { sending: None, last: None, ..state };
        assert_eq!(State::parse(&rest.to_bytes()), Some(rest));
        for bad in [
            "",
            "{}",
            r#"{"log":"a","next":-1}"#,
            r#"{"log":"a","next":7,"sending":7}"#,
            r#"{"log":"a","next":7,"sending":"8"}"#,
            r#"{"log":"a","next":7,"last":"AAAA"}"#,
        ] {
            assert_eq!(State::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
