//! `/authorize`: a client sends a person here. RFC 6749 section 4.1.1.
//!
//! The request is read, its client looked up, its address compared; then it waits, tied to this
//! browser, until the person has logged in and answered. Nothing of it goes through the browser again
//! but a name that nobody can guess, so nothing can be changed on the way.

use attorn_audit::{Entry, Kind};
use attorn_net::Body;
use attorn_oauth::authorization_request::{
    AuthorizationError, AuthorizationRequest, Destination, Prompt, ShownError, Unaddressed,
};
use attorn_oauth::pushed_request::reference_of;
use attorn_registry::{McpServer, ReasonCode, Snapshot};
use http::request::Parts;
use http::{Response, StatusCode};

use super::browser::Browser;
use super::clients::KnownClient;
use super::waiting::{Pushed, Waiting};
use super::{People, page};
use crate::shared::Shared;

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// On a page of ours, with what only the journal is told.
    Shown(ShownError, ReasonCode),
    /// At the client.
    Sent(AuthorizationError, Destination),
    /// What would be told to the client, were it not one that anybody could have brought: nobody is sent
    /// to its address, or told whether somebody is logged in, before a person saw what it is (RFC 9700
    /// section 4.11.2).
    Withheld(AuthorizationError),
}

impl Stopped {
    /// An error of a client's request that no person has seen yet.
    pub(crate) fn unseen(
        client: &KnownClient,
        error: AuthorizationError,
        destination: Destination,
    ) -> Self {
        if client.is_vouched_for() { Self::Sent(error, destination) } else { Self::Withheld(error) }
    }
}

impl From<ShownError> for Stopped {
    fn from(error: ShownError) -> Self {
        Self::Shown(error, error.reason())
    }
}

/// Begins the flow of one request.
pub(crate) async fn show(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    // A request can make us ask a stranger's host: who only sends bad ones is not looked at.
    if let Err(limited) = shared.throttle.look(head) {
        let about = shared.entry_from(head, Kind::ConsentRefused, now_ms);
        let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
        return page::too_many(shared, limited.retry_after_s());
    }
    let query = head.uri.query().unwrap_or_default().as_bytes();
    match begin((shared, people), query, now_ms / 1000).await {
        Ok(asked) => wait((shared, people), head, asked, now_ms / 1000).await,
        Err(stopped) => stop(shared, head, stopped, now_ms).await,
    }
}

/// Reads a request up to the point from which only a person can go on.
async fn begin(
    (shared, people): (&Shared, &People),
    query: &[u8],
    now_s: u64,
) -> Result<Pushed, Stopped> {
    let unaddressed = Unaddressed::parse(query)?;
    let Some(request_uri) = unaddressed.request_uri() else {
        return read((shared, people), unaddressed, now_s).await;
    };
    // RFC 9126 section 4: used once, by the client that pushed it. Nothing else of the query counts.
    let reference = reference_of(request_uri).ok_or(ShownError::RequestUriUnknown)?;
    let pushed = people.pushed.take(reference, now_s).ok_or(ShownError::RequestUriUnknown)?;
    if pushed.request.client_id != unaddressed.client_id() {
        return Err(ShownError::RequestUriUnknown.into());
    }
    Ok(pushed)
}

/// The three stages of a request that is not pushed, and of a push itself.
pub(crate) async fn read(
    (shared, people): (&Shared, &People),
    unaddressed: Unaddressed,
    now_s: u64,
) -> Result<Pushed, Stopped> {
    let client = KnownClient::find((shared, people), unaddressed.client_id(), now_s).await;
    let client = client.map_err(|unknown| Stopped::Shown(unknown.into(), unknown.0))?;
    let addressed = unaddressed.addressed(&client.redirect_uris)?;
    let destination = addressed.destination();
    let stopped = |error| Stopped::unseen(&client, error, destination.clone());
    let request = addressed.request().map_err(stopped)?;
    if target(shared, &shared.published.load(), &request).is_none() {
        return Err(stopped(AuthorizationError::ResourceUnknown));
    }
    Ok(Pushed { request, client })
}

/// RFC 8707 section 2: the one server. Unknown and stopped ones look alike, and the admin API is
/// nobody's to give.
pub(crate) fn target<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    request: &AuthorizationRequest,
) -> Option<&'s McpServer> {
    let name = shared.config.server_of(request.resource.as_str())?;
    let server = snapshot.server_named(name).filter(|server| !server.is_builtin())?;
    snapshot.verify_server(server).ok().map(|()| server)
}

/// Keeps the request for the person at this browser.
async fn wait(
    (shared, people): (&Shared, &People),
    head: &Parts,
    asked: Pushed,
    now_s: u64,
) -> Response<Body> {
    let Pushed { request, client } = asked;
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    let Ok(logged_in) = browser.logged_in(shared, now_s).await else {
        return page::unavailable(shared);
    };
    let is_logged_in = logged_in.is_some() && request.prompt != Prompt::Login;
    if request.prompt == Prompt::Never {
        // Consent is shown each time, so without a page nothing is ever given.
        let error = if is_logged_in {
            AuthorizationError::ConsentRequired
        } else {
            AuthorizationError::LoginRequired
        };
        let stopped = Stopped::unseen(&client, error, request.destination());
        return stop(shared, head, stopped, now_s * 1000).await;
    }
    let login_from_s = if request.prompt == Prompt::Login { now_s } else { 0 };
    let (browser_digest, offered) = (browser.digest(), Vec::new());
    let waiting = Waiting { request, client, browser: browser_digest, login_from_s, offered };
    let name = people.waiting.put(&shared.random, waiting, now_s + WAITING_S, now_s);
    let next = if is_logged_in { "consent" } else { "login" };
    let location = shared.config.endpoint(&format!("/{next}?waiting={name}"));
    let mut answer = page::see_other(&location);
    page::name_browser(&mut answer, shared, &browser);
    answer
}

/// Records why a request goes no further, and answers it where it may be answered.
pub(crate) async fn stop(
    shared: &Shared,
    head: &Parts,
    stopped: Stopped,
    now_ms: u64,
) -> Response<Body> {
    let about = shared.entry_from(head, Kind::ConsentRefused, now_ms);
    match stopped {
        Stopped::Shown(error, reason) => {
            shared.throttle.failed(head);
            if shared.note_refusal(about, reason).await.is_err() {
                return page::unavailable(shared);
            }
            let text = (error.description(), "Go back to the application and start again there.");
            page::error(shared, StatusCode::BAD_REQUEST, text)
        }
        Stopped::Withheld(error) => {
            shared.throttle.failed(head);
            if shared.note_refusal(about, error.reason()).await.is_err() {
                return page::unavailable(shared);
            }
            let next = "The application asked wrongly. Whoever makes it has to mend it.";
            page::error(shared, StatusCode::BAD_REQUEST, (error.description(), next))
        }
        Stopped::Sent(error, destination) => {
            let entry = Entry { audience: None, ..about };
            if shared.note_refusal(entry, error.reason()).await.is_err() {
                return page::unavailable(shared);
            }
            page::see_other(&destination.with_error(error, &shared.config.issuer))
        }
    }
}

/// As long as a person may take to find a password.
const WAITING_S: u64 = 600;
