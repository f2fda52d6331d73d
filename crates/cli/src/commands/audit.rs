//! `attorn audit`: search, export and verify the journal.

mod chain;
mod export;
mod payload;
mod prune;
mod search;
mod tail;
mod trace;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::set;

pub(crate) use trace::tree;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find entries
    #[command(
        after_help = "Examples:\n  attorn audit search --agent billing-agent --decision deny\n  attorn audit search --tool get_invoice -o ndjson"
    )]
    Search(Filter),
    /// Follow new entries until interrupted
    #[command(after_help = "Example:\n  attorn audit tail --decision deny")]
    Tail(Filter),
    /// Everything of one call, token or request to an API, as a tree
    Trace(trace::TraceArgs),
    /// One entry
    #[command(after_help = "Example:\n  attorn audit show 42")]
    Show {
        /// Index of the entry
        index: u64,
    },
    /// Verify an export, a folder of exports, or a journal's folder, offline. Exit code 4 and the entry's index if it was
    /// tampered with
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify {
        /// An export, a folder with exports, or the folder `journal` of a state folder
        file: PathBuf,
        /// A public key of the log known from elsewhere, `name+hash+base64`; may be repeated
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<String>,
        /// A public key of a witness that must have seen the checkpoint; may be repeated
        #[arg(long = "witness-key", value_name = "KEY")]
        witness_keys: Vec<String>,
        /// How many of the witnesses are enough; without it, all of them
        #[arg(long, value_name = "N", requires = "witness_keys")]
        quorum: Option<usize>,
    },
    /// The proof that an entry is in the signed log
    #[command(after_help = "Example:\n  attorn audit proof 42")]
    Proof {
        /// Index of the entry
        index: u64,
    },
    /// Write entries with their proofs to a file that needs nothing else to be verified
    Export(export::ExportArgs),
    /// Read what a call was made with, or what it gave, with an auditor's key. That it was read is
    /// recorded first
    #[command(after_help = payload::EXAMPLES)]
    Payload(payload::Payload),
    /// Forget what was sealed for an agent or a person, on every node and for good; the journal stays as it is
    #[command(
        after_help = "Example:\n  attorn audit erase billing-agent --reason \"erasure request 12\"\n\nEntries and their digests stay and verify as before. Calls from now on are sealed under a new key."
    )]
    Erase {
        /// Name or identifier of an agent or a person
        subject: String,
        /// Why, for the journal
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        change: Change,
    },
    /// Remove old entries from the journal on this machine, and leave a signed tombstone. `attorn serve`
    /// must not run; while it runs `journal.keep_days` of its configuration does the same
    #[command(after_help = prune::EXAMPLES)]
    Prune(prune::Prune),
    /// The newest signed checkpoint
    #[command(after_help = "Example:\n  attorn audit checkpoint")]
    Checkpoint,
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Only about this person
    #[arg(long)]
    person: Option<String>,
    /// Only of this server
    #[arg(long)]
    server: Option<String>,
    /// Only of this tool
    #[arg(long)]
    tool: Option<String>,
    /// Only of this kind, such as `call.decided`
    #[arg(long)]
    kind: Option<String>,
    /// Only with this decision, `permit` or `deny`
    #[arg(long)]
    decision: Option<String>,
    /// Only with this reason code
    #[arg(long)]
    reason: Option<String>,
    /// Only of this decision id
    #[arg(long)]
    decision_id: Option<String>,
    /// At most so many
    #[arg(long)]
    limit: Option<u64>,
}

impl Filter {
    /// The same as a document, without what was not given.
    fn body(&self) -> Value {
        let given = self.query().into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut body: Value = given.map(|(name, value)| (name, Value::from(value))).collect();
        if let Some(limit) = self.limit {
            set(&mut body, "limit", limit);
        }
        body
    }

    fn query(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("agent", self.agent.clone()),
            ("person", self.person.clone()),
            ("server", self.server.clone()),
            ("tool", self.tool.clone()),
            ("kind", self.kind.clone()),
            ("decision", self.decision.clone()),
            ("reason", self.reason.clone()),
            ("decision_id", self.decision_id.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ]
    }
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  attorn audit verify export.json
  attorn audit verify export.json --key attorn.example.com/node+…   and who signed it
  attorn audit verify attorn-state/journal --key attorn.example.com/node+…   every entry there is
  attorn audit verify export.json --key KEY --witness-key witness.example.org/w1+…   and who saw it

Needs the file or folder and nothing else: no network, no profile. A journal that is being written may
look broken at its end: verify a copy of it.";

pub(crate) async fn run(context: &Context, command: AuditCommand) -> Result<Exit, Failure> {
    if let AuditCommand::Verify { file, keys, witness_keys, quorum } = &command {
        return verify::run(context, file, keys, (witness_keys, *quorum));
    }
    if let AuditCommand::Prune(prune) = &command {
        return prune::run(context, prune).await;
    }
    if let AuditCommand::Trace(args) = &command {
        return trace::run(context, args).await;
    }
    if let AuditCommand::Export(args) = &command {
        return export::run(context, args).await;
    }
    let admin = Admin::open(context).await?;
    match command {
        AuditCommand::Verify { .. }
        | AuditCommand::Prune(_)
        | AuditCommand::Trace(_)
        | AuditCommand::Export(_) => Ok(Exit::Usage),
        AuditCommand::Search(filter) => search::run(&admin, &filter).await,
        AuditCommand::Tail(filter) => tail::run(&admin, &filter).await,
        AuditCommand::Show { index } => {
            admin.show(Operation::AuditShow, &[&index.to_string()]).await
        }
        AuditCommand::Payload(payload) => payload::run(&admin, &payload).await,
        AuditCommand::Erase { subject, reason, change } => {
            let body = serde_json::json!({ "subject": subject, "reason": reason });
            admin.change(Operation::AuditErase, &[], body, change).await
        }
        AuditCommand::Proof { index } => {
            admin.show(Operation::AuditProof, &[&index.to_string()]).await
        }
        AuditCommand::Checkpoint => admin.show(Operation::AuditCheckpoint, &[]).await,
    }
}
