//! The lease of a gateway, in a file of its state folder.
//!
//! A copy of the folder has the lease of the time it was made: see
//! [`attorn_registry::present_lease`] for what follows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// The lease that is on the disk.
#[derive(Debug)]
pub(super) struct LeaseFile {
    path: PathBuf,
    held: Option<String>,
}

impl LeaseFile {
    /// Reads the file; without one there is no lease yet.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let held = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, held })
    }

    /// What to present.
    pub(super) fn held(&self) -> Option<&str> {
        self.held.as_deref()
    }

    /// Keeps a new lease, surviving a loss of power. On an error before it has its name the old one
    /// stays.
    pub(super) fn keep(&mut self, lease: String) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{lease}")?;
        file.sync_all()?;
        // Crash before the end of this function: the old one may stay, and still counts, because
        // the new one was never presented.
        std::fs::rename(&new, &self.path)?;
        // What a restart would present, whatever comes of the next step.
        self.held = Some(lease);
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlives_its_process() {
        let folder = std::env::temp_dir().join(format!("attorn-lease-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("gateway.lease");
        let mut file = LeaseFile::open(path.clone()).unwrap();
        assert_eq!(file.held(), None);
        file.keep("one".to_owned()).unwrap();
        file.keep("two".to_owned()).unwrap();
        assert_eq!(LeaseFile::open(path).unwrap().held(), Some("two"));
        std::fs::remove_dir_all(&folder).unwrap();
        // Where nothing can be written the old one stays.
        assert!(file.keep("three".to_owned()).is_err());
        assert_eq!(file.held(), Some("two"));
    }
}
