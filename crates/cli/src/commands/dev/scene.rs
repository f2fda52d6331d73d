//! Who is on stage: an owner, a person, a server with its tools, two agents with different grants.

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

use super::provider::{ISSUER, Provider};

/// The sample, registered and granted through the admin API like any other.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) admin: Admin,
    pub(super) billing: Profile,
    pub(super) support: Profile,
    pub(super) resource: String,
    api: SampleApi,
    pub(super) provider: Provider,
    api_resource: String,
    state_folder: PathBuf,
    profile_folder: PathBuf,
}

/// The sample API, as long as it lives.
#[derive(Debug)]
pub(super) struct SampleApi {
    url: String,
    serving: JoinHandle<()>,
}

impl Scene {
    pub(super) async fn set_up(
        world: &World,
        (api, provider): (SampleApi, Provider),
        folder: &Path,
        output: Output,
    ) -> Result<Self, Failure> {
        let profile_folder = folder.join("profile");
        let admin = world.enroll_administrator(&profile_folder, output).await?;
        let known = admin.read(Operation::ServerList, &[], &[]).await?;
        if !items(&known).iter().any(|server| member(server, "name") == SERVER) {
            register(&admin, world, &profile_folder).await?;
        }
        Ok(Self {
            admin,
            billing: Profile::load(&profile_folder, Who::Agent(BILLING))?,
            support: Profile::load(&profile_folder, Who::Agent(SUPPORT))?,
            resource: world.resource(SERVER),
            api,
            provider,
            api_resource: world.api_resource().to_owned(),
            state_folder: folder.join("state"),
            profile_folder,
        })
    }

    /// Where the API itself is.
    pub(super) fn api_url(&self) -> &str {
        &self.api.url
    }

    /// Where it is protected: the audience of its tokens.
    pub(super) fn api_resource(&self) -> &str {
        &self.api_resource
    }

    pub(super) fn state_folder(&self) -> &Path {
        &self.state_folder
    }

    pub(super) fn profile_folder(&self) -> &Path {
        &self.profile_folder
    }
}

impl Drop for SampleApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl SampleApi {
    /// Starts it where it was before: the guard knows it by its address.
    pub(super) async fn start(file: &Path) -> Result<Self, Failure> {
        let failed = |e| Failure::usage(format!("cannot start the sample API: {e}"));
        let before = std::fs::read_to_string(file);
        let wanted = before.as_deref().unwrap_or("127.0.0.1:0");
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        std::fs::write(file, &address).map_err(failed)?;
        let serving = tokio::spawn(async move {
            drop(attorn_sample_api::serve(listener).await);
        });
        Ok(Self { url: format!("http://{address}"), serving })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

async fn register(admin: &Admin, world: &World, profile_folder: &Path) -> Result<(), Failure> {
    send(admin, Operation::OwnerCreate, &[], json!({ "name": OWNER })).await?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::usage(format!("cannot find this program: {e}")))?;
    let upstream = json!({
        "kind": "stdio", "command": program.display().to_string(),
        "args": ["sample-mcp-server"], "env": {},
    });
    let server = json!({ "name": SERVER, "owner": OWNER, "upstream": upstream });
    send(admin, Operation::ServerRegisterCommand, &[], server).await?;
    wait_for_tools(admin, SERVER).await?;
    for (tool, class) in CLASSES {
        let body = json!({ "class": class });
        send(admin, Operation::ToolApprove, &[SERVER, tool], body).await?;
    }
    register_api(admin, world).await?;
    register_person(admin).await?;
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

/// Who comes from the provider, and what they may do: nothing by themselves.
async fn register_person(admin: &Admin) -> Result<(), Failure> {
    send(admin, Operation::PersonInvite, &[], json!({ "name": PERSON })).await?;
    let link = json!({ "issuer": ISSUER, "subject": PERSON });
    send(admin, Operation::PersonLink, &[PERSON], link).await?;
    let grant = json!({
        "person": PERSON, "server": SERVER, "scopes": ["read:*"], "reason": "demonstration",
    });
    send(admin, Operation::PersonGrantCreate, &[], grant).await?;
    Ok(())
}

/// The API behind the server: what it can be asked, and for which tool.
async fn register_api(admin: &Admin, world: &World) -> Result<(), Failure> {
    let api = json!({ "name": API, "owner": OWNER, "url": world.api_resource() });
    send(admin, Operation::ResourceRegister, &[], api).await?;
    for (id, method, path, class, tool) in OPERATIONS {
        let operation = json!({ "id": id, "method": method, "path": path, "class": class });
        send(admin, Operation::ResourceOperationAdd, &[API], operation).await?;
        let rule = json!({
            "resource": API, "from": format!("{class}:{tool}"), "to": format!("{class}:{id}"),
        });
        send(admin, Operation::ServerDownstreamAllow, &[SERVER], rule).await?;
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
const API: &str = "billing";
const BILLING: &str = "billing-agent";
const SUPPORT: &str = "support-agent";
/// The person. The provider calls them by the same name.
pub(super) const PERSON: &str = "ann";

/// What the owner confirms; the server's own proposals agree, but for the tool it says nothing of.
const CLASSES: [(&str, &str); 5] = [
    ("search_invoices", "read"),
    ("get_invoice", "read"),
    ("add_note", "write"),
    ("pay_invoice", "irreversible"),
    ("export_invoices", "write"),
];

/// Operations of the API: name, method, path, class, and the tool that they are given for.
const OPERATIONS: [(&str, &str, &str, &str, &str); 4] = [
    ("invoice.search", "GET", "/invoices", "read", "search_invoices"),
    ("invoice.get", "GET", "/invoices/{id}", "read", "get_invoice"),
    ("note.add", "POST", "/invoices/{id}/notes", "write", "add_note"),
    ("invoice.pay", "POST", "/invoices/{id}/pay", "irreversible", "pay_invoice"),
];
