//! Arguments and results of calls, sealed. The journal has their digests; who may read them holds a
//! key that is nowhere here, and what was sealed for a subject can be forgotten.
//!
//! ```text
//! keys/<digest of the subject>    the key of one subject, and when it was made
//! calls/<day>/<decision>.<part>   one sealed payload
//! ```
//!
//! A payload is encrypted twice. Inside it is a file for the auditors (age, X25519 recipients): this
//! process cannot read it again. Around that is AES-256-GCM under a key of the subject for whom the
//! call was made. Without that key nobody reads any copy of it, an auditor included, so to erase a
//! subject is to remove 32 bytes; the journal and its proofs stay as they are.
//!
//! What survives a crash: a sealed payload is on the disk before its intent is, if that is to be; the
//! key of a subject is on the disk before anything is sealed under it.
//!
//! *Not* done: what a file system, a snapshot of it or a backup keeps of a removed key is beyond us.

mod keys;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use age::x25519::Recipient;
use attorn_registry::DecisionId;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use crate::keys::{Key, Keys};

/// Which half of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the tool was called with.
    Arguments,
    /// What the MCP server answered.
    Result,
}

/// Whose payload it is.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The decision about the call.
    pub decision: &'a DecisionId,
    /// Which half.
    pub part: Part,
    /// The subject of the token: whose payload it is to erase.
    pub subject: &'a str,
}

/// What the journal says of a sealed payload: where it is, and the SHA-256 of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    day: u64,
    digest: [u8; 32],
}

/// The folder of sealed payloads. Clones are the same folder. Every method blocks.
#[derive(Clone, Debug)]
pub struct SealedPayloads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    auditors: Vec<Auditor>,
    keys: Keys,
}

/// An age recipient.
struct Auditor(Recipient);

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A recipient is none.
    #[error("`{0}` is no age recipient: one looks like `age1…`")]
    Auditor(String),
    /// The folder cannot be made or read.
    #[error("the folder of sealed payloads")]
    Io(#[from] io::Error),
}

/// Why a payload cannot be sealed. What was to be done with it must not be done then.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The library refused a key or its input.
    #[error("a payload cannot be encrypted")]
    Encryption,
    /// The disk.
    #[error("a sealed payload cannot be written")]
    Io(#[from] io::Error),
}

/// Why a payload is not given out.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It is not there: never sealed, or removed because it was old.
    #[error("the payload is not here")]
    Absent,
    /// It is not what the journal says it is.
    #[error("the payload was changed since it was sealed")]
    Changed,
    /// Its subject was erased.
    #[error("the payload was erased")]
    Erased,
    /// The disk.
    #[error("a sealed payload cannot be read")]
    Io(#[from] io::Error),
}

