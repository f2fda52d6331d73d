//! One key for each subject: whoever removes it has erased everything that was sealed under it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

pub(crate) type Key = Zeroizing<[u8; 32]>;

/// The folder of keys.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: PathBuf,
    random: fn() -> [u8; 32],
    /// Two calls of a new subject must not make two keys, and an erasure not run beside either.
    alone: Mutex<()>,
}

impl Keys {
    pub(crate) const fn new(folder: PathBuf, random: fn() -> [u8; 32]) -> Self {
        Self { folder, random, alone: Mutex::new(()) }
    }

    /// The key of a subject, made if there is none.
    pub(crate) fn of(&self, subject: &str, now_s: u64) -> io::Result<Key> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = self.read(subject)? {
            return Ok(key);
        }
        let key = Zeroizing::new((self.random)());
        let path = self.path(subject);
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&now_s.to_be_bytes())?;
        file.write_all(&*key)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        // Nothing is sealed under a key that a loss of power could take.
        self.sync()?;
        Ok(key)
    }

    /// The key of a subject, if it has one.
    pub(crate) fn known(&self, subject: &str) -> io::Result<Option<Key>> {
        Ok(self.read(subject)?.map(|(_, key)| key))
    }

    /// Removes a key that was made by then.
    pub(crate) fn erase(&self, subject: &str, until_s: u64) -> io::Result<bool> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((made_s, _)) = self.read(subject)? else { return Ok(false) };
        if made_s > until_s {
            return Ok(false);
        }
        fs::remove_file(self.path(subject))?;
        self.sync()?;
        Ok(true)
    }

    fn read(&self, subject: &str) -> io::Result<Option<(u64, Key)>> {
        let bytes = match fs::read(self.path(subject)) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let parts = bytes.split_first_chunk::<8>();
        let key = parts.and_then(|(made, key)| Some((made, <[u8; 32]>::try_from(key).ok()?)));
        let (made, key) =
            key.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a key has 40 bytes"))?;
        Ok(Some((u64::from_be_bytes(*made), Zeroizing::new(key))))
    }

    /// The name says nothing of the subject to who lists the folder.
    fn path(&self, subject: &str) -> PathBuf {
        self.folder.join(attorn_jose::base64url(&attorn_jose::sha256(subject.as_bytes())))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}
