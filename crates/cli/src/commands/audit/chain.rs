//! The entries of one chain, out of the authority's journal and of those of other roles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attorn_audit::Entry;
use attorn_audit::note::NoteVerifier;
use attorn_audit::trace::{Key, Located, Term, leads_to, select};
use attorn_audit::verify::{Trust, verify};
use attorn_journal::{check, origin, read_all};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::admin::{Admin, Operation, items};
use crate::commands::Context;
use crate::exit::Failure;
use crate::files;
use crate::json::{member, text};
use crate::outside::causes;

use super::trace::removed;

/// Which chain, and where its entries are.
#[derive(Debug, Args)]
pub(crate) struct ChainArgs {
    /// What the identifier names; without it, its form says
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Option<By>,
    /// The journal of a gateway or guard in a process of its own: its folder `journal`, or an export;
    /// may be repeated
    #[arg(long = "journal", value_name = "DIR|FILE")]
    journals: Vec<PathBuf>,
    /// A public key of such a log known from elsewhere, `name+hash+base64`; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Read the journals that are given and ask nobody
    #[arg(long, requires = "journals")]
    offline: bool,
}

/// What an identifier names.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Agent,
    Approval,
    Decision,
    Downstream,
    Person,
    Token,
    Trace,
}

impl By {
    const fn key(self) -> Key {
        match self {
            Self::Agent => Key::Agent,
            Self::Approval => Key::Approval,
            Self::Decision => Key::Decision,
            Self::Downstream => Key::DownstreamRequest,
            Self::Person => Key::Subject,
            Self::Token => Key::Token,
            Self::Trace => Key::Trace,
        }
    }
}

/// A chain and what was read for it.
pub(super) struct Chain {
    pub(super) entries: Vec<Located>,
    /// What is not there any more, or was not verified.
    pub(super) remarks: Vec<String>,
    /// The origin of the authority's log, if it was asked.
    pub(super) asked: Option<String>,
    pub(super) journals: Vec<Journal>,
    pub(super) admin: Option<Admin>,
}

/// One journal that was read.
pub(super) struct Journal {
    pub(super) path: PathBuf,
    pub(super) log: String,
    pub(super) is_folder: bool,
}

impl ChainArgs {
    /// `id` is the API's name of a request where `is_downstream` says so.
    pub(super) async fn read(
        &self,
        context: &Context,
        id: &str,
        is_downstream: bool,
    ) -> Result<Chain, Failure> {
        let wanted = match self.by {
            Some(by) => Term::new(by.key(), id),
            None if is_downstream => Term::new(Key::DownstreamRequest, id),
            None => Term::guess(id),
        };
        let keys = self.keys()?;
        let (mut pool, mut journals, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
        for path in &self.journals {
            let (journal, entries) = read_journal(path, &keys, &mut remarks)?;
            pool.extend(entries);
            journals.push(journal);
        }
        let admin = if self.offline { None } else { Some(Admin::open(context).await?) };
        let mut asked = None;
        if let Some(admin) = &admin {
            asked = Some(ask_all(admin, &wanted, &mut pool, &mut remarks).await?);
        }
        let entries = select(pool, wanted);
        Ok(Chain { entries, remarks, asked, journals, admin })
    }

    pub(super) fn keys(&self) -> Result<Vec<NoteVerifier>, Failure> {
        let parse = |key: &String| {
            let parsed = NoteVerifier::from_vkey(key);
            parsed.map_err(|e| Failure::usage(format!("`{key}` is not a log key: {e}")))
        };
        self.keys.iter().map(parse).collect()
    }
}

impl Chain {
    /// The places of each log.
    pub(super) fn places(&self) -> BTreeMap<&str, Vec<u64>> {
        let mut places: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for one in &self.entries {
            places.entry(&one.log).or_default().push(one.index);
        }
        places
    }
}

/// Asks the authority for what is looked up and for every name that the journals lead to, until
/// nothing new comes. Gives the origin of its log.
async fn ask_all(
    admin: &Admin,
    wanted: &Term,
    pool: &mut Vec<Located>,
    remarks: &mut Vec<String>,
) -> Result<String, Failure> {
    let mut done = BTreeSet::new();
    let mut log = ask(admin, wanted, pool, remarks).await?;
    done.insert(wanted.clone());
    while done.len() < ASKED_MAX {
        let found = select(pool.clone(), wanted.clone());
        // What the authority told it has followed itself.
        let elsewhere = found.iter().filter(|one| one.log != log);
        let next = elsewhere.flat_map(|one| leads_to(&one.entry)).find(|term| !done.contains(term));
        let Some(term) = next else { return Ok(log) };
        log = ask(admin, &term, pool, remarks).await?;
        done.insert(term);
    }
    remarks.push(format!("the authority was asked {ASKED_MAX} times; there may be more"));
    Ok(log)
}

async fn ask(
    admin: &Admin,
    term: &Term,
    pool: &mut Vec<Located>,
    remarks: &mut Vec<String>,
) -> Result<String, Failure> {
    let by = match term.key {
        Key::Agent => "agent",
        Key::Approval => "approval",
        Key::Decision => "decision",
        Key::DownstreamRequest => "downstream_request",
        Key::Exchanged => "exchanged",
        Key::Issued => "issued",
        Key::Subject => "person",
        Key::Token => "token",
        Key::Trace => "trace",
        Key::UntracedExchange => "untraced_exchange",
    };
    let query = [("by", Some(by.to_owned()))];
    let answer = admin.read(Operation::AuditTrace, &[&term.value], &query).await?;
    let log = text(&answer, "log").unwrap_or_default().to_owned();
    for item in items(&answer) {
        pool.push(located(&log, item)?);
    }
    if let Some(removed) = removed(&answer)
        && !remarks.contains(&removed)
    {
        remarks.push(removed);
    }
    Ok(log)
}

/// An entry as the admin API shows it: its members, and its place.
fn located(log: &str, item: &Value) -> Result<Located, Failure> {
    let wrong = || Failure::broken("the authority answered with something that is no entry");
    let index = member(item, "index").as_u64().ok_or_else(wrong)?;
    let mut members = item.as_object().cloned().ok_or_else(wrong)?;
    members.remove("index");
    let entry: Entry = serde_json::from_value(Value::from(members)).map_err(|_| wrong())?;
    Ok(Located { log: log.to_owned(), index, entry })
}

#[derive(Deserialize)]
struct Exported<'a> {
    #[serde(borrow)]
    entries: Vec<ExportedEntry<'a>>,
}

