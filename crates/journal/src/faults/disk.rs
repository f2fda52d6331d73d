//! A disk that fails where a test wants it to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use crate::disk::{Disk, FileSystem, Segment};

pub(super) const fn fault(
    step: Step,
    path: &'static str,
    kind: io::ErrorKind,
    effect: Effect,
) -> Fault {
    Fault { step, path, kind, effect, times: 1 }
}

/// A step on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    AppendToSegment,
    CreateSegment,
    CutSegment,
    FinishSegment,
    Remove,
    Rename,
    Sync,
    SyncSegment,
    Write,
}

/// Whether the step was done although it reported an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Done,
    Half,
    None,
}

#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) step: Step,
    pub(super) path: &'static str,
    pub(super) kind: io::ErrorKind,
    pub(super) effect: Effect,
    /// How often it fails; 0 is for ever.
    pub(super) times: u32,
}

/// A disk on which some steps fail while faults are armed.
#[derive(Clone, Debug)]
pub(super) struct FaultyDisk {
    faults: Arc<Mutex<Vec<Fault>>>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl FaultyDisk {
    pub(super) fn new() -> Self {
        Self { faults: Arc::default(), held: Arc::default() }
    }

    pub(super) fn arm(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    pub(super) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Whether every fault with a number of times has struck.
    pub(super) fn struck(&self) -> bool {
        self.faults.lock().unwrap().iter().all(|fault| fault.times == 0)
    }

    /// Every further step waits until [`FaultyDisk::release`], as on a disk that hangs.
    pub(super) fn hold(&self) {
        *self.held.0.lock().unwrap() = true;
    }

    pub(super) fn release(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }

    fn run(
        &self,
        step: Step,
        path: &Path,
        whole: impl FnOnce() -> io::Result<()>,
        half: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let (held, changed) = &*self.held;
        let held = held.lock().map_err(|_| io::Error::other("poisoned"))?;
        drop(changed.wait_while(held, |held| *held).map_err(|_| io::Error::other("poisoned"))?);
        let struck = {
            let mut faults = self.faults.lock().map_err(|_| io::Error::other("poisoned"))?;
            let path = path.to_string_lossy();
            let place = faults.iter().position(|f| f.step == step && path.contains(f.path));
            place.and_then(|place| {
                let fault = faults.get_mut(place)?;
                let struck = fault.clone();
                fault.times = fault.times.saturating_sub(1);
                if struck.times == 1 {
                    faults.remove(place);
                }
                Some(struck)
            })
        };
        match struck {
            None => whole(),
            Some(Fault { kind, effect, .. }) => {
                match effect {
                    Effect::Done => whole()?,
                    Effect::Half => half()?,
                    Effect::None => {}
                }
                Err(kind.into())
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn create_segment(&self, path: &Path, room: u64) -> io::Result<Arc<dyn Segment>> {
        self.run(Step::CreateSegment, path, || Ok(()), || Ok(()))?;
        let inner = FileSystem.create_segment(path, room)?;
        Ok(Arc::new(FaultySegment { disk: self.clone(), path: path.to_owned(), inner }))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let whole = || FileSystem.write(path, bytes);
        self.run(Step::Write, path, whole, || FileSystem.write(path, half))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Step::Rename, to, || FileSystem.rename(from, to), || Ok(()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(Step::Remove, path, || FileSystem.remove(path), || Ok(()))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.run(Step::Sync, path, || FileSystem.sync(path), || Ok(()))
    }

    fn finish_segment(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.run(Step::FinishSegment, path, || FileSystem.finish_segment(path, bytes), || Ok(()))
    }
}

#[derive(Debug)]
struct FaultySegment {
    disk: FaultyDisk,
    path: PathBuf,
    inner: Arc<dyn Segment>,
}

impl Segment for FaultySegment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let whole = || self.inner.append(bytes);
        self.disk.run(Step::AppendToSegment, &self.path, whole, || self.inner.append(half))
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.disk.run(Step::CutSegment, &self.path, || self.inner.cut(bytes), || Ok(()))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.run(Step::SyncSegment, &self.path, || self.inner.sync(), || Ok(()))
    }

    fn give_back(&self, bytes: u64) {
        self.inner.give_back(bytes);
    }
}
