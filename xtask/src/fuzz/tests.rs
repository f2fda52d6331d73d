//! The harness itself: it repeats, it finds what breaks, and every target sees what it accepts.

use std::collections::BTreeSet;

use super::random::Random;
use super::target::{Seen, Shape, Subject, Target};
use super::{DEFAULT_SEED, Ending, Plan, TARGETS, WAITING, mutate, runner};

fn plan(executions: u64, target: Option<&str>) -> Plan {
    let ending = Ending::Executions(executions);
    Plan { ending, seed: DEFAULT_SEED, target: target.map(str::to_owned) }
}

#[test]
fn every_target_holds_for_its_seeds_and_some_more() {
    runner::run(TARGETS, &plan(64, None)).unwrap();
}

#[test]
fn names_are_told_apart_and_none_waits_that_runs() {
    let names: BTreeSet<&str> = TARGETS
        .iter()
        .map(|target| target.name)
        .chain(WAITING.iter().map(|(name, _)| *name))
        .collect();
    assert_eq!(names.len(), TARGETS.len() + WAITING.len());
    assert!(runner::run(TARGETS, &plan(1, Some("nobody"))).is_err());
}

#[test]
fn one_seed_makes_one_run() {
    let seeds = [br#"{"a":[1,{"b":"c"}]}"#.to_vec(), br#"{"a":"x","d":null}"#.to_vec()];
    let make = |seed: u64| {
        let mut random = Random::new(seed);
        (0..200).map(|_| mutate::mutated(&seeds, &Shape::Json, &mut random)).collect::<Vec<_>>()
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
    let different: BTreeSet<_> = make(1).into_iter().collect();
    assert!(different.len() > 100, "only {} different inputs", different.len());
}

/// A reader with a planted fault: it stops at an escape, and panics at a NUL.
const PLANTED: Target = Target {
    name: "planted",
    oracle: "an escape changes nothing",
    prepare: |_| {
        let check = |input: &[u8]| {
            assert!(!input.contains(&0), "a NUL");
            let escaped = input.windows(2).any(|pair| pair == b"\\u");
            if escaped { Err("an escape changes it".to_owned()) } else { Ok(Seen::accepted(&"")) }
        };
        let seeds = vec![br#"{"name":"value","more":[1,2]}"#.to_vec()];
        Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
    },
};

#[test]
fn a_planted_fault_is_found_and_its_input_kept() {
    let failed = runner::run(&[PLANTED], &plan(100_000, None)).unwrap_err().to_string();
    assert!(failed.contains("an escape changes it") || failed.contains("panic"), "{failed}");
    let path = failed.split("saved as ").nth(1).unwrap();
    let again = runner::replay(&[PLANTED], "planted", path.into());
    std::fs::remove_file(path).unwrap();
    assert!(again.is_err());
}

#[test]
fn the_list_in_the_readme_is_this_one() {
    let readme = std::fs::read_to_string(crate::step::root().join("fuzz/README.md")).unwrap();
    for target in TARGETS {
        let row = format!("| {} | {} |", target.name, target.oracle);
        assert!(readme.contains(&row), "fuzz/README.md lacks: {row}");
    }
    for (name, why) in WAITING {
        let row = format!("| {name} | {why} |");
        assert!(readme.contains(&row), "fuzz/README.md lacks: {row}");
    }
}
