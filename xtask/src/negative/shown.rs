//! Rows that tests show: runs the tests that rows name, and takes nothing but `ok` for an answer.
//!
//! Where all tests of the workspace have just passed, as in CI, a second run would show nothing more:
//! there it is looked up that each name is a test that was among them.
//!
//! A name is `package/binary/path`, such as `attorn-journal/recovery/torn_tail_of_every_length_is_cut`.
//! The binary is `lib` or `bin` for tests beside the code, and else the name of the file or folder
//! below `tests`. A name that no test has is a fault, as is a test that is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bounded::output_within;
use crate::step::{StepFailed, root};

/// For building what is not built yet.
const BUILT_WITHIN: Duration = Duration::from_secs(1800);
/// For the named tests of one binary.
const RUN_WITHIN: Duration = Duration::from_secs(600);

/// A test binary, and the folder that its tests expect to run in.
#[derive(Debug)]
struct Binary {
    program: PathBuf,
    folder: PathBuf,
}

/// What is done about the tests that rows name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tests {
    /// They run.
    Run,
    /// The whole workspace has just been tested, and nothing failed: they are looked up.
    JustPassed,
}

/// How each named test ended.
#[derive(Debug, Default)]
pub(super) struct Shown(BTreeMap<String, String>);

impl Shown {
    /// Runs these tests, those of one binary together, or looks them up.
    ///
    /// # Errors
    /// When the tests cannot be built, or a binary cannot be run to its end.
    pub(super) fn by(tests: Tests, names: &BTreeSet<&str>) -> Result<Self, StepFailed> {
        let mut ended = BTreeMap::new();
        if names.is_empty() {
            return Ok(Self(ended));
        }
        let binaries = binaries()?;
        for (key, paths) in by_binary(names) {
            let Some(binary) = binaries.get(&key) else { continue };
            let verdicts = match tests {
                Tests::Run => {
                    let printed = binary.printed(&key, &[&["--exact"], &paths[..]].concat())?;
                    let verdicts = verdicts(&printed);
                    if verdicts.values().any(|verdict| verdict != "ok") {
                        println!("{printed}");
                    }
                    verdicts
                }
                Tests::JustPassed => {
                    let list = ["--list", "--format", "terse"];
                    let all = binary.printed(&key, &list)?;
                    let left = binary.printed(&key, &[&list[..], &["--ignored"]].concat())?;
                    passed(&all, &left)
                }
            };
            for (path, verdict) in verdicts {
                ended.insert(format!("{key}/{path}"), verdict);
            }
        }
        Ok(Self(ended))
    }

    /// What is wrong with a row that these tests show.
    pub(super) fn faults(&self, names: &[String]) -> Vec<String> {
        let fault = |name: &String| match self.0.get(name).map(String::as_str) {
            Some("ok") => None,
            Some(other) => Some(format!("the test `{name}` ended with `{other}`")),
            None => Some(format!("there is no test `{name}`")),
        };
        names.iter().filter_map(fault).collect()
    }
}

impl Binary {
    fn printed(&self, key: &str, arguments: &[&str]) -> Result<String, StepFailed> {
        let mut command = Command::new(&self.program);
        let command = command.args(arguments).current_dir(&self.folder);
        let output = output_within(key, RUN_WITHIN, command)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The paths of the tests, by package and binary; what is no name is nobody's test.
fn by_binary<'a>(names: &BTreeSet<&'a str>) -> BTreeMap<String, Vec<&'a str>> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (key, path) in names.iter().filter_map(|name| name.rsplit_once('/')) {
        found.entry(key.to_owned()).or_default().push(path);
    }
    found
}

/// Builds all tests of the workspace together, so that features are those of every other step.
fn binaries() -> Result<BTreeMap<String, Binary>, StepFailed> {
    let name = "cargo test --no-run";
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--no-run", "--message-format=json"]);
    let output = output_within(name, BUILT_WITHIN, command.current_dir(root()))?;
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(StepFailed::Status { command: name.to_owned(), status: output.status.code() });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(binary).collect())
}

