//! `cargo xtask release`: a tar that is the same bytes for the same binary and commit, its sums in a
//! signed note, and a statement of what it was built from.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use attorn_audit::note::NoteSigner;
use attorn_audit::release::{Build, Source, Sums, provenance_name};
use clap::Args;

use crate::step::{StepFailed, output_of, root, run_with};

/// What a release is made of.
#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    /// File with the private key, `PRIVATE+KEY+name+id+base64` (C2SP signed-note)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Make this key first, with this name; its public half is printed
    #[arg(long, value_name = "NAME")]
    new_key: Option<String>,
    /// Take this binary instead of building one; that it is of this commit is then your word alone,
    /// and `release verify` refuses it unless it is told otherwise
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Folder to write to
    #[arg(long, value_name = "FOLDER", default_value = "target/release-files")]
    to: PathBuf,
}

/// Builds and signs a release.
///
/// # Errors
/// When the build fails, the work tree differs from its commit, or a file cannot be read or written.
pub fn run(arguments: &ReleaseArgs) -> Result<(), StepFailed> {
    if let Some(name) = &arguments.new_key {
        make_key(name, &arguments.key)?;
    }
    let signer = signer(&arguments.key)?;
    let commit = clean_commit(&root())?;
    let epoch = output_of(&root(), "git", &["show", "-s", "--format=%ct", &commit])?;
    let epoch = epoch.trim();
    let (binary, build) = match &arguments.binary {
        Some(binary) => (binary.clone(), Build::Given),
        None => (build(epoch)?, Build::Builder),
    };
    let packed = contents(&binary)?;
    let lock_sha256 = hex(&attorn_jose::sha256(&read(&root().join("Cargo.lock"))?));
    // What was built and packed meanwhile must be of the commit that it began with.
    if clean_commit(&root())? != commit {
        return Err(StepFailed::Check("another commit was checked out meanwhile".to_owned()));
    }
    let compiler = output_of(&root(), "rustc", &["-vV"])?;
    let line = |prefix: &str| {
        let found = compiler.lines().find_map(|line| line.strip_prefix(prefix));
        found.unwrap_or_default().to_owned()
    };
    let compiled_by = match build {
        Build::Builder => compiler.lines().next().unwrap_or_default().to_owned(),
        Build::Given => "not known".to_owned(),
    };
    let target = line("host: ");
    let source = Source { commit, lock_sha256, compiler: compiled_by, target, build };
    let name = format!("attorn-{}-{}.tar", env!("CARGO_PKG_VERSION"), source.target);
    let time_s = epoch.parse().map_err(|_| StepFailed::Check("no time of a commit".to_owned()))?;
    write(&arguments.to, &name, &packed, time_s, (&source, &signer))?;
    println!("{}", arguments.to.join(&name).display());
    println!("verify it: attorn release verify FILE --key {}", signer.verifier().to_vkey());
    Ok(())
}

/// The commit of a work tree that differs from it in nothing: no file changed, and none is there that
/// it does not have. A statement about a commit must not be about anything else.
fn clean_commit(folder: &Path) -> Result<String, StepFailed> {
    let told = output_of(folder, "git", &["status", "--porcelain", "--untracked-files=normal"])?;
    if let Some(first) = told.lines().next() {
        return Err(StepFailed::Check(format!("the work tree differs from its commit: {first}")));
    }
    Ok(output_of(folder, "git", &["rev-parse", "HEAD"])?.trim().to_owned())
}

/// One file in the tar.
struct Packed {
    name: &'static str,
    mode: u32,
    content: Vec<u8>,
}

fn contents(binary: &Path) -> Result<Vec<Packed>, StepFailed> {
    let mut packed = vec![Packed { name: "attorn", mode: 0o755, content: read(binary)? }];
    for name in ["CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"] {
        packed.push(Packed { name, mode: 0o644, content: read(&root().join(name))? });
    }
    Ok(packed)
}

/// The file, its statement and its sums.
fn write(
    folder: &Path,
    name: &str,
    packed: &[Packed],
    time_s: u64,
    (source, signer): (&Source, &NoteSigner),
) -> Result<(), StepFailed> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let tar = tar(packed, time_s);
    let sha256 = hex(&attorn_jose::sha256(&tar));
    let statement = source.statement(name, &sha256);
    let statement = statement.map_err(|error| StepFailed::Check(error.to_string()))?;
    let of_statement = hex(&attorn_jose::sha256(statement.as_bytes()));
    let files = vec![(sha256, name.to_owned()), (of_statement, provenance_name(name))];
    let sums = Sums { version: env!("CARGO_PKG_VERSION").to_owned(), files };
    for (name, content) in [
        (name.to_owned(), tar),
        (provenance_name(name), statement.into_bytes()),
        (format!("{name}.sums"), sums.sign(signer).into_bytes()),
    ] {
        let path = folder.join(name);
        fs::write(&path, content).map_err(at(&path))?;
    }
    Ok(())
}

