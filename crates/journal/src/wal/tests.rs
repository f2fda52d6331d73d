use proptest::prelude::*;

use super::{BatchBuffer, HEADER_BYTES, Rest, ScanEnd, header, log_mark, scan};

/// A segment of batches; each says that all entries before it are durable if `durable`.
fn segment(first: u64, batches: &[Vec<Vec<u8>>], durable: bool) -> Vec<u8> {
    let mut bytes = header(first, &log_mark("log"));
    let mut next = first;
    let mut buffer = BatchBuffer::default();
    for batch in batches {
        buffer.clear();
        assert!(batch.iter().all(|entry| buffer.push(entry)));
        bytes.extend_from_slice(buffer.finish(next, if durable { next } else { 0 }));
        next += batch.len() as u64;
    }
    bytes
}

fn read(bytes: &[u8], first: u64) -> (Vec<Vec<u8>>, ScanEnd) {
    let mut entries = Vec::new();
    let end = scan(bytes, first, &log_mark("log"), |index, entry| {
        assert_eq!(index, first + entries.len() as u64);
        entries.push(entry.to_vec());
        Ok::<(), ()>(())
    });
    (entries, end.unwrap())
}

fn three() -> Vec<Vec<Vec<u8>>> {
    vec![vec![b"a".to_vec(), b"bb".to_vec()], vec![b"ccc".to_vec()], vec![vec![], b"e".to_vec()]]
}

#[test]
fn segment_reads_back() {
    let bytes = segment(7, &three(), true);
    let (entries, end) = read(&bytes, 7);
    assert_eq!(entries, three().concat());
    assert_eq!(end, ScanEnd { next: 12, good_bytes: bytes.len(), rest: Rest::End });
    let empty = segment(7, &[], true);
    assert_eq!(read(&empty, 7).1, ScanEnd { next: 7, good_bytes: HEADER_BYTES, rest: Rest::End });
}

#[test]
fn every_torn_length_ends_after_the_last_whole_batch() {
    let bytes = segment(0, &three(), true);
    let mut good = vec![(0, 0), (HEADER_BYTES, 0)];
    for count in 1..=3 {
        let batches = &three()[..count];
        good.push((segment(0, batches, true).len(), batches.concat().len()));
    }
    for length in 0..bytes.len() {
        let (good_bytes, count) = *good.iter().rfind(|(at, _)| *at <= length).unwrap();
        let (entries, end) = read(&bytes[..length], 0);
        assert_eq!((end.good_bytes, entries.len()), (good_bytes, count), "{length}");
        assert_eq!(end.rest, if length == good_bytes { Rest::End } else { Rest::Torn });
    }
}

#[test]
fn what_was_durable_is_broken_and_not_torn() {
    for durable in [false, true] {
        let bytes = segment(0, &three(), durable);
        // The body of the first batch; the second and third follow.
        let mut changed = bytes.clone();
        changed[HEADER_BYTES + 40] ^= 1;
        let (entries, end) = read(&changed, 0);
        assert_eq!(entries.len(), 0);
        assert_eq!(end.rest, if durable { Rest::Broken } else { Rest::Torn });
    }
}

#[test]
fn other_tails_are_torn() {
    let bytes = segment(0, &three(), true);
    let last = segment(0, &three()[..2], true).len();
    let zeros = [bytes.as_slice(), &[0; 100]].concat();
    let doubled = [bytes.as_slice(), &bytes[last..]].concat();
    let noise = [bytes.as_slice(), b"ATBT and nothing that fits it, not even a checksum"].concat();
    for tail in [zeros, doubled, noise] {
        let (entries, end) = read(&tail, 0);
        assert_eq!(entries.len(), 5);
        assert_eq!((end.good_bytes, end.rest), (bytes.len(), Rest::Torn));
    }
}

#[test]
fn segment_of_another_log_or_place_is_refused() {
    let bytes = segment(3, &three(), false);
    assert_eq!(read(&bytes, 4).1.rest, Rest::Broken);
    let foreign = scan(&bytes, 3, &log_mark("other"), |_, _| Ok::<(), ()>(())).unwrap();
    assert_eq!(foreign, ScanEnd { next: 3, good_bytes: 0, rest: Rest::Broken });
}

#[test]
fn entry_that_is_too_long_is_left_out() {
    let mut buffer = BatchBuffer::default();
    buffer.clear();
    assert!(!buffer.push(&vec![0; 65_536]));
    assert!(buffer.is_empty());
    assert!(buffer.push(&vec![0; 65_535]));
    assert!(!buffer.is_empty());
}

proptest! {
    #[test]
    fn changed_byte_never_gives_another_entry(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = segment(0, &three(), true);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let (entries, _) = read(&bytes, 0);
        prop_assert!(three().concat().starts_with(&entries));
    }

    #[test]
    fn hostile_segments_never_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [header(0, &log_mark("log")), noise].concat();
        prop_assert!(read(&bytes, 0).0.is_empty());
    }
}
