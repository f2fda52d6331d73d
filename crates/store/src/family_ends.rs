//! Families that end with what they rest on: a stop, a consent that is taken back, another password, an
//! epoch. A stop is remembered for as long as an access token lives; a family lives for weeks, so it
//! ends in the transaction that makes the stop.

use attorn_registry::{AgentId, Consent, Jkt, LockTarget, OwnerId, PersonId, ServerId};
use sqlx::AnyConnection;

use crate::failure::Failure;
use crate::families::COLUMNS;
use crate::invitations::end_invitations;
use crate::sessions::end_all;

/// Whose families end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends<'a> {
    Agent(&'a AgentId),
    Consent(&'a Consent),
    Key(Jkt),
    Owner(&'a OwnerId),
    Person(&'a PersonId),
    Server(&'a ServerId),
}

pub(crate) async fn end_families(
    connection: &mut AnyConnection,
    of: Ends<'_>,
    now_s: u64,
) -> Result<(), Failure> {
    let now_s = COLUMNS.number(now_s)?;
    let (sql, first, others) = match of {
        Ends::Agent(agent) => ("agent = $2", agent.to_string(), None),
        Ends::Consent(consent) => (
            "agent = $2 AND person = $3 AND server = $4",
            consent.agent.to_string(),
            Some((consent.person.to_string(), consent.server.to_string())),
        ),
        Ends::Key(jkt) => ("jkt = $2", jkt.to_string(), None),
        Ends::Owner(owner) => (
            "(agent IN (SELECT id FROM agents WHERE owner = $2)
              OR server IN (SELECT id FROM servers WHERE owner = $2))",
            owner.to_string(),
            None,
        ),
        Ends::Person(person) => ("person = $2", person.to_string(), None),
        Ends::Server(server) => ("server = $2", server.to_string(), None),
    };
    let sql = format!("UPDATE token_families SET ended_s = $1 WHERE ended_s IS NULL AND {sql}");
    // Of the texts above, none of which comes from anybody.
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now_s).bind(first);
    if let Some((second, third)) = others {
        query = query.bind(second).bind(third);
    }
    query.execute(connection).await?;
    Ok(())
}

/// Ends what a lock takes away for good. What is judged at each use, as tools and grants are, is not
/// here.
pub(crate) async fn end_with_lock(
    connection: &mut AnyConnection,
    target: &LockTarget,
    now_s: u64,
) -> Result<(), Failure> {
    match target {
        LockTarget::Agent { agent } => end_families(connection, Ends::Agent(agent), now_s).await,
        LockTarget::Key { jkt } => end_families(connection, Ends::Key(*jkt), now_s).await,
        LockTarget::Owner { owner } => end_families(connection, Ends::Owner(owner), now_s).await,
        LockTarget::Person { person } => {
            end_all(connection, person, now_s).await?;
            end_invitations(connection, person).await?;
            end_families(connection, Ends::Person(person), now_s).await
        }
        LockTarget::Server { server } => {
            end_families(connection, Ends::Server(server), now_s).await
        }
        LockTarget::Grant { .. }
        | LockTarget::Resource { .. }
        | LockTarget::Token { .. }
        | LockTarget::Tool { .. } => Ok(()),
    }
}

/// Ends everything that people opened: an epoch ends what was before it.
pub(crate) async fn end_everything(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<(), Failure> {
    let now_s = COLUMNS.number(now_s)?;
    sqlx::query("UPDATE token_families SET ended_s = $1 WHERE ended_s IS NULL")
        .bind(now_s)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE sessions SET ended_s = $1 WHERE ended_s IS NULL")
        .bind(now_s)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM invitations WHERE redeemed_s IS NULL").execute(connection).await?;
    Ok(())
}
