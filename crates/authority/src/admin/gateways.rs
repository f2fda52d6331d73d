//! Gateways in processes of their own: they follow the registry and tell what they see.
//!
//! A gateway asks from the version it has in force, and its question acknowledges that version.
//! The answer comes when there is news, at the latest after two seconds, signed and for this
//! question alone. Whoever is cut off from it refuses everything after ten seconds.
//!
//! Each question presents the gateway's lease, so that of a gateway and its copy one goes on: see
//! [`attorn_registry::present_lease`].

use std::time::Duration;

use attorn_audit::{Entry, Kind};
use attorn_jose::sha256;
use attorn_oauth::registry_message::{self, RegistryMessage};
use attorn_registry::{Agent, AgentKind, Class, LifeCycle, LogHead, PresentedLease, ServerId};
use attorn_store::{NewDefinition, NewDefinitions, SeenTool};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::Count;
use super::context::{Context, Effect};
use super::list::List;
use super::reason::Reason;
use super::refusal::{Missing, Refusal};
use super::tools::hex;
use crate::news::change_after;

/// A question for news.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The version in force at the gateway; 0 for none.
    after: u64,
    /// Stands in the answer.
    nonce: String,
    /// Names the process: drawn at its start.
    run: String,
    /// The lease it was given last; absent if it has none.
    lease: Option<String>,
    /// Entries in its log.
    log_size: u64,
    /// Root of the tree over them, in base64.
    log_root: String,
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
    /// Why another process that asked as this gateway was refused, since the last reset.
    refused: Option<&'static str>,
    /// Milliseconds since the last one was.
    refused_ms_ago: Option<u64>,
    /// How many questions were refused.
    refused_times: u64,
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
    let (shared, after) = (&context.shared, asked.after);
    let texts = [&asked.nonce, &asked.run, &asked.log_root];
    if texts.iter().any(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX) {
        return Err(Refusal::Form);
    }
    let gateway = &context.operator.id;
    // First: what a refused process claims to have in force is not the gateway's word.
    let (is_due, lease) = lease(&context, &asked).await?;
    if after > shared.published.load().version {
        shared.followers.note_asked(gateway, after, context.now_ms);
        // A registry from a backup: what was taken back since must not come back.
        tracing::error!(
            gateway = context.operator.name,
            after,
            "a gateway knows a later registry than this one; `attorn key rotate --emergency` \
             ends every token and goes on from there"
        );
        return Err(Refusal::RegistryOlder);
    }
    if shared.followers.note_asked(gateway, after, context.now_ms) {
        let _noted = shared.note(&context.fact(Kind::AdminRead)).await?;
    }
    // A new lease counts once it is presented, so it does not wait for news.
    if !is_due {
        let mut versions = shared.versions.subscribe();
        let news = versions.wait_for(|version| *version > after);
        // Late: nothing new, which is told too.
        drop(tokio::time::timeout(WAIT, news).await);
    }
    let (now, last) = (shared.published.load(), shared.last_delta.load_full());
    let told = (&*now, last.as_deref());
    let change = change_after(&shared.store, told, after, shared.clock.now_ms()).await?;
    let message = RegistryMessage {
        aud: context.operator.id.to_string(),
        change,
        iat: shared.clock.now_s(),
        iss: shared.config.issuer.clone(),
        lease,
        nonce: asked.nonce,
    };
    let keys = shared.keys.in_use().map_err(|_| Refusal::StoreUnavailable)?;
    let message = registry_message::issue(&message, &keys.kid, &keys.signer);
    Ok(News { message: message.map_err(|_| Refusal::StoreUnavailable)? })
}

/// Judges the lease: whether a new one was due, and the new one.
async fn lease(context: &Context, asked: &Asked) -> Result<(bool, Option<String>), Refusal> {
    let (shared, gateway) = (&context.shared, &context.operator.id);
    let is_due = shared.followers.is_lease_due(gateway, &asked.run, context.now_ms);
    let fresh = shared.leases.mint(gateway, context.now_ms, &shared.random.bytes());
    let fresh = fresh.map_err(|_| Refusal::StoreUnavailable)?;
    let held = asked.lease.as_deref();
    let presented = PresentedLease {
        lease: held.map(|lease| sha256(lease.as_bytes())),
        sealed_ms: held.and_then(|lease| shared.leases.given_ms(gateway, lease)),
        key: context.operator.key().to_string(),
        log: LogHead { size: asked.log_size, root: asked.log_root.clone() },
        fresh: sha256(fresh.as_bytes()),
        fresh_ms: context.now_ms,
        is_due,
    };
    match shared.store.present_lease(gateway, &presented).await? {
        Ok(is_given) => {
            if is_due {
                shared.followers.note_leased(gateway, &asked.run, context.now_ms);
            }
            Ok((is_due, is_given.then_some(fresh)))
        }
        Err(refusal) => {
            shared.followers.note_refused(gateway, refusal, context.now_ms);
            let (name, reason) = (&context.operator.name, Refusal::Gateway(refusal).reason());
            tracing::error!(
                gateway = name,
                reason = reason.as_str(),
                "a process that asks as this gateway is refused: {refusal}; stop the one that \
                 should not run, then `attorn gateway reset {name} --reason …`, or give it another \
                 key with `attorn agent code {name}`"
            );
            Err(Refusal::Gateway(refusal))
        }
    }
}

