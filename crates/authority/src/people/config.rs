//! The `[authority.clients]` part of the configuration: whether people may let clients act for them.

use std::path::PathBuf;

use attorn_net::TlsError;
use attorn_registry::Name;
use serde::{Deserialize, Serialize};

use crate::outward::OutwardRefusal;

/// Clients of people. Without this part nobody logs in, and nothing of it is announced.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsConfig {
    /// Name of the owner who answers for clients that became known by themselves.
    pub owner: Name,
    /// Whether a client may be the `https` URL of a document about itself.
    #[serde(default)]
    pub documents: bool,
    /// Hosts, as `host` or `host:port`, whose documents are fetched wherever they are: on an address
    /// of a private network, on another port, under a name that is not public. None by default.
    #[serde(default)]
    pub metadata_hosts: Vec<String>,
    /// PEM file of the certificate authorities that count for those hosts instead of the public
    /// ones. Relative to the file.
    pub metadata_roots: Option<PathBuf>,
    /// Whether a client may register itself: `closed` or `open`.
    #[serde(default)]
    pub registration: Registration,
    /// How many clients may have registered themselves.
    #[serde(default = "default_registrations_max")]
    pub registrations_max: u32,
    /// Days for which a consent holds, at most 365.
    #[serde(default = "default_consent_days")]
    pub consent_days: u16,
    /// Days after which a client has to ask the person again, however often it renews. At most 90.
    #[serde(default = "default_refresh_days")]
    pub refresh_days: u16,
    /// Days without a renewal after which it has to as well.
    #[serde(default = "default_refresh_idle_days")]
    pub refresh_idle_days: u16,
}

/// Whether clients may register themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Nobody may.
    #[default]
    Closed,
    /// Anybody may, within the quota.
    Open,
}

/// A part that cannot be started with.
#[derive(Debug, thiserror::Error)]
pub enum ClientsRefusal {
    /// Days outside their bounds.
    #[error("`consent_days` is 1 to 365, `refresh_days` 1 to 90, `refresh_idle_days` not above it")]
    Days,
    /// The file of certificate authorities cannot be read.
    #[error("cannot read `metadata_roots`")]
    Roots(#[source] std::io::Error),
    /// The file of certificate authorities is not usable.
    #[error("`metadata_roots` is not usable")]
    Tls(#[source] TlsError),
}

impl From<OutwardRefusal> for ClientsRefusal {
    fn from(refusal: OutwardRefusal) -> Self {
        match refusal {
            OutwardRefusal::Roots(error) => Self::Roots(error),
            OutwardRefusal::Tls(error) => Self::Tls(error),
        }
    }
}

impl ClientsConfig {
    /// Refuses what would last for ever, or not at all.
    ///
    /// # Errors
    /// [`ClientsRefusal::Days`].
    pub fn verify(&self) -> Result<(), ClientsRefusal> {
        let fits = (1..=365).contains(&self.consent_days)
            && (1..=90).contains(&self.refresh_days)
            && (1..=self.refresh_days).contains(&self.refresh_idle_days);
        if fits { Ok(()) } else { Err(ClientsRefusal::Days) }
    }
}

const fn default_registrations_max() -> u32 {
    1000
}

const fn default_consent_days() -> u16 {
    90
}

const fn default_refresh_days() -> u16 {
    30
}

const fn default_refresh_idle_days() -> u16 {
    7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_bounds() {
        let good = ClientsConfig {
            owner: Name::parse("it").unwrap(),
            documents: false,
            metadata_hosts: Vec::new(),
            metadata_roots: None,
            registration: Registration::default(),
            registrations_max: default_registrations_max(),
            consent_days: default_consent_days(),
            refresh_days: default_refresh_days(),
            refresh_idle_days: default_refresh_idle_days(),
        };
        assert!(good.verify().is_ok());
        for (consent, refresh, idle) in
            [(0, 30, 7), (366, 30, 7), (90, 0, 0), (90, 91, 7), (90, 30, 0), (90, 5, 6)]
        {
            let with = ClientsConfig {
                consent_days: consent,
                refresh_days: refresh,
                refresh_idle_days: idle,
                ..good.clone()
            };
            assert!(with.verify().is_err(), "{consent} {refresh} {idle}");
        }
    }
}
