//! A folder that goes away, a key, and entries.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use attorn_audit::note::NoteSigner;
use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::Config;

pub(crate) const ORIGIN: &str = "test/gateway/1";

/// A folder of one test.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(&self.0, ORIGIN);
        config.integrate_ms = 20;
        config
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn signer() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, &[7; 32]).unwrap()
}

pub(crate) fn entry(number: u64) -> Vec<u8> {
    let mut entry = Entry::new(Kind::CallDecided, 1_700_000_000_000 + number);
    entry.decision = Some(Decision::Permit);
    entry.decision_id = Some(format!("dec_{number}"));
    entry.to_canonical()
}
