//! A small disk that can be filled: memory mounted on a folder.
//!
//! Mounting needs rights that a test has in a namespace of its own: [`alone`] starts the program
//! again in one.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installation::binary;
use crate::step::{StepFailed, answers, output_of};

/// Set in the program that was started again.
const ALONE: &str = "ATTORN_XTASK_ALONE";

/// A mounted disk; it is unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts a disk of so many mebibytes on a folder, which is made.
    ///
    /// # Errors
    /// When the folder cannot be made, or mounting is not allowed: see [`alone`].
    pub fn mount(folder: &Path, mib: u32) -> Result<Self, StepFailed> {
        let failed = |source| StepFailed::File { path: folder.to_path_buf(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let (size, at) = (format!("size={mib}m,mode=0700"), folder.display().to_string());
        output_of(folder, "mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &at])?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// Fills what is left of it.
    ///
    /// # Errors
    /// When it does not become full.
    pub fn fill(&self) -> Result<(), StepFailed> {
        let path = self.folder.join("ballast");
        let failed = |source| StepFailed::File { path: path.clone(), source };
        let mut file = std::fs::File::create(&path).map_err(failed)?;
        let block = vec![0_u8; 4096];
        // Bounded, should it be no small disk after all.
        for _ in 0..1 << 16 {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(StepFailed::Check(format!("{} does not become full", self.folder.display())))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was just ended may still be there.
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

/// Where a program runs that wants to mount disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a namespace of its own: it may.
    Alone,
    /// It ran to its end in such a namespace, started from here.
    Done,
    /// No such namespace is to be had.
    Nowhere,
}

/// Runs this program again with these arguments, where it may mount disks that nobody else sees.
///
/// # Errors
/// When the program fails there.
pub fn alone(arguments: &[&str]) -> Result<Place, StepFailed> {
    if std::env::var_os(ALONE).is_some() {
        return Ok(Place::Alone);
    }
    let failed = |source| StepFailed::Start { command: "unshare".to_owned(), source };
    let is_root = std::fs::metadata("/proc/self").map_err(failed)?.uid() == 0;
    let rights = if is_root { "-m" } else { "-Urm" };
    if !answers("unshare", &[rights, "--", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        return Ok(Place::Nowhere);
    }
    // The running program, also when a build has put another one in its place meanwhile.
    let this = format!("/proc/{}/exe", std::process::id());
    let status = Command::new("unshare")
        .args([rights, "--"])
        .arg(&this)
        .args(arguments)
        .env(ALONE, "yes")
        .env("ATTORN_BINARY", binary())
        .status()
        .map_err(failed)?;
    if status.success() {
        return Ok(Place::Done);
    }
    Err(StepFailed::Status { command: "unshare".to_owned(), status: status.code() })
}
