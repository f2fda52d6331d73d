//! Releases: which bytes they are, and what they were built from.
//!
//! A release is a file, its sums in a signed note (C2SP signed-note), and a provenance statement
//! (in-toto Statement v1 with the predicate SLSA Provenance v1). The statement has no signature of
//! its own: the sums hold its digest, as they hold that of the file.
//!
//! Not here: fetching, transparency logs for releases, and which of two releases is newer: whoever
//! verifies names the file they want.

use serde::{Deserialize, Serialize};

use crate::note::{NoteError, NoteSigner, NoteVerifier, open};
use crate::tree::{hex, sha256};

/// The sums of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// The version of the release.
    pub version: String,
    /// Digest in lower-case hex, and name, of each file.
    pub files: Vec<(String, String)>,
}

/// Where a release comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The commit, in hex.
    pub commit: String,
    /// SHA-256 of `Cargo.lock`, in hex.
    pub lock_sha256: String,
    /// The compiler, as it names itself.
    pub compiler: String,
    /// The target triple.
    pub target: String,
    /// Who made the binary.
    pub build: Build,
}

/// Who made the binary of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The builder that makes the statement, from the commit it names.
    Builder,
    /// Somebody else: that it is of this commit is the word of whoever signs.
    Given,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRelease {
    /// The version that the sums are of.
    pub version: String,
    /// The name of the key.
    pub key: String,
    /// The commit it was built from, by its provenance.
    pub commit: String,
    /// Who built it, by its provenance.
    pub build: Build,
}

/// The files to verify. Names are bare: a path says nothing about a release.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseFiles<'a> {
    /// The name of the file at hand.
    pub name: &'a str,
    /// Its SHA-256, in lower-case hex.
    pub sha256: &'a str,
    /// The signed note.
    pub sums: &'a str,
    /// The provenance statement, if there is one.
    pub provenance: Option<&'a str>,
    /// Whether a binary that somebody gave to the builder is taken, too.
    pub accepts_given: bool,
}

/// Why a file is not taken as a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefusal {
    /// The sums are of other bytes.
    #[error("the file is not the one that was signed: its bytes differ")]
    FileChanged,
    /// The builder was given the binary, so nothing ties it to the commit.
    #[error(
        "its binary was given to the builder, so it is somebody's word that it is of this commit"
    )]
    BinaryGiven,
    /// The sums do not name the file.
    #[error("the sums are signed, but not for a file of this name")]
    FileUnnamed,
    /// Not the text of sums.
    #[error("the signed text does not hold sums of a release")]
    Malformed,
    /// The note does not hold.
    #[error("the sums are not signed by the given key: {0}")]
    Note(NoteError),
    /// The sums hold another statement.
    #[error("the provenance is not the one that was signed")]
    ProvenanceChanged,
    /// No statement is there, or the sums name none.
    #[error("the release has no provenance")]
    ProvenanceMissing,
    /// The statement is about something else, or says nothing of where it comes from.
    #[error("the provenance is not a statement about this file")]
    ProvenanceOther,
}

/// Judges a release by the keys that the reader knows from elsewhere.
///
/// # Errors
/// See [`ReleaseRefusal`].
pub fn verify(
    files: &ReleaseFiles<'_>,
    keys: &[NoteVerifier],
) -> Result<VerifiedRelease, ReleaseRefusal> {
    let note = open(files.sums, keys).map_err(ReleaseRefusal::Note)?;
    let sums = Sums::parse(note.text).ok_or(ReleaseRefusal::Malformed)?;
    let told = sums.sha256_of(files.name).ok_or(ReleaseRefusal::FileUnnamed)?;
    if told != files.sha256 {
        return Err(ReleaseRefusal::FileChanged);
    }
    let of_statement = sums.sha256_of(&provenance_name(files.name));
    let (Some(told), Some(statement)) = (of_statement, files.provenance) else {
        return Err(ReleaseRefusal::ProvenanceMissing);
    };
    if told != hex(&sha256(statement.as_bytes())) {
        return Err(ReleaseRefusal::ProvenanceChanged);
    }
    let (commit, build) = told_by(statement, files).ok_or(ReleaseRefusal::ProvenanceOther)?;
    if build == Build::Given && !files.accepts_given {
        return Err(ReleaseRefusal::BinaryGiven);
    }
    let key = note.verified_by.name().to_owned();
    Ok(VerifiedRelease { version: sums.version, key, commit, build })
}

/// The name of the statement about a file.
#[must_use]
pub fn provenance_name(file: &str) -> String {
    format!("{file}.provenance.json")
}