/// POSIX.1-1988 ustar: plain files of one time and of nobody, in the order given.
fn tar(packed: &[Packed], time_s: u64) -> Vec<u8> {
    let mut tar = Vec::new();
    for Packed { name, mode, content } in packed {
        let mut header = [0_u8; 512];
        let mut put = |from: usize, text: &str| {
            for (place, byte) in header.iter_mut().skip(from).zip(text.bytes()) {
                *place = byte;
            }
        };
        put(0, name);
        put(100, &format!("{mode:07o}\0"));
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", content.len()));
        put(136, &format!("{time_s:011o}\0"));
        // The sum is taken with spaces in its own place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let text = format!("{sum:06o}\0 ");
        for (place, byte) in header.iter_mut().skip(148).zip(text.bytes()) {
            *place = byte;
        }
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// The same paths on every machine, so that they do not become a part of the binary.
fn build(epoch: &str) -> Result<PathBuf, StepFailed> {
    let here = root().display().to_string();
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME")).unwrap_or_default();
    let flags = format!("--remap-path-prefix={here}=/attorn --remap-path-prefix={home}=/cargo");
    let (target, built) = (root().join("target"), root().join("target/dist/attorn"));
    // One of an earlier build must not be taken where this one writes elsewhere.
    match fs::remove_file(&built) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(at(&built)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let target = target.display().to_string();
    let profile = ["build", "--profile", "dist", "--locked", "-p", "attorn"];
    run_with(
        "cargo",
        &[profile.as_slice(), &["--target-dir", &target]].concat(),
        &[("SOURCE_DATE_EPOCH", epoch), ("RUSTFLAGS", &flags)],
    )?;
    Ok(built)
}

fn make_key(name: &str, path: &Path) -> Result<(), StepFailed> {
    let mut seed = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| StepFailed::Check("no randomness".to_owned()))?;
    let signer = NoteSigner::from_seed(name, &seed);
    let signer = signer.map_err(|error| StepFailed::Check(error.to_string()))?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(at(path))?;
    file.write_all(format!("{}\n", signer.to_skey()).as_bytes()).map_err(at(path))?;
    println!("public key: {}", signer.verifier().to_vkey());
    Ok(())
}

fn signer(path: &Path) -> Result<NoteSigner, StepFailed> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    NoteSigner::from_skey(text.trim())
        .map_err(|error| StepFailed::Check(format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, StepFailed> {
    fs::read(path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StepFailed {
    let path = path.to_owned();
    move |source| StepFailed::File { path, source }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<Packed> {
        vec![
            Packed { name: "attorn", mode: 0o755, content: vec![7; 1000] },
            Packed { name: "LICENSE", mode: 0o644, content: b"text\n".to_vec() },
        ]
    }

    #[test]
    fn only_a_work_tree_as_its_commit_has_it_is_released() {
        let folder = std::env::temp_dir().join(format!("attorn-clean-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
            output_of(&folder, "git", &[who.as_slice(), arguments].concat()).unwrap()
        };
        git(&["init", "--quiet"]);
        fs::write(folder.join("a"), "1").unwrap();
        git(&["add", "a"]);
        git(&["commit", "--quiet", "--message", "one"]);
        assert_eq!(clean_commit(&folder).unwrap(), git(&["rev-parse", "HEAD"]).trim());
        fs::write(folder.join("build.rs"), "").unwrap();
        assert!(clean_commit(&folder).unwrap_err().to_string().contains("?? build.rs"));
        fs::remove_file(folder.join("build.rs")).unwrap();
        fs::write(folder.join("a"), "2").unwrap();
        assert!(clean_commit(&folder).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn other_peoples_tar_reads_it() {
        let folder = std::env::temp_dir().join(format!("attorn-tar-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.tar"), tar(&packed(), 1_790_000_000)).unwrap();
        let listed = output_of(&folder, "tar", &["--utc", "-tvf", "a.tar"]).unwrap();
        let lines: Vec<_> = listed.lines().collect();
        assert_eq!(lines.len(), 2, "{listed}");
        assert!(lines[0].starts_with("-rwxr-xr-x 0/0"), "{listed}");
        assert!(
            lines[0].contains(" 1000 2026-09-21 ") && lines[0].ends_with(" attorn"),
            "{listed}"
        );
        output_of(&folder, "tar", &["-xf", "a.tar", "LICENSE"]).unwrap();
        assert_eq!(fs::read_to_string(folder.join("LICENSE")).unwrap(), "text\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_written_verifies() {
        let folder = std::env::temp_dir().join(format!("attorn-release-{}", std::process::id()));
        let signer = NoteSigner::from_seed("releases", &[7; 32]).unwrap();
        let source = Source {
            commit: "a".repeat(40),
            lock_sha256: "b".repeat(64),
            compiler: "rustc".to_owned(),
            target: "t".to_owned(),
            build: Build::Builder,
        };
        write(&folder, "a.tar", &packed(), 0, (&source, &signer)).unwrap();
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let sha256 = hex(&attorn_jose::sha256(&fs::read(folder.join("a.tar")).unwrap()));
        let (sums, provenance) = (text("a.tar.sums"), text("a.tar.provenance.json"));
        let files = attorn_audit::release::ReleaseFiles {
            name: "a.tar",
            sha256: &sha256,
            sums: &sums,
            provenance: Some(&provenance),
            accepts_given: false,
        };
        let keys = [signer.verifier().clone()];
        let verified = attorn_audit::release::verify(&files, &keys).unwrap();
        assert_eq!(verified.commit, "a".repeat(40));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("attorn-release-key-{}", std::process::id()));
        make_key("releases", &path).unwrap();
        assert!(make_key("releases", &path).is_err());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(signer(&path).unwrap().verifier().name(), "releases");
        fs::remove_file(&path).unwrap();
    }
}
