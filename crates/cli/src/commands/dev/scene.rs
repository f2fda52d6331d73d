//! Who is on stage: an owner, a server with its tools, two agents with different grants.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin::{Admin, Operation, items};
use crate::args::Change;
use crate::commands::enroll::{Enrolment, KeyType, enroll};
use crate::commands::wrap::wait_for_tools;
use crate::exit::Failure;
use crate::json::{member, text};
use crate::output::Output;
use crate::profile::{Profile, Who};
use crate::world::World;

/// The sample, registered and granted through the admin API like any other.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) admin: Admin,
    pub(super) billing: Profile,
    pub(super) support: Profile,
    pub(super) resource: String,
    api_url: String,
    api: JoinHandle<()>,
    profile_folder: PathBuf,
}

impl Scene {
    pub(super) async fn set_up(
        world: &World,
        folder: &Path,
        output: Output,
    ) -> Result<Self, Failure> {
        let (api_url, api) = start_api(&folder.join("sample-api.addr")).await?;
        let profile_folder = folder.join("profile");
        let admin = world.enroll_administrator(&profile_folder, output).await?;
        let known = admin.read(Operation::ServerList, &[], &[]).await?;
        if !items(&known).iter().any(|server| member(server, "name") == SERVER) {
            register(&admin, world, &api_url, &profile_folder).await?;
        }
        Ok(Self {
            admin,
            billing: Profile::load(&profile_folder, Who::Agent(BILLING))?,
            support: Profile::load(&profile_folder, Who::Agent(SUPPORT))?,
            resource: world.resource(SERVER),
            api_url,
            api,
            profile_folder,
        })
    }

    pub(super) fn api_url(&self) -> &str {
        &self.api_url
    }

    pub(super) fn profile_folder(&self) -> &Path {
        &self.profile_folder
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.api.abort();
    }
}

/// Starts the API where it was before: the registered server knows it by its address.
async fn start_api(file: &Path) -> Result<(String, JoinHandle<()>), Failure> {
    let failed = |e| Failure::usage(format!("cannot start the sample API: {e}"));
    let before = std::fs::read_to_string(file);
    let wanted = before.as_deref().unwrap_or("127.0.0.1:0");
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();
    std::fs::write(file, &address).map_err(failed)?;
    let api = tokio::spawn(async move {
        drop(attorn_sample_api::serve(listener).await);
    });
    Ok((format!("http://{address}"), api))
}

async fn register(
    admin: &Admin,
    world: &World,
    api_url: &str,
    profile_folder: &Path,
) -> Result<(), Failure> {
    send(admin, Operation::OwnerCreate, &[], json!({ "name": OWNER })).await?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::usage(format!("cannot find this program: {e}")))?;
    let upstream = json!({
        "kind": "stdio", "command": program.display().to_string(),
        "args": ["sample-mcp-server", "--api", api_url], "env": {},
    });
    let server = json!({ "name": SERVER, "owner": OWNER, "upstream": upstream });
    send(admin, Operation::ServerRegisterCommand, &[], server).await?;
    wait_for_tools(admin, SERVER).await?;
    for (tool, class) in CLASSES {
        let body = json!({ "class": class });
        send(admin, Operation::ToolApprove, &[SERVER, tool], body).await?;
    }
    for (agent, patterns) in [
        (BILLING, json!(["read:*", "write:add_note", "irreversible:pay_invoice"])),
        (SUPPORT, json!(["read:search_invoices"])),
    ] {
        let body = json!({ "name": agent, "owner": OWNER, "kind": "agent" });
        let registered = send(admin, Operation::AgentRegister, &[], body).await?;
        let grant = json!({
            "agent": agent, "server": SERVER, "patterns": patterns, "reason": "demonstration",
        });
        send(admin, Operation::GrantCreate, &[], grant).await?;
        let code = text(&registered, "code").unwrap_or_default();
        let enrolment = Enrolment { issuer: world.issuer(), code, key_type: KeyType::Ed25519 };
        enroll(&enrolment, None, profile_folder).await?;
    }
    Ok(())
}

async fn send(
    admin: &Admin,
    operation: Operation,
    place: &[&str],
    body: Value,
) -> Result<Value, Failure> {
    let sent = admin.send_change(operation, place, body, Change { dry_run: false }).await?;
    Ok(sent.unwrap_or_default())
}

const OWNER: &str = "finance-team";
const SERVER: &str = "invoices";
const BILLING: &str = "billing-agent";
const SUPPORT: &str = "support-agent";

/// What the owner confirms; the server's own proposals agree, but for the tool it says nothing of.
const CLASSES: [(&str, &str); 5] = [
    ("search_invoices", "read"),
    ("get_invoice", "read"),
    ("add_note", "write"),
    ("pay_invoice", "irreversible"),
    ("export_invoices", "write"),
];
