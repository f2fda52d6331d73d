//! The writer thread: gives entries their index and writes them to the segment.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attorn_audit::tree::Hash;
use bytes::Bytes;

use crate::disk::{Disk, Segment, is_full};
use crate::queue::{OWN_PART, Request, Urgency};
use crate::shared::{Shared, segment_name};
use crate::syncer::Waiting;
use crate::wal::{BatchBuffer, HEADER_BYTES, header};
use crate::{Durability, JournalUnavailable};

/// The one place where the log grows.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Hash,
    segment: Arc<dyn Segment>,
    // Invariant: the length of the segment, all of it written by us or read back.
    segment_bytes: u64,
    next: u64,
    buffer: BatchBuffer,
    waiting: Vec<Waiting>,
}

impl Writer {
    /// Goes on with entry `next` in a segment that has nothing but its header.
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Hash,
        segment: Arc<dyn Segment>,
        next: u64,
    ) -> Self {
        Self {
            shared,
            log,
            segment,
            segment_bytes: bytes_u64(HEADER_BYTES),
            next,
            buffer: BatchBuffer::default(),
            waiting: Vec::new(),
        }
    }

    /// The thread's work until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::new();
        while self.shared.queue.take(&mut batch) {
            self.write(&mut batch);
            batch.clear();
        }
        self.shared.desk.finish();
    }

    fn write(&mut self, batch: &mut Vec<Request>) {
        if self.shared.has_failed() {
            refuse(batch.drain(..), JournalUnavailable::Failed);
            return;
        }
        match self.make_room(batch) {
            Ok(()) => {}
            Err(error) => {
                self.shared.fail("begin of a segment", &error);
                refuse(batch.drain(..), JournalUnavailable::Failed);
            }
        }
        self.buffer.clear();
        // `append` refuses what is too long: nothing is left out here.
        batch.retain(|request| self.buffer.push(&request.entry));
        if self.buffer.is_empty() {
            return;
        }
        let durable = *self.shared.size.borrow();
        let bytes = self.buffer.finish(self.next, durable);
        // Crash during this line: a torn batch at the end, cut on restart. Nobody was told.
        if let Err(error) = self.segment.append(bytes) {
            self.take_back(batch, &error);
            return;
        }
        // Crash here: the batch is with the kernel. It survives us, but not a loss of power.
        self.segment_bytes += bytes_u64(bytes.len());
        self.acknowledge(batch);
    }

    /// Hands the batch on: to readers, to those who wait for the write, to the syncer.
    fn acknowledge(&mut self, batch: &mut Vec<Request>) {
        let mut entries = Vec::with_capacity(batch.len());
        let mut written = Vec::new();
        for Request { entry, durability, done, .. } in batch.drain(..) {
            entries.push(Bytes::from(entry));
            match durability {
                Durability::Fsync => self.waiting.push(Waiting { index: self.next, done }),
                Durability::Written => written.push((self.next, done)),
            }
            self.next += 1;
        }
        // Before the syncer can make the size grow, so that what is durable can be read.
        self.shared.tail.append(entries.into_iter());
        let delay = Duration::from_millis(self.shared.config.fsync_read_ms);
        self.shared.desk.wrote(self.next, &mut self.waiting, delay);
        for (index, done) in written {
            // The entry stays even if nobody waits for it any more.
            done.tell(Ok(index));
        }
    }

    /// A batch could not be written. Lack of space is survived if the segment can be put back to
    /// what we know it to be; anything else ends the journal.
    fn take_back(&mut self, batch: &mut Vec<Request>, error: &io::Error) {
        if is_full(error) && self.segment.cut(self.segment_bytes).is_ok() {
            // Crash here: as if the batch had never come.
            refuse(batch.drain(..), JournalUnavailable::StorageFull);
        } else {
            self.shared.fail("write to a segment", error);
            refuse(batch.drain(..), JournalUnavailable::Failed);
        }
    }

    /// Begins another segment if this one is full. Without space for one, only what may use the end of
    /// this segment stays in the batch: it was set aside for that.
    fn make_room(&mut self, batch: &mut Vec<Request>) -> io::Result<()> {
        let empty = self.segment_bytes == bytes_u64(HEADER_BYTES);
        let bytes_max = self.shared.config.segment_bytes_max;
        if empty || self.segment_bytes + body_bytes(batch) <= bytes_max {
            return Ok(());
        }
        match self.roll() {
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) => {
                let of = |urgency| move |request: &mut Request| request.urgency == urgency;
                let full = JournalUnavailable::StorageFull;
                refuse(batch.extract_if(.., of(Urgency::Ordinary)), full);
                let part = RESERVE_BYTES / u64::from(OWN_PART);
                if self.segment_bytes + body_bytes(batch) > bytes_max + part {
                    refuse(batch.extract_if(.., of(Urgency::Own)), full);
                }
                if self.segment_bytes + body_bytes(batch) > bytes_max + RESERVE_BYTES {
                    refuse(batch.drain(..), full);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ends this segment and begins the next.
    fn roll(&mut self) -> io::Result<()> {
        // A later segment says that all before it is on the disk: make it so first.
        // Even "no space" means here that written data may be gone, so it must not look survivable.
        self.segment.sync().map_err(io::Error::other)?;
        // Crash here: as if the segment had never been full.
        let segment = begin_segment(&self.shared, &self.log, self.next)?;
        // Not before there is another segment: until then emergencies may need the room.
        self.segment.give_back(self.segment_bytes);
        self.shared.segments().push(self.next);
        self.segment_bytes = bytes_u64(HEADER_BYTES);
        self.segment = Arc::clone(&segment);
        self.shared.desk.rolled(segment);
        Ok(())
    }
}

/// Makes the segment for entries from `first` on, with its header, surviving a loss of power.
fn begin_segment(shared: &Shared, log: &Hash, first: u64) -> io::Result<Arc<dyn Segment>> {
    let folder = shared.wal_dir();
    let room = shared.config.segment_bytes_max + RESERVE_BYTES;
    create_segment(shared.disk.as_ref(), &folder, room, log, first)
}

/// As the first thing a journal does and at each roll.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    folder: &Path,
    room: u64,
    log: &Hash,
    first: u64,
) -> io::Result<Arc<dyn Segment>> {
    let path = folder.join(segment_name(first));
    let made = (|| {
        // Crash from here to the end: a last segment with no or half a header, and no entry.
        let segment = disk.create_segment(&path, room)?;
        segment.append(&header(first, log))?;
        segment.sync()?;
        disk.sync(folder)?;
        Ok(segment)
    })();
    if made.is_err() {
        // It may not exist at all. If it stays, it is empty, and a restart takes it for that.
        drop(disk.remove(&path));
    }
    made
}

fn refuse(requests: impl Iterator<Item = Request>, reason: JournalUnavailable) {
    for request in requests {
        request.refuse(reason);
    }
}

/// What the batch adds to the segment, with room for its header.
fn body_bytes(batch: &[Request]) -> u64 {
    bytes_u64(batch.iter().map(|request| request.entry.len() + 2).sum::<usize>() + HEADER_BYTES)
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Space at the end of each segment that only emergencies may use when the disk is full.
pub(crate) const RESERVE_BYTES: u64 = 1 << 20;
