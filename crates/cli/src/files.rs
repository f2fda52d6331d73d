//! Small files with rights: keys and codes are 0600, their folders 0700.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::exit::Failure;

/// Makes a folder (and its parents) that only its owner can enter.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed("make", path, &e))
}

/// Writes a secret to a file only its owner can read, replacing an older one in one step.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let temporary = path.with_extension("new");
    remove_if_there(&temporary)?;
    let write = || -> io::Result<()> {
        // `create_new` so that a planted link is never followed.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| failed("write", path, &e))
}

/// Reads a secret; refuses a file that others can read.
pub(crate) fn read_private(path: &Path) -> Result<String, Failure> {
    let meta = fs::metadata(path).map_err(|e| failed("read", path, &e))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("`{}` can be read by others", path.display()))
            .next(format!("chmod 600 {}", path.display())));
    }
    fs::read_to_string(path).map_err(|e| failed("read", path, &e))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| failed("read", path, &e))
}

/// Reads a file of at most `bytes_max`. A sparse file or a device is not believed: no more than that
/// is taken from it.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|e| failed("read", path, &e))?;
    let length = file.metadata().map_err(|e| failed("read", path, &e))?.len();
    if length <= bytes_max {
        let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
        read.map_err(|e| failed("read", path, &e))?;
    }
    if length > bytes_max || bytes.len() as u64 > bytes_max {
        return Err(Failure::broken(format!("`{}` is over {bytes_max} bytes", path.display())));
    }
    Ok(bytes)
}

/// SHA-256 of a file of any length, in hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String, Failure> {
    let mut file = fs::File::open(path).map_err(|e| failed("read", path, &e))?;
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut part = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut part).map_err(|e| failed("read", path, &e))?;
        if length == 0 {
            break;
        }
        digest.update(part.get(..length).unwrap_or_default());
    }
    let hex = |byte: &u8| format!("{byte:02x}");
    Ok(digest.finish().as_ref().iter().map(hex).collect())
}

pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| failed("read", path, &e))
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot {verb} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_others_can_read_is_refused() {
        let folder = std::env::temp_dir().join(format!("attorn-files-{}", std::process::id()));
        make_private_folder(&folder).unwrap();
        let path = folder.join("key.pem");
        write_private(&path, b"secret").unwrap();
        assert_eq!(read_private(&path).unwrap(), "secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_private(&path).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_digest_is_that_of_the_whole_file() {
        let path = std::env::temp_dir().join(format!("attorn-digest-{}", std::process::id()));
        let content = vec![7; 200_000];
        fs::write(&path, &content).unwrap();
        let expected: String =
            attorn_jose::sha256(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sha256_of(&path).unwrap(), expected);
        fs::remove_file(&path).unwrap();
        assert!(sha256_of(&path).is_err());
    }

    #[test]
    fn no_more_is_read_than_asked_for() {
        let path = std::env::temp_dir().join(format!("attorn-bounded-{}", std::process::id()));
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(read_bounded(&path, 4).is_err());
        // A length that nothing stands behind, and no length where there is no end.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_bounded(&path, 5).is_err());
        assert!(read_bounded(Path::new("/dev/zero"), 5).is_err());
        fs::remove_file(&path).unwrap();
    }
}
