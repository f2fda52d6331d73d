//! The ports of this process.

use std::net::SocketAddr;

use attorn_net::Listener;

use super::tls::ProcessTls;
use crate::config::Config;
use crate::exit::Failure;
use crate::outside::causes;

/// Bound, not served yet.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) authority: Option<Listener>,
    pub(super) admin: Option<Listener>,
    pub(super) gateway: Option<Listener>,
}

impl Listeners {
    /// Whether they speak TLS; all do, or none.
    pub(super) fn is_encrypted(&self) -> bool {
        let bound = [&self.authority, &self.admin, &self.gateway];
        bound.into_iter().flatten().all(Listener::is_encrypted)
    }

    pub(super) async fn bind(config: &Config, tls: &mut ProcessTls) -> Result<Self, Failure> {
        let mut bind = async |address: Option<SocketAddr>| {
            let Some(address) = address else { return Ok(None) };
            Listener::bind(address, tls.listener()?)
                .await
                .map(Some)
                .map_err(|e| Failure::usage(causes(&e)).next("see [listen] in attorn.toml"))
        };
        Ok(Self {
            authority: bind(config.listen.authority).await?,
            admin: bind(config.listen.admin).await?,
            gateway: bind(config.listen.gateway).await?,
        })
    }
}
