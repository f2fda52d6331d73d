//! The issuer's signing keys: private parts in files, public parts and states in the registry.
//!
//! Implemented: one file per key, readable by its owner alone; the active key signs, active and
//! retired keys verify, the pre-published one is shown before it signs. Beside them the key of the
//! leases of gateways, which no registry names. Not implemented: PKCS#11, keys in a vault, encrypted
//! files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use attorn_jose::{Algorithm, PublicKey, SigningKey};
use attorn_net::Random;
use attorn_oauth::access_token::IssuerKeys;
use attorn_registry::{IssuerKey, KeyState};
use bytes::Bytes;

/// Why the signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The registry names no active key.
    #[error("no signing key is active")]
    ActiveMissing,
    /// Others than its owner can read or write the file.
    #[error("the key file `{}` can be read by others; chmod 600 it, and rotate", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold the key the registry names.
    #[error("the key file of `{kid}` holds another key or none")]
    File {
        /// Which key.
        kid: String,
    },
    /// The folder or a file cannot be used.
    #[error("cannot use the key file `{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A key cannot be made or encoded.
    #[error("a signing key cannot be made")]
    Make,
    /// A public key in the registry does not parse, or two have one name.
    #[error("a public key in the registry is broken")]
    Public,
}

/// The keys in use. Swapped as a whole.
#[derive(Debug)]
pub(crate) struct KeyRing {
    folder: PathBuf,
    in_use: ArcSwapOption<KeysInUse>,
}

/// One consistent set of keys.
#[derive(Debug)]
pub(crate) struct KeysInUse {
    pub(crate) kid: String,
    pub(crate) signer: SigningKey,
    pub(crate) verifying: IssuerKeys,
    /// The JWK set document: RFC 7517 section 5.
    pub(crate) jwks: Bytes,
    source: Vec<IssuerKey>,
}

impl KeyRing {
    /// Opens the folder, making it if it is missing. Blocks for a moment.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, KeyError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| KeyError::Io { path: folder.clone(), source })?;
        Ok(Self { folder, in_use: ArcSwapOption::empty() })
    }

    /// Makes a key and writes its private part. What the registry is told is only the public part,
    /// afterwards: a crash in between leaves a file that nothing refers to.
    pub(crate) fn make(&self, random: &Random, state: KeyState) -> Result<IssuerKey, KeyError> {
        let key =
            SigningKey::from_seed(Algorithm::EdDsa, &random.bytes()).map_err(|_| KeyError::Make)?;
        let kid = key.public().thumbprint().to_string();
        let pem = key.to_pkcs8_pem().map_err(|_| KeyError::Make)?;
        let path = self.path(&kid);
        write_private(&path, pem.as_bytes()).map_err(|source| KeyError::Io { path, source })?;
        Ok(IssuerKey { jwk: key.public().to_jwk(Some(&kid)), kid, state })
    }

    /// The key that seals the leases of gateways; made if it is missing.
    pub(crate) fn lease_key(&self, random: &Random) -> Result<SigningKey, KeyError> {
        let path = self.path(LEASES);
        if !path.exists() {
            let key = SigningKey::from_seed(Algorithm::EdDsa, &random.bytes());
            let pem =
                key.map_err(|_| KeyError::Make)?.to_pkcs8_pem().map_err(|_| KeyError::Make)?;
            let new = path.with_extension("new");
            drop(fs::remove_file(&new));
            // Crash before it has its name: another one is made.
            write_private(&new, pem.as_bytes())
                .and_then(|()| fs::rename(&new, &path))
                .map_err(|source| KeyError::Io { path: path.clone(), source })?;
        }
        read_private(&path, LEASES)
    }

    /// Takes the keys of a registry into use.
    pub(crate) fn load(&self, keys: &[IssuerKey]) -> Result<(), KeyError> {
        if self.in_use.load().as_ref().is_some_and(|now| now.source == keys) {
            return Ok(());
        }
        let active = keys.iter().find(|key| key.state == KeyState::Active);
        let kid = active.ok_or(KeyError::ActiveMissing)?.kid.clone();
        let signer = self.read(&kid)?;
        let in_use = KeysInUse {
            verifying: verifying(keys)?,
            jwks: jwks(keys).into(),
            source: keys.to_vec(),
            signer,
            kid,
        };
        self.in_use.store(Some(Arc::new(in_use)));
        Ok(())
    }

    /// The keys in use now.
    pub(crate) fn in_use(&self) -> Result<Arc<KeysInUse>, KeyError> {
        self.in_use.load_full().ok_or(KeyError::ActiveMissing)
    }

    /// Destroys the private part of a key that must not sign again.
    pub(crate) fn destroy(&self, kid: &str) -> Result<(), KeyError> {
        let path = self.path(kid);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeyError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn read(&self, kid: &str) -> Result<SigningKey, KeyError> {
        let key = read_private(&self.path(kid), kid)?;
        let is_named = key.public().thumbprint().to_string() == kid;
        if is_named { Ok(key) } else { Err(KeyError::File { kid: kid.to_owned() }) }
    }

    /// A `kid` of ours is a thumbprint: base64url, so no separator can occur in it.
    fn path(&self, kid: &str) -> PathBuf {
        let safe: String =
            kid.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        self.folder.join(format!("{safe}.pem"))
    }
}

