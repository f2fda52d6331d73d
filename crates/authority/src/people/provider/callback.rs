//! `/login/callback`: a person comes back from the provider. OpenID Connect Core 1.0 section 3.1.2.5.
//!
//! First whose answer it is: of a log-in that this browser began, and of this provider. Then the code is
//! redeemed, the ID token verified, and the person found. An answer is used up when it is taken:
//! whatever fails after that, the person starts again.

use attorn_audit::Kind;
use attorn_net::Body;
use attorn_oauth::form::Form;
use attorn_registry::{Person, ReasonCode};
use attorn_store::SignedInBy;
use http::request::Parts;
use http::{Response, StatusCode};

use super::{Provider, Refused, Started};
use crate::http::empty;
use crate::people::browser::Browser;
use crate::people::login::{LogIn, open};
use crate::people::{People, page};
use crate::shared::Shared;

/// Takes the answer of the provider.
pub(crate) async fn callback(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let Some(provider) = &people.provider else { return empty(StatusCode::NOT_FOUND) };
    let now_ms = shared.clock.now_ms();
    if let Err(limited) = shared.throttle.look(head) {
        let about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
        let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
        return page::too_many(shared, limited.retry_after_s());
    }
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    match log_in((shared, provider), head, &browser, now_ms).await {
        Ok((person, waiting)) => {
            let log_in = LogIn {
                person: &person,
                waiting: Some(&waiting),
                by: SignedInBy::Provider,
                provider: Some(provider.issuer.as_str()),
            };
            open(shared, head, &browser, &log_in, now_ms).await
        }
        Err(refused) => refuse((shared, provider), head, &refused, now_ms).await,
    }
}

/// Gives who logged in, and the name of the request that waits for them.
async fn log_in(
    (shared, provider): (&Shared, &Provider),
    head: &Parts,
    browser: &Browser,
    now_ms: u64,
) -> Result<(Person, String), Refused> {
    let now_s = now_ms / 1000;
    // RFC 6749 section 3.1: a parameter that comes twice has no meaning.
    let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
    let query = query.map_err(|_| Refused::State)?;
    let started = provider.take(&query, browser, now_s)?;
    let metadata = provider.metadata(now_s).await?;
    // RFC 9207 section 2.4: exactly our provider. One that says it names itself does so also in an
    // error; without the name, the answer is of somebody else.
    match query.value("iss") {
        Some(found) if found == provider.issuer.as_str() => {}
        None if !metadata.names_itself => {}
        Some(_) | None => return Err(Refused::Issuer),
    }
    if let Some(error) = query.value("error") {
        return Err(Refused::Denied(told(error)));
    }
    let code = query.value("code").ok_or(Refused::Code)?;
    let token = provider.redeem((shared, &metadata), code, &started, now_s).await?;
    let person = provider.find(shared, head, &token, now_ms).await?;
    Ok((person, started.waiting))
}

impl Provider {
    /// The log-in that an answer belongs to. It is taken by the browser that began it, once.
    fn take(&self, query: &Form, browser: &Browser, now_s: u64) -> Result<Started, Refused> {
        let state = query.value("state").ok_or(Refused::State)?;
        let started = self.started.look(state, now_s).ok_or(Refused::State)?;
        // Before it is used up: another browser cannot end the log-in of this one.
        if started.browser != browser.digest() {
            return Err(Refused::State);
        }
        // Of two answers at once one counts.
        self.started.take(state, now_s).ok_or(Refused::State)
    }
}

/// Records why nobody is logged in, and says so on a page of ours.
pub(super) async fn refuse(
    (shared, provider): (&Shared, &Provider),
    head: &Parts,
    refused: &Refused,
    now_ms: u64,
) -> Response<Body> {
    if *refused == Refused::Failed {
        return page::unavailable(shared);
    }
    let mut about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
    about.detail.insert("provider".to_owned(), provider.issuer.as_str().to_owned());
    let more = refused.detail().map(|(name, value)| (name.to_owned(), value.to_owned()));
    about.detail.extend(more);
    if shared.note_refusal(about, refused.reason()).await.is_err() {
        return page::unavailable(shared);
    }
    let (status, what, next) = match refused {
        Refused::Unavailable | Refused::Failed => {
            let what = "Your identity provider cannot be reached at the moment.";
            return page::error(
                shared,
                StatusCode::SERVICE_UNAVAILABLE,
                (what, "Try again in a moment."),
            );
        }
        Refused::State | Refused::Issuer => {
            (StatusCode::BAD_REQUEST, "This log-in is not from this browser, or too old.", AGAIN)
        }
        Refused::Denied(_) => {
            (StatusCode::FORBIDDEN, "Your identity provider did not sign you in.", AGAIN)
        }
        Refused::Code | Refused::Token(_) => {
            (StatusCode::FORBIDDEN, "The answer of your identity provider does not hold.", AGAIN)
        }
        Refused::PersonStopped | Refused::PersonUnknown => (
            StatusCode::FORBIDDEN,
            "You cannot sign in here.",
            "Ask the people who run this installation.",
        ),
    };
    shared.throttle.failed(head);
    page::error(shared, status, (what, next))
}

/// An error code as the journal may have it: RFC 6749 section 4.1.2.1 allows more characters than any
/// code has.
fn told(error: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    error.chars().filter(is_plain).take(64).collect()
}

const AGAIN: &str = "Go back to the application and start again there.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_code_is_told_without_what_no_code_has() {
        assert_eq!(told("access_denied"), "access_denied");
        assert_eq!(told("a b<i>\"\u{202e}"), "abi");
        assert_eq!(told(&"a".repeat(100)).len(), 64);
    }
}