/// The test binary that a line of cargo is about.
fn binary(line: &str) -> Option<(String, Binary)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
    if message.pointer("/profile/test") != Some(&Value::Bool(true)) {
        return None;
    }
    let folder = Path::new(text("/manifest_path")?).parent()?.to_path_buf();
    let of_folder = folder.file_name()?.to_str()?;
    // The package stands behind the sign unless it is called as its folder is.
    let (_, fragment) = text("/package_id")?.rsplit_once('#')?;
    let package = fragment.split_once('@').map_or(of_folder, |(package, _)| package);
    let binary = match text("/target/kind/0")? {
        "test" => text("/target/name")?,
        kind => kind,
    };
    let program = PathBuf::from(text("/executable")?);
    Some((format!("{package}/{binary}"), Binary { program, folder }))
}

/// How each test ended, as the test harness prints it.
fn verdicts(printed: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        Some((name.trim_end_matches(" - should panic").to_owned(), verdict.trim().to_owned()))
    };
    printed.lines().filter_map(line).collect()
}

/// How the tests of a binary ended when all that were run passed: from the lists of all, and of those
/// that were left out.
fn passed(all: &str, left: &str) -> BTreeMap<String, String> {
    let paths = |list: &str| -> BTreeSet<String> {
        list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
    };
    let left = paths(left);
    let verdict = |path: &String| if left.contains(path) { "ignored" } else { "ok" };
    paths(all).into_iter().map(|path| (path.clone(), verdict(&path).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(printed: &str) -> Shown {
        Shown(
            verdicts(printed).into_iter().map(|(path, end)| (format!("a/b/{path}"), end)).collect(),
        )
    }

    #[test]
    fn only_a_test_that_ran_and_ended_well_shows_something() {
        let shown = shown(
            "running 3 tests\ntest x::good ... ok\ntest x::bad ... FAILED\n\
             test x::left ... ignored, a reason\n\ntest result: FAILED. 1 passed; 1 failed\n",
        );
        let faults = |path: &str| shown.faults(&[format!("a/b/{path}")]);
        assert_eq!(faults("x::good"), Vec::<String>::new());
        assert_eq!(faults("x::bad"), ["the test `a/b/x::bad` ended with `FAILED`"]);
        assert_eq!(faults("x::left"), ["the test `a/b/x::left` ended with `ignored, a reason`"]);
        assert_eq!(faults("x::renamed"), ["there is no test `a/b/x::renamed`"]);
        // A part of a name is not the name.
        assert_eq!(faults("good"), ["there is no test `a/b/good`"]);
    }

    #[test]
    fn of_tests_that_all_passed_those_left_out_show_nothing() {
        let all = "x::good: test\nx::left: test\nx::slow: benchmark\n\n2 tests, 1 benchmark\n";
        let ended = passed(all, "x::left: test\n\n1 test, 0 benchmarks\n");
        let shown =
            Shown(ended.into_iter().map(|(path, end)| (format!("a/b/{path}"), end)).collect());
        let faults = |path: &str| shown.faults(&[format!("a/b/{path}")]);
        assert_eq!(faults("x::good"), Vec::<String>::new());
        assert_eq!(faults("x::left"), ["the test `a/b/x::left` ended with `ignored`"]);
        assert_eq!(faults("x::slow"), ["there is no test `a/b/x::slow`"]);
        assert_eq!(faults("x::renamed"), ["there is no test `a/b/x::renamed`"]);
    }

    #[test]
    fn binaries_are_known_by_package_and_kind() {
        let line = |id: &str, kind: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "package_id": id,
                "manifest_path": "/w/crates/audit/Cargo.toml",
                "target": {"kind": [kind], "name": "recovery"},
                "profile": {"test": test}, "executable": "/w/target/x"
            })
            .to_string()
        };
        let named = |id: &str, kind: &str| binary(&line(id, kind, true)).map(|(key, _)| key);
        let id = "path+file:///w/crates/audit#attorn-audit@0.1.0";
        assert_eq!(named(id, "lib").as_deref(), Some("attorn-audit/lib"));
        assert_eq!(named(id, "test").as_deref(), Some("attorn-audit/recovery"));
        assert_eq!(named("path+file:///w/crates/audit#0.1.0", "bin").as_deref(), Some("audit/bin"));
        assert!(binary(&line(id, "lib", false)).is_none());
        assert!(binary("   Compiling audit").is_none());
    }

    #[test]
    fn tests_of_one_binary_run_together() {
        let names = BTreeSet::from(["a/lib/x", "a/lib/y::z", "a/tests/x", "nonsense"]);
        let expected = [("a/lib".to_owned(), vec!["x", "y::z"]), ("a/tests".to_owned(), vec!["x"])];
        assert_eq!(by_binary(&names), expected.into_iter().collect());
    }
}
