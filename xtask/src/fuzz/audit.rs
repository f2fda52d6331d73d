//! The log: an entry has one form, and a bundle that is accepted says what was logged.

use attorn_audit::bundle::{Bundle, Consistency, ProvenEntry};
use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::{NoteSigner, NoteVerifier};
use attorn_audit::tree::{
    Hash, Node, leaf_hash, perfect_root, prove_consistency, prove_inclusion, range_hash,
};
use attorn_audit::verify::{Report, Trust, verify};
use attorn_audit::{Entry, Kind};
use attorn_json::{canonical, parse};
use serde_json::Value;

use super::corpus::Corpus;
use super::json::same;
use super::random::Random;
use super::spell::{LIMITS, respelled_bytes};
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const AUDIT_RECORD_CODEC: Target = Target {
    name: "audit_record_codec",
    oracle: "parse and write give the same bytes; any flipped byte is refused or is another entry \
             with another leaf hash; any other spelling is refused",
    prepare: codec,
};

pub(crate) const AUDIT_VERIFIER: Target = Target {
    name: "audit_verifier",
    oracle: "under the pinned key an accepted bundle shows entries as they were logged, at their \
             places, and a checkpoint that was signed; a flipped byte that changes one is refused",
    prepare: verifier,
};

fn codec(corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds = corpus.texts("audit/entry.json", "/input")?;
    seeds.extend((0..4).map(|number| entry(number).to_canonical()));
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_entry) })
}

fn check_entry(input: &[u8]) -> Result<Seen, String> {
    let entry = match Entry::parse(input) {
        Ok(entry) => entry,
        Err(refusal) => {
            // The mutations write JSON by their own habit: give the writer's form a chance.
            let Ok(document) = parse(input, &LIMITS) else { return Ok(Seen::refused(&refusal)) };
            let Ok(form) = canonical(&document) else { return Ok(Seen::refused(&refusal)) };
            return match Entry::parse(&form) {
                Ok(_) if form == input => Err("canonical bytes of an entry are refused".to_owned()),
                Ok(entry) => check_form(&entry, &form),
                Err(refusal) => Ok(Seen::refused(&refusal)),
            };
        }
    };
    check_form(&entry, input)
}

fn check_form(entry: &Entry, bytes: &[u8]) -> Result<Seen, String> {
    ensure(entry.to_canonical() == bytes, "written back differently")?;
    let document = parse(bytes, &LIMITS).map_err(|error| error.to_string())?;
    ensure(canonical(&document).ok().as_deref() == Some(bytes), "not the form of RFC 8785")?;
    let mut random = Random::of(bytes);
    for _ in 0..8 {
        let mut flipped = bytes.to_vec();
        if let Some(byte) = flipped.get_mut(random.below(bytes.len())) {
            *byte ^= 1 << random.below(8);
        }
        ensure(leaf_hash(&flipped) != leaf_hash(bytes), "two entries with one hash")?;
        if let Ok(other) = Entry::parse(&flipped) {
            ensure(other != *entry, "a flipped byte is the same entry")?;
            ensure(other.to_canonical() == flipped, "a flipped byte is repaired")?;
        }
    }
    let spelled = respelled_bytes(bytes, &mut random);
    ensure(spelled == bytes || Entry::parse(&spelled).is_err(), "a second spelling is accepted")?;
    Ok(Seen::accepted(&entry.kind))
}

const ORIGIN: &str = "test/gateway/1";
const SIZE: u64 = 21;

fn entry(number: u64) -> Entry {
    let mut entry = Entry::new(Kind::CallDecided, 1_700_000_000_000 + number);
    entry.decision_id = Some(format!("dec_{number}"));
    entry.reason = Some("say \"no\"\n\u{e9}".into());
    entry.detail.insert("k".into(), format!("{number}"));
    entry
}

/// A log whose entries are known.
struct Log {
    entries: Vec<Vec<u8>>,
    leaves: Vec<Hash>,
    signer: NoteSigner,
}

impl Log {
    fn new(seed: u8) -> Result<Self, String> {
        let entries: Vec<Vec<u8>> = (0..SIZE).map(|number| entry(number).to_canonical()).collect();
        let leaves = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let signer = NoteSigner::from_seed(ORIGIN, &[seed; 32]).map_err(|e| e.to_string())?;
        Ok(Self { entries, leaves, signer })
    }

    fn node(&self, node: Node) -> Result<Hash, String> {
        let start = usize::try_from(node.index << node.level).map_err(|error| error.to_string())?;
        let range = self.leaves.get(start..start + (1 << node.level));
        range.map(perfect_root).ok_or_else(|| "no such node".to_owned())
    }

    fn checkpoint(&self, size: u64) -> Result<Checkpoint, String> {
        let root = range_hash(0, size, &mut |at| self.node(at))?;
        Ok(Checkpoint { origin: ORIGIN.into(), size, root })
    }

