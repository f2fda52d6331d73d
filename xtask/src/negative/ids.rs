//! Which rows there must be: no row gets lost, and none comes unseen.
//!
//! `vectors/negative/ids.txt` names the rows of the threat model's list, `own.txt` those that we
//! added. Each row is on one of the two, each name on them is a row, and no id is there twice.

use std::collections::BTreeMap;
use std::path::Path;

use super::rows::Group;
use crate::step::StepFailed;

/// Compares the rows of a folder with its two lists.
///
/// # Errors
/// When a row is missing, unknown, in the wrong file or there twice; the message names each.
pub(super) fn verify(folder: &Path, groups: &[Group]) -> Result<(), StepFailed> {
    let list = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|source| StepFailed::File { path, source })
    };
    let faults = faults((&list("ids.txt")?, &list("own.txt")?), groups);
    if faults.is_empty() {
        return Ok(());
    }
    Err(StepFailed::Check(format!("vectors/negative: {}", faults.join("; "))))
}

fn faults((ids, own): (&str, &str), groups: &[Group]) -> Vec<String> {
    let mut faults = Vec::new();
    // How often each name is listed, and how often there is a row of it.
    let mut found: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for id in ids.lines().chain(own.lines()) {
        found.entry(id).or_default().0 += 1;
    }
    for group in groups {
        for row in &group.rows {
            found.entry(&row.id).or_default().1 += 1;
            if row.id.split('-').next() != Some(group.group.as_str()) {
                faults.push(format!("{} is in the group {}", row.id, group.group));
            }
        }
    }
    faults.extend(found.into_iter().filter_map(|(id, counts)| match counts {
        (1, 1) => None,
        (1, 0) => Some(format!("there is no row {id}")),
        (0, _) => Some(format!("{id} is on no list")),
        (1, _) => Some(format!("{id} is there twice")),
        _ => Some(format!("{id} is listed twice")),
    }));
    faults
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;
    use crate::step::root;

    fn group(ids: &[&str]) -> Vec<Group> {
        let rows: Vec<_> =
            ids.iter().map(|id| serde_json::json!({"id": id, "title": "a"})).collect();
        let group = serde_json::json!({"group": "AA", "about": "a", "rows": rows});
        vec![serde_json::from_value(group).unwrap()]
    }

    #[test]
    fn every_row_is_there_once_and_no_other() {
        let folder = root().join("vectors/negative");
        let groups = load(&folder).unwrap();
        if let Err(fault) = verify(&folder, &groups) {
            panic!("{fault}");
        }
    }

    #[test]
    fn a_row_that_is_missing_unknown_or_there_twice_is_a_fault() {
        let check = |rows: &[&str], expected: &[&str]| {
            assert_eq!(faults(("AA-01\nAA-02\n", "AA-50\n"), &group(rows)), expected, "{rows:?}");
        };
        check(&["AA-01", "AA-02", "AA-50"], &[]);
        check(&["AA-01", "AA-50"], &["there is no row AA-02"]);
        check(&["AA-01", "AA-02"], &["there is no row AA-50"]);
        check(&["AA-01", "AA-02", "AA-03", "AA-50"], &["AA-03 is on no list"]);
        check(&["AA-01", "AA-02", "AA-02", "AA-50"], &["AA-02 is there twice"]);
        check(
            &["AA-01", "AA-02", "AB-50"],
            &["AB-50 is in the group AA", "there is no row AA-50", "AB-50 is on no list"],
        );
        let twice = faults(("AA-01\n", "AA-01\n"), &group(&["AA-01"]));
        assert_eq!(twice, ["AA-01 is listed twice"]);
    }
}
