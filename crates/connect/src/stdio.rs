//! A stdio MCP server towards the client, bound HTTP towards the server.
//!
//! Implemented: any number of requests at once, cancellation (an event stream closed for modern
//! requests, the notification passed on for older ones), the server's own stream and requests of
//! older revisions, the end of the session told when the client leaves.
//!
//! Not implemented: several clients on one pair of pipes, which stdio does not allow.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use attorn_json::Limits;
use attorn_mcp::RequestId;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::task::{AbortHandle, JoinSet};

use crate::connector::Connector;
use crate::events::Events;
use crate::fault::Fault;
use crate::lines::{self, Line, Lines};
use crate::message::{self, Kind, NoMessage, Outgoing};
use crate::relay::{self, Asked};
use crate::upstream::Upstream;

/// Serves the process's standard input and output until the client closes them.
///
/// # Errors
/// When standard input or output fails.
pub async fn run_stdio(connector: Connector) -> io::Result<()> {
    run(connector, tokio::io::stdin(), tokio::io::stdout()).await
}

/// As [`run_stdio`], on other pipes.
///
/// # Errors
/// When the pipes fail.
pub async fn run<R, W>(connector: Connector, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (lines, writing) = Lines::new(output);
    let writer = tokio::spawn(writing);
    let mut client = Client {
        upstream: Arc::new(Upstream::new(connector)),
        lines,
        tasks: JoinSet::new(),
        running: HashMap::new(),
        listening: None,
    };
    let mut input = BufReader::new(input);
    while let Some(line) = lines::next(&mut input).await? {
        client.reap();
        client.take(line).await;
    }
    client.leave().await;
    writer.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// One client and what runs for it.
struct Client {
    upstream: Arc<Upstream>,
    lines: Lines,
    tasks: JoinSet<Option<RequestId<'static>>>,
    running: HashMap<RequestId<'static>, Running>,
    /// The stream on which a server of an older revision speaks by itself.
    listening: Option<AbortHandle>,
}

struct Running {
    task: AbortHandle,
    modern: bool,
    /// A subscription has no answer to wait for.
    stays: bool,
}

impl Client {
    async fn take(&mut self, line: Line) {
        let text = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => return,
            Line::Text(text) => text,
            Line::TooLong => return self.lines.send(Fault::Json.to_line(None)).await,
        };
        let message = match message::read(&text) {
            Ok(message) => message,
            Err(NoMessage::Form) => return self.lines.send(Fault::Form.to_line(None)).await,
            Err(NoMessage::Json) => return self.lines.send(Fault::Json.to_line(None)).await,
        };
        match &message.kind {
            Kind::Request { id, id_text, method } => {
                if self.running.contains_key(id) {
                    return self.lines.send(Fault::IdInUse.to_line(Some(id_text))).await;
                }
                let (id, method) = (id.clone(), method.clone());
                self.start(id, &method, message).await;
            }
            Kind::Notification { cancels: Some(id), .. } => {
                let id = id.clone();
                self.cancel(&id, message).await;
            }
            Kind::Notification { method, .. } if method == "notifications/initialized" => {
                self.post(message).await;
                self.listen();
            }
            Kind::Notification { .. } | Kind::Response => {
                // Older revisions only: modern clients send neither over HTTP.
                if self.upstream.session().is_some() {
                    let (upstream, lines) = (Arc::clone(&self.upstream), self.lines.clone());
                    self.tasks.spawn(async move {
                        post(&upstream, &message, &lines).await;
                        None
                    });
                }
            }
        }
    }

    async fn start(&mut self, id: RequestId<'static>, method: &str, message: Outgoing) {
        let (upstream, lines) = (Arc::clone(&self.upstream), self.lines.clone());
        let modern = message.modern.is_some();
        let done = id.clone();
        let answering = async move {
            if let Some(asked) = Asked::of(&message) {
                relay::answer(&upstream, &asked, &lines).await;
            }
            Some(done)
        };
        if method == "initialize" {
            // What follows needs the session this opens.
            answering.await;
            return;
        }
        let task = self.tasks.spawn(answering);
        let stays = method == "subscriptions/listen";
        self.running.insert(id, Running { task, modern, stays });
    }

    async fn cancel(&mut self, id: &RequestId<'static>, message: Outgoing) {
        let Some(running) = self.running.remove(id) else { return };
        if running.modern {
            // MCP 2026-07-28, Streamable HTTP, Cancellation: closing the stream is the signal.
            running.task.abort();
            return;
        }
        // Before 2026-07-28 a closed stream means nothing: the server has to be told.
        self.post(message).await;
        running.task.abort();
    }

    async fn post(&self, message: Outgoing) {
        post(&self.upstream, &message, &self.lines).await;
    }

    /// Opens the server's own stream and keeps it open; one that is not offered is not asked for
    /// again.
    fn listen(&mut self) {
        if self.upstream.session().is_none() || self.listening.is_some() {
            return;
        }
        let (upstream, lines) = (Arc::clone(&self.upstream), self.lines.clone());
        let task = self.tasks.spawn(async move {
            listen(&upstream, &lines).await;
            None
        });
        self.listening = Some(task);
    }

    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok(Some(id)) = ended {
                self.running.remove(&id);
            }
        }
    }

    /// Lets running requests end for a moment, then ends everything.
    async fn leave(mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
        for subscription in self.running.values().filter(|running| running.stays) {
            subscription.task.abort();
        }
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LEAVE_TIMEOUT, rest).await.is_err() {
            self.tasks.abort_all();
        }
        self.upstream.close().await;
    }
}

/// Sends a message that has no answer. Nobody waits for an error, so it is only logged.
async fn post(upstream: &Upstream, message: &Outgoing, lines: &Lines) {
    match upstream.post(message).await {
        Ok(response) if response.status().is_success() => {
            // Some servers answer with a stream all the same.
            if relay::is_event_stream(response.headers()) {
                relay_events(Events::new(response.into_body()), lines).await;
            }
        }
        Ok(response) => tracing::warn!(status = %response.status(), "a message was not taken"),
        Err(error) => tracing::warn!(%error, "a message was not sent"),
    }
}

async fn listen(upstream: &Upstream, lines: &Lines) {
    let mut last_id: Option<String> = None;
    loop {
        let pause = match upstream.stream(last_id.as_deref()).await {
            Ok(response)
                if response.status().is_success() && relay::is_event_stream(response.headers()) =>
            {
                let ended = relay_events(Events::new(response.into_body()), lines).await;
                last_id = ended.last_id().map(str::to_owned).or(last_id);
                ended.pause()
            }
            // A session the server forgot is opened again by the next request.
            Ok(response)
                if response.status() == StatusCode::NOT_FOUND
                    && upstream.session().is_some_and(|session| session.id.is_some()) =>
            {
                LISTEN_PAUSE
            }
            // MCP 2025-11-25, Transports, Listening for Messages: 405 means that there is none.
            Ok(response) if response.status().is_client_error() => return,
            Ok(_) | Err(_) => LISTEN_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Relays until the stream ends; responses on it belong to nobody here.
async fn relay_events(mut events: Events, lines: &Lines) -> Events {
    while let Some(event) = events.next().await {
        if let Ok(document) = attorn_json::parse(event.data.as_bytes(), &Limits::MESSAGE) {
            relay::relay_other(&document, true, lines).await;
        }
    }
    events
}

const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
const LISTEN_PAUSE: Duration = Duration::from_secs(5);
