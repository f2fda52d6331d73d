//! The demonstration: acts, each checked.

use std::time::Duration;

use attorn_audit::verify::{Trust, verify};
use serde_json::{Value, json};

use crate::admin::{Operation, items};
use crate::agent::{AgentClient, Answered};
use crate::args::Change;
use crate::commands::audit::tree;
use crate::exit::{Exit, Failure};
use crate::json::{at, member, text};
use crate::names::Names;
use crate::output::{Output, cell};
use crate::outside::connect_world;

use super::chain;
use super::scene::Scene;
use super::stolen::StolenToken;

/// Plays all acts; [`Exit::No`] if one did not go as it must.
pub(super) async fn play(scene: &Scene, output: Output) -> Result<Exit, Failure> {
    let mut acts = Acts { output, number: 0, wrong: 0, since: 0 };
    allowed_call(&mut acts, scene).await?;
    chain::told(&mut acts, scene).await?;
    hidden_tool(&mut acts, scene).await?;
    irreversible_call(&mut acts, scene).await?;
    stolen_token(&mut acts, scene).await?;
    chain::bound(&mut acts, scene).await?;
    export(&mut acts, scene).await?;
    if acts.wrong == 0 {
        output.say("\nEverything went as it must.");
        return Ok(Exit::Yes);
    }
    output.say(&format!("\n{} of the above did NOT go as it must.", acts.wrong));
    Ok(Exit::No)
}

pub(super) struct Acts {
    output: Output,
    number: usize,
    wrong: usize,
    /// Entries before this place belong to earlier acts.
    since: u64,
}

impl Acts {
    pub(super) fn title(&mut self, title: &str) {
        self.number += 1;
        self.output.say(&format!("{}. {title}", self.number));
    }

    pub(super) fn check(&mut self, what: &str, as_it_must: bool) {
        self.wrong += usize::from(!as_it_must);
        self.output.say(&format!("   {} {what}", if as_it_must { "ok  " } else { "FAIL" }));
    }

    pub(super) fn tell(&self, text: &str) {
        text.lines().for_each(|line| self.output.say(&format!("     {line}")));
    }
}

async fn allowed_call(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title("billing-agent calls invoices/get_invoice");
    let agent = AgentClient::open(&scene.billing, &scene.resource).await?;
    let answer = agent.call_tool("get_invoice", json!({ "id": "inv-1001" })).await?;
    let told = answer.text();
    acts.check(&format!("allowed: {told}"), answer.is_success() && told.contains("inv-1001"));
    let decided = newest(acts, scene, &[("tool", "get_invoice"), ("kind", "call.decided")]).await?;
    let id = text(&decided, "decision_id").unwrap_or_default();
    let trace = whole_trace(scene, id).await?;
    let entries = items(&trace);
    acts.check(
        &format!("its trace, {} entries of the journal:", entries.len()),
        entries.len() >= 2,
    );
    let names = Names::load(&scene.admin).await?;
    let mut entries = entries.to_vec();
    entries.iter_mut().for_each(|entry| names.put_into(entry));
    acts.tell(&tree(&entries));
    Ok(())
}

