//! What the servers behind the gateway offer: asked for at start, at intervals, when a server says
//! that it changed, and looked at whenever a list passes.
//!
//! A tool is its definition. One that is new or changed is reported and stays hidden and
//! uncallable until its owner approves it; nothing here approves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use attorn_audit::{Entry, Kind, Outcome};
use attorn_journal::Durability;
use attorn_json::Limits;
use attorn_mcp::emit::{Asker, BareNotification, bare_notification};
use attorn_mcp::list::{ListKind, ListPage};
use attorn_mcp::tool_definition::{ClassHint, ToolDefinition};
use attorn_mcp::{Outcome as Answer, Revision, ServerMessage, parse_server_message};
use attorn_registry::{Class, DecisionId, McpServer, SERVER_TOOLS_MAX, ServerId, Snapshot};
use bytes::Bytes;

use crate::gateway::Inner;
use crate::record::{Ending, Recorded};
use crate::servers::{Behind, Era};
use crate::trace::TraceContext;
use crate::upstream::{Outgoing, Reply, UpstreamFailure, UpstreamSession};

/// Hears of every tool that is new or looks other than the registry knows it.
#[derive(Clone)]
pub struct ToolObserver(Arc<dyn Fn(SeenTools) + Send + Sync>);

/// Tools of one server that the registry does not know as they are.
#[derive(Clone, Debug)]
pub struct SeenTools {
    /// The server that lists them.
    pub server: ServerId,
    /// The tools.
    pub tools: Vec<ObservedTool>,
}

/// One tool as its server defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTool {
    /// The exact name.
    pub name: String,
    /// The raw tool object as canonical JSON (RFC 8785).
    pub definition: String,
    /// SHA-256 of `definition`.
    pub digest: [u8; 32],
    /// What the server's annotations suggest.
    pub proposed_class: Class,
}

impl ToolObserver {
    /// `seen` is called from request handlers and must not block.
    pub fn new(seen: impl Fn(SeenTools) + Send + Sync + 'static) -> Self {
        Self(Arc::new(seen))
    }

    /// Reports those of `tools` that `snapshot` does not know as they are, or that look other than
    /// in the last report: the snapshot may not have heard of that one yet.
    pub(crate) fn report(&self, snapshot: &Snapshot, behind: &Behind, tools: &[ToolDefinition]) {
        let id = &behind.id;
        let Some(server) = snapshot.server(id) else { return };
        // What a server invents beyond the limit is not worth a place in the registry. It takes none
        // from a known tool, whose changes are reported however many there are.
        let mut places = SERVER_TOOLS_MAX.saturating_sub(server.tools.len());
        let mut left_out = 0_usize;
        let new = tools.iter().filter(|tool| {
            let known = server.tools.get(&tool.name);
            if known.is_none() && places == 0 {
                left_out += 1;
                return false;
            }
            places -= usize::from(known.is_none());
            let is_known = known.is_some_and(|known| known.digest == tool.digest);
            behind.note_report(tool, is_known) || !is_known
        });
        let tools: Vec<ObservedTool> = new.map(observed).collect();
        if left_out > 0 {
            let server = id.as_str();
            tracing::warn!(server, left_out, "new tools are not reported: the server has too many");
        }
        if !tools.is_empty() {
            (self.0)(SeenTools { server: id.clone(), tools });
        }
    }
}

impl fmt::Debug for ToolObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToolObserver")
    }
}

fn observed(tool: &ToolDefinition) -> ObservedTool {
    ObservedTool {
        name: tool.name.clone(),
        definition: tool.canonical.clone(),
        digest: tool.digest,
        proposed_class: match tool.hint {
            ClassHint::Read => Class::Read,
            ClassHint::Write => Class::Write,
            ClassHint::Irreversible => Class::Irreversible,
        },
    }
}

/// A request of the gateway itself: only what is in this module can be asked with it.
#[derive(Debug)]
struct Housekeeping;

impl Inner {
    /// The server, asked for its era and tools at least once since the start. No call passes
    /// under a definition that was not seen in this process.
    pub(crate) async fn seen_server(
        &self,
        server: &McpServer,
    ) -> Result<Arc<Behind>, UpstreamFailure> {
        let behind = self.servers.behind(server).ok_or(UpstreamFailure::Unreachable)?;
        if behind.was_listed() {
            return Ok(behind);
        }
        if behind.failed_lately() {
            return Err(UpstreamFailure::Unreachable);
        }
        let seen = behind.first_seen.get_or_try_init(|| self.learn(&behind)).await;
        behind.note_failure(seen.is_err());
        seen?;
        Ok(behind)
    }

    /// Asks a server of both eras for what it offers in the older one.
    pub(crate) async fn seen_older(&self, behind: &Behind) {
        if !behind.seen().era.is_modern() || behind.older_seen.initialized() {
            return;
        }
        let listed = tokio::time::timeout(LEARN_WITHIN, self.list_older(behind)).await;
        // A server of one era refuses, and that is all there is to know. Asked once.
        let _asked = behind.older_seen.set(()).is_ok();
        if let Ok(Ok(tools)) = listed {
            behind.add_seen(&tools, false);
            self.observer.report(&self.views.current().snapshot, behind, &tools);
        }
        if let Some(session) = behind.own_session.swap(None) {
            self.close_own(behind, &session).await;
        }
    }

