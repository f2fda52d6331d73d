//! Gateways in processes of their own: they follow the registry and tell what they see.
//!
//! A gateway asks from the version it has in force, and its question acknowledges that version.
//! The answer comes when there is news, at the latest after two seconds, signed and for this
//! question alone. Whoever is cut off from it refuses everything after ten seconds.

use std::time::Duration;

use attorn_audit::{Entry, Kind};
use attorn_jose::sha256;
use attorn_oauth::registry_message::{self, RegistryMessage};
use attorn_registry::{Agent, AgentKind, Class, LifeCycle, ServerId};
use attorn_store::SeenTool;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::Count;
use super::context::{Context, Effect};
use super::list::List;
use super::refusal::{Missing, Refusal};
use super::tools::hex;
use crate::news::change_after;

/// A question for news.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The version in force at the gateway; 0 for none.
    #[schema(value_type = u64)]
    after: Count,
    /// Stands in the answer.
    nonce: String,
}

/// News of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct News {
    /// A JWT of type `attorn-registry+jwt` under the issuer's key.
    message: String,
}

/// A gateway in a process of its own.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayView {
    id: String,
    name: String,
    owner: Option<String>,
    state: &'static str,
    /// The version of the registry it has in force; absent until it was heard.
    version: Option<u64>,
    /// Milliseconds since it was heard.
    heard_ms_ago: Option<u64>,
    /// Milliseconds it took to put that version in force.
    took_ms: Option<u64>,
    /// Whether it may serve: it was heard lately, or may have been before this authority started.
    serves: bool,
}

/// Which gateways to wait for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayFilter {
    /// Answer when every gateway that serves has this version in force, at the latest after two
    /// seconds.
    #[schema(value_type = Option<u64>)]
    version: Option<Count>,
}

/// The tools a gateway saw at a server.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolsSeen {
    tools: Vec<ToolSeen>,
}

/// A definition as a server shows it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolSeen {
    name: String,
    /// The tool object as RFC 8785 canonical JSON.
    definition: String,
    /// `read`, `write` or `irreversible`: what its annotations suggest.
    proposed_class: String,
}

/// How many definitions were new.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolsTaken {
    new: usize,
}

pub(crate) async fn follow(context: Context, asked: Asked) -> Result<News, Refusal> {
    let (shared, after) = (&context.shared, asked.after.value());
    if asked.nonce.is_empty() || asked.nonce.len() > NONCE_BYTES_MAX {
        return Err(Refusal::Form);
    }
    let is_new = shared.followers.note_asked(&context.operator.id, after, context.now_ms);
    if after > shared.published.load().version {
        // A registry from a backup: what was taken back since must not come back.
        tracing::error!(
            gateway = context.operator.name,
            after,
            "a gateway knows a later registry than this one; `attorn key rotate --emergency` \
             ends every token and goes on from there"
        );
        return Err(Refusal::RegistryOlder);
    }
    if is_new {
        let _noted = shared.note(&context.fact(Kind::AdminRead)).await?;
    }
    let mut versions = shared.versions.subscribe();
    let news = versions.wait_for(|version| *version > after);
    // Late: nothing new, which is told too.
    drop(tokio::time::timeout(WAIT, news).await);
    let (now, last) = (shared.published.load(), shared.last_delta.load_full());
    let told = (&*now, last.as_deref());
    let change = change_after(&shared.store, told, after, shared.clock.now_ms()).await?;
    let message = RegistryMessage {
        aud: context.operator.id.to_string(),
        change,
        iat: shared.clock.now_s(),
        iss: shared.config.issuer.clone(),
        nonce: asked.nonce,
    };
    let keys = shared.keys.in_use().map_err(|_| Refusal::StoreUnavailable)?;
    let message = registry_message::issue(&message, &keys.kid, &keys.signer);
    Ok(News { message: message.map_err(|_| Refusal::StoreUnavailable)? })
}

