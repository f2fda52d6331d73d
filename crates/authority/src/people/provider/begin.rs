//! `/login/provider`: a person goes to the provider. OpenID Connect Core 1.0 section 3.1.2.1.
//!
//! A link and not a form: Chromium applies `form-action` to every redirect after a form, and a provider
//! sends people on to hosts that nobody here knows. Nothing is changed by it: the request is tied to
//! this browser, and its answer counts once, in this browser alone.

use attorn_audit::Kind;
use attorn_net::Body;
use attorn_oauth::provider_metadata::ProviderMetadata;
use attorn_registry::ReasonCode;
use http::request::Parts;
use http::{Response, StatusCode};
use url::form_urlencoded;

use super::callback::refuse;
use super::{Provider, STARTED_S, Started};
use crate::http::empty;
use crate::people::browser::Browser;
use crate::people::login::waiting_of;
use crate::people::{People, page};
use crate::shared::Shared;

/// Sends the browser to the provider.
pub(crate) async fn begin(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let Some(provider) = &people.provider else { return empty(StatusCode::NOT_FOUND) };
    let now_ms = shared.clock.now_ms();
    let now_s = now_ms / 1000;
    // A request can make us ask the provider: who only sends bad ones is not looked at.
    if let Err(limited) = shared.throttle.look(head) {
        let about = shared.entry_from(head, Kind::IdentityLoginRefused, now_ms);
        let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
        return page::too_many(shared, limited.retry_after_s());
    }
    let metadata = match provider.metadata(now_s).await {
        Ok(metadata) => metadata,
        Err(refused) => return refuse((shared, provider), head, &refused, now_ms).await,
    };
    let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
    // Another browser's request looks like none.
    let name = waiting_of(head);
    let waiting = people.waiting.look(&name, now_s);
    let waiting = waiting.filter(|waiting| waiting.browser == browser.digest());
    let is_anew = waiting.as_ref().is_some_and(|waiting| waiting.login_from_s > 0);
    let name = waiting.map_or_else(String::new, |_| name);
    let started = Started::new(&shared.random, browser.digest(), name, is_anew.then_some(now_s));
    let until_s = now_s + STARTED_S;
    let state = provider.started.put(&shared.random, started.clone(), until_s, now_s);
    let location = provider.authorization_url(&metadata, shared, (&state, &started));
    let mut answer = page::see_other(&location);
    page::name_browser(&mut answer, shared, &browser);
    answer
}

impl Provider {
    fn authorization_url(
        &self,
        metadata: &ProviderMetadata,
        shared: &Shared,
        (state, started): (&str, &Started),
    ) -> String {
        let challenge = attorn_jose::base64url(&attorn_jose::sha256(started.verifier.as_bytes()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", &shared.config.endpoint(CALLBACK_PATH)),
            ("scope", &self.config.scopes.join(" ")),
            ("state", state),
            ("nonce", &started.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        if started.asked_s.is_some() {
            // Section 3.1.2.1: with `max_age` the provider has to say when it was.
            query.extend_pairs([("prompt", "login"), ("max_age", "0")]);
        }
        // RFC 6749 section 3.1: a query of the endpoint stays.
        let endpoint = &metadata.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{joint}{}", query.finish())
    }
}

/// Where the provider sends people back to.
pub(super) const CALLBACK_PATH: &str = "/login/callback";
