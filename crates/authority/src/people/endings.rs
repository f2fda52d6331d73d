//! The end of a family of tokens: a code or refresh token was used twice, or the client gave it back.

use attorn_audit::{Decision, Entry, Kind};
use attorn_jose::sha256;
use attorn_registry::ReasonCode;
use attorn_store::Act;

use crate::refused::Unserved;
use crate::shared::Shared;

/// Ends a family because something of it was used twice: RFC 6749 section 4.1.2, RFC 9700 section
/// 4.14.2. A security event, and not a refusal that noise can hide. The consent stays: it is the
/// person's.
pub(crate) async fn end_replayed(
    shared: &Shared,
    about: &Entry,
    family: &str,
    reason: ReasonCode,
) -> Result<(), Unserved> {
    let mut entry = Entry {
        decision: Some(Decision::Deny),
        kind: Kind::TokenReplayed,
        reason: Some(reason.as_str().to_owned()),
        ..about.clone()
    };
    entry.detail.insert("family".to_owned(), family.to_owned());
    end(shared, &entry, family).await
}

async fn end(shared: &Shared, entry: &Entry, family: &str) -> Result<(), Unserved> {
    // Takes away what is theirs, so it is recorded even when the journal refuses all else.
    let _recorded = shared.record_own(entry).await?;
    let act = Act { by: "attorn", now_s: entry.time_ms / 1000 };
    let _alone = shared.turns.next().await;
    let ended = shared.store.end_family(&act, family).await;
    ended.map_err(|_| Unserved::Unavailable)?;
    shared.publish().await.map_err(|_| Unserved::Unavailable)
}

/// RFC 7009 section 2.1: a client of people gives back a refresh token, and with it everything of its
/// family. Says whether the text was one of this client's, which it is not told.
pub(crate) async fn revoke_of_client(
    shared: &Shared,
    about: Entry,
    (client_id, token): (&str, &str),
) -> Result<bool, Unserved> {
    let now_s = about.time_ms / 1000;
    let record = shared.store.refresh_token(&sha256(token.as_bytes()), now_s).await;
    let Some(record) = record.map_err(|_| Unserved::Unavailable)? else { return Ok(false) };
    let family = record.family;
    if family.client_id != client_id {
        let entry = Entry { client_id: Some(client_id.to_owned()), ..about };
        shared.note_aside(entry, ReasonCode::TokenForeign);
        return Ok(false);
    }
    let mut entry = Entry {
        agent: Some(family.agent.to_string()),
        by: Some(family.agent.to_string()),
        client_id: Some(family.client_id.clone()),
        decision: Some(Decision::Permit),
        server: Some(family.server.to_string()),
        subject: Some(family.person.to_string()),
        ..about
    };
    entry.detail.insert("family".to_owned(), family.id.clone());
    shared.throttle.admit_revocation(family.agent.as_str())?;
    end(shared, &entry, &family.id).await?;
    Ok(true)
}