    async fn close_own(&self, behind: &Behind, session: &UpstreamSession) {
        let Ok(recorded) = self.housekeeping(behind, "DELETE").await else { return };
        let closed = behind.upstream.close(&recorded, session, OLDER).await;
        recorded.end(Ending::new(match closed {
            Ok(()) => Outcome::Ok,
            Err(_) => Outcome::UpstreamError,
        }));
    }

    /// Asks for era and tools, and reports what is new.
    pub(crate) async fn learn(&self, behind: &Behind) -> Result<(), UpstreamFailure> {
        let asked_s = self.clock.now_s();
        let (era, tools) = tokio::time::timeout(LEARN_WITHIN, self.ask(behind))
            .await
            .map_err(|_late| UpstreamFailure::Timeout)??;
        behind.replace_seen(&era, &tools);
        behind.note_look(asked_s);
        self.observer.report(&self.views.current().snapshot, behind, &tools);
        Ok(())
    }

    async fn ask(&self, behind: &Behind) -> Result<(Era, Vec<ToolDefinition>), UpstreamFailure> {
        // The era is the server's and asked for once: MCP 2026-07-28, Versioning, Backward
        // Compatibility.
        if !behind.seen().era.is_modern() && behind.own_session.load().is_some() {
            return Ok((Era::Older, self.list_older(behind).await?));
        }
        match self.discover(behind).await? {
            Era::Modern(revisions) => {
                let tools = self.list(behind, None, Revision::V2026_07_28).await?;
                Ok((Era::Modern(revisions), tools))
            }
            Era::Older => {
                behind.upstream.release_shared();
                Ok((Era::Older, self.list_older(behind).await?))
            }
        }
    }

    /// MCP 2026-07-28, Versioning: an answer that is no discovery result means an older server.
    async fn discover(&self, behind: &Behind) -> Result<Era, UpstreamFailure> {
        let asker = asker(Revision::V2026_07_28);
        let id = behind.next_id();
        let answered = self.keep_house(
            behind,
            None,
            asker.revision,
            ("server/discover", id, asker.discover(id)),
        );
        let message = match tokio::time::timeout(DISCOVER_WITHIN, answered).await {
            Ok(Ok(message)) => message,
            Ok(Err(
                failure @ (UpstreamFailure::Exhausted
                | UpstreamFailure::Unreachable
                | UpstreamFailure::NotRecorded
                | UpstreamFailure::ContentEncoding),
            )) => {
                return Err(failure);
            }
            Ok(Err(_)) | Err(_) => return Ok(Era::Older),
        };
        let Ok(document) = attorn_json::parse(&message, &Limits::MESSAGE) else {
            return Ok(Era::Older);
        };
        let named = document.value().member("result").and_then(|r| r.member("supportedVersions"));
        let revisions: Vec<Revision> = named
            .and_then(|all| all.items())
            .into_iter()
            .flatten()
            .filter_map(|name| Revision::parse(&name.string()?))
            .collect();
        let is_modern = revisions.iter().any(|revision| revision.is_modern());
        Ok(if is_modern { Era::Modern(revisions) } else { Era::Older })
    }

    /// Lists in the newest of the older revisions, over a session the gateway keeps.
    async fn list_older(&self, behind: &Behind) -> Result<Vec<ToolDefinition>, UpstreamFailure> {
        let session = match behind.own_session.load_full() {
            Some(session) => session,
            None => self.open_own(behind).await?,
        };
        let listed = self.list(behind, Some(&session), OLDER).await;
        if listed.is_err() {
            behind.own_session.store(None);
        }
        listed
    }

    async fn open_own(&self, behind: &Behind) -> Result<Arc<UpstreamSession>, UpstreamFailure> {
        let id = behind.next_id();
        let recorded = self.housekeeping(behind, "initialize").await?;
        let message = asker(OLDER).initialize(id);
        let outgoing = self.outgoing(OLDER, Some(id), message);
        let opened = behind.upstream.open(&recorded, outgoing).await;
        let (session, message) = match opened {
            Ok((session, reply)) => (session, final_message(reply, id, OLDER).await?),
            Err(failure) => return Err(self.failed(recorded, failure)),
        };
        recorded.end(Ending::new(Outcome::Ok));
        drop(message);
        let session = Arc::new(session);
        let notification = bare_notification(BareNotification::Initialized);
        let recorded = self.housekeeping(behind, "notifications/initialized").await?;
        let outgoing = self.outgoing(OLDER, None, notification);
        behind.upstream.call(&recorded, Some(&session), outgoing).await?;
        recorded.end(Ending::new(Outcome::Ok));
        behind.own_session.store(Some(Arc::clone(&session)));
        Ok(session)
    }

