//! `attorn apply`: the registry as a file in git has it.

use std::path::{Component, Path, PathBuf};

use attorn_json::Limits;
use clap::Args;
use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::json::{member, set, text};
use crate::output::clean;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ApplyArgs {
    /// TOML, or JSON if its name ends so
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Also revoke grants of the agents it names that it does not have
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    change: Change,
}

const HELP: &str = "\
Examples:
  attorn apply -f registry.toml --dry-run      what would change, as the authority judges it
  attorn apply -f registry.toml
  attorn apply -f registry.toml -o json --dry-run

A file has any of these:
  [[owners]]
  name = \"sales\"
  [[agents]]
  name = \"billing-agent\"
  owner = \"sales\"
  [[servers]]
  name = \"crm\"
  owner = \"sales\"
  upstream = { kind = \"http\", url = \"http://127.0.0.1:3101/mcp\" }
  [[tools]]
  server = \"crm\"
  name = \"get_invoice\"
  class = \"read\"
  digest = \"…\"                       needed while the tool waits: attorn tools diff crm -o json
  [[grants]]
  agent = \"billing-agent\"
  server = \"crm\"
  patterns = [\"read:get_invoice\"]
  [policy]
  file = \"guard-rails.cedar\"         beside this file; or text = \"…\"

What exists as described stays as it is, so a second run changes nothing. If one item cannot be
applied, none is. Without --prune nothing is taken away. Each item needs the scope of its own
command, beside `write:registry.apply`. A new agent gets its code from `attorn agent code`.

Exit codes: 0 done or possible, 1 an item cannot be applied.";

pub(crate) async fn run(context: &Context, args: ApplyArgs) -> Result<Exit, Failure> {
    let mut wanted = read(&args.file)?;
    if args.prune {
        set(&mut wanted, "prune", true);
    }
    let admin = Admin::open(context).await?;
    if args.change.dry_run {
        let plan = admin.post_read(Operation::RegistryPlan, wanted).await?;
        return Ok(show(&admin, &plan));
    }
    // Not the switch's `would send`: that one is asked of the authority.
    let change = Change { dry_run: false };
    let applied = admin.send_change(Operation::RegistryApply, &[], wanted, change).await;
    let again = format!("attorn apply -f {} --dry-run", args.file.display());
    let applied = applied.map_err(|failure| match failure.exit {
        Exit::No => failure.next(again),
        Exit::Yes | Exit::Usage | Exit::Unreachable | Exit::Broken => failure,
    })?;
    Ok(show(&admin, &applied.unwrap_or_default()))
}

fn show(admin: &Admin, plan: &Value) -> Exit {
    let output = admin.output;
    let list = |name| items(member(plan, name));
    let (changes, faults) = (list("changes"), list("faults"));
    if output.is_machine() {
        output.object(plan);
    } else if !changes.is_empty() {
        output.list(changes, &["at", "operation", "subject", "detail"]);
    }
    for fault in faults {
        let of = |name| clean(text(fault, name).unwrap_or_default());
        output.say(&format!("fault: {}: {} ({})", of("at"), of("message"), of("error")));
    }
    let verb = if member(plan, "applied") == true { "made" } else { "to make" };
    let unchanged = member(plan, "unchanged").as_u64().unwrap_or_default();
    output.say(&format!("{} changes {verb}, {unchanged} as they are", changes.len()));
    if faults.is_empty() { Exit::Yes } else { Exit::No }
}

/// The file in the form of the admin API.
fn read(path: &Path) -> Result<Value, Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::usage(format!("`{}`: {what}", path.display())).next("attorn apply --help")
    };
    let source = read_text(path)?;
    let mut wanted: Value = if path.extension().is_some_and(|ending| ending == "json") {
        // Strictly: what two readers could understand differently is no order.
        let document =
            attorn_json::parse(source.as_bytes(), &Limits::CONFIG).map_err(|e| wrong(&e))?;
        document.to().map_err(|e| wrong(&e))?
    } else {
        toml::from_str(&source).map_err(|e| wrong(&e))?
    };
    if wanted.get("prune").is_some() {
        // What takes away stands in the command that somebody gives, not in a file that somebody sent.
        return Err(wrong(&"`prune` is a switch of the command, `--prune`"));
    }
    put_policy_text(path, &mut wanted)?;
    Ok(wanted)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let wrong = |what: &str| Failure::usage(format!("`{}` {what}", path.display()));
    let bytes = files::read_bounded(path, FILE_BYTES_MAX);
    let bytes = bytes.map_err(|failure| Failure { exit: Exit::Usage, ..failure })?;
    String::from_utf8(bytes).map_err(|_| wrong("is not text in UTF-8"))
}

