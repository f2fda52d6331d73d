//! `/token` with a code: RFC 6749 section 4.1.3 for clients of people.
//!
//! The client has no secret. What stands for it is the verifier that only it knows (RFC 7636) and a
//! key that it proves (RFC 9449 section 5), to which everything it gets is bound. One without a key gets
//! a token of a minute where the owner of the server takes such, and no refresh token.

use attorn_audit::{Entry, Kind};
use attorn_jose::{Jkt, base64url, sha256};
use attorn_net::Body;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::DpopRefusal;
use attorn_oauth::error::TokenError;
use attorn_oauth::grant::{Duty, GrantRefusal};
use attorn_oauth::pkce::CodeChallenge;
use attorn_oauth::possession::ProvenKey;
use attorn_oauth::resource::ResourceIndicator;
use attorn_oauth::token_request::AuthorizationCode;
use attorn_registry::{
    Agent, AgentId, ClientSource, LockedSubject, McpServer, PersonId, PublicClient, ReasonCode,
    ServerId, Snapshot,
};
use attorn_store::{Act, Code, Family, Given, TakenCode};
use http::Response;
use http::request::Parts;

use super::clients::{addresses, redeeming};
use super::endings::end_replayed;
use super::register::UNUSED_S;
use super::{ClientsConfig, People};
use crate::delegated_token::{ForPerson, Issued, issue};
use crate::http::{DPOP_NONCE, json_answer, set};
use crate::proof::verify_present_proof;
use crate::refused::{Refused, Unserved};
use crate::shared::Shared;
use crate::token::Holder;

/// The steps of one redemption. The code is used up when it is found, whatever follows.
pub(crate) async fn redeem(
    (shared, people): (&Shared, &People),
    head: &Parts,
    asked: &AuthorizationCode,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let (now_s, snapshot) = (now_ms / 1000, shared.published.load());
    let refused = |error: TokenError| Refused::of(error, Some(&asked.client_id));
    // RFC 9449 section 5: before the code, so that a proof that only lacks our nonce costs nothing.
    let proof = verify_present_proof(shared, head, "/token", now_s).map_err(TokenError::from)?;
    let takes_bearer = |server: &McpServer| !server.accept_bearer.is_empty();
    // Without a key there is something only where an owner said so: elsewhere the code is left alone.
    if proof.is_none() && !snapshot.servers().any(takes_bearer) {
        return Err(refused(TokenError::Possession(DpopRefusal::Missing)).into());
    }
    let agent = redeeming((shared, people), &snapshot, &asked.client_id, now_s).await;
    let agent = agent.map_err(|reason| refused(TokenError::ClientStanding(reason)))?;
    let proven = proof.map(|proof| proof.burn(&shared.replays, now_s)).transpose();
    let proven = proven.map_err(TokenError::from)?;
    let key = proven.as_ref().map(ProvenKey::jkt);
    let about = Entry {
        agent: Some(agent.id.to_string()),
        client_id: Some(asked.client_id.clone()),
        ..shared.entry_from(head, Kind::TokenRefused, now_ms)
    };
    let code =
        take(shared, &about, &asked.code, now_s).await.map_err(|unserved| match unserved {
            Unserved::Refused(found) => refused(found.error).into(),
            Unserved::Limited(_) | Unserved::Unavailable => unserved,
        })?;
    let server = verify(&agent, &code, asked, key)
        .and_then(|()| verify_not_stopped(&snapshot, &code.family, now_s))
        .and_then(|()| server_of(shared, &snapshot, &code.family.server, asked.resource.as_ref()))
        .map_err(refused)?;
    // Only now: who merely knows the client's name must not use up its rate.
    shared.throttle.admit(agent.id.as_str())?;
    let holder = Holder {
        // What has no key is refused where the server does not take it: [`issue`].
        confirmation: key.map_or_else(
            || Confirmation::bearer(&code.family.person, &agent.id),
            Confirmation::Jkt,
        ),
        proof_jti: proven.as_ref().map(|proven| proven.proof_jti().to_owned()),
    };
    let for_person = ForPerson {
        person: &code.family.person,
        agent: &agent.id,
        server,
        scope: Some(&code.family.scope),
        details: None,
        key: holder,
        noted: Vec::new(),
    };
    let issued = issue(shared, &snapshot, head, for_person, now_ms).await?;
    // A refresh token is bound to a key, so without one there is none.
    let refresh = key.map(|_| base64url(&shared.random.bytes::<32>()));
    let given = given(&people.config, &issued, (refresh.as_deref(), &code.family), now_s);
    // A second use of the code may have ended the family in between: then nothing is handed out.
    let stood = shared.store.open_family(&code.family.id, key, &given, now_s).await;
    if !stood.map_err(|_| Unserved::Unavailable)? {
        return Err(refused(GrantRefusal::CodeReplayed.into()).into());
    }
    prolong(shared, &agent, now_s).await;
    Ok(answer(shared, &issued, refresh.as_deref()))
}

/// Uses the code up. One that was used before ends everything that came from it.
async fn take(
    shared: &Shared,
    about: &Entry,
    code: &str,
    now_s: u64,
) -> Result<Box<Code>, Unserved> {
    let taken = shared.store.take_code(&sha256(code.as_bytes()), now_s).await;
    match taken.map_err(|_| Unserved::Unavailable)? {
        TakenCode::Taken(code) => Ok(code),
        TakenCode::Unknown => Err(TokenError::Grant(GrantRefusal::CodeUnknown).into()),
        TakenCode::Replayed(family) => {
            let refusal = GrantRefusal::CodeReplayed;
            match refusal.duty() {
                Duty::RevokeFamily => {
                    end_replayed(shared, about, &family, refusal.reason()).await?;
                }
                Duty::BurnCode | Duty::Nothing => {}
            }
            Err(TokenError::Grant(refusal).into())
        }
    }
}