/// Lets whoever asks next as this gateway go on.
pub(crate) async fn reset(
    context: Context,
    reason: Reason,
) -> Result<Effect<GatewayView>, Refusal> {
    let reason = reason.text()?;
    let gateway = context.agent(context.segment("gateway"))?;
    if gateway.kind != AgentKind::Gateway {
        return Err(Refusal::Missing(Missing::Agent));
    }
    context.shared.store.forget_lease(&gateway.id).await?;
    context.shared.followers.reset(&gateway.id);
    let mut fact =
        Entry { agent: Some(gateway.id.to_string()), ..context.fact(Kind::AdminChanged) };
    fact.detail.insert("reason".to_owned(), reason);
    Ok(Effect::new(GatewayView::of(&context, gateway), fact))
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
    let reported = seen.tools.len();
    let tools: Vec<SeenTool> = seen.tools.into_iter().filter_map(ToolSeen::read).collect();
    let store = &context.shared.store;
    let NewDefinitions { taken: new, left_out } = store.new_definitions(&id, &tools).await?;
    let unreadable = reported - tools.len();
    if left_out + unreadable > 0 {
        let server = id.as_str();
        tracing::warn!(server, left_out, unreadable, "seen tools are left out");
    }
    let fact = |new: &NewDefinition| {
        let kind = if new.was_approved { Kind::ToolChanged } else { Kind::ToolSeen };
        Entry {
            server: Some(id.to_string()),
            tool_digest: Some(hex(&new.tool.digest)),
            tool: Some(new.tool.name.clone()),
            ..context.fact(kind)
        }
    };
    let facts: Vec<Entry> = new.iter().map(fact).collect();
    // First: what the registry has is news to no later look, and would never be told. Dies after
    // this line, or fails: the next look tells it again.
    context.shared.record_all(&facts).await?;
    let told: Vec<SeenTool> = new.into_iter().map(|new| new.tool).collect();
    store.record_seen_tools(&context.act(), &id, &told).await?;
    Ok(Effect { output: ToolsTaken { new: told.len() }, facts: Vec::new() })
}

impl ToolSeen {
    /// The digest is made here: a gateway says what it saw, not what that amounts to. Nothing for
    /// what no gateway of ours tells: it is left out alone, so that it hides no other tool.
    fn read(self) -> Option<SeenTool> {
        let Self { name, definition, proposed_class } = self;
        let proposed_class: Class = proposed_class.parse().ok()?;
        let digest = sha256(definition.as_bytes());
        // RFC 8785 section 3.2.2.2: control characters are escaped. A NUL is no text for PostgreSQL.
        let is_form = definition.starts_with('{') && !definition.contains(is_below_space);
        let is_named = !name.is_empty() && !name.contains(char::is_control);
        (is_form && is_named).then_some(SeenTool { name, definition, digest, proposed_class })
    }
}

/// JSON has none of these but as an escape, or between its tokens, where RFC 8785 has nothing.
const fn is_below_space(character: char) -> bool {
    (character as u32) < 0x20
}

impl GatewayView {
    fn of(context: &Context, gateway: &Agent) -> Self {
        let now_ms = context.shared.clock.now_ms();
        let follower = context.shared.followers.of(&gateway.id);
        let refused = context.shared.followers.refused(&gateway.id);
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
            refused: refused.map(|refused| Refusal::Gateway(refused.why).reason().as_str()),
            refused_ms_ago: refused.map(|refused| now_ms.saturating_sub(refused.at_ms)),
            refused_times: refused.map_or(0, |refused| refused.times),
        }
    }
}

/// A question is answered at the latest after this.
const WAIT: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// A gateway that heard nothing for this long refuses everything.
const SILENT_MS: u64 = 10_000;
const TEXT_BYTES_MAX: usize = 64;
