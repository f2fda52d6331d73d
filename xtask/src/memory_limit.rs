//! A limit of memory for one process, by a control group.

use std::path::{Path, PathBuf};

use crate::agent::unique;

/// A control group with a limit; it is removed when dropped, after its processes have ended.
#[derive(Debug)]
pub struct MemoryLimit {
    folder: PathBuf,
    files: &'static Files,
}

/// What the two versions of control groups call the same things.
#[derive(Debug)]
struct Files {
    limit: &'static str,
    swap: Option<(&'static str, bool)>,
    peak: &'static str,
    events: &'static str,
}

const V2: Files = Files {
    limit: "memory.max",
    swap: Some(("memory.swap.max", false)),
    peak: "memory.peak",
    events: "memory.events",
};
const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    swap: Some(("memory.memsw.limit_in_bytes", true)),
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
};

impl MemoryLimit {
    /// A group with this limit below our own; `None` where no such group may be made.
    #[must_use]
    pub fn make(bytes: u64) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let below = |root: &str, path: &str| Path::new(root).join(path.trim_start_matches('/'));
        let v1 = own.lines().filter_map(|line| line.split_once(":memory:"));
        let v1 = v1.map(|(_, path)| (below("/sys/fs/cgroup/memory", path), &V1));
        let v2 = own.lines().filter_map(|line| line.strip_prefix("0::"));
        let v2 = v2.map(|path| (below("/sys/fs/cgroup", path), &V2));
        v2.chain(v1).find_map(|(parent, files)| Self::below(&parent, files, bytes))
    }

    fn below(parent: &Path, files: &'static Files, bytes: u64) -> Option<Self> {
        if files.limit == V2.limit {
            // Refused where the parent has processes of its own; then nothing can be made here.
            let _given = std::fs::write(parent.join("cgroup.subtree_control"), "+memory").is_ok();
        }
        let folder = parent.join(format!("attorn-{}", unique()));
        std::fs::create_dir(&folder).ok()?;
        let group = Self { folder, files };
        // Made by the kernel, or this is an ordinary folder in which nothing limits anything.
        if !group.folder.join(files.limit).exists() || group.kills().is_none() {
            return None;
        }
        std::fs::write(group.folder.join(files.limit), bytes.to_string()).ok()?;
        if let Some((swap, with_memory)) = files.swap {
            let most = if with_memory { bytes } else { 0 };
            // Without swap in the kernel there is no such file, and nothing to limit.
            let _limited = std::fs::write(group.folder.join(swap), most.to_string()).is_ok();
        }
        let told: u64 = group.number(files.limit)?;
        (told == bytes).then_some(group)
    }

    /// The file that takes a process into the group.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The most memory it ever had.
    #[must_use]
    pub fn peak_bytes(&self) -> Option<u64> {
        self.number(self.files.peak)
    }

    /// How many of its processes the kernel ended for lack of memory.
    #[must_use]
    pub fn kills(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.folder.join(self.files.events)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        std::fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.folder));
    }
}