/// `file` of the policy becomes its text: the authority cannot read our files.
fn put_policy_text(path: &Path, wanted: &mut Value) -> Result<(), Failure> {
    let Some(policy) = wanted.get_mut("policy").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let Some(file) = policy.remove("file") else { return Ok(()) };
    let (Some(file), false) = (file.as_str(), policy.contains_key("text")) else {
        return Err(Failure::usage("the policy has either `file`, a path, or `text`"));
    };
    // Its text is sent to the authority: a file from elsewhere must not name what it likes.
    let is_below = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    if file.is_empty() || !is_below {
        let what = format!("the policy file `{}` is not beside or below this one", clean(file));
        return Err(Failure::usage(what).next("name it by a path without `.` and `..`"));
    }
    let beside = path.parent().unwrap_or_else(|| Path::new("")).join(file);
    policy.insert("text".to_owned(), Value::from(read_text(&beside)?));
    Ok(())
}

/// The authority takes no more.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads a file of this name and text, which lies beside a file of policies.
    fn check(name: &str, text: &str, is_right: impl FnOnce(Result<Value, Failure>) -> bool) {
        let own = format!("attorn-apply-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(own);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("p.cedar"), "permit").unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        assert!(is_right(read(&folder.join(name))), "{name}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn both_forms_say_the_same() {
        let expected = json!({ "owners": [{ "name": "a" }], "policy": { "text": "permit" } });
        let toml = "[[owners]]\nname = \"a\"\n[policy]\nfile = \"p.cedar\"\n";
        let json = r#"{"owners":[{"name":"a"}],"policy":{"file":"p.cedar"}}"#;
        for (name, text) in [("a.toml", toml), ("a.json", json)] {
            check(name, text, |read| read.is_ok_and(|read| read == expected));
        }
    }

    #[test]
    fn a_file_with_two_readings_is_refused() {
        for (name, text) in [
            ("b.json", r#"{"owners":[],"owners":[{"name":"a"}]}"#),
            ("c.json", "[]"),
            ("d.toml", "[[owners]]\nname = \"a\"\nname = \"b\"\n"),
            ("e.toml", "[policy]\nfile = \"p.cedar\"\ntext = \"forbid\"\n"),
            ("f.toml", "[policy]\nfile = \"missing.cedar\"\n"),
        ] {
            check(name, text, |read| read.is_err_and(|failure| failure.exit == Exit::Usage));
        }
    }

    #[test]
    fn a_file_neither_takes_away_nor_names_what_lies_elsewhere() {
        for (name, text) in [
            ("g.toml", "prune = true\n"),
            ("h.json", r#"{"prune":false}"#),
            ("i.toml", "[policy]\nfile = \"\"\n"),
            ("j.toml", "[policy]\nfile = \"../p.cedar\"\n"),
            ("k.toml", "[policy]\nfile = \"/etc/hostname\"\n"),
            ("l.toml", "[policy]\nfile = \"./p.cedar\"\n"),
        ] {
            check(name, text, |read| read.is_err_and(|failure| failure.exit == Exit::Usage));
        }
    }
}