#[derive(Deserialize)]
struct ExportedEntry<'a> {
    #[serde(borrow)]
    entry: &'a RawValue,
    index: u64,
}

/// A folder, or an export. An export verifies or is refused; a folder needs a key for that.
fn read_journal(
    path: &Path,
    keys: &[NoteVerifier],
    remarks: &mut Vec<String>,
) -> Result<(Journal, Vec<Located>), Failure> {
    let shown = path.display();
    let broken = |what: String| Failure::broken(format!("`{shown}`: {what}"));
    if !path.is_dir() {
        let bundle = files::read_bounded(path, super::verify::EXPORT_BYTES_MAX)?;
        let entries = located_in(&bundle, keys).map_err(broken)?;
        // A bundle without entries does not verify.
        let log = entries.first().map(|one| one.log.clone()).unwrap_or_default();
        return Ok((Journal { path: path.to_owned(), log, is_folder: false }, entries));
    }
    let log = origin(path).map_err(|e| broken(causes(&e)))?;
    let own: Vec<NoteVerifier> = keys.iter().filter(|key| key.name() == log).cloned().collect();
    if own.is_empty() {
        remarks.push(format!("`{shown}` was read and not verified: no --key names `{log}`"));
    } else {
        check(path, &own).map_err(|e| broken(causes(&e)))?;
    }
    let entries = read_all(path).map_err(|e| broken(causes(&e)))?;
    let entries = entries.iter().zip(0..).map(|(bytes, index)| {
        let entry = Entry::parse(bytes).map_err(|e| broken(format!("entry {index}: {e}")))?;
        Ok(Located { log: log.clone(), index, entry })
    });
    let entries: Vec<Located> = entries.collect::<Result<_, Failure>>()?;
    Ok((Journal { path: path.to_owned(), log, is_folder: true }, entries))
}

/// The entries of an export that verifies: under these keys, or under its own where there are none.
pub(super) fn located_in(bundle: &[u8], keys: &[NoteVerifier]) -> Result<Vec<Located>, String> {
    let trust = if keys.is_empty() { Trust::Embedded } else { Trust::Pinned(keys) };
    let report =
        verify(bundle, trust).map_err(|refusal| format!("it does not verify: {refusal}"))?;
    let exported: Exported<'_> = serde_json::from_slice(bundle).map_err(|e| e.to_string())?;
    let log = report.checkpoint.origin;
    let entries = exported.entries.iter().map(|one| {
        let entry = Entry::parse(one.entry.get().as_bytes()).map_err(|e| e.to_string())?;
        Ok(Located { log: log.clone(), index: one.index, entry })
    });
    entries.collect()
}

/// What to say when nothing was found.
pub(super) fn nothing(id: &str, chain: &Chain) -> Failure {
    let mut what = format!("nothing is recorded under `{id}`");
    for remark in &chain.remarks {
        what.push_str("; ");
        what.push_str(remark);
    }
    Failure::no(what).next("attorn audit search --limit 20")
}

const ASKED_MAX: usize = 50;