fn read_private(path: &Path, kid: &str) -> Result<SigningKey, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    // Of the open file, not of whatever has the name by then.
    if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    SigningKey::from_pkcs8_pem(&text).map_err(|_| KeyError::File { kid: kid.to_owned() })
}

/// Pre-published keys do not verify: nothing may be signed with them yet.
fn verifying(keys: &[IssuerKey]) -> Result<IssuerKeys, KeyError> {
    let mut parsed = Vec::new();
    for key in keys {
        match key.state {
            KeyState::Active | KeyState::Retired => {
                let public = PublicKey::parse_jwk(&key.jwk).map_err(|_| KeyError::Public)?;
                parsed.push((key.kid.clone(), public));
            }
            KeyState::Prepublished | KeyState::Removed => {}
        }
    }
    IssuerKeys::new(parsed).map_err(|_| KeyError::Public)
}

/// RFC 7517 section 5: everything a verifier may need soon, and nothing that is gone.
fn jwks(keys: &[IssuerKey]) -> String {
    let shown = keys.iter().filter(|key| key.state != KeyState::Removed);
    let keys: Vec<_> = shown.map(|key| key.jwk.as_str()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // The name must survive a crash as well: the registry will refer to it.
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Stands for a name of a key. No thumbprint is that short.
const LEASES: &str = "leases";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_verifies_from_its_first_signature_to_its_removal() {
        let folder = std::env::temp_dir().join(format!("attorn-window-{}", std::process::id()));
        let ring = KeyRing::open(folder.clone()).unwrap();
        let make = |byte: u8| {
            ring.make(&Random::new(move |bytes| bytes.fill(byte)), KeyState::Active).unwrap()
        };
        let (signing, other) = (make(1), make(2));
        for (state, verifies, shown) in [
            (KeyState::Prepublished, false, true),
            (KeyState::Retired, true, true),
            (KeyState::Removed, false, false),
        ] {
            let other = IssuerKey { state, ..other.clone() };
            ring.load(&[signing.clone(), other]).unwrap();
            let now = ring.in_use().unwrap();
            assert_eq!(now.kid, signing.kid);
            assert!(now.verifying.find(&signing.kid).is_some());
            assert_eq!(now.verifying.find(&other_kid(&now)).is_some(), verifies, "{state:?}");
            let jwks = String::from_utf8_lossy(&now.jwks).into_owned();
            assert_eq!(jwks.contains(&other_kid(&now)), shown, "{state:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    fn other_kid(keys: &KeysInUse) -> String {
        keys.source.iter().find(|key| key.kid != keys.kid).unwrap().kid.clone()
    }

    #[test]
    fn a_lost_or_foreign_key_file_is_not_made_again() {
        let folder = std::env::temp_dir().join(format!("attorn-lost-{}", std::process::id()));
        let ring = KeyRing::open(folder.clone()).unwrap();
        let make = |byte: u8| {
            ring.make(&Random::new(move |bytes| bytes.fill(byte)), KeyState::Active).unwrap()
        };
        let (key, other) = (make(1), make(2));
        let path = ring.path(&key.kid);
        let right = fs::read(&path).unwrap();
        let load = || ring.load(std::slice::from_ref(&key));
        fs::copy(ring.path(&other.kid), &path).unwrap();
        assert!(matches!(load(), Err(KeyError::File { .. })));
        fs::write(&path, "no key").unwrap();
        assert!(matches!(load(), Err(KeyError::File { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(load(), Err(KeyError::Io { .. })));
        assert!(!path.exists(), "nothing takes its place");
        write_private(&path, &right).unwrap();
        load().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_key_of_leases_outlives_its_process() {
        let folder = std::env::temp_dir().join(format!("attorn-seal-{}", std::process::id()));
        let key = |byte: u8| {
            let ring = KeyRing::open(folder.clone()).unwrap();
            let key = ring.lease_key(&Random::new(move |bytes| bytes.fill(byte))).unwrap();
            key.public().thumbprint().to_string()
        };
        assert_eq!(key(1), key(2));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_does_not_sign() {
        let folder = std::env::temp_dir().join(format!("attorn-keys-{}", std::process::id()));
        let ring = KeyRing::open(folder.clone()).unwrap();
        let key = ring.make(&Random::new(|bytes| bytes.fill(7)), KeyState::Active).unwrap();
        let path = ring.path(&key.kid);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = ring.load(std::slice::from_ref(&key));
        assert!(matches!(refused, Err(KeyError::Exposed { .. })), "{refused:?}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        ring.load(&[key]).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