impl Sums {
    /// The signed note.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.to_text())
    }

    fn to_text(&self) -> String {
        let files = self.files.iter().map(|(sha256, name)| format!("{sha256}  {name}\n"));
        format!("{FIRST_LINE}\n{}\n{}", self.version, files.collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        lines.next().filter(|line| *line == FIRST_LINE)?;
        let version = lines.next().filter(|version| !version.is_empty())?.to_owned();
        let file = |line: &str| {
            let (sha256, name) = line.split_once("  ")?;
            let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            // A name with a slash could be somebody else's file.
            let is_bare = !name.is_empty() && !name.contains(['/', '\\']);
            let is_sum = sha256.len() == 64 && sha256.bytes().all(is_hex);
            (is_bare && is_sum).then(|| (sha256.to_owned(), name.to_owned()))
        };
        let files = lines.map(file).collect::<Option<Vec<_>>>()?;
        let sums = Self { version, files };
        // A name twice would have two answers.
        let is_once = |(_, name): &(String, String)| {
            sums.files.iter().filter(|(_, other)| other == name).count() == 1
        };
        sums.files.iter().all(is_once).then_some(sums)
    }

    fn sha256_of(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|(_, other)| other == name).map(|(sha256, _)| sha256.as_str())
    }
}

impl Source {
    /// The statement that a file was built from here.
    ///
    /// # Errors
    /// Never for these types.
    pub fn statement(&self, name: &str, sha256: &str) -> Result<String, serde_json::Error> {
        let statement = serde_json::json!({
            "_type": STATEMENT_TYPE,
            "subject": [{ "name": name, "digest": { "sha256": sha256 } }],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": self.build.as_type(),
                    "externalParameters": { "profile": "dist", "target": self.target },
                    "internalParameters": { "compiler": self.compiler },
                    "resolvedDependencies": [
                        { "name": "source", "digest": { "gitCommit": self.commit } },
                        { "name": "Cargo.lock", "digest": { "sha256": self.lock_sha256 } },
                    ],
                },
                "runDetails": { "builder": { "id": BUILDER } },
            },
        });
        serde_json::to_string_pretty(&statement).map(|text| text + "\n")
    }
}

impl Build {
    const fn as_type(self) -> &'static str {
        match self {
            Self::Builder => BUILD_TYPE,
            Self::Given => GIVEN_TYPE,
        }
    }
}

/// The commit and the builder that a statement names, if it is about this very file.
fn told_by(statement: &str, files: &ReleaseFiles<'_>) -> Option<(String, Build)> {
    let limits = attorn_json::Limits::CONFIG;
    let document = attorn_json::parse(statement.as_bytes(), &limits).ok()?;
    let StatementWire { kind, subject, predicate_type, predicate } = document.to().ok()?;
    if kind != STATEMENT_TYPE || predicate_type != PREDICATE_TYPE {
        return None;
    }
    let [subject] = subject.as_slice() else { return None };
    let is_this =
        subject.name == files.name && subject.digest.sha256.as_deref() == Some(files.sha256);
    let definition = predicate.build_definition;
    let build = [Build::Builder, Build::Given]
        .into_iter()
        .find(|build| build.as_type() == definition.build_type)?;
    let commit = definition.resolved_dependencies.into_iter().find_map(|one| one.digest.git_commit);
    Some((commit.filter(|_| is_this)?, build))
}

#[derive(Deserialize)]
struct StatementWire {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<SubjectWire>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: PredicateWire,
}

#[derive(Deserialize)]
struct SubjectWire {
    name: String,
    digest: DigestWire,
}

#[derive(Deserialize)]
struct DependencyWire {
    digest: DigestWire,
}

#[derive(Deserialize, Serialize)]
struct DigestWire {
    sha256: Option<String>,
    #[serde(rename = "gitCommit")]
    git_commit: Option<String>,
}

#[derive(Deserialize)]
struct PredicateWire {
    #[serde(rename = "buildDefinition")]
    build_definition: DefinitionWire,
}

#[derive(Deserialize)]
struct DefinitionWire {
    #[serde(rename = "buildType")]
    build_type: String,
    #[serde(rename = "resolvedDependencies")]
    resolved_dependencies: Vec<DependencyWire>,
}

