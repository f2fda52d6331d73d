//! The write-ahead segment: how entries look on the disk before they are in tiles.
//!
//! ```text
//! segment = header batch*
//! header  = "attorn-w" version:u32 first:u64 log:32 crc:u32
//! batch   = "ATBT" first:u64 durable:u64 count:u32 body_bytes:u32 body_crc:u32 crc:u32 body
//! body    = (length:u16be entry)*
//! ```
//!
//! Integers are little-endian but for the length, which is that of an entry bundle. `log` is the
//! hash of the origin: a segment of another log is not taken for ours. `durable` is the number of
//! entries that had been fsynced when the batch was written. It tells a torn tail from a broken
//! middle: a batch that cannot be read was never acknowledged unless a later one says so.

use attorn_audit::tile::push_entry;
use attorn_audit::tree::{Hash, leaf_hash};
use crc::{CRC_32_ISCSI, Crc, Table};

/// Bytes of a segment's header.
pub(crate) const HEADER_BYTES: usize = 8 + 4 + 8 + 32 + 4;
const BATCH_HEADER_BYTES: usize = 4 + 8 + 8 + 4 + 4 + 4 + 4;
const SEGMENT_MAGIC: &[u8; 8] = b"attorn-w";
const BATCH_MAGIC: &[u8; 4] = b"ATBT";
const VERSION: u32 = 1;
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a segment says about the log it belongs to.
pub(crate) fn log_mark(origin: &str) -> Hash {
    leaf_hash(origin.as_bytes())
}

/// The header of the segment that begins with entry `first`.
pub(crate) fn header(first: u64, log: &Hash) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(SEGMENT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(log.as_bytes());
    out.extend_from_slice(&CRC.checksum(&out).to_le_bytes());
    out
}

/// Puts a batch together in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct BatchBuffer {
    bytes: Vec<u8>,
    count: u32,
}

impl BatchBuffer {
    /// Forgets the last batch.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
    }

    /// Adds an entry; `false` if it is too long, and then nothing is added.
    pub(crate) fn push(&mut self, entry: &[u8]) -> bool {
        let fits = push_entry(&mut self.bytes, entry).is_ok();
        self.count += u32::from(fits);
        fits
    }

    /// The bytes to write: the batch of entries from `first` on.
    pub(crate) fn finish(&mut self, first: u64, durable: u64) -> &[u8] {
        let (header, body) = self.bytes.split_at_mut(BATCH_HEADER_BYTES);
        let body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut fields = Vec::with_capacity(BATCH_HEADER_BYTES);
        fields.extend_from_slice(BATCH_MAGIC);
        fields.extend_from_slice(&first.to_le_bytes());
        fields.extend_from_slice(&durable.to_le_bytes());
        fields.extend_from_slice(&self.count.to_le_bytes());
        fields.extend_from_slice(&body_bytes.to_le_bytes());
        fields.extend_from_slice(&CRC.checksum(body).to_le_bytes());
        fields.extend_from_slice(&CRC.checksum(&fields).to_le_bytes());
        header.copy_from_slice(&fields);
        &self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// How far a segment could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanEnd {
    /// The index after the last entry that was read.
    pub(crate) next: u64,
    /// Bytes that were read. What follows is not a batch.
    pub(crate) good_bytes: usize,
    /// What follows, if anything.
    pub(crate) rest: Rest,
}

/// What stands after the last good batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    End,
    /// Something whose entries were never acknowledged as durable, as far as the segment tells.
    Torn,
    /// A broken batch, and a later one that says it had been durable.
    Broken,
}

/// Reads a segment that should begin with entry `first`, and gives each entry to `each`.
pub(crate) fn scan<E>(
    segment: &[u8],
    first: u64,
    log: &Hash,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<ScanEnd, E> {
    let mut next = first;
    let mut good_bytes = 0;
    if segment.get(..HEADER_BYTES) == Some(header(first, log).as_slice()) {
        good_bytes = HEADER_BYTES;
        while let Some((entries, batch_bytes)) = batch_at(segment, good_bytes, next) {
            for entry in entries {
                each(next, entry)?;
                next += 1;
            }
            good_bytes += batch_bytes;
        }
    }
    let left = segment.get(good_bytes..).unwrap_or_default();
    let rest = if left.is_empty() {
        Rest::End
    } else if good_bytes == 0 && segment.len() > HEADER_BYTES {
        // No batch is written before the header is durable: this was not torn, but changed.
        Rest::Broken
    } else if claims_durable(left, next) {
        Rest::Broken
    } else {
        Rest::Torn
    };
    Ok(ScanEnd { next, good_bytes, rest })
}

/// The entries of the batch at `offset`, if it is whole and begins with entry `next`.
fn batch_at(segment: &[u8], offset: usize, next: u64) -> Option<(Vec<&[u8]>, usize)> {
    let header = BatchHeader::parse(segment.get(offset..)?)?;
    // A batch of another place, such as a copy of the last one, does not continue the log.
    if header.first != next {
        return None;
    }
    let body_start = offset.checked_add(BATCH_HEADER_BYTES)?;
    let body_bytes = usize::try_from(header.body_bytes).ok()?;
    let body = segment.get(body_start..body_start.checked_add(body_bytes)?)?;
    if CRC.checksum(body) != header.body_crc {
        return None;
    }
    Some((entries_in(body, header.count)?, BATCH_HEADER_BYTES + body_bytes))
}

/// Whether a batch header anywhere in `bytes` says that entry `next` had been durable.
fn claims_durable(bytes: &[u8], next: u64) -> bool {
    bytes
        .windows(BATCH_HEADER_BYTES)
        .filter(|window| window.starts_with(BATCH_MAGIC))
        .filter_map(BatchHeader::parse)
        .any(|header| header.durable > next)
}

fn entries_in(mut body: &[u8], count: u32) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    let mut left = count;
    while left > 0 {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        body = rest;
        left -= 1;
    }
    body.is_empty().then_some(entries)
}

struct BatchHeader {
    first: u64,
    durable: u64,
    count: u32,
    body_bytes: u32,
    body_crc: u32,
}

impl BatchHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(BATCH_HEADER_BYTES - 4)?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        if CRC.checksum(fields) != u32::from_le_bytes(*crc) {
            return None;
        }
        let fields = fields.strip_prefix(BATCH_MAGIC)?;
        let (first, fields) = fields.split_first_chunk::<8>()?;
        let (durable, fields) = fields.split_first_chunk::<8>()?;
        let (count, fields) = fields.split_first_chunk::<4>()?;
        let (body_bytes, fields) = fields.split_first_chunk::<4>()?;
        let (body_crc, _) = fields.split_first_chunk::<4>()?;
        Some(Self {
            first: u64::from_le_bytes(*first),
            durable: u64::from_le_bytes(*durable),
            count: u32::from_le_bytes(*count),
            body_bytes: u32::from_le_bytes(*body_bytes),
            body_crc: u32::from_le_bytes(*body_crc),
        })
    }
}

#[cfg(test)]
mod tests;