/// The entries of a call, once the outcomes of the call, of what its server asked and of what the API's
/// guard let through are there.
async fn whole_trace(scene: &Scene, id: &str) -> Result<Value, Failure> {
    let mut trace = Value::Null;
    for _ in 0..TRIES {
        trace = scene.admin.read(Operation::AuditTrace, &[id], &[]).await?;
        let ended = |entry: &&Value| member(entry, "kind") == "call.completed";
        if items(&trace).iter().filter(ended).count() >= OUTCOMES {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(trace)
}

async fn hidden_tool(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title("support-agent, who was granted search_invoices only, calls invoices/add_note");
    let agent = AgentClient::open(&scene.support, &scene.resource).await?;
    let listed = agent.list_tools().await?;
    let names: Vec<_> = at(&listed.message, "/result/tools")
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| cell(member(tool, "name")))
        .collect();
    acts.check(&format!("it sees: {}", names.join(" ")), names == ["search_invoices"]);
    let arguments = json!({ "id": "inv-1001", "note": "hello" });
    let answer = agent.call_tool("add_note", arguments).await?;
    refused(acts, scene, &answer, ("add_note", None)).await?;
    let unknown = agent.call_tool("no_such_tool", json!({})).await?;
    let alike = at(&unknown.message, "/error/code") == at(&answer.message, "/error/code");
    acts.check("a tool that does not exist answers alike", alike);
    Ok(())
}

async fn irreversible_call(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title("billing-agent calls invoices/pay_invoice, which cannot be undone");
    let agent = AgentClient::open(&scene.billing, &scene.resource).await?;
    let pay = async |id: &str| agent.call_tool("pay_invoice", json!({ "id": id })).await;
    let answer = pay("inv-1001").await?;
    refused(acts, scene, &answer, ("pay_invoice", Some("approval."))).await?;
    let invoice = agent.call_tool("get_invoice", json!({ "id": "inv-1001" })).await?;
    acts.check("the invoice is still open", invoice.text().contains("open"));
    let id = cell(at(&answer.message, "/result/_meta/dev.attorn~1approval"));
    acts.tell(&format!("attorn request show {id}"));
    let shown = scene.admin.read(Operation::ApprovalShow, &[&id], &[]).await?;
    let arguments = cell(member(&shown, "arguments"));
    let is_exact = arguments == r#"{"id":"inv-1001"}"#;
    acts.check(&format!("a person sees exactly what will be sent: {arguments}"), is_exact);
    acts.tell(&format!("attorn request approve {id} --reason \"invoice checked\""));
    let (reason, change) = (json!({ "reason": "invoice checked" }), Change { dry_run: false });
    scene.admin.send_change(Operation::ApprovalApprove, &[&id], reason, change).await?;
    let other = pay("inv-1002").await?;
    acts.check("another invoice needs an approval of its own", !other.is_success());
    refused(acts, scene, &other, ("pay_invoice", Some("approval."))).await?;
    let paid = pay("inv-1001").await?;
    acts.check(&format!("approved, it is made: {}", paid.text()), paid.is_success());
    let again = pay("inv-1001").await?;
    acts.check("and only once", !again.is_success());
    refused(acts, scene, &again, ("pay_invoice", Some("approval."))).await?;
    Ok(())
}

async fn stolen_token(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title("a thief finds billing-agent's token in a log and uses it from elsewhere");
    let world = connect_world(None)?;
    let stolen =
        StolenToken::take(&world, &scene.billing, &scene.resource, scene.profile_folder()).await?;
    acts.tell(&stolen.curl_line(&scene.resource));
    let loot = stolen.send(&world, &scene.resource).await?;
    acts.check(&format!("refused: HTTP {}", loot.status), loot.status == 401);
    acts.tell(&crate::output::clean(&loot.challenge));
    let entry = newest(acts, scene, &[("server", "invoices"), ("decision", "deny")]).await?;
    let reason = cell(member(&entry, "reason"));
    let on_record = reason.starts_with("possession.") || reason.starts_with("token.bearer");
    acts.check(&format!("on record: {} {reason}", cell(member(&entry, "kind"))), on_record);
    Ok(())
}

async fn export(acts: &mut Acts, scene: &Scene) -> Result<(), Failure> {
    acts.title("an auditor exports the journal and verifies it offline");
    let bundle = scene.admin.post_bytes(Operation::AuditExport, &json!({})).await?;
    match verify(&bundle, Trust::Embedded) {
        Ok(report) => acts.check(
            &format!(
                "{} entries verified against {}",
                report.indices.len(),
                report.checkpoint.origin
            ),
            true,
        ),
        Err(broken) => acts.check(&format!("the export does not verify: {broken}"), false),
    }
    let tampered = tamper(&bundle);
    let named = verify(&tampered, Trust::Embedded).err().map(|broken| broken.to_string());
    acts.check(
        &format!("after one changed byte: {}", named.as_deref().unwrap_or("still accepted")),
        named.is_some(),
    );
    let file = scene.profile_folder().with_file_name("export.json");
    std::fs::write(&file, &bundle)
        .map_err(|e| Failure::usage(format!("cannot write `{}`: {e}", file.display())))?;
    acts.tell(&format!("attorn audit verify {}", file.display()));
    Ok(())
}

/// Checks that a call was refused, and why by the journal.
async fn refused(
    acts: &mut Acts,
    scene: &Scene,
    answer: &Answered,
    (tool, reason): (&str, Option<&str>),
) -> Result<(), Failure> {
    let told = answer.text();
    acts.check(&format!("refused: HTTP {} {told}", answer.status), !answer.is_success());
    let entry = newest(acts, scene, &[("tool", tool), ("decision", "deny")]).await?;
    let recorded = cell(member(&entry, "reason"));
    let as_it_must = match reason {
        Some(reason) => recorded.starts_with(reason),
        None => !member(&entry, "reason").is_null(),
    };
    acts.check(&format!("on record: {} {recorded}", cell(member(&entry, "kind"))), as_it_must);
    Ok(())
}

/// The newest entry with these members since the last one asked for.
///
/// The entry of a read is on the disk within 20 ms of its answer; only then can it be found.
async fn newest(
    acts: &mut Acts,
    scene: &Scene,
    filter: &[(&'static str, &str)],
) -> Result<Value, Failure> {
    let given = filter.iter().map(|(name, value)| (*name, Some((*value).to_owned())));
    let since = acts.since.to_string();
    let query: Vec<_> = given.chain([("from_index", Some(since))]).collect();
    for _ in 0..TRIES {
        let answer = scene.admin.read(Operation::AuditSearch, &[], &query).await?;
        if let Some(found) = items(&answer).first() {
            acts.since = member(found, "index").as_u64().unwrap_or_default() + 1;
            return Ok(found.clone());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Value::Null)
}

/// Changes one letter inside the first logged entry.
fn tamper(bundle: &[u8]) -> Vec<u8> {
    let mut changed = bundle.to_vec();
    let needle = b"\"time_ms\":";
    let at = changed.windows(needle.len()).position(|window| window == needle);
    if let Some(digit) = at.and_then(|at| changed.get_mut(at + needle.len())) {
        *digit = if *digit == b'1' { b'2' } else { b'1' };
    }
    changed
}

/// Of the call, of the request on its way out, and of the same at the guard.
const OUTCOMES: usize = 3;
const TRIES: usize = 80;
const PAUSE: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tampering_changes_one_byte() {
        assert_eq!(tamper(b"{\"time_ms\":17}"), b"{\"time_ms\":27}");
    }
}
