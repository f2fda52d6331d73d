//! What is sealed is read by auditors alone, and by nobody after an erasure.

use age::x25519::Identity;

use super::*;

struct World {
    folder: PathBuf,
    auditor: Identity,
    payloads: SealedPayloads,
}

impl World {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("attorn-{test}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        let auditor = Identity::generate();
        let recipient = auditor.to_public().to_string();
        let payloads = SealedPayloads::open(folder.clone(), &[recipient], random).unwrap();
        Self { folder, auditor, payloads }
    }

    fn sealed(&self, of: Of<'_>, now_s: u64) -> Seal {
        self.payloads.seal(of, PAYLOAD, now_s, true).unwrap()
    }

    fn read(&self, of: Of<'_>, seal: Seal) -> Result<Vec<u8>, UnsealError> {
        let file = self.payloads.unseal(of, seal);
        file.map(|file| age::decrypt(&self.auditor, &file).unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

const PAYLOAD: &[u8] = br#"{"invoice":"7"}"#;
const NOW_S: u64 = 20_000 * DAY_S + 5;

fn random() -> [u8; 32] {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).unwrap();
    key
}

fn decision(byte: u8) -> DecisionId {
    DecisionId::from_random(&[byte; 16])
}

fn of(decision: &DecisionId) -> Of<'_> {
    Of { decision, part: Part::Arguments, subject: "agt_1" }
}

#[test]
fn auditors_read_what_was_sealed_and_nobody_else_does() {
    let world = World::new("sealed");
    let one = decision(1);
    let seal = world.sealed(of(&one), NOW_S);
    assert_eq!(seal.to_string().parse(), Ok(seal));
    assert_eq!(world.read(of(&one), seal).unwrap(), PAYLOAD);
    let file = world.payloads.unseal(of(&one), seal).unwrap();
    assert!(age::decrypt(&Identity::generate(), &file).is_err());
    let on_disk = fs::read(world.payloads.path(20_000, of(&one))).unwrap();
    assert!(!on_disk.windows(7).any(|part| part == b"invoice"));
    assert!(age::decrypt(&world.auditor, &on_disk).is_err());
}

#[test]
fn after_an_erasure_nobody_reads_it_and_other_subjects_are_not_touched() {
    let world = World::new("erased");
    let (one, two, later) = (decision(1), decision(2), decision(3));
    let other = Of { subject: "agt_2", ..of(&two) };
    let (seal, others) = (world.sealed(of(&one), NOW_S), world.sealed(other, NOW_S));
    // A copy that somebody made before.
    let copy = fs::read(world.payloads.path(20_000, of(&one))).unwrap();
    assert!(!world.payloads.erase("agt_1", NOW_S - 1).unwrap(), "made later");
    assert_eq!(world.read(of(&one), seal).unwrap(), PAYLOAD);
    assert!(world.payloads.erase("agt_1", NOW_S).unwrap());
    assert!(!world.payloads.erase("agt_1", NOW_S).unwrap(), "nothing is left");
    assert!(matches!(world.read(of(&one), seal), Err(UnsealError::Erased)));
    assert_eq!(world.read(other, others).unwrap(), PAYLOAD);
    // What comes later has a key of its own, which does not open what was before.
    let after = world.sealed(of(&later), NOW_S + 9);
    assert_eq!(world.read(of(&later), after).unwrap(), PAYLOAD);
    fs::write(world.payloads.path(20_000, of(&one)), copy).unwrap();
    assert!(matches!(world.read(of(&one), seal), Err(UnsealError::Erased)));
}

#[test]
fn what_was_changed_moved_or_is_missing_is_told_apart() {
    let world = World::new("moved");
    let (one, two) = (decision(1), decision(2));
    let (seal, second) = (world.sealed(of(&one), NOW_S), world.sealed(of(&two), NOW_S));
    let (first, other) =
        (world.payloads.path(20_000, of(&one)), world.payloads.path(20_000, of(&two)));
    assert!(matches!(world.read(of(&two), seal), Err(UnsealError::Changed)));
    // Even with a seal that fits the bytes: they are bound to their decision.
    fs::copy(&first, &other).unwrap();
    assert!(matches!(world.read(of(&two), seal), Err(UnsealError::Erased)));
    assert!(matches!(world.read(of(&two), second), Err(UnsealError::Changed)));
    fs::remove_file(&first).unwrap();
    assert!(matches!(world.read(of(&one), seal), Err(UnsealError::Absent)));
    assert!(world.payloads.seal(of(&two), PAYLOAD, NOW_S, false).is_err(), "it is there already");
}

#[test]
fn whole_days_go_when_they_are_old() {
    let world = World::new("days");
    let (one, two) = (decision(1), decision(2));
    let (old, new) = (world.sealed(of(&one), NOW_S), world.sealed(of(&two), NOW_S + DAY_S));
    assert_eq!(world.payloads.remove_before(NOW_S + 10).unwrap(), 0);
    assert_eq!(world.payloads.remove_before(20_001 * DAY_S).unwrap(), 1);
    assert!(matches!(world.read(of(&one), old), Err(UnsealError::Absent)));
    assert_eq!(world.read(of(&two), new).unwrap(), PAYLOAD);
}

#[test]
fn without_auditors_nothing_is_sealed_and_what_was_can_be_read() {
    let world = World::new("off");
    let one = decision(1);
    let seal = world.sealed(of(&one), NOW_S);
    let off = SealedPayloads::open(world.folder.clone(), &[], random).unwrap();
    assert!(!off.seals() && world.payloads.seals());
    let file = off.unseal(of(&one), seal).unwrap();
    assert_eq!(age::decrypt(&world.auditor, &file).unwrap(), PAYLOAD);
    assert!(off.erase("agt_1", NOW_S).unwrap());
    let bad = SealedPayloads::open(world.folder.clone(), &["age1nonsense".into()], random);
    assert!(matches!(bad, Err(OpenError::Auditor(_))));
}
