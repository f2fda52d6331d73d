//! An MCP server that is a child process, reached over its standard streams (MCP 2026-07-28 and
//! 2025-11-25, stdio).
//!
//! Every session of an older revision has a child of its own, because such a server takes the
//! process for the session. Requests of 2026-07-28 share one child: they carry all they need.
//! A child runs without a shell, in its own process group, with nothing of our environment but
//! [`Config::CHILD_VARIABLES`](crate::Config::CHILD_VARIABLES) and what the operator lists; it is started
//! again with growing pauses, and its group dies with it.
//!
//! Message identifiers and progress tokens are the gateway's own and occur once, so that answers of
//! a shared child reach the caller that asked and nobody else.
//!
//! Not here: Windows, and a restart of the child of a session, whose state died with it.

mod child;
mod child_limits;
mod desk;
mod lines;
mod pause;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attorn_egress::{Lane, Lanes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::record::Recorded;
use crate::stdio::child::Child;
pub(crate) use crate::stdio::child::ChildCommand;
pub(crate) use crate::stdio::child_limits::ChildLimits;
use crate::stdio::desk::Desk;
use crate::stdio::pause::Pause;
use crate::upstream::{Messages, Outgoing, Reply, UpstreamFailure};

/// A server reached over the standard streams of a child process.
#[derive(Debug)]
pub(crate) struct StdioUpstream {
    command: ChildCommand,
    answer_within: Duration,
    /// The way out of each child, where the server has one.
    lanes: Option<Lanes>,
    shared: Mutex<Shared>,
    /// One start of the shared child at a time: its file may take long to verify.
    starting: tokio::sync::Mutex<()>,
    sessions: Arc<Semaphore>,
}

/// The child of all requests that belong to no session.
#[derive(Debug, Default)]
struct Shared {
    child: Option<Arc<Child>>,
    started: Option<Instant>,
    pause: Pause,
}

/// The child that serves one session. Dropping it ends the child.
#[derive(Debug)]
pub(crate) struct StdioSession {
    child: Child,
    _slot: OwnedSemaphorePermit,
}

impl StdioSession {
    /// Ends the child: first its input, then its process group.
    pub(crate) fn close(&self) {
        self.child.stop();
    }
}

impl StdioUpstream {
    /// Nothing is started before it is needed.
    pub(crate) fn new(
        command: ChildCommand,
        answer_within: Duration,
        lanes: Option<Lanes>,
    ) -> Self {
        Self {
            command,
            answer_within,
            lanes,
            shared: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
        }
    }

    /// Sends a message and waits for the first of its answer. Without a session the message is of
    /// 2026-07-28 and goes to a child that all callers share.
    pub(crate) async fn call<P>(
        &self,
        _recorded: &Recorded<P>,
        session: Option<&StdioSession>,
        outgoing: Outgoing,
    ) -> Result<Reply, UpstreamFailure> {
        match session {
            Some(session) => session.child.send(outgoing, self.answer_within).await,
            None => self.send_shared(outgoing).await,
        }
    }

    /// Starts a child for one session of an older revision with its `initialize` request.
    pub(crate) async fn open<P>(
        &self,
        _recorded: &Recorded<P>,
        outgoing: Outgoing,
    ) -> Result<(StdioSession, Reply), UpstreamFailure> {
        self.open_session(outgoing).await
    }

    /// The messages of a session's child that belong to no call. One listener at a time.
    pub(crate) async fn listen<P>(
        &self,
        _recorded: &Recorded<P>,
        session: &StdioSession,
    ) -> Result<Messages, UpstreamFailure> {
        session.child.listen().map(Messages::Channel)
    }

    /// Ends the shared child: the server turned out to serve sessions only.
    pub(crate) fn release_shared(&self) {
        self.lock().child = None;
    }

    async fn send_shared(&self, outgoing: Outgoing) -> Result<Reply, UpstreamFailure> {
        // A child that was left behind got nothing of this yet: it goes to the next one.
        for _ in 0..CHILDREN_TRIED {
            let child = self.shared_child().await?;
            match child.send(outgoing.clone(), self.answer_within).await {
                Err(UpstreamFailure::ChildGone) => {}
                ended => return ended,
            }
        }
        Err(UpstreamFailure::Busy)
    }

    async fn open_session(
        &self,
        outgoing: Outgoing,
    ) -> Result<(StdioSession, Reply), UpstreamFailure> {
        let slot = Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| {
            tracing::warn!(program = %self.command.program, "too many children of sessions");
            UpstreamFailure::Unreachable
        })?;
        let now = Instant::now();
        self.lock().pause.verify_over(now)?;
        let opened = async {
            let file = self.command.verified_file().await?;
            let lane = self.lane().await?;
            let child = Child::start(&self.command, &file, (Desk::default(), lane))?;
            let reply = child.send(outgoing, self.answer_within).await?;
            Ok((StdioSession { child, _slot: slot }, reply))
        };
        let opened = opened.await;
        // A command that cannot even answer `initialize` must not be forked on every attempt.
        if opened.is_err() {
            self.lock().pause.failed(Duration::ZERO, Instant::now());
        } else {
            self.lock().pause.reset();
        }
        opened
    }

    /// The shared child, started if it is not there. A call that was under way when it died has
    /// failed; this is the next one.
    async fn shared_child(&self) -> Result<Arc<Child>, UpstreamFailure> {
        if let Some(child) = self.running_child()? {
            return Ok(child);
        }
        let _alone = self.starting.lock().await;
        // Somebody else may have started it, or failed to, meanwhile.
        if let Some(child) = self.running_child()? {
            return Ok(child);
        }
        let file = self.command.verified_file().await;
        let lane = self.lane().await;
        let now = Instant::now();
        let mut shared = self.lock();
        let ready = file.and_then(|file| Ok((file, lane?)));
        let started = ready
            .and_then(|(file, lane)| Child::start(&self.command, &file, (Desk::shared(), lane)));
        let started = started.map(Arc::new);
        match &started {
            Ok(child) => {
                shared.child = Some(Arc::clone(child));
                shared.started = Some(now);
            }
            Err(_) => shared.pause.failed(Duration::ZERO, now),
        }
        started
    }

    /// The way out of a new child, where the server has one. Without it the child is not started.
    async fn lane(&self) -> Result<Option<Lane>, UpstreamFailure> {
        let Some(lanes) = &self.lanes else { return Ok(None) };
        let lane = lanes.open().await.map_err(|error| {
            tracing::error!(program = %self.command.program, %error, "no way out for a child");
            UpstreamFailure::Unreachable
        })?;
        Ok(Some(lane))
    }

    /// The shared child if it answers; if there is none, whether one may be started now.
    fn running_child(&self) -> Result<Option<Arc<Child>>, UpstreamFailure> {
        let mut shared = self.lock();
        if let Some(child) = shared.child.take() {
            match child.ending() {
                None if !child.is_usable() => {
                    tracing::debug!(program = %self.command.program, "a child is left behind");
                }
                None => {
                    shared.child = Some(Arc::clone(&child));
                    return Ok(Some(child));
                }
                Some(ending) => {
                    let lived = shared.started.map(|started| ending.at - started);
                    shared.pause.failed(lived.unwrap_or_default(), ending.at);
                }
            }
        }
        shared.pause.verify_over(Instant::now())?;
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Children that a request tries, where others were left behind while it waited.
const CHILDREN_TRIED: usize = 4;
/// Children of sessions at one server.
const SESSIONS_MAX: usize = 64;