    async fn list(
        &self,
        behind: &Behind,
        session: Option<&UpstreamSession>,
        revision: Revision,
    ) -> Result<Vec<ToolDefinition>, UpstreamFailure> {
        let asker = asker(revision);
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        for _page in 0..PAGES_MAX {
            let id = behind.next_id();
            let request = asker.tools_list(id, cursor.as_deref());
            let message =
                self.keep_house(behind, session, revision, ("tools/list", id, request)).await?;
            let document = attorn_json::parse(&message, &Limits::MESSAGE)
                .map_err(|_| UpstreamFailure::Protocol)?;
            // A server without tools answers with an error, and that is a list of none.
            let Some(result) = document.value().member("result") else { return Ok(tools) };
            let page =
                ListPage::parse(result, ListKind::Tools).map_err(|_| UpstreamFailure::Protocol)?;
            tools.extend(definitions(&page));
            if tools.len() > TOOLS_MAX {
                return Err(UpstreamFailure::TooLong);
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next.into_owned()),
                None => return Ok(tools),
            }
        }
        // A server that never ends its list.
        Err(UpstreamFailure::Protocol)
    }

    /// One request of the gateway's own, recorded like every other.
    async fn keep_house(
        &self,
        behind: &Behind,
        session: Option<&UpstreamSession>,
        revision: Revision,
        (method, id, message): (&'static str, u64, Vec<u8>),
    ) -> Result<Bytes, UpstreamFailure> {
        let recorded = self.housekeeping(behind, method).await?;
        let mut outgoing = self.outgoing(revision, Some(id), message);
        outgoing.mirror_method(method);
        let answered = match behind.upstream.call(&recorded, session, outgoing).await {
            Ok(reply) => final_message(reply, id, revision).await,
            Err(failure) => Err(failure),
        };
        match answered {
            Ok(message) => {
                recorded.end(Ending::new(Outcome::Ok));
                Ok(message)
            }
            Err(failure) => Err(self.failed(recorded, failure)),
        }
    }

    fn failed(
        &self,
        recorded: Recorded<Housekeeping>,
        failure: UpstreamFailure,
    ) -> UpstreamFailure {
        recorded.end(Ending::new(Outcome::UpstreamError));
        failure
    }

    async fn housekeeping(
        &self,
        behind: &Behind,
        method: &str,
    ) -> Result<Recorded<Housekeeping>, UpstreamFailure> {
        let mut entry = Entry::new(Kind::CallDecided, 0);
        entry.by = Some("gateway".to_owned());
        entry.decision_id = Some(DecisionId::from_random(&self.random.bytes()).to_string());
        entry.method = Some(method.to_owned());
        entry.role = Some("gateway".to_owned());
        entry.server = Some(behind.id.to_string());
        let recorded = self.recorder.intent(Housekeeping, &mut entry, Durability::Written).await;
        // Without a journal the gateway does not even ask.
        recorded.map_err(|_unavailable| UpstreamFailure::NotRecorded)
    }

    fn outgoing(&self, revision: Revision, id: Option<u64>, message: Vec<u8>) -> Outgoing {
        let trace = TraceContext::continued(None, None, &self.random.bytes());
        Outgoing::new(revision, id, message, &trace)
    }
}

/// The definitions of a page that can be read; the others are dropped, each alone.
pub(crate) fn definitions(page: &ListPage<'_>) -> Vec<ToolDefinition> {
    let readable = page.items.iter().filter_map(|item| {
        ToolDefinition::parse(item.value)
            .inspect_err(|fault| tracing::warn!(tool = %item.key, %fault, "a tool is left out"))
            .ok()
    });
    readable.collect()
}

/// The message that answers request `id`.
async fn final_message(
    reply: Reply,
    id: u64,
    revision: Revision,
) -> Result<Bytes, UpstreamFailure> {
    let mut stream = match reply {
        Reply::Accepted => return Err(UpstreamFailure::Protocol),
        Reply::Message { message, .. } => return Ok(message),
        Reply::Stream(stream) => stream,
    };
    while let Some(message) = stream.next().await? {
        let document = attorn_json::parse(&message, &Limits::MESSAGE)
            .map_err(|_| UpstreamFailure::Protocol)?;
        match parse_server_message(&document, revision) {
            Ok(ServerMessage::Response(response)) if response.answers(id) => {
                return Ok(match response.outcome {
                    Answer::Result(_) | Answer::Error(_) => message.clone(),
                });
            }
            Ok(_) => {}
            Err(_) => return Err(UpstreamFailure::Protocol),
        }
    }
    Err(UpstreamFailure::Interrupted)
}

fn asker(revision: Revision) -> Asker<'static> {
    Asker { name: "attorn-gateway", version: env!("CARGO_PKG_VERSION"), revision }
}

const OLDER: Revision = Revision::V2025_11_25;
const PAGES_MAX: usize = 100;
/// Tools of one server in its list. A longer one counts for nothing.
pub(crate) const TOOLS_MAX: usize = 4_096;
const DISCOVER_WITHIN: Duration = Duration::from_secs(10);
const LEARN_WITHIN: Duration = Duration::from_secs(60);
