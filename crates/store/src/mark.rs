//! How far the registry got, in a file of its own: a registry from a backup is known by it.
//!
//! A backup brings back what was revoked since: locks, grants, keys, tokens. Nothing in it says
//! so. The mark does, and then every token ends: the epoch goes beyond all that was in force. What
//! is not found: a backup that holds the mark as well. Gateways that stayed up find that one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::InForce;

/// The mark. It only rises.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
    at: Mutex<InForce>,
}

/// A mark that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// It is not what was written.
    #[error("`{}` is not a mark of the registry; remove it to end every token", .0.display())]
    Broken(PathBuf),
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Mark {
    /// Reads the mark; without one, nothing was ever in force.
    ///
    /// # Errors
    /// [`MarkError`] when there is one that cannot be used.
    pub fn open(path: PathBuf) -> Result<Self, MarkError> {
        let at = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text).ok_or_else(|| MarkError::Broken(path.clone()))?,
            Err(source) if source.kind() == io::ErrorKind::NotFound => InForce::default(),
            Err(source) => return Err(MarkError::Read { path, source }),
        };
        Ok(Self { path, at: Mutex::new(at) })
    }

    /// Notes what is in force, surviving a loss of power.
    ///
    /// # Errors
    /// The file cannot be written; the old mark stays.
    pub fn raise(&self, to: InForce) -> io::Result<()> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if to.version <= at.version && to.epoch <= at.epoch {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{} {}", to.version, to.epoch)?;
        file.sync_all()?;
        // Crash here: the old mark stays, and lags.
        std::fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        *at = to;
        Ok(())
    }

    /// What a registry that was restored has to go beyond; nothing where it was not.
    ///
    /// The mark lags where it could not be written. What was in force then must not be in force again
    /// under its number, so this leaves room for it.
    pub fn beyond(&self, registry: InForce) -> Option<InForce> {
        let mark = self.at();
        registry.is_behind(mark).then_some(InForce {
            version: mark.version.saturating_add(LAG_MAX),
            epoch: mark.epoch.saturating_add(LAG_MAX),
        })
    }

    /// What is noted.
    pub fn at(&self) -> InForce {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes by which the mark may lag.
const LAG_MAX: u64 = 1000;

fn parse(text: &str) -> Option<InForce> {
    let (version, epoch) = text.trim_end().split_once(' ')?;
    Some(InForce { version: version.parse().ok()?, epoch: epoch.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_only_rises_and_outlives_its_process() {
        let folder = std::env::temp_dir().join(format!("attorn-mark-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("registry.mark");
        let mark = Mark::open(path.clone()).unwrap();
        assert_eq!(mark.at(), InForce::default());
        mark.raise(InForce { version: 7, epoch: 2 }).unwrap();
        mark.raise(InForce { version: 6, epoch: 2 }).unwrap();
        assert_eq!(mark.beyond(InForce { version: 7, epoch: 2 }), None);
        let beyond = mark.beyond(InForce { version: 6, epoch: 2 }).unwrap();
        assert!(beyond.version > 7 && beyond.epoch > 2);
        assert_eq!(Mark::open(path.clone()).unwrap().at(), InForce { version: 7, epoch: 2 });
        std::fs::write(&path, "seven\n").unwrap();
        assert!(matches!(Mark::open(path), Err(MarkError::Broken(_))));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
