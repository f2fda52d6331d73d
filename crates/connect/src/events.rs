//! A response body read as server-sent events.

use std::time::Duration;

use attorn_mcp::sse::{Event, Parser};
use attorn_net::ResponseBody;
use http_body_util::BodyExt;

/// Events of one response as they arrive.
#[derive(Debug)]
pub(crate) struct Events {
    body: ResponseBody,
    parser: Parser,
    last_id: Option<String>,
    retry_ms: Option<u64>,
}

impl Events {
    pub(crate) fn new(body: ResponseBody) -> Self {
        Self { body, parser: Parser::new(EVENT_BYTES_MAX), last_id: None, retry_ms: None }
    }

    /// The next event that carries something; none when the stream ended or broke.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(event) = self.parser.next_event().ok()? {
                self.last_id.clone_from(&event.id);
                self.retry_ms = event.retry_ms.or(self.retry_ms);
                // An event that only names its id is there to be resumed from.
                if !event.data.is_empty() && matches!(event.kind.as_str(), "" | "message") {
                    return Some(event);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(piece) = frame.into_data() {
                self.parser.push(&piece);
            }
        }
    }

    /// From where the stream could be resumed.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long to wait before that: what the server asked for, within reason.
    pub(crate) fn pause(&self) -> Duration {
        let asked = self.retry_ms.map_or(PAUSE, Duration::from_millis);
        asked.min(PAUSE_MAX)
    }
}

const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
