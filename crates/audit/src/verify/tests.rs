use proptest::prelude::*;

use super::{Broken, Report, Trust, Witnesses, verify, verify_witnessed};
use crate::bundle::{Bundle, Consistency, EntryNotJson, ProvenEntry};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, Cosigner};
use crate::note::{NoteError, NoteSigner};
use crate::tree::{
    Hash, Node, leaf_hash, perfect_root, prove_consistency, prove_inclusion, range_hash,
};
use crate::{Entry, Kind};

const SIZE: u64 = 21;

fn signer() -> NoteSigner {
    NoteSigner::from_seed("test/gateway/1", &[3; 32]).unwrap()
}

fn entries() -> Vec<Vec<u8>> {
    (0..SIZE)
        .map(|number| {
            let mut entry = Entry::new(Kind::CallDecided, 1_700_000_000_000 + number);
            entry.decision_id = Some(format!("dec_{number}"));
            entry.reason = Some("say \"no\"\n".into());
            entry.to_canonical()
        })
        .collect()
}

fn node(leaves: &[Hash], node: Node) -> Result<Hash, ()> {
    let start = usize::try_from(node.index << node.level).map_err(drop)?;
    leaves.get(start..start + (1 << node.level)).map(perfect_root).ok_or(())
}

fn checkpoint(leaves: &[Hash], size: u64) -> Checkpoint {
    let root = range_hash(0, size, &mut |at| node(leaves, at)).unwrap();
    Checkpoint { origin: "test/gateway/1".into(), size, root }
}

fn bundle(indices: &[u64], earlier: Option<u64>) -> Bundle {
    let entries = entries();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let proven = indices.iter().map(|index| ProvenEntry {
        index: *index,
        entry: entries[usize::try_from(*index).unwrap()].clone(),
        proof: prove_inclusion(*index, SIZE, &mut |at| node(&leaves, at)).unwrap().unwrap(),
    });
    Bundle {
        checkpoint: checkpoint(&leaves, SIZE).sign(&signer()),
        consistency: earlier.map(|size| Consistency {
            checkpoint: checkpoint(&leaves, size).sign(&signer()),
            proof: prove_consistency(size, SIZE, &mut |at| node(&leaves, at)).unwrap().unwrap(),
        }),
        entries: proven.collect(),
        keys: vec![signer().verifier().clone()],
    }
}

fn check(bundle: &Bundle) -> Result<Report, Broken> {
    let json = bundle.to_json().unwrap_or_default();
    verify(&json, Trust::Pinned(&[signer().verifier().clone()]))
}

#[test]
fn good_bundle_says_what_it_proves() {
    let report = check(&bundle(&[0, 4, 5, 20], Some(7))).unwrap();
    assert_eq!(report.indices, [0, 4, 5, 20]);
    assert_eq!(report.checkpoint.size, SIZE);
    assert_eq!(report.earlier.unwrap().size, 7);
    assert!(report.pinned);
    let embedded = verify(&bundle(&[1], None).to_json().unwrap(), Trust::Embedded).unwrap();
    assert!(!embedded.pinned && embedded.earlier.is_none());
}

#[test]
fn reformatted_bundle_still_holds() {
    let json = bundle(&[0, 4, 5], Some(7)).to_json().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    assert_ne!(pretty, json);
    assert!(verify(&pretty, Trust::Embedded).is_ok());
}

#[test]
fn changed_entry_is_named() {
    let good = bundle(&[3, 8, 9, 15], None);
    for place in 0..4 {
        let index = good.entries[place].index;
        let mut changed = good.clone();
        let text = String::from_utf8(changed.entries[place].entry.clone()).unwrap();
        changed.entries[place].entry = text.replace("no", "ok").into_bytes();
        assert_eq!(check(&changed), Err(Broken::Entry { index }));
        let mut swapped = good.clone();
        swapped.entries[place].entry.clone_from(&good.entries[(place + 1) % 4].entry);
        assert_eq!(check(&swapped), Err(Broken::Entry { index }));
        let mut cut = good.clone();
        cut.entries[place].proof.remove(0);
        assert_eq!(check(&cut), Err(Broken::Entry { index }));
    }
}

#[test]
fn paths_may_be_written_out_or_left_to_the_one_before() {
    let all: Vec<u64> = (0..SIZE).collect();
    let short = bundle(&all, None).to_json().unwrap();
    let hashes = String::from_utf8(short.clone()).unwrap().matches("=\"").count();
    assert!(hashes < 3 * all.len(), "{hashes}");
    assert!(verify(&short, Trust::Embedded).is_ok());
    // Written out in full it is the same bundle.
    let good = bundle(&all, None);
    let mut value: serde_json::Value = serde_json::from_slice(&short).unwrap();
    for (shape, proven) in value["entries"].as_array_mut().unwrap().iter_mut().zip(&good.entries) {
        shape["proof"] = proven.proof.iter().map(Hash::to_base64).collect();
    }
    assert!(verify(&serde_json::to_vec(&value).unwrap(), Trust::Embedded).is_ok());
    // The first path has none before it, and a path that is too long has one hash too many.
    let mut headless = value.clone();
    headless["entries"][0]["proof"].as_array_mut().unwrap().pop();
    let headless = verify(&serde_json::to_vec(&headless).unwrap(), Trust::Embedded);
    assert_eq!(headless, Err(Broken::Entry { index: 0 }));
    let extra = good.entries[0].proof[0].to_base64().into();
    value["entries"][7]["proof"].as_array_mut().unwrap().push(extra);
    let long = verify(&serde_json::to_vec(&value).unwrap(), Trust::Embedded);
    assert_eq!(long, Err(Broken::Entry { index: 7 }));
}

