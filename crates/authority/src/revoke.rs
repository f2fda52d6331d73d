//! `/revoke`: RFC 7009, for clients about their own tokens.

use attorn_audit::{Decision, Entry, Kind};
use attorn_net::Body;
use attorn_oauth::error::TokenError;
use attorn_oauth::form::Form;
use attorn_oauth::token_request::PresentedClient;
use attorn_registry::{AgentId, ReasonCode, Snapshot};
use attorn_store::Act;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::client::{self, Proven};
use crate::http::empty;
use crate::people;
use crate::proof::{authorization, certificate};
use crate::refused::{self, Refused, Unserved};
use crate::shared::Shared;
use crate::standing::verify_any_audience;

/// Answers one revocation request.
pub(crate) async fn handle(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let about = shared.entry_from(head, Kind::TokenRevoked, shared.clock.now_ms());
    match revoke(shared, head, body, about.clone()).await {
        Ok(()) => empty(StatusCode::OK),
        Err(unserved) => refused::answer(shared, about, unserved).await,
    }
}

async fn revoke(shared: &Shared, head: &Parts, body: &[u8], about: Entry) -> Result<(), Unserved> {
    let (now_s, snapshot) = (about.time_ms / 1000, shared.published.load());
    let form = Form::parse(body)?;
    let presented = PresentedClient::of(&form, authorization(head))?;
    let of_people = client_of_people(shared, &snapshot, &presented).await?;
    let client = if let Some((agent, _)) = &of_people {
        agent.to_string()
    } else {
        let certificate = certificate(head);
        let proven = Proven { certificate: certificate.as_ref(), proof_key: None };
        client::authenticate_any(shared, &snapshot, &presented, proven, now_s)?
    };
    // RFC 7009 section 2.1: `token` is required.
    let token =
        form.value("token").ok_or_else(|| Refused::of(TokenError::FormMalformed, Some(&client)))?;
    if let Some((_, client_id)) = of_people
        && people::revoke_of_client(shared, about.clone(), (client_id, token)).await?
    {
        return Ok(());
    }
    revoke_access_token(shared, &snapshot, about, (client, token)).await
}

/// RFC 7009 section 2.1: a client of people has nothing to authenticate with. Whoever names one needs
/// the token, and takes from nobody else. Gives its record and the name it came by.
async fn client_of_people<'p>(
    shared: &Shared,
    snapshot: &Snapshot,
    presented: &'p PresentedClient,
) -> Result<Option<(AgentId, &'p str)>, Unserved> {
    let PresentedClient::Certificate { client_id } = presented else { return Ok(None) };
    if shared.people.is_none() {
        return Ok(None);
    }
    let named = people::client_named(shared, snapshot, client_id).await;
    let named = named.map_err(|_| Unserved::Unavailable)?;
    Ok(named.map(|agent| (agent, client_id.as_str())))
}

async fn revoke_access_token(
    shared: &Shared,
    snapshot: &Snapshot,
    about: Entry,
    (client, token): (String, &str),
) -> Result<(), Unserved> {
    let now_s = about.time_ms / 1000;
    // RFC 7009 section 2.2: a token that is not valid needs no revocation, and that is a success.
    let Ok(token) = verify_any_audience(shared, snapshot, token, now_s) else { return Ok(()) };
    // A foreign token is answered alike, so that nobody learns whether it lives. Its client leaked
    // it, and this one tried to end it: both are for the journal.
    if !token.is_of(&client) {
        let token_jti = Some(token.jti().to_owned());
        let mut entry = Entry { client_id: Some(client), token_jti, ..about };
        entry.detail.insert("token_client".to_owned(), token.client_id());
        shared.note_aside(entry, ReasonCode::TokenForeign);
        return Ok(());
    }
    // It is over already. Repeating it must not use up what the journal keeps free for emergencies.
    if snapshot.is_revoked(token.jti()) {
        return Ok(());
    }
    // Each is a change of the registry. Charged only here: who does not hold the token spends nothing.
    shared.throttle.admit_revocation(&client)?;
    let entry = Entry {
        by: Some(client.clone()),
        client_id: Some(client.clone()),
        decision: Some(Decision::Permit),
        token_jti: Some(token.jti().to_owned()),
        ..about
    };
    // Takes away what is its own, so it is recorded even when the journal refuses all else.
    let _recorded = shared.record_own(&entry).await?;
    let act = Act { by: &client, now_s };
    shared.revoke_token(&act, token.jti(), token.exp()).await.map_err(|_| Unserved::Unavailable)
}
