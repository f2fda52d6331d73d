//! Families of tokens: everything that came from one authorization code, and how it ends at once.
//!
//! Refresh tokens are kept as SHA-256 and used once. A family that has ended gives nothing, and the
//! access tokens it gave that still live are revoked in the transaction that ends it.

use attorn_registry::{AgentId, Consent, Jkt, PersonId, ScopeSet, ServerId};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind};
use crate::column::{Columns, row};
use crate::failure::{Failure, StoreError};

pub(crate) const COLUMNS: Columns = Columns("token_families");

/// What a family is about. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, in no token.
    pub id: String,
    /// The client that has it.
    pub agent: AgentId,
    /// Who gave it.
    pub person: PersonId,
    /// Where it counts.
    pub server: ServerId,
    /// The client, by the name it gives itself.
    pub client_id: String,
    /// The most that its tokens hold.
    pub scope: ScopeSet,
    /// When the person had logged in, in Unix seconds.
    pub login_s: u64,
    /// When it began, in Unix seconds: a stop that ended since then ended it too.
    pub created_s: u64,
    /// The key of its refresh tokens, once there is one.
    pub jkt: Option<Jkt>,
    /// First second at which nothing of it counts any more.
    pub expires_s: u64,
}

/// A refresh token that is there, used or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRecord {
    /// Its family, which has not ended.
    pub family: Family,
    /// Whether it was rotated before.
    pub is_used: bool,
}

/// What a family gives: an access token, and the next refresh token where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The access token.
    pub jti: &'a str,
    /// Its end.
    pub expires_s: u64,
    /// SHA-256 and end of the refresh token.
    pub refresh: Option<([u8; 32], u64)>,
}

row! {
    id: String,
    agent: String,
    person: String,
    server: String,
    client_id: String,
    scope: String,
    login_s: i64,
    created_s: i64,
    jkt: Option<String>,
    expires_s: i64,
    used_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<RefreshRecord, Failure> {
        let family = Family {
            id: self.id,
            agent: COLUMNS.parse(&self.agent)?,
            person: COLUMNS.parse(&self.person)?,
            server: COLUMNS.parse(&self.server)?,
            client_id: self.client_id,
            scope: COLUMNS.parse(&self.scope)?,
            login_s: COLUMNS.count(self.login_s)?,
            created_s: COLUMNS.count(self.created_s)?,
            jkt: COLUMNS.maybe_parse(self.jkt.as_deref())?,
            expires_s: COLUMNS.count(self.expires_s)?,
        };
        Ok(RefreshRecord { family, is_used: self.used_s.is_some() })
    }
}

impl Store {
    /// Notes what a code gave, and binds its family to a key. Says whether the family still stood: if
    /// not, nothing may be handed out.
    ///
    /// # Errors
    /// The database fails.
    pub async fn open_family(
        &self,
        family: &str,
        jkt: Option<Jkt>,
        given: &Given<'_>,
        now_s: u64,
    ) -> Result<bool, Failure> {
        let mut transaction = self.begin_write().await?;
        let stood = sqlx::query(
            "UPDATE token_families SET jkt = $2 WHERE id = $1 AND ended_s IS NULL AND expires_s > $3",
        )
        .bind(family)
        .bind(jkt.map(|jkt| jkt.to_string()))
        .bind(COLUMNS.number(now_s)?)
        .execute(&mut *transaction)
        .await?;
        if stood.rows_affected() != 1 {
            return Ok(false);
        }
        give(&mut transaction, family, given).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// A refresh token by its SHA-256, without using it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn refresh_token(
        &self,
        token_hash: &[u8; 32],
        now_s: u64,
    ) -> Result<Option<RefreshRecord>, Failure> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT f.id, f.agent, f.person, f.server, f.client_id, f.scope, f.login_s, f.created_s, f.jkt,
                    f.expires_s, r.used_s
             FROM refresh_tokens r JOIN token_families f ON f.id = r.family
             WHERE r.token_hash = $1 AND f.ended_s IS NULL AND f.expires_s > $2
               AND (r.expires_s > $3 OR r.used_s IS NOT NULL)",
        )
        .bind(attorn_jose::base64url(token_hash))
        .bind(COLUMNS.number(now_s)?)
        .bind(COLUMNS.number(now_s)?)
        .fetch_optional(&self.pool)
        .await?;
        row.map(Row::read).transpose()
    }

    /// Uses a refresh token for the next one. Says whether it was the first use, in a family that
    /// still stood: of two at once one is.
    ///
    /// # Errors
    /// The database fails.
    pub async fn rotate_refresh_token(
        &self,
        token_hash: &[u8; 32],
        given: &Given<'_>,
        now_s: u64,
    ) -> Result<bool, Failure> {
        let mut transaction = self.begin_write().await?;
        let row: Option<(String,)> = sqlx::query_as(
            "UPDATE refresh_tokens SET used_s = $1
             WHERE token_hash = $2 AND used_s IS NULL AND expires_s > $3
               AND family IN (SELECT id FROM token_families WHERE ended_s IS NULL AND expires_s > $4)
             RETURNING family",
        )
        .bind(COLUMNS.number(now_s)?)
        .bind(attorn_jose::base64url(token_hash))
        .bind(COLUMNS.number(now_s)?)
        .bind(COLUMNS.number(now_s)?)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((family,)) = row else { return Ok(false) };
        give(&mut transaction, &family, given).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Ends a family: no refresh token of it counts, and its access tokens that live are revoked.
    /// Ending it twice is no error. Gives the names of the tokens that were revoked.
    ///
    /// # Errors
    /// The database fails.
    pub async fn end_family(&self, act: &Act<'_>, family: &str) -> Result<Vec<String>, StoreError> {
        let now_s = COLUMNS.number(act.now_s)?;
        let mut change = Change::open(self, *act).await?;
        sqlx::query("UPDATE token_families SET ended_s = $1 WHERE id = $2 AND ended_s IS NULL")
            .bind(now_s)
            .bind(family)
            .execute(change.connection())
            .await?;
        let living: Vec<(String, i64)> = sqlx::query_as(
            "SELECT jti, expires_s FROM family_tokens WHERE family = $1 AND expires_s > $2
               AND jti NOT IN (SELECT jti FROM revoked_tokens)",
        )
        .bind(family)
        .bind(now_s)
        .fetch_all(change.connection())
        .await?;
        revoke_living(&mut change, &living).await?;
        change.commit().await?;
        Ok(living.into_iter().map(|(jti, _)| jti).collect())
    }
}

