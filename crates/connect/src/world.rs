//! Everything from outside that this crate uses, in one value.

use attorn_net::{Client, Clock, Random};

/// The outside world: handed in by the binary, scripted by tests.
#[derive(Clone, Debug)]
pub struct World {
    /// Outbound HTTP. It follows no redirects, so no credential can be carried to another origin.
    pub client: Client,
    /// Wall time.
    pub clock: Clock,
    /// Unpredictable bytes for `jti` values, secrets and seeds.
    pub random: Random,
}

impl World {
    /// 128 random bits as base64url: unique enough for a `jti` (RFC 9449 section 4.2).
    pub(crate) fn unique(&self) -> String {
        attorn_jose::base64url(&self.random.bytes::<16>())
    }

    /// 256 random bits as base64url, for secrets.
    pub(crate) fn secret(&self) -> String {
        attorn_jose::base64url(&self.random.bytes::<32>())
    }
}
