//! Marks in the journal where the clock of the process went back.
//!
//! Entries keep their order and their chain; only their times do not rise there. Without the mark
//! somebody who reads the times would take one entry for an earlier one.

use attorn_audit::{Entry, Kind};
use attorn_journal::{Durability, Journal};
use attorn_net::{Clock, Shutdown, StepBack};

use crate::exit::Failure;

/// Reminds the clock of the last time in the journal: an earlier process may have been ahead.
pub(super) async fn remind(clock: &Clock, journal: &Journal) -> Result<(), Failure> {
    let Some(last) = journal.size().checked_sub(1) else { return Ok(()) };
    let read = journal.read(last..last + 1).await;
    let read = read.map_err(|e| Failure::broken(format!("cannot read the journal: {e}")))?;
    let entry = read.first().and_then(|bytes| Entry::parse(bytes).ok());
    entry.iter().for_each(|entry| clock.note_seen(entry.time_ms));
    Ok(())
}

/// Marks every step back until the shutdown.
pub(super) async fn mark(clock: Clock, journal: Journal, shutdown: Shutdown) {
    let mut steps = clock.steps();
    // One that came before we looked counts, too.
    steps.mark_changed();
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            changed = steps.changed() => if changed.is_err() { return },
        }
        let Some(step) = *steps.borrow_and_update() else { continue };
        tracing::error!(from_ms = step.from_ms, to_ms = step.to_ms, "the clock was set back");
        let entry = entry(step).to_canonical();
        if let Err(error) = journal.append(entry, Durability::Written).await {
            tracing::error!(%error, "that the clock was set back is not recorded");
        }
    }
}

fn entry(StepBack { from_ms, to_ms }: StepBack) -> Entry {
    let mut entry = Entry::new(Kind::ClockSetBack, to_ms);
    let by_ms = from_ms.saturating_sub(to_ms);
    let told = [("from_ms", from_ms), ("to_ms", to_ms), ("by_ms", by_ms)];
    entry.detail.extend(told.map(|(name, value)| (name.to_owned(), value.to_string())));
    entry
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use attorn_audit::note::NoteSigner;
    use attorn_journal::Config;

    use super::*;

    fn folder(test: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("attorn-clock-{test}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        folder
    }

    fn open(folder: &PathBuf) -> Journal {
        let signer = NoteSigner::from_seed("test/node/1", &[3; 32]).unwrap();
        Journal::open(Config::new(folder, "test/node/1"), signer).unwrap().0
    }

    fn scripted(start_ms: u64) -> (Clock, Arc<AtomicU64>) {
        let time = Arc::new(AtomicU64::new(start_ms));
        let read = Arc::clone(&time);
        (Clock::new(move || read.load(Ordering::SeqCst)), time)
    }

    async fn tell(journal: &Journal, clock: &Clock) {
        let entry = Entry::new(Kind::AdminRead, clock.now_ms()).to_canonical();
        journal.append(entry, Durability::Written).await.unwrap();
    }

    async fn until(journal: &Journal, size: u64) -> Vec<Entry> {
        let mut sizes = journal.subscribe();
        while journal.size() < size {
            sizes.changed().await.unwrap();
        }
        let read = journal.read(0..journal.size()).await.unwrap();
        read.iter().map(|bytes| Entry::parse(bytes).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_is_marked_between_the_entries() {
        let folder = folder("back");
        let (journal, shutdown) = (open(&folder), Shutdown::new());
        let (clock, time) = scripted(1_000_000);
        let marking = tokio::spawn(mark(clock.clone(), journal.clone(), shutdown.clone()));
        tell(&journal, &clock).await;
        time.store(4_600_000, Ordering::SeqCst);
        tell(&journal, &clock).await;
        time.store(1_000_000, Ordering::SeqCst);
        tell(&journal, &clock).await;
        let entries = until(&journal, 4).await;
        let marks: Vec<_> = entries.iter().filter(|one| one.kind == Kind::ClockSetBack).collect();
        assert_eq!(marks.len(), 1);
        let detail = |name: &str| marks[0].detail[name].clone();
        assert_eq!((detail("from_ms"), detail("to_ms")), ("4600000".into(), "1000000".into()));
        assert_eq!(detail("by_ms"), "3600000");
        shutdown.start();
        marking.await.unwrap();
        // Sequence and chain are as ever: opening verifies them.
        journal.close().await;
        let again = open(&folder);
        assert_eq!(again.size(), 4);
        again.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_clock_that_went_back_between_two_processes_is_marked() {
        let folder = folder("restart");
        let journal = open(&folder);
        tell(&journal, &scripted(4_600_000).0).await;
        journal.close().await;
        let (journal, shutdown) = (open(&folder), Shutdown::new());
        let (clock, _) = scripted(1_000_000);
        remind(&clock, &journal).await.unwrap();
        assert_eq!(clock.now_ms(), 1_000_000);
        let marking = tokio::spawn(mark(clock, journal.clone(), shutdown.clone()));
        let entries = until(&journal, 2).await;
        assert_eq!(entries[1].kind, Kind::ClockSetBack);
        shutdown.start();
        marking.await.unwrap();
        journal.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
