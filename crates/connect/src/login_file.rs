//! What a person gave, kept between starts in a file that only its owner reads.
//!
//! Implemented: one file for each server, mode 0600, written whole or not at all, locked while it is
//! renewed: a refresh token is good once, so two programs that use one would end what it stands for.
//! Not implemented: key stores of operating systems, network file systems without locks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::code::{Login, Registered};

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct LoginFile {
    path: PathBuf,
}

/// Why it cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LoginFileError {
    /// The file system failed.
    #[error("cannot use `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Others can read it, or it is no ordinary file of this user.
    #[error("`{}` is not a file that only its owner reads; remove it and log in again", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
}

/// Held while a token is got.
#[derive(Debug)]
pub(crate) struct Locked {
    path: PathBuf,
    // Closing it gives the lock back.
    _lock: File,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    issuer: String,
    client_id: String,
    redirect_uri: String,
    is_dynamic: bool,
    refresh_token: Option<String>,
}

impl LoginFile {
    /// The file at `path`. Its folder is made when it is written first.
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Waits for other programs that renew it.
    pub(crate) async fn lock(&self) -> Result<Locked, LoginFileError> {
        let path = self.path.clone();
        let failed = |source| LoginFileError::Io { path: self.path.clone(), source };
        let locked = tokio::task::spawn_blocking(move || locked(&path)).await;
        let lock = locked.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
        Ok(Locked { path: self.path.clone(), _lock: lock })
    }
}

fn locked(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // Beside it: the file itself is replaced.
    let lock = path.with_extension("lock");
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

impl Locked {
    /// What is kept for `issuer`; nothing of another one is used.
    pub(crate) fn read(&self, issuer: &str) -> Result<Option<Login>, LoginFileError> {
        let failed = |source| LoginFileError::Io { path: self.path.clone(), source };
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let facts = file.metadata().map_err(failed)?;
        let is_own = facts.uid() == rustix::process::geteuid().as_raw();
        if !facts.is_file() || !is_own || facts.mode() & 0o077 != 0 {
            return Err(LoginFileError::Open { path: self.path.clone() });
        }
        let mut text = Zeroizing::new(String::new());
        Read::take(&mut file, BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        // One that cannot be read is as good as none: the person is asked again.
        let kept: Option<Kept> = serde_json::from_str(&text).ok();
        Ok(kept.filter(|kept| kept.issuer == issuer).map(|kept| Login {
            client: Some(Registered::public(kept.client_id, kept.redirect_uri, kept.is_dynamic)),
            refresh_token: kept.refresh_token.map(Zeroizing::new),
        }))
    }

    /// Replaces what is kept. Nothing is kept of a client with a secret.
    pub(crate) fn write(&self, issuer: &str, login: &Login) -> Result<(), LoginFileError> {
        let Some(client) = login.client.as_ref().filter(|client| client.is_public()) else {
            return Ok(());
        };
        let kept = Kept {
            issuer: issuer.to_owned(),
            client_id: client.client_id.clone(),
            redirect_uri: client.redirect_uri.clone(),
            is_dynamic: client.is_dynamic(),
            refresh_token: login.refresh_token.as_deref().cloned(),
        };
        let failed = |source| LoginFileError::Io { path: self.path.clone(), source };
        let text = serde_json::to_string(&kept).map_err(|e| failed(io::Error::other(e)))?;
        self.replace(Zeroizing::new(text).as_bytes()).map_err(failed)
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let whole = self.path.with_extension("new");
        // Of a process that died while it wrote; the lock says that nobody writes now.
        match fs::remove_file(&whole) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&whole)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&whole, &self.path)
    }
}

const BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn login(refresh_token: &str) -> Login {
        let redirect_uri = "http://127.0.0.1:4000/callback".to_owned();
        Login {
            client: Some(Registered::public("agt_1".to_owned(), redirect_uri, true)),
            refresh_token: Some(Zeroizing::new(refresh_token.to_owned())),
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_by_its_owner_for_its_issuer() {
        let folder = std::env::temp_dir().join(format!("attorn-login-{}", std::process::id()));
        let file = LoginFile::new(folder.join("people").join("one.json"));
        let locked = file.lock().await.unwrap();
        assert!(locked.read("https://id.example").unwrap().is_none());
        locked.write("https://id.example", &login("r1")).unwrap();
        locked.write("https://id.example", &login("r2")).unwrap();
        let read = locked.read("https://id.example").unwrap().unwrap();
        assert_eq!(read.refresh_token.unwrap().as_str(), "r2");
        assert_eq!(read.client.unwrap().client_id, "agt_1");
        assert!(locked.read("https://other.example").unwrap().is_none());
        assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = locked.read("https://id.example");
        assert!(matches!(refused, Err(LoginFileError::Open { .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn one_program_renews_at_a_time() {
        let folder = std::env::temp_dir().join(format!("attorn-lock-{}", std::process::id()));
        let file = LoginFile::new(folder.join("one.json"));
        let first = file.lock().await.unwrap();
        let waiting = tokio::spawn({
            let file = file.clone();
            async move { file.lock().await.unwrap().read("i").unwrap() }
        });
        first.write("i", &login("r1")).unwrap();
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap().is_some());
        fs::remove_dir_all(folder).unwrap();
    }
}
