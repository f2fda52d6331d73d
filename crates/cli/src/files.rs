//! Small files with rights: keys and codes are 0600, their folders 0700.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
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
}
