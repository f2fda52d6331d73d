//! `attorn audit payload`: reads a sealed payload with an auditor's key, on the auditor's machine.

use std::io::{BufReader, Write as _};
use std::path::PathBuf;

use age::IdentityFile;
use attorn_authority::Operation;
use clap::{Args, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use crate::admin::Admin;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::member;

#[derive(Debug, Args)]
pub(crate) struct Payload {
    /// The decision about the call
    decision: String,
    /// Which half of the call
    #[arg(long, value_enum, default_value_t = Part::Arguments)]
    part: Part,
    /// File with the auditor's age identity, `AGE-SECRET-KEY-1…`; it stays on this machine
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Why, for the journal
    #[arg(long)]
    reason: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// What the tool was called with
    Arguments,
    /// What the server answered
    Result,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  attorn audit payload dec_… --identity auditor.key --reason \"incident 7\"
  attorn audit payload dec_… --part result --identity auditor.key --reason \"incident 7\"

`age-keygen -o auditor.key` makes a key; its public part, `age1…`, goes into `journal.auditors` of the
configuration. Only calls that were made after that have a payload.";

pub(super) async fn run(admin: &Admin, payload: &Payload) -> Result<Exit, Failure> {
    // Before anything is asked, and recorded: a key that cannot be read reads nothing.
    let text = Zeroizing::new(files::read_private(&payload.identity)?);
    let unread = || {
        Failure::usage(format!("`{}` holds no age identity", payload.identity.display()))
            .next("age-keygen -o auditor.key")
    };
    let identities = IdentityFile::from_buffer(BufReader::new(text.as_bytes()))
        .and_then(|file| file.into_identities().map_err(std::io::Error::other))
        .map_err(|_| unread())?;
    let part = match payload.part {
        Part::Arguments => "arguments",
        Part::Result => "result",
    };
    let body = json!({
        "decision": payload.decision, "part": part, "reason": payload.reason,
    });
    let given = admin.post_read(Operation::AuditPayload, body).await?;
    let sealed = member(&given, "age").as_str().unwrap_or_default();
    let broken = || Failure::broken("the authority gave no payload in the format of age");
    let sealed = attorn_jose::from_base64url(sealed).map_err(|_| broken())?;
    let decryptor = age::Decryptor::new(sealed.as_slice()).map_err(|_| broken())?;
    let identities = identities.iter().map(|one| one.as_ref() as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).map_err(|_| {
        Failure::no("this identity is not among those the payload was sealed for")
            .next("ask an auditor whose key was in `journal.auditors` then")
    })?;
    let mut plain = Vec::new();
    std::io::copy(&mut reader, &mut plain).map_err(|_| broken())?;
    // As it was: an auditor wants the bytes.
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&plain).and_then(|()| out.write_all(b"\n"));
    written.map_err(|error| Failure::usage(format!("cannot write: {error}")))?;
    Ok(Exit::Yes)
}
