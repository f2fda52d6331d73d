//! One connection to the shared memory, and the life of that memory it belongs to.

use std::time::Duration;

use attorn_jose::{base64url, from_base64url};
use attorn_net::Rate;
use attorn_oauth::dpop::NonceKey;
use attorn_oauth::possession::{SharedAnswer, SharedUse};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, InfoDict, RedisError};

use crate::address::Address;

/// How long a used proof is remembered, in seconds: much longer than the 65 for which it could be
/// accepted, since the server counts by its own clock.
pub const REMEMBERED_S: u64 = 600;

/// Longer than this the memory is taken as gone.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// The key of nonces is changed at least this often: NIST SP 800-38D bounds how many random nonces
/// one key may see.
const KEY_LIFETIME_S: u64 = 86_400;

/// Burns a proof, if the memory is the one that its nonce was made with.
const BURN: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[2]) then return 1 end
return 0";

/// Takes up to `ARGV[3]` from a budget, which is the time at which it is full again, in
/// microseconds of the server: a request costs `ARGV[1]` of it, and `ARGV[2]` is the debt at which
/// it still gives. A clock that goes back must not close it for longer than a burst lasts.
const LEASE: &str = "\
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local cost, debt_max, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
full = math.max(now, math.min(full, now + debt_max + cost))
local debt = full - now
if debt > debt_max then return {0, math.ceil(debt - debt_max)} end
local given = math.min(want, math.floor((debt_max - debt) / cost) + 1)
full = full + given * cost
local life = math.ceil((full - now) / 1000) + 1000
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', life)
return {given, 0}";

/// Why a memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    #[error("it may forget used proofs: `maxmemory-policy` is `{0}` and must be `noeviction`")]
    Evicts(String),
    #[error("the key of the nonces in it is none of ours")]
    Foreign,
    #[error("it is a replica, which may lag behind")]
    Replica,
    #[error("it does not say its `{0}`")]
    Silent(&'static str),
    #[error("it cannot be reached or refuses: {0}")]
    Unreachable(#[from] RedisError),
}

/// A memory while it lives.
#[derive(Debug)]
pub(crate) struct Memory {
    connection: MultiplexedConnection,
    pub(crate) nonce_key: NonceKey,
    /// Under what name the key is there. It holds the server's run, so that a server which came up
    /// with old data has no key.
    key_name: String,
    key_text: String,
    /// Whether its user may do what rates need.
    has_rates: bool,
}

impl Memory {
    /// Connects, and takes or makes the key of the shared nonces.
    pub(crate) async fn open(address: &Address, random: &[u8; 32]) -> Result<Self, MemoryError> {
        let within = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTED_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let client = address.client()?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&within).await?;
        let info: InfoDict = redis::cmd("INFO").query_async(&mut connection).await?;
        let run = fit(&info)?;
        let key_name = format!("attorn:nonce-key:{run}");
        // The first gateway decides; the others take what is there.
        let _set: Option<String> = redis::cmd("SET")
            .arg(&key_name)
            .arg(base64url(random))
            .arg(&["NX", "EX"])
            .arg(KEY_LIFETIME_S)
            .query_async(&mut connection)
            .await?;
        let key_text: Option<String> =
            redis::cmd("GET").arg(&key_name).query_async(&mut connection).await?;
        let key_text = key_text.ok_or(MemoryError::Foreign)?;
        let bytes = from_base64url(&key_text).ok().and_then(|bytes| bytes.try_into().ok());
        let nonce_key = bytes.and_then(|bytes: [u8; 32]| NonceKey::new(&bytes).ok());
        let nonce_key = nonce_key.ok_or(MemoryError::Foreign)?;
        let memory = Self { connection, nonce_key, key_name, key_text, has_rates: true };
        memory.probe().await
    }

    /// Runs each script once, so that a user who may not is found now and not at each call. Without
    /// rates the memory is still one of used proofs.
    async fn probe(mut self) -> Result<Self, MemoryError> {
        let mut connection = self.connection.clone();
        let _another_memory: i64 = redis::cmd("EVAL")
            .arg(BURN)
            .arg(2)
            .arg(&self.key_name)
            .arg("attorn:used:probe")
            .arg("")
            .arg(1)
            .query_async(&mut connection)
            .await?;
        match self.lease("attorn:rate:probe", Rate::new(1, 1), 1).await {
            Ok(_) => {}
            Err(error) if is_refusal(&error) => {
                tracing::warn!(%error, "the shared memory does not count rates; see its user");
                self.has_rates = false;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self)
    }

    /// Whether rates can be asked for.
    pub(crate) const fn has_rates(&self) -> bool {
        self.has_rates
    }

    /// Whether it answers, and is still the one it was.
    pub(crate) async fn is_alive(&self) -> bool {
        let mut connection = self.connection.clone();
        let key: Result<Option<String>, RedisError> =
            redis::cmd("GET").arg(&self.key_name).query_async(&mut connection).await;
        key.is_ok_and(|key| key.as_ref() == Some(&self.key_text))
    }

    /// Takes up to `want` from the budget of this name.
    pub(crate) async fn lease(
        &self,
        name: &str,
        rate: Rate,
        want: u32,
    ) -> Result<(u32, Duration), RedisError> {
        let cost_us = 1_000_000.0 / f64::from(rate.per_s());
        let mut connection = self.connection.clone();
        let (given, wait_us): (u32, u64) = redis::cmd("EVAL")
            .arg(LEASE)
            .arg(1)
            .arg(name)
            .arg(cost_us)
            .arg(cost_us * f64::from(rate.burst() - 1))
            .arg(want)
            .query_async(&mut connection)
            .await?;
        Ok((given.min(want), Duration::from_micros(wait_us)))
    }

    /// Burns a proof for everybody who shares this memory.
    pub(crate) async fn burn(&self, shared_use: &SharedUse) -> Result<SharedAnswer, RedisError> {
        let used_name = [b"attorn:used:".as_slice(), &shared_use.replay_key].concat();
        let mut connection = self.connection.clone();
        let answer: i64 = redis::cmd("EVAL")
            .arg(BURN)
            .arg(2)
            .arg(&self.key_name)
            .arg(used_name)
            .arg(&self.key_text)
            .arg(REMEMBERED_S)
            .query_async(&mut connection)
            .await?;
        Ok(match answer {
            1 => SharedAnswer::First,
            0 => SharedAnswer::Used,
            _ => SharedAnswer::Unavailable,
        })
    }
}

/// Whether the server answered and refuses, such as a user without a command.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}

/// The run of a server that forgets nothing early.
fn fit(info: &InfoDict) -> Result<String, MemoryError> {
    let named = |name: &'static str| {
        info.get::<String>(name).filter(|text| !text.is_empty()).ok_or(MemoryError::Silent(name))
    };
    if named("role")? != "master" {
        return Err(MemoryError::Replica);
    }
    let policy = named("maxmemory_policy")?;
    if policy != "noeviction" {
        return Err(MemoryError::Evicts(policy));
    }
    named("run_id")
}
