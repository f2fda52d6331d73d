//! The durable mark: how many entries were fsynced, in a file of twelve bytes.
//!
//! It is overwritten after every fsync and never fsynced itself, so it may lag behind but never
//! runs ahead. A log that is shorter than its mark lost entries that somebody relied on. After a
//! killed process the mark is exact; after a loss of power it is a lower bound or unreadable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct Mark(File);

impl Mark {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        Ok(Self(file))
    }

    /// Says that `size` entries are on the disk.
    pub(crate) fn set(&self, size: u64) -> io::Result<()> {
        let number = size.to_le_bytes();
        let mut bytes = [0_u8; 12];
        let (front, back) = bytes.split_at_mut(8);
        front.copy_from_slice(&number);
        back.copy_from_slice(&CRC.checksum(&number).to_le_bytes());
        self.0.write_all_at(&bytes, 0)
    }
}

/// The number in the file; 0 if there is none that can be read.
pub(crate) fn read(path: &Path) -> u64 {
    let Ok(bytes) = std::fs::read(path) else { return 0 };
    let Some((number, rest)) = bytes.split_first_chunk::<8>() else { return 0 };
    if rest == CRC.checksum(number).to_le_bytes() { u64::from_le_bytes(*number) } else { 0 }
}
