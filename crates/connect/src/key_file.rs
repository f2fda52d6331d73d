//! Private keys in files that only their owner reads.
//!
//! Implemented: one PKCS #8 PEM file per name, mode 0600 in a folder of mode 0700, written whole or
//! not at all; refused when it is a link, another user's, or readable by others.
//! Not implemented: key stores of operating systems, encryption at rest, Windows access lists.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use attorn_jose::{Algorithm, SigningKey, SigningKeyError};
use attorn_net::Random;

/// Why a key file is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is a key already; it is never replaced.
    #[error("`{}` exists", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("cannot use `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The content is no usable key.
    #[error("`{}` holds no usable key", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Option<SigningKeyError>,
    },
    /// It belongs to another user, or is no ordinary file.
    #[error("`{}` is not an ordinary file of this user", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it, so it may have been read.
    #[error("`{}` can be read by others; make a new key, or `chmod 600` if it never was", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
}

/// Makes a key and stores it as `<folder>/<name>.pem`. The key never leaves this file.
///
/// # Errors
/// See [`KeyFileError`]; a file that exists is left as it is.
pub fn create(
    folder: &Path,
    name: &str,
    algorithm: Algorithm,
    random: &Random,
) -> Result<SigningKey, KeyFileError> {
    let path = path(folder, name);
    let failed = |source| KeyFileError::Io { path: path.clone(), source };
    let no_key = |source| KeyFileError::Key { path: path.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let key = new_key(algorithm, random).map_err(|error| no_key(Some(error)))?;
    let pem = key.to_pkcs8_pem().map_err(|_| no_key(None))?;
    // The final name appears only with the whole content, also if this process dies here.
    let whole =
        folder.join(format!(".{name}.{}.new", attorn_jose::base64url(&random.bytes::<9>())));
    let written = write_new(&whole, pem.as_bytes())
        .and_then(|()| fs::hard_link(&whole, &path))
        .map_err(|source| {
            let path = path.clone();
            let exists = source.kind() == io::ErrorKind::AlreadyExists;
            if exists { KeyFileError::Exists { path } } else { KeyFileError::Io { path, source } }
        });
    // Left behind at worst: it is as protected as the key itself.
    drop(fs::remove_file(&whole));
    written.map(|()| key)
}

/// Reads the key `<folder>/<name>.pem`.
///
/// # Errors
/// See [`KeyFileError`].
pub fn load(folder: &Path, name: &str) -> Result<SigningKey, KeyFileError> {
    let path = path(folder, name);
    let failed = |source| KeyFileError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        // A link could name a file that somebody else chose.
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed)?;
    // Facts of the open file, not of whatever has the name by now.
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() || facts.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyFileError::Owner { path });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path });
    }
    let mut pem = String::new();
    Read::take(&mut file, KEY_BYTES_MAX).read_to_string(&mut pem).map_err(failed)?;
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|error| KeyFileError::Key { path: path.clone(), source: Some(error) })
}

/// Where the key called `name` is kept.
pub fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pem"))
}

fn new_key(algorithm: Algorithm, random: &Random) -> Result<SigningKey, SigningKeyError> {
    loop {
        match SigningKey::from_seed(algorithm, &random.bytes::<32>()) {
            // FIPS 186-5 appendix A.2.2: a seed outside the group is drawn again.
            Err(SigningKeyError::Seed) => {}
            made => return made,
        }
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

const KEY_BYTES_MAX: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn random() -> Random {
        let counter = std::sync::atomic::AtomicU8::new(1);
        Random::new(move |target| {
            target.fill(counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        })
    }

    /// A fresh folder; the name keeps tests of one process apart.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("attorn-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        folder
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone() {
        let folder = folder("keep");
        let made = create(&folder, "agent", Algorithm::EdDsa, &random()).unwrap();
        let read = load(&folder, "agent").unwrap();
        assert_eq!(made.public().thumbprint(), read.public().thumbprint());
        let facts = fs::metadata(path(&folder, "agent")).unwrap();
        assert_eq!(facts.mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_key_is_never_replaced() {
        let folder = folder("replace");
        create(&folder, "agent", Algorithm::Es256, &random()).unwrap();
        let again = create(&folder, "agent", Algorithm::Es256, &random());
        assert!(matches!(again, Err(KeyFileError::Exists { .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_others_can_read_and_a_link_are_refused() {
        let folder = folder("refuse");
        create(&folder, "agent", Algorithm::EdDsa, &random()).unwrap();
        symlink(path(&folder, "agent"), path(&folder, "link")).unwrap();
        assert!(matches!(load(&folder, "link"), Err(KeyFileError::Io { .. })));
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(path(&folder, "agent"), open).unwrap();
        assert!(matches!(load(&folder, "agent"), Err(KeyFileError::Permissions { .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let folder = folder("empty");
        create(&folder, "agent", Algorithm::EdDsa, &random()).unwrap();
        fs::write(path(&folder, "agent"), "no key").unwrap();
        assert!(matches!(load(&folder, "agent"), Err(KeyFileError::Key { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
