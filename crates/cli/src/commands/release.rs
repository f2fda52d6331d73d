//! `attorn release verify`: judges a release before anybody runs it. Reads files and nothing else:
//! Attorn never fetches or replaces itself.

use std::path::{Path, PathBuf};

use attorn_audit::note::NoteVerifier;
use attorn_audit::release::{Build, ReleaseFiles, provenance_name, verify};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;

#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Whether a file is the release that a key signed. Exit code 4 if it is not
    #[command(after_help = EXAMPLES)]
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The file as it was downloaded
    file: PathBuf,
    /// The public key of the releases, `name+id+base64`, known from elsewhere than the release
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The signed sums [default: FILE.sums]
    #[arg(long, value_name = "FILE")]
    sums: Option<PathBuf>,
    /// The provenance statement [default: FILE.provenance.json]
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Also take a release whose binary its builder did not build itself
    #[arg(long)]
    accept_given_binary: bool,
}

const EXAMPLES: &str = "\
Examples:
  attorn release verify attorn-1.2.0-x86_64-unknown-linux-gnu.tar --key KEY
  attorn release verify attorn.tar --key KEY --sums SUMS --provenance STATEMENT

Three files belong together: the release, its sums in a note that the key signed, and the statement of
what it was built from. All of them have to hold. A binary that was given to the builder is refused
without --accept-given-binary. Nothing is fetched, and nothing is installed.";

pub(crate) fn run(context: &Context, command: &ReleaseCommand) -> Result<Exit, Failure> {
    let ReleaseCommand::Verify(args) = command;
    let key = NoteVerifier::from_vkey(&args.key);
    let key = key.map_err(|e| Failure::usage(format!("`{}` is no key: {e}", args.key)))?;
    let name = args.file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::usage("the file has no name to look for"))?;
    let sha256 = files::sha256_of(&args.file)?;
    let sums = args.sums.clone().unwrap_or_else(|| beside(&args.file, &format!("{name}.sums")));
    let sums = read(&sums)?;
    let usual = beside(&args.file, &provenance_name(name));
    let statement = args.provenance.as_ref().or_else(|| usual.exists().then_some(&usual));
    let statement = statement.map(|path| read(path)).transpose()?;
    let release = ReleaseFiles {
        name,
        sha256: &sha256,
        sums: &sums,
        provenance: statement.as_deref(),
        accepts_given: args.accept_given_binary,
    };
    match verify(&release, &[key]) {
        Ok(verified) => {
            context.output.object(&json!({
                "verified": true,
                "file": name,
                "version": verified.version,
                "commit": verified.commit,
                "binary": match verified.build {
                    Build::Builder => "built from the commit",
                    Build::Given => "given to the builder",
                },
                "key": verified.key,
                "sha256": sha256,
            }));
            Ok(Exit::Yes)
        }
        Err(refusal) => {
            if context.output.is_machine() {
                let answer = json!({ "verified": false, "broken": refusal.to_string() });
                context.output.object(&answer);
            }
            Err(Failure::broken(format!("do not use `{}`: {refusal}", args.file.display()))
                .next("download it again, and compare the key with another source"))
        }
    }
}

fn beside(file: &Path, name: &str) -> PathBuf {
    file.with_file_name(name)
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = files::read_bounded(path, NOTE_BYTES_MAX)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::broken(format!("`{}` is no text", path.display())))
}

/// Sums and statements are some kilobytes.
const NOTE_BYTES_MAX: u64 = 1 << 20;
