//! The ports of this process.

use std::net::SocketAddr;
use std::sync::Arc;

use attorn_net::{Listener, server_config_from_files};

use crate::config::Config;
use crate::exit::Failure;
use crate::outside::causes;

/// Bound, not served yet.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) authority: Listener,
    pub(super) admin: Listener,
    pub(super) gateway: Listener,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, Failure> {
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(
                server_config_from_files(&tls.certificates, &tls.key)
                    .map_err(|e| Failure::usage(causes(&e)).next("see [tls] in attorn.toml"))?,
            ),
        };
        let bind = async |address: SocketAddr| {
            Listener::bind(address, tls.as_ref().map(Arc::clone))
                .await
                .map_err(|e| Failure::usage(causes(&e)).next("see [listen] in attorn.toml"))
        };
        Ok(Self {
            authority: bind(config.listen.authority).await?,
            admin: bind(config.listen.admin).await?,
            gateway: bind(config.listen.gateway).await?,
        })
    }
}
