//! The leases of gateways; the rule is in [`attorn_registry::present_lease`].
//!
//! A row is replaced only while it is what was judged, so of two questions at once the second is
//! judged on what the first left. On the disk when [`Store::present_lease`] returns.

use attorn_registry::{
    AgentId, Jkt, LeaseDigest, LeaseRecord, LeaseRefusal, LogHead, PresentedLease, present_lease,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::column::{Columns, row};
use crate::failure::Failure;

const COLUMNS: Columns = Columns("gateway_leases");

impl Store {
    /// Judges what a gateway presents and remembers what follows. Says whether its fresh lease is
    /// given to it.
    ///
    /// # Errors
    /// The database fails. The inner error says that the gateway does not go on.
    pub async fn present_lease(
        &self,
        gateway: &AgentId,
        asked: &PresentedLease,
    ) -> Result<Result<bool, LeaseRefusal>, Failure> {
        loop {
            let before = self.lease(gateway).await?;
            let (after, issued) = match present_lease(before.as_ref(), asked) {
                Ok(judged) => judged,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if before.as_ref() == Some(&after) || self.replace(gateway, before, &after).await? {
                return Ok(Ok(issued));
            }
        }
    }

    /// Forgets the lease of a gateway: what it presents next counts.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_lease(&self, gateway: &AgentId) -> Result<(), Failure> {
        sqlx::query(FORGET).bind(gateway.as_str()).execute(&self.pool).await?;
        Ok(())
    }

    async fn lease(&self, gateway: &AgentId) -> Result<Option<LeaseRecord>, Failure> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT held, issued, latest_ms, only_key, log_size, log_root FROM gateway_leases
             WHERE agent = $1",
        )
        .bind(gateway.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(Row::read).transpose()
    }

    /// Whether the row was still the one that was judged.
    async fn replace(
        &self,
        gateway: &AgentId,
        before: Option<LeaseRecord>,
        after: &LeaseRecord,
    ) -> Result<bool, Failure> {
        let statement = if before.is_none() {
            "INSERT INTO gateway_leases (agent, held, issued, only_key, log_size, log_root, latest_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (agent) DO NOTHING"
        } else {
            "UPDATE gateway_leases
             SET held = $2, issued = $3, only_key = $4, log_size = $5, log_root = $6, latest_ms = $7
             WHERE agent = $1 AND held IS NOT DISTINCT FROM $8
               AND issued IS NOT DISTINCT FROM $9 AND only_key IS NOT DISTINCT FROM $10"
        };
        let mut query = sqlx::query(statement)
            .bind(gateway.as_str())
            .bind(after.held.as_ref().map(text))
            .bind(texts(&after.issued))
            .bind(after.only_key.clone())
            .bind(COLUMNS.number(after.log.size)?)
            .bind(after.log.root.clone())
            .bind(COLUMNS.number(after.latest_ms)?);
        if let Some(before) = before {
            query = query
                .bind(before.held.as_ref().map(text))
                .bind(texts(&before.issued))
                .bind(before.only_key);
        }
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}

/// As [`Store::forget_lease`], as a part of a change.
pub(crate) async fn forget(
    connection: &mut AnyConnection,
    gateway: &AgentId,
) -> Result<(), Failure> {
    sqlx::query(FORGET).bind(gateway.as_str()).execute(connection).await?;
    Ok(())
}

const FORGET: &str = "DELETE FROM gateway_leases WHERE agent = $1";

/// From an enrolment on, whoever has the new key is the gateway; part of that change.
pub(crate) async fn expect_key(
    connection: &mut AnyConnection,
    gateway: &AgentId,
    key: Jkt,
) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO gateway_leases (agent, only_key, log_size, log_root) VALUES ($1, $2, 0, '')
         ON CONFLICT (agent) DO UPDATE SET held = NULL, issued = NULL,
             only_key = excluded.only_key, log_size = 0, log_root = ''",
    )
    .bind(gateway.as_str())
    .bind(key.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

fn text(digest: &LeaseDigest) -> String {
    attorn_jose::base64url(digest)
}

fn texts(digests: &[LeaseDigest]) -> Option<String> {
    let texts: Vec<_> = digests.iter().map(text).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

row! {
    held: Option<String>,
    issued: Option<String>,
    latest_ms: i64,
    only_key: Option<String>,
    log_size: i64,
    log_root: String,
}

impl Row {
    fn read(self) -> Result<LeaseRecord, Failure> {
        let issued = self.issued.unwrap_or_default();
        Ok(LeaseRecord {
            held: self.held.map(|held| COLUMNS.digest(&held)).transpose()?,
            issued: issued
                .split_ascii_whitespace()
                .map(|issued| COLUMNS.digest(issued))
                .collect::<Result<_, _>>()?,
            latest_ms: COLUMNS.count(self.latest_ms)?,
            only_key: self.only_key,
            log: LogHead { size: COLUMNS.count(self.log_size)?, root: self.log_root },
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_jose::CertificateThumbprint;
    use attorn_registry::{AgentKind, Authentication, Binding};

    use super::*;
    use crate::fixtures::{World, act, key, name};
    use crate::{InForce, NewAgent};

    fn asked(lease: Option<u8>, fresh: u8, is_due: bool) -> PresentedLease {
        PresentedLease {
            lease: lease.map(|byte| [byte; 32]),
            sealed_ms: None,
            key: key(1).to_string(),
            log: LogHead { size: 5, root: "r".to_owned() },
            fresh: [fresh; 32],
            fresh_ms: u64::from(fresh),
            is_due,
        }
    }

    #[tokio::test]
    async fn leases_are_kept_until_they_are_forgotten() {
        let world = World::new().await;
        let present = async |lease, fresh, is_due| {
            world.store.present_lease(&world.agent, &asked(lease, fresh, is_due)).await.unwrap()
        };
        assert_eq!(present(None, 1, true).await, Ok(true));
        assert_eq!(present(Some(1), 2, false).await, Ok(false));
        assert_eq!(present(None, 2, true).await, Err(LeaseRefusal::Copied));
        assert_eq!(present(Some(1), 2, true).await, Ok(true));
        assert_eq!(present(Some(2), 3, false).await, Ok(false));
        assert_eq!(present(Some(1), 3, true).await, Err(LeaseRefusal::Copied));
        world.store.forget_lease(&world.agent).await.unwrap();
        assert_eq!(present(Some(1), 3, true).await, Ok(true));
        // Ending every token lets no copy back in.
        world.store.raise_epoch(&act(5), InForce::default()).await.unwrap();
        assert_eq!(present(Some(9), 4, true).await, Err(LeaseRefusal::Copied));
        // Given after a backup was made, which came back.
        let later = PresentedLease { sealed_ms: Some(8), ..asked(Some(8), 9, true) };
        assert_eq!(world.store.present_lease(&world.agent, &later).await.unwrap(), Ok(true));
        assert_eq!(present(Some(9), 10, false).await, Ok(false));
    }

    #[tokio::test]
    async fn who_is_known_in_another_way_is_the_gateway() {
        let world = World::new().await;
        let gateway = AgentId::from_random(&[7; 16]);
        let (id, kind) = (gateway.clone(), AgentKind::Gateway);
        let new = NewAgent { id, name: name("gw-1"), kind, ..world.new_agent() };
        world.store.register_agent(&act(0), &new).await.unwrap();
        let present = async |lease, fresh, is_due| {
            world.store.present_lease(&gateway, &asked(lease, fresh, is_due)).await.unwrap()
        };
        let known_by = async |ders: &[&[u8]]| {
            let certificates = ders.iter().map(|der| CertificateThumbprint::of_der(der));
            let certificates = certificates.collect();
            let way = Authentication::SelfSignedTlsClientAuth { certificates };
            let wanted = (&way, Binding::Certificate);
            world.store.set_agent_authentication(&act(5), &gateway, wanted).await.unwrap();
        };
        // A key that was enrolled and never asked by: it cannot be asked by any more.
        world.store.create_enrolment(&act(1), &gateway, [7; 32]).await.unwrap();
        world.store.redeem_enrolment(&act(2), &[7; 32], (key(2), "{}")).await.unwrap();
        assert_eq!(present(None, 1, true).await, Err(LeaseRefusal::Copied));
        known_by(&[b"old"]).await;
        assert_eq!(present(None, 1, true).await, Ok(true));
        assert_eq!(present(Some(1), 2, false).await, Ok(false));
        // While the old certificate counts, a copy with it stays out.
        known_by(&[b"old", b"new"]).await;
        assert_eq!(present(None, 2, true).await, Err(LeaseRefusal::Copied));
        known_by(&[b"new"]).await;
        assert_eq!(present(None, 2, true).await, Err(LeaseRefusal::Copied));
        // A code gives such a gateway no key to ask by, and nothing is expected of one.
        world.store.create_enrolment(&act(6), &gateway, [8; 32]).await.unwrap();
        world.store.redeem_enrolment(&act(7), &[8; 32], (key(3), "{}")).await.unwrap();
        assert_eq!(present(Some(1), 2, false).await, Ok(false));
        known_by(&[b"another"]).await;
        assert_eq!(present(None, 3, true).await, Ok(true));
    }

    #[tokio::test]
    async fn of_two_questions_at_once_with_one_lease_one_lease_is_left() {
        let folder = std::env::temp_dir().join(format!("attorn-lease-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::for_several(&folder.join("race.db")).await;
        let (one, two) = (asked(None, 1, true), asked(None, 2, true));
        let (one, two) = tokio::join!(
            world.store.present_lease(&world.agent, &one),
            world.store.present_lease(&world.agent, &two),
        );
        assert_eq!((one.unwrap(), two.unwrap()), (Ok(true), Ok(true)));
        let mut left = 0;
        for lease in [1, 2] {
            let asked = asked(Some(lease), 9, false);
            left +=
                usize::from(world.store.present_lease(&world.agent, &asked).await.unwrap().is_ok());
        }
        assert_eq!(left, 1);
        world.store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
