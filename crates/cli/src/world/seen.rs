//! From what the gateway sees to what the registry knows: tools that are new or changed.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use attorn_audit::{Entry, Kind};
use attorn_authority::Authority;
use attorn_gateway::{Gateway, ObservedTool, SeenTools, ToolObserver};
use attorn_journal::{Durability, Journal};
use attorn_net::Shutdown;
use attorn_registry::{LifeCycle, Published};
use attorn_store::{Act, NewDefinition, NewDefinitions, SeenTool, Store};
use tokio::sync::mpsc;

use crate::clock;
use crate::outside::causes;

/// Writes seen tools into the registry, where they wait for their owner, and into the journal.
pub(super) fn observer(store: &Store, journal: &Journal, authority: &Authority) -> ToolObserver {
    let (store, journal, authority) = (store.clone(), journal.clone(), authority.clone());
    let (observer, mut waiting) = reporter();
    // One after the other: of two looks at a tool the later one counts.
    tokio::spawn(async move {
        while let Some(seen) = waiting.recv().await {
            if let Err(error) = record(&store, &journal, seen).await {
                tracing::error!(error = causes(error.as_ref()), "seen tools are not recorded");
            }
            if let Err(error) = authority.publish().await {
                tracing::error!(error = causes(&error), "seen tools are not in force");
            }
        }
    });
    observer
}

/// An observer, and where what it saw comes out.
pub(super) fn reporter() -> (ToolObserver, mpsc::Receiver<SeenTools>) {
    // Bounded: a server that changes its tools all the time must not fill our memory. What finds no
    // place is seen again at the next look.
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    // Called from request handlers: they do not wait for anybody.
    let observer = ToolObserver::new(move |seen| {
        if sender.try_send(seen).is_err() {
            tracing::error!("seen tools are not recorded yet");
        }
    });
    (observer, waiting)
}

/// Tells first and records then: what the registry has is news to no later look, so what it has and
/// the journal does not would never be told. Dies between them, or fails: the next look tells again.
async fn record(
    store: &Store,
    journal: &Journal,
    seen: SeenTools,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let now_ms = clock::now_ms();
    let tools: Vec<_> = seen.tools.into_iter().map(seen_tool).collect();
    let new = store.new_definitions(&seen.server, &tools).await?;
    let NewDefinitions { taken, left_out } = new;
    if left_out > 0 {
        let server = seen.server.as_str();
        tracing::warn!(server, left_out, "new tools are left out: the server has too many");
    }
    for NewDefinition { tool, was_approved } in &taken {
        let kind = if *was_approved { Kind::ToolChanged } else { Kind::ToolSeen };
        let entry = Entry {
            role: Some(ROLE.to_owned()),
            server: Some(seen.server.to_string()),
            tool_digest: Some(hex(&tool.digest)),
            tool: Some(tool.name.clone()),
            ..Entry::new(kind, now_ms)
        };
        journal.append(entry.to_canonical(), Durability::Written).await?;
    }
    // Only what was told, also where somebody else recorded something since.
    let told: Vec<_> = taken.into_iter().map(|new| new.tool).collect();
    let act = Act { by: ROLE, now_s: now_ms / 1000 };
    store.record_seen_tools(&act, &seen.server, &told).await?;
    Ok(())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seen_tool(tool: ObservedTool) -> SeenTool {
    let ObservedTool { name, definition, digest, proposed_class } = tool;
    SeenTool { name, definition, digest, proposed_class }
}

/// Has the gateway list a server as soon as it is registered: its owner should not have to wait
/// for the next round to see what it offers.
pub(super) async fn list_new_servers(
    published: Arc<Published>,
    gateway: Gateway,
    shutdown: Shutdown,
) {
    let mut asked = HashSet::new();
    loop {
        let snapshot = published.load();
        let active = snapshot.servers().filter(|server| server.state == LifeCycle::Active);
        for server in active.filter(|server| !server.is_builtin()) {
            if asked.insert(server.id.clone()) && server.tools.is_empty() {
                let (gateway, name) = (gateway.clone(), server.name.to_string());
                tokio::spawn(async move {
                    if let Err(error) = gateway.list_tools(&name).await {
                        tracing::warn!(server = name, error = causes(&error), "no tools listed");
                    }
                });
            }
        }
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Who saw it, in registry and journal.
const ROLE: &str = "gateway";
const PAUSE: Duration = Duration::from_millis(100);
const WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests;