pub(crate) async fn list(
    context: Context,
    filter: GatewayFilter,
) -> Result<List<GatewayView>, Refusal> {
    if let Some(version) = filter.version {
        wait_for(&context, version.value()).await;
    }
    let is_gateway = |agent: &&Agent| agent.kind == AgentKind::Gateway;
    let mut gateways: Vec<_> = context.snapshot.agents().filter(is_gateway).collect();
    gateways.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(gateways.into_iter().map(|gateway| GatewayView::of(&context, gateway)).collect())
}

/// One that is not enrolled yet, or is stopped, is not waited for.
fn serves_at_all(agent: &Agent) -> bool {
    agent.kind == AgentKind::Gateway && agent.state == LifeCycle::Active
}

async fn wait_for(context: &Context, version: u64) {
    let shared = &context.shared;
    let gateways = context
        .snapshot
        .agents()
        .filter(|agent| serves_at_all(agent))
        .map(|gateway| gateway.id.clone());
    let gateways: Vec<_> = gateways.collect();
    let waiting = async {
        while !shared.followers.all_at(version, &gateways, (shared.clock.now_ms(), SILENT_MS)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // Late: the list says which are behind.
    drop(tokio::time::timeout(WAIT, waiting).await);
}

pub(crate) async fn tools_seen(
    context: Context,
    seen: ToolsSeen,
) -> Result<Effect<ToolsTaken>, Refusal> {
    let id = ServerId::parse(context.segment("server"));
    let id = id.map_err(|_| Refusal::Missing(Missing::Server))?;
    let tools: Vec<SeenTool> =
        seen.tools.into_iter().map(ToolSeen::read).collect::<Result<_, _>>()?;
    let changed = context.shared.store.record_seen_tools(&context.act(), &id, &tools).await?;
    let record = changed.map(|changed| changed.record).unwrap_or_default();
    let fact = |tool: &attorn_registry::Tool| {
        let kind = if tool.approved.is_some() { Kind::ToolChanged } else { Kind::ToolSeen };
        Entry {
            server: Some(id.to_string()),
            tool_digest: Some(hex(&tool.digest)),
            tool: Some(tool.name.clone()),
            ..context.fact(kind)
        }
    };
    let facts = record.iter().map(fact).collect();
    Ok(Effect { output: ToolsTaken { new: record.len() }, facts })
}

impl ToolSeen {
    /// The digest is made here: a gateway says what it saw, not what that amounts to.
    fn read(self) -> Result<SeenTool, Refusal> {
        let proposed_class: Class = self.proposed_class.parse().map_err(|_| Refusal::Form)?;
        let digest = sha256(self.definition.as_bytes());
        let is_form = !self.name.is_empty() && self.definition.starts_with('{');
        let Self { name, definition, .. } = self;
        is_form
            .then_some(SeenTool { name, definition, digest, proposed_class })
            .ok_or(Refusal::Form)
    }
}

impl GatewayView {
    fn of(context: &Context, gateway: &Agent) -> Self {
        let now_ms = context.shared.clock.now_ms();
        let follower = context.shared.followers.of(&gateway.id);
        let heard_ms_ago = follower.map(|follower| now_ms.saturating_sub(follower.heard_ms));
        Self {
            id: gateway.id.to_string(),
            name: gateway.name.to_string(),
            owner: context.owner_name(gateway.owner.as_ref()),
            state: gateway.state.as_str(),
            version: follower.map(|follower| follower.version),
            heard_ms_ago,
            took_ms: follower.and_then(|follower| follower.took_ms),
            serves: serves_at_all(gateway)
                && context.shared.followers.may_serve(&gateway.id, now_ms, SILENT_MS),
        }
    }
}

/// A question is answered at the latest after this.
const WAIT: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// A gateway that heard nothing for this long refuses everything.
const SILENT_MS: u64 = 10_000;
const NONCE_BYTES_MAX: usize = 64;