impl SealedPayloads {
    /// Opens the folder and makes what is missing. Without auditors nothing is sealed; what was
    /// sealed before can still be read and erased. `random` makes keys.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        folder: PathBuf,
        auditors: &[String],
        random: fn() -> [u8; 32],
    ) -> Result<Self, OpenError> {
        let parse = |text: &String| match text.parse() {
            Ok(recipient) => Ok(Auditor(recipient)),
            Err(_) => Err(OpenError::Auditor(text.clone())),
        };
        let auditors = auditors.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let keys = Keys::new(folder.join("keys"), random);
        if !auditors.is_empty() {
            make_folder(&folder.join("keys"))?;
            make_folder(&folder.join("calls"))?;
        }
        Ok(Self(Arc::new(Inner { folder, auditors, keys })))
    }

    /// Whether payloads are to be sealed.
    #[must_use]
    pub fn seals(&self) -> bool {
        !self.0.auditors.is_empty()
    }

    /// Seals one payload. With `durable` it survives a loss of power once this returns.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(
        &self,
        of: Of<'_>,
        payload: &[u8],
        now_s: u64,
        durable: bool,
    ) -> Result<Seal, SealError> {
        let for_auditors = self.encrypt(payload)?;
        let key = self.0.keys.of(of.subject, now_s)?;
        let sealed = around(&key, of, for_auditors).ok_or(SealError::Encryption)?;
        let day = now_s / DAY_S;
        let path = self.path(day, of);
        let folder = path.parent().unwrap_or(&self.0.folder);
        if !folder.exists() {
            make_folder(folder)?;
        }
        // A decision has one payload of a part: what is there already is not replaced.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&sealed)?;
        if durable {
            // Crash before this line: a file that no entry names.
            file.sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok(Seal { day, digest: attorn_jose::sha256(&sealed) })
    }

    /// The payload as a file for the auditors, which only they can read.
    ///
    /// # Errors
    /// See [`UnsealError`].
    pub fn unseal(&self, of: Of<'_>, seal: Seal) -> Result<Vec<u8>, UnsealError> {
        let sealed = match fs::read(self.path(seal.day, of)) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(UnsealError::Absent);
            }
            Err(error) => return Err(error.into()),
        };
        if attorn_jose::sha256(&sealed) != seal.digest {
            return Err(UnsealError::Changed);
        }
        let key = self.0.keys.known(of.subject)?.ok_or(UnsealError::Erased)?;
        // Not under this key, and whole: sealed under one that was erased.
        within(&key, of, &sealed).ok_or(UnsealError::Erased)
    }

    /// Forgets what was sealed for a subject until then; whether there was anything to forget. A key
    /// that was made later stays.
    ///
    /// # Errors
    /// The disk.
    pub fn erase(&self, subject: &str, until_s: u64) -> io::Result<bool> {
        self.0.keys.erase(subject, until_s)
    }

    /// Removes payloads of days that ended before then; gives how many days.
    ///
    /// # Errors
    /// The disk.
    pub fn remove_before(&self, cutoff_s: u64) -> io::Result<u64> {
        let calls = self.0.folder.join("calls");
        if !calls.exists() {
            return Ok(0);
        }
        let mut removed = 0;
        for entry in fs::read_dir(calls)? {
            let entry = entry?;
            let day = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            if day.is_some_and(|day| (day + 1) * DAY_S <= cutoff_s) {
                fs::remove_dir_all(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn encrypt(&self, payload: &[u8]) -> Result<Vec<u8>, SealError> {
        let recipients = self.0.auditors.iter().map(|auditor| &auditor.0 as &dyn age::Recipient);
        let encryptor =
            age::Encryptor::with_recipients(recipients).map_err(|_| SealError::Encryption)?;
        let mut file = Vec::with_capacity(payload.len() + AGE_HEADER_BYTES);
        let mut writer = encryptor.wrap_output(&mut file)?;
        writer.write_all(payload)?;
        let _file = writer.finish()?;
        Ok(file)
    }

    fn path(&self, day: u64, of: Of<'_>) -> PathBuf {
        let name = format!("{}.{}", of.decision, of.part.as_str());
        self.0.folder.join("calls").join(day.to_string()).join(name)
    }
}

/// A nonce, and the ciphertext with its tag.
fn around(key: &Key, of: Of<'_>, mut inner: Vec<u8>) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, &**key).ok()?;
    let nonce = key.seal_in_place_append_tag(Aad::from(bound_to(of)), &mut inner).ok()?;
    Some([nonce.as_ref().as_slice(), &inner].concat())
}

fn within(key: &Key, of: Of<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, &**key).ok()?;
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let (nonce, mut rest) = (Nonce::assume_unique_for_key(*nonce), rest.to_vec());
    let length = key.open_in_place(nonce, Aad::from(bound_to(of)), &mut rest).ok()?.len();
    rest.truncate(length);
    Some(rest)
}

/// A payload is of its decision: moved to the place of another it does not open.
fn bound_to(of: Of<'_>) -> String {
    format!("attorn sealed payload\n{}\n{}", of.decision, of.part.as_str())
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Arguments, Self::Result];

    /// The part in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Result => "result",
        }
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.day, attorn_jose::base64url(&self.digest))
    }
}

/// The text is no seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no seal of a payload")]
pub struct SealMalformed;

impl FromStr for Seal {
    type Err = SealMalformed;
    fn from_str(text: &str) -> Result<Self, SealMalformed> {
        let (day, digest) = text.split_once(':').ok_or(SealMalformed)?;
        let digest = attorn_jose::from_base64url(digest).map_err(|_| SealMalformed)?;
        let digest = digest.try_into().map_err(|_| SealMalformed)?;
        Ok(Self { day: day.parse().map_err(|_| SealMalformed)?, digest })
    }
}

const DAY_S: u64 = 86_400;
/// About what age puts before the ciphertext for one recipient.
const AGE_HEADER_BYTES: usize = 256;

#[cfg(test)]
mod tests;