    fn bundle(&self, indices: &[u64], earlier: Option<u64>) -> Result<Vec<u8>, String> {
        let mut entries = Vec::new();
        for index in indices {
            let proof = prove_inclusion(*index, SIZE, &mut |at| self.node(at))?;
            let at = usize::try_from(*index).map_err(|error| error.to_string())?;
            entries.push(ProvenEntry {
                index: *index,
                entry: self.entries.get(at).cloned().unwrap_or_default(),
                proof: proof.ok_or("no proof")?,
            });
        }
        let consistency = match earlier {
            None => None,
            Some(size) => {
                let proof = prove_consistency(size, SIZE, &mut |at| self.node(at))?;
                let checkpoint = self.checkpoint(size)?.sign(&self.signer);
                Some(Consistency { checkpoint, proof: proof.ok_or("no proof")? })
            }
        };
        let bundle = Bundle {
            checkpoint: self.checkpoint(SIZE)?.sign(&self.signer),
            consistency,
            entries,
            keys: vec![self.signer.verifier().clone()],
        };
        bundle.to_json().map_err(|error| error.to_string())
    }
}

fn verifier(_corpus: &Corpus) -> Result<Subject, String> {
    let (log, stranger) = (Log::new(3)?, Log::new(4)?);
    let seeds = vec![
        log.bundle(&[3], None)?,
        log.bundle(&[0, 4, 5, 20], Some(7))?,
        log.bundle(&[1, 2, 3], Some(16))?,
        // A log of somebody else under the same name.
        stranger.bundle(&[3, 8], Some(7))?,
    ];
    let keys = [log.signer.verifier().clone()];
    let checkpoints = (1..=SIZE).map(|size| log.checkpoint(size)).collect::<Result<Vec<_>, _>>()?;
    let check = move |input: &[u8]| check_bundle(input, &log, &keys, &checkpoints);
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

fn check_bundle(
    input: &[u8],
    log: &Log,
    keys: &[NoteVerifier],
    signed: &[Checkpoint],
) -> Result<Seen, String> {
    let embedded = verify(input, Trust::Embedded).is_ok();
    let report = match verify(input, Trust::Pinned(keys)) {
        Ok(report) => report,
        Err(broken) => return Ok(Seen::refused(&(broken, embedded))),
    };
    ensure(report.pinned && !report.indices.is_empty(), "nothing is proven")?;
    for checkpoint in [Some(&report.checkpoint), report.earlier.as_ref()].into_iter().flatten() {
        ensure(signed.contains(checkpoint), "a checkpoint that was never signed")?;
    }
    let read: Value = serde_json::from_slice(input).map_err(|error| error.to_string())?;
    let shown = read.get("entries").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    ensure(shown.len() == report.indices.len(), "another number of entries than reported")?;
    for (shown, index) in shown.iter().zip(&report.indices) {
        let at = usize::try_from(*index).map_err(|error| error.to_string())?;
        let logged = log.entries.get(at).ok_or("an entry beyond the log")?;
        let logged: Value = serde_json::from_slice(logged).map_err(|error| error.to_string())?;
        let equal = shown.get("entry").is_some_and(|shown| same(shown, &logged));
        ensure(equal, &format!("entry {index} was never logged"))?;
        ensure(shown.get("index").and_then(Value::as_u64) == Some(*index), "at another place")?;
    }
    let spelled = respelled_bytes(input, &mut Random::of(input));
    let again = verify(&spelled, Trust::Pinned(keys));
    ensure(again.as_ref() == Ok(&report), "another report in another spelling")?;
    check_flips(input, &report, keys)?;
    Ok(Seen::accepted(&(report.indices.len(), report.earlier.is_some(), embedded)))
}

/// A flipped byte is refused, or changes nothing that is reported.
fn check_flips(input: &[u8], before: &Report, keys: &[NoteVerifier]) -> Result<(), String> {
    let read = |bytes: &[u8]| {
        let bundle: Option<Value> = serde_json::from_slice(bytes).ok();
        bundle.and_then(|bundle| bundle.get("entries").cloned())
    };
    let mut random = Random::of(input);
    for _ in 0..4 {
        let mut flipped = input.to_vec();
        if let Some(byte) = flipped.get_mut(random.below(input.len())) {
            *byte ^= 1 << random.below(8);
        }
        let Ok(report) = verify(&flipped, Trust::Pinned(keys)) else { continue };
        ensure(report.indices == before.indices, "a flipped byte moves an entry")?;
        ensure(read(&flipped) == read(input), "a flipped byte changes an entry")?;
        ensure(report.checkpoint == before.checkpoint, "a flipped byte changes a checkpoint")?;
    }
    Ok(())
}
