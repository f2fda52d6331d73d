//! A journal as it grows: reads on from where it stopped.
//!
//! It reads the write-ahead segments as they are on the disk (`crates/journal/src/wal.rs`), and
//! leaves checksums to the verification of the whole journal at the end.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::step::StepFailed;

const SEGMENT_HEADER_BYTES: u64 = 56;
const BATCH_HEADER_BYTES: usize = 36;
const BATCH_MAGIC: &[u8] = b"ATBT";

/// Gives each entry of a journal once.
#[derive(Debug)]
pub(super) struct Watch {
    wal: PathBuf,
    segment: u64,
    offset: u64,
    next: u64,
    /// Refusals by reason in the newest second that has one.
    refusals: BTreeMap<String, (u64, u32)>,
}

impl Watch {
    /// Begins with the segment that is written now: older ones go once they are in tiles.
    ///
    /// # Errors
    /// When there is no segment.
    pub(super) fn start(journal: &Path) -> Result<Self, StepFailed> {
        let wal = journal.join("wal");
        let first = segments(&wal)?.into_iter().max();
        let first =
            first.ok_or_else(|| StepFailed::Check(format!("no segment in {}", wal.display())))?;
        let (offset, refusals) = (SEGMENT_HEADER_BYTES, BTreeMap::new());
        Ok(Self { wal, segment: first, offset, next: first, refusals })
    }

    /// The entries that were added since the last time this was asked.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn new_entries(&mut self) -> Result<Vec<Value>, StepFailed> {
        let mut found = Vec::new();
        self.read_on(&mut found)?;
        while self.next > self.segment && segments(&self.wal)?.contains(&self.next) {
            (self.segment, self.offset) = (self.next, SEGMENT_HEADER_BYTES);
            self.read_on(&mut found)?;
        }
        for entry in &found {
            self.count(entry);
        }
        Ok(found)
    }

    /// The second in which so many refusals of one reason were recorded, if it is not over.
    pub(super) fn is_crowded(&self, now_s: u64, many: u32) -> bool {
        self.refusals.values().any(|(second, count)| *second >= now_s && *count >= many)
    }

    fn read_on(&mut self, found: &mut Vec<Value>) -> Result<(), StepFailed> {
        let path = self.wal.join(format!("{:020}", self.segment));
        let mut bytes = Vec::new();
        std::fs::File::open(&path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(self.offset))?;
                file.read_to_end(&mut bytes)
            })
            .map_err(|source| StepFailed::File { path, source })?;
        let mut rest = bytes.as_slice();
        while let Some((entries, after)) = batch(rest, self.next) {
            self.next += entries.len() as u64;
            for entry in entries {
                let entry = serde_json::from_slice(entry)
                    .map_err(|error| StepFailed::Check(format!("an entry: {error}")))?;
                found.push(entry);
            }
            self.offset += (rest.len() - after.len()) as u64;
            rest = after;
        }
        Ok(())
    }

    fn count(&mut self, entry: &Value) {
        let Some(reason) = entry.get("reason").and_then(Value::as_str) else { return };
        let time_ms = entry.get("time_ms").and_then(Value::as_u64).unwrap_or_default();
        let second = time_ms / 1000;
        let known = self.refusals.entry(reason.to_owned()).or_default();
        *known = if known.0 == second { (second, known.1 + 1) } else { (second, 1) };
    }
}

/// The entries of the batch that begins here with entry `next`, if all of it is written.
fn batch(bytes: &[u8], next: u64) -> Option<(Vec<&[u8]>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(BATCH_HEADER_BYTES)?;
    let header = header.strip_prefix(BATCH_MAGIC)?;
    let (first, header) = header.split_first_chunk::<8>()?;
    let (_durable, header) = header.split_first_chunk::<8>()?;
    let (_count, header) = header.split_first_chunk::<4>()?;
    let (body_bytes, _) = header.split_first_chunk::<4>()?;
    if u64::from_le_bytes(*first) != next {
        return None;
    }
    let body_bytes = usize::try_from(u32::from_le_bytes(*body_bytes)).ok()?;
    let (mut body, rest) = rest.split_at_checked(body_bytes)?;
    let mut entries = Vec::new();
    while let Some((length, after)) = body.split_first_chunk::<2>() {
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        body = after;
    }
    Some((entries, rest))
}

fn segments(wal: &Path) -> Result<Vec<u64>, StepFailed> {
    let failed = |source| StepFailed::File { path: wal.to_path_buf(), source };
    let mut found = Vec::new();
    for file in std::fs::read_dir(wal).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use attorn_audit::note::NoteSigner;
    use attorn_journal::{Config, Durability, Journal};

    use super::*;

    /// Written by the real journal, in segments so short that there are several.
    #[tokio::test]
    async fn gives_each_entry_once_across_segments() {
        let folder = std::env::temp_dir().join(format!("attorn-watch-{}", crate::agent::unique()));
        let signer = NoteSigner::from_seed("test/gateway/1", &[3; 32]).unwrap();
        let mut config = Config::new(&folder, "test/gateway/1");
        config.segment_bytes_max = 256;
        let (journal, _) = Journal::open(config, signer).unwrap();
        let mut watch = Watch::start(&folder).unwrap();
        let mut numbers = Vec::new();
        for number in 0..40_u64 {
            let entry = format!(r#"{{"n":{number},"reason":"token.missing","time_ms":7000}}"#);
            journal.append(entry.into_bytes(), Durability::Written).await.unwrap();
            if number % 3 == 0 {
                let new = watch.new_entries().unwrap();
                numbers.extend(new.iter().filter_map(|entry| entry.get("n")?.as_u64()));
            }
        }
        let new = watch.new_entries().unwrap();
        numbers.extend(new.iter().filter_map(|entry| entry.get("n")?.as_u64()));
        assert_eq!(numbers, (0..40).collect::<Vec<_>>());
        assert!(segments(&folder.join("wal")).unwrap().len() > 1, "one segment shows nothing");
        assert!(watch.is_crowded(7, 40) && !watch.is_crowded(7, 41) && !watch.is_crowded(8, 1));
        drop(journal);
        drop(std::fs::remove_dir_all(&folder));
    }
}