const FIRST_LINE: &str = "attorn/release/v1";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
const BUILD_TYPE: &str = "urn:attorn:cargo-xtask-release:v1";
const GIVEN_TYPE: &str = "urn:attorn:cargo-xtask-release-given-binary:v1";
const BUILDER: &str = "urn:attorn:cargo-xtask-release";

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "attorn-1.0.0-x86_64.tar";

    struct Release {
        sums: String,
        statement: String,
        key: NoteVerifier,
    }

    fn digest() -> String {
        hex(&sha256(b"the file"))
    }

    fn release_with(change: impl FnOnce(&mut Sums, &mut String)) -> Release {
        release_of(Build::Builder, change)
    }

    fn release_of(build: Build, change: impl FnOnce(&mut Sums, &mut String)) -> Release {
        let signer = NoteSigner::from_seed("releases", &[7; 32]).unwrap();
        let source = Source {
            commit: "38d3783".repeat(5),
            lock_sha256: hex(&sha256(b"lock")),
            compiler: "rustc 1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            build,
        };
        let mut statement = source.statement(NAME, &digest()).unwrap();
        let of_statement = hex(&sha256(statement.as_bytes()));
        let files = vec![(digest(), NAME.into()), (of_statement, provenance_name(NAME))];
        let mut sums = Sums { version: "1.0.0".into(), files };
        change(&mut sums, &mut statement);
        Release { sums: sums.sign(&signer), statement, key: signer.verifier().clone() }
    }

    fn judged(release: &Release) -> Result<VerifiedRelease, ReleaseRefusal> {
        judged_by(release, false)
    }

    fn judged_by(
        release: &Release,
        accepts_given: bool,
    ) -> Result<VerifiedRelease, ReleaseRefusal> {
        let digest = digest();
        let files = ReleaseFiles {
            name: NAME,
            sha256: &digest,
            sums: &release.sums,
            provenance: Some(&release.statement),
            accepts_given,
        };
        verify(&files, std::slice::from_ref(&release.key))
    }

    #[test]
    fn a_given_binary_is_taken_only_by_who_says_so() {
        let given = release_of(Build::Given, |_, _| {});
        assert_eq!(judged(&given), Err(ReleaseRefusal::BinaryGiven));
        assert_eq!(judged_by(&given, true).unwrap().build, Build::Given);
        let built = judged_by(&release_with(|_, _| {}), true).unwrap();
        assert_eq!(built.build, Build::Builder);
    }

    #[test]
    fn a_whole_release_is_taken() {
        let verified = judged(&release_with(|_, _| {})).unwrap();
        assert_eq!((verified.version.as_str(), verified.key.as_str()), ("1.0.0", "releases"));
        assert_eq!(verified.commit, "38d3783".repeat(5));
    }

    #[test]
    fn a_changed_or_renamed_file_is_refused() {
        let release = release_with(|_, _| {});
        let other = hex(&sha256(b"another file"));
        let digest = digest();
        let base = ReleaseFiles {
            name: NAME,
            sha256: &digest,
            sums: &release.sums,
            provenance: Some(&release.statement),
            accepts_given: false,
        };
        for (files, expected) in [
            (ReleaseFiles { sha256: &other, ..base }, ReleaseRefusal::FileChanged),
            (ReleaseFiles { name: "attorn-0.9.0.tar", ..base }, ReleaseRefusal::FileUnnamed),
            (ReleaseFiles { provenance: None, ..base }, ReleaseRefusal::ProvenanceMissing),
            (ReleaseFiles { provenance: Some("{}"), ..base }, ReleaseRefusal::ProvenanceChanged),
        ] {
            assert_eq!(verify(&files, std::slice::from_ref(&release.key)), Err(expected));
        }
    }

    #[test]
    fn another_key_and_changed_sums_are_refused() {
        let mut release = release_with(|_, _| {});
        let stranger = NoteSigner::from_seed("releases", &[8; 32]).unwrap();
        release.key = stranger.verifier().clone();
        assert_eq!(judged(&release), Err(ReleaseRefusal::Note(NoteError::Unverified)));
        let mut release = release_with(|_, _| {});
        release.sums = release.sums.replacen("1.0.0", "1.0.1", 1);
        assert_eq!(judged(&release), Err(ReleaseRefusal::Note(NoteError::SignatureMismatch)));
    }

    #[test]
    fn sums_that_are_signed_must_still_be_sums() {
        let twice = release_with(|sums, _| sums.files.push((digest(), NAME.into())));
        let elsewhere = release_with(|sums, _| sums.files.push((digest(), "a/b".into())));
        let no_hash = release_with(|sums, _| sums.files.push(("00".into(), "b".into())));
        for release in [twice, elsewhere, no_hash] {
            assert_eq!(judged(&release), Err(ReleaseRefusal::Malformed));
        }
    }

    #[test]
    fn a_signed_statement_about_something_else_is_refused() {
        for (from, to) in [
            (NAME, "another.tar"),
            ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"),
            (Build::Builder.as_type(), "urn:another"),
            ("gitCommit", "branch"),
        ] {
            let release = release_with(|sums, statement| {
                *statement = statement.replace(from, to);
                sums.files[1].0 = hex(&sha256(statement.as_bytes()));
            });
            assert_eq!(judged(&release), Err(ReleaseRefusal::ProvenanceOther), "{from}");
        }
        let unnamed = release_with(|sums, _| drop(sums.files.pop()));
        assert_eq!(judged(&unnamed), Err(ReleaseRefusal::ProvenanceMissing));
    }
}
