//! What the operating system lets a child have (Linux: `prlimit`).
//!
//! The limits are set right after the child was started: what it did in that moment is not undone,
//! but it and everything it starts later is bound by them.
//!
//! Not implemented: limits of CPU time, cgroups, namespaces, systems other than Linux.

use std::io;

use crate::limits::Limits;

/// The limits of one child. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChildLimits {
    memory_bytes: u64,
    file_bytes: u64,
    open_files: u64,
    processes: u64,
}

impl ChildLimits {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.child_memory_bytes,
            file_bytes: limits.child_file_bytes,
            open_files: limits.child_open_files,
            processes: limits.child_processes,
        }
    }

    /// Sets them on a running child. One that ended meanwhile needs none.
    #[cfg(target_os = "linux")]
    pub(super) fn set_on(self, id: Option<u32>) -> io::Result<()> {
        use rustix::process::{Pid, Resource};

        let raw = id.and_then(|id| i32::try_from(id).ok());
        let Some(pid) = raw.and_then(Pid::from_raw) else { return Ok(()) };
        let limits = [
            // `RLIMIT_AS` would count address space that runtimes reserve and never use.
            (Resource::Data, self.memory_bytes),
            (Resource::Fsize, self.file_bytes),
            (Resource::Nofile, self.open_files),
            (Resource::Nproc, self.processes),
        ];
        for (resource, most) in limits {
            if most > 0 {
                set(pid, resource, most)?;
            }
        }
        // A memory image may hold secrets of a call.
        set(pid, Resource::Core, 0)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn set_on(self, _id: Option<u32>) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn set(
    pid: rustix::process::Pid,
    resource: rustix::process::Resource,
    most: u64,
) -> io::Result<()> {
    use rustix::process::{Rlimit, prlimit};

    // What holds already may be lower, and is not raised.
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    match prlimit(Some(pid), resource, Rlimit { current: Some(most), maximum: Some(most) }) {
        Ok(_before) => Ok(()),
        Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