/// Revokes the access tokens that live of what a consent gave: the same given anew must not bring them
/// back.
pub(crate) async fn revoke_tokens_of(
    change: &mut Change<'_>,
    consent: &Consent,
    now_s: u64,
) -> Result<(), StoreError> {
    let living: Vec<(String, i64)> = sqlx::query_as(
        "SELECT jti, family_tokens.expires_s FROM family_tokens
         JOIN token_families ON token_families.id = family_tokens.family
         WHERE agent = $1 AND person = $2 AND server = $3 AND family_tokens.expires_s > $4
           AND jti NOT IN (SELECT jti FROM revoked_tokens)",
    )
    .bind(consent.agent.as_str())
    .bind(consent.person.as_str())
    .bind(consent.server.as_str())
    .bind(COLUMNS.number(now_s)?)
    .fetch_all(change.connection())
    .await?;
    revoke_living(change, &living).await
}

async fn revoke_living(
    change: &mut Change<'_>,
    living: &[(String, i64)],
) -> Result<(), StoreError> {
    for (jti, expires_s) in living {
        change.count_up().await?;
        sqlx::query("INSERT INTO revoked_tokens (jti, expires_s) VALUES ($1, $2)")
            .bind(jti)
            .bind(expires_s)
            .execute(change.connection())
            .await?;
        change.note(ChangeKind::TokenRevoked, jti).await?;
    }
    Ok(())
}

/// Writes down an access token and a refresh token of a family.
async fn give(
    connection: &mut AnyConnection,
    family: &str,
    given: &Given<'_>,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO family_tokens (jti, family, expires_s) VALUES ($1, $2, $3)")
        .bind(given.jti)
        .bind(family)
        .bind(COLUMNS.number(given.expires_s)?)
        .execute(&mut *connection)
        .await?;
    let Some((token_hash, expires_s)) = given.refresh else { return Ok(()) };
    sqlx::query("INSERT INTO refresh_tokens (token_hash, family, expires_s) VALUES ($1, $2, $3)")
        .bind(attorn_jose::base64url(&token_hash))
        .bind(family)
        .bind(COLUMNS.number(expires_s)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes down a new family, and forgets those that have ended by age.
pub(crate) async fn insert_family(
    connection: &mut AnyConnection,
    family: &Family,
    now_s: u64,
) -> Result<(), Failure> {
    for table in [
        "DELETE FROM token_families WHERE expires_s <= $1",
        "DELETE FROM family_tokens WHERE expires_s <= $1",
    ] {
        sqlx::query(table).bind(COLUMNS.number(now_s)?).execute(&mut *connection).await?;
    }
    sqlx::query(
        "INSERT INTO token_families
         (id, agent, person, server, client_id, scope, login_s, created_s, jkt, expires_s)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9)",
    )
    .bind(&family.id)
    .bind(family.agent.as_str())
    .bind(family.person.as_str())
    .bind(family.server.as_str())
    .bind(&family.client_id)
    .bind(family.scope.to_string())
    .bind(COLUMNS.number(family.login_s)?)
    .bind(COLUMNS.number(family.created_s)?)
    .bind(COLUMNS.number(family.expires_s)?)
    .execute(connection)
    .await?;
    Ok(())
}