#[test]
fn order_and_emptiness_are_refused() {
    let mut repeated = bundle(&[3, 3], None);
    assert_eq!(check(&repeated), Err(Broken::Order { index: 3 }));
    repeated.entries.clear();
    assert_eq!(check(&repeated), Err(Broken::Empty));
    assert_eq!(check(&bundle(&[4, 3], None)), Err(Broken::Order { index: 3 }));
    let mut beyond = bundle(&[20], None);
    beyond.entries[0].index = 21;
    assert_eq!(check(&beyond), Err(Broken::Entry { index: 21 }));
}

#[test]
fn checkpoint_needs_the_right_key_and_history() {
    let json = bundle(&[3], Some(7)).to_json().unwrap();
    let stranger = NoteSigner::from_seed("test/gateway/1", &[4; 32]).unwrap();
    assert_eq!(
        verify(&json, Trust::Pinned(&[stranger.verifier().clone()])),
        Err(Broken::Checkpoint(CheckpointError::Note(NoteError::Unverified)))
    );
    // The log was written anew: the earlier checkpoint has another root.
    let mut forked = bundle(&[3], Some(7));
    let other = Checkpoint { origin: "test/gateway/1".into(), size: 7, root: leaf_hash(b"other") };
    forked.consistency.as_mut().unwrap().checkpoint = other.sign(&signer());
    assert_eq!(check(&forked), Err(Broken::Consistency { size: 7 }));
    let mut unsigned = bundle(&[3], Some(7));
    unsigned.consistency.as_mut().unwrap().checkpoint = other.sign(&stranger);
    assert_eq!(
        check(&unsigned),
        Err(Broken::EarlierCheckpoint(CheckpointError::Note(NoteError::Unverified)))
    );
}

#[test]
fn other_documents_are_refused() {
    let good = String::from_utf8(bundle(&[3], None).to_json().unwrap()).unwrap();
    let other_version = good.replace("bundle/1", "bundle/255");
    let bad_key = good.replace("test/gateway/1+", "test/gateway/1++");
    for (text, expected) in [
        (String::new(), Broken::NotJson),
        ("{".repeat(100), Broken::NotJson),
        ("{}".into(), Broken::NotABundle),
        ("[]".into(), Broken::NotABundle),
        (good.replace("\"keys\"", "\"kays\""), Broken::NotABundle),
        (good.replacen('{', "{\"version\":\"x\",", 1), Broken::NotJson),
        (other_version, Broken::Version),
    ] {
        assert_eq!(verify(text.as_bytes(), Trust::Embedded), Err(expected), "{text}");
    }
    assert!(matches!(verify(bad_key.as_bytes(), Trust::Embedded), Err(Broken::Key(_))));
}

#[test]
fn entry_that_is_no_object_cannot_leave_in_a_bundle() {
    let mut bundle = bundle(&[3], None);
    for entry in [&b"1"[..], b"{},\"x\":{}", b"{", b""] {
        bundle.entries[0].entry = entry.to_vec();
        assert_eq!(bundle.to_json(), Err(EntryNotJson { index: 3 }));
    }
}

proptest! {
    #[test]
    fn any_changed_byte_breaks_the_bundle(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = bundle(&[3, 8, 9], Some(7)).to_json().unwrap();
        let keys = [signer().verifier().clone()];
        let mut bytes = good.clone();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        // Embedded keys do not count here, so a change in them proves and breaks nothing.
        let keys_at = String::from_utf8_lossy(&good).find("\"keys\"").unwrap();
        let verified = verify(&bytes, Trust::Pinned(&keys));
        if bytes != good && place < keys_at {
            // White space may change as long as the document means the same.
            let same = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
            prop_assert!(verified.is_err() || same(&bytes) == same(&good), "{verified:?}");
        }
    }
}

#[test]
fn witnesses_that_are_asked_for_must_have_cosigned() {
    let cosigner = |seed: u8| Cosigner::from_seed(&format!("w{seed}"), &[seed; 32]).unwrap();
    let (one, two) = (cosigner(1), cosigner(2));
    let keys = [one.public().clone(), two.public().clone()];
    let mut seen_by_one = bundle(&[3, 8], None);
    let text = format!("{}\n", seen_by_one.checkpoint.split_once("\n\n").unwrap().0);
    seen_by_one.checkpoint.push_str(&one.cosign(&text, 100));
    let check = |bundle: &Bundle, quorum| {
        let witnesses = Witnesses { keys: &keys, quorum };
        verify_witnessed(&bundle.to_json().unwrap(), Trust::Embedded, &witnesses)
    };
    let report = check(&seen_by_one, 1).unwrap();
    assert_eq!(report.cosignatures, [Cosignature { name: "w1".to_owned(), time_s: 100 }]);
    let missing = |found, needed| Err(Broken::NotWitnessed { found, needed });
    assert_eq!(check(&seen_by_one, 2), missing(1, 2));
    assert_eq!(check(&bundle(&[3, 8], None), 1), missing(0, 1));
    let mut wrong = bundle(&[3, 8], None);
    wrong.checkpoint.push_str(&one.cosign("another text\n", 100));
    assert_eq!(check(&wrong, 1), Err(Broken::Cosignature(NoteError::SignatureMismatch)));
}