/// Everything that a code is bound to.
fn verify(
    agent: &Agent,
    code: &Code,
    asked: &AuthorizationCode,
    key: Option<Jkt>,
) -> Result<(), TokenError> {
    // RFC 6749 section 4.1.3: issued to this client.
    if code.family.agent != agent.id || code.family.client_id != asked.client_id {
        return Err(GrantRefusal::CodeOfAnotherClient.into());
    }
    // RFC 6749 section 4.1.3: identical, and still an address of the client.
    let registered = agent.client.as_ref().map(addresses).unwrap_or_default();
    let still = registered.iter().any(|address| address.accepts(&code.redirect_uri));
    if code.redirect_uri != asked.redirect_uri || !still {
        return Err(GrantRefusal::RedirectUri.into());
    }
    // RFC 7636 section 4.6.
    let challenge = CodeChallenge::from_text(&code.code_challenge);
    let verified = challenge.and_then(|challenge| challenge.verify(&asked.code_verifier));
    verified.map_err(|_| GrantRefusal::CodeVerifier)?;
    // RFC 9449 section 10.
    if code.dpop_jkt.is_some_and(|bound| Some(bound) != key) {
        return Err(GrantRefusal::KeyMismatch.into());
    }
    Ok(())
}

/// The first second of which something counts, after the stops that ended of all who are in it.
pub(crate) fn stops_from_s(
    snapshot: &Snapshot,
    (person, agent, server): (&PersonId, &AgentId, &ServerId),
    now_s: u64,
) -> u64 {
    let person = Some(person);
    let subject = LockedSubject { agent, person, server, tool: None, token_jti: None, key: None };
    snapshot.tokens_from_s(&subject, now_s)
}

/// What was given before a stop does not count again when the stop has ended.
pub(crate) fn verify_not_stopped(
    snapshot: &Snapshot,
    family: &Family,
    now_s: u64,
) -> Result<(), TokenError> {
    let parties = (&family.person, &family.agent, &family.server);
    if family.created_s < stops_from_s(snapshot, parties, now_s) {
        return Err(GrantRefusal::Standing(ReasonCode::TokenStopped).into());
    }
    Ok(())
}

/// The server of a family, which a request may name and not change: RFC 8707 section 2.2.
pub(crate) fn server_of<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    id: &ServerId,
    asked: Option<&ResourceIndicator>,
) -> Result<&'s McpServer, TokenError> {
    let unknown = GrantRefusal::Standing(ReasonCode::ServerUnknown);
    let server = snapshot.server(id).ok_or(unknown)?;
    let resource = shared.config.resource_of(server.name.as_str());
    if asked.is_some_and(|asked| asked.as_str() != resource) {
        return Err(TokenError::ResourceUnknown);
    }
    Ok(server)
}

/// What goes into the family: never beyond its own end.
pub(crate) fn given<'a>(
    config: &ClientsConfig,
    issued: &'a Issued,
    (refresh, family): (Option<&str>, &Family),
    now_s: u64,
) -> Given<'a> {
    let idle_s = now_s.saturating_add(u64::from(config.refresh_idle_days) * DAY_S);
    Given {
        jti: &issued.claims.jti,
        expires_s: issued.claims.exp,
        refresh: refresh.map(|text| (sha256(text.as_bytes()), idle_s.min(family.expires_s))),
    }
}

/// A client that registered itself lasts as long as it is used. Written once a day at most, and not
/// worth a failure.
pub(crate) async fn prolong(shared: &Shared, agent: &Agent, now_s: u64) {
    let Some(client) = &agent.client else { return };
    let ClientSource::Dynamic { expires_s } = client.source else { return };
    let until_s = now_s.saturating_add(UNUSED_S);
    if until_s.saturating_sub(expires_s) < DAY_S {
        return;
    }
    let source = ClientSource::Dynamic { expires_s: until_s };
    let client = PublicClient { source, ..client.clone() };
    let act = Act { by: "attorn", now_s };
    let _alone = shared.turns.next().await;
    if let Err(error) = shared.store.set_public_client(&act, &agent.id, &client).await {
        tracing::warn!(%error, "the end of a client is not moved");
    }
}

/// RFC 6749 section 5.1. Needs the proof that the token is on record, which `issued` holds.
pub(crate) fn answer(shared: &Shared, issued: &Issued, refresh: Option<&str>) -> Response<Body> {
    let Issued { text, claims, recorded: _on_record } = issued;
    let mut body = serde_json::json!({
        "access_token": text,
        "token_type": claims.cnf.token_type(),
        "expires_in": claims.exp.saturating_sub(claims.iat),
        // RFC 6749 section 3.3: told always, since it may be less than was asked for.
        "scope": claims.scope.to_string(),
    });
    if let (Some(refresh), Some(members)) = (refresh, body.as_object_mut()) {
        members.insert("refresh_token".to_owned(), refresh.into());
    }
    if let (Some(details), Some(members)) = (&claims.authorization_details, body.as_object_mut()) {
        // RFC 9396 section 7: the details as granted.
        let details = serde_json::to_value(details).unwrap_or_default();
        members.insert("authorization_details".to_owned(), details);
    }
    let mut answer = json_answer(http::StatusCode::OK, body.to_string());
    // RFC 9449 section 8.2: the nonce of the next request.
    set(&mut answer, DPOP_NONCE, &shared.new_nonce());
    answer
}

const DAY_S: u64 = 24 * 3600;
