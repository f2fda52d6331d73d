//! The ports of this process.

use std::net::SocketAddr;

use attorn_net::{Connections, Listener};

use super::tls::ProcessTls;
use crate::config::{Config, ListenerName};
use crate::exit::Failure;
use crate::outside::causes;

/// Bound, not served yet.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) authority: Option<Listener>,
    pub(super) admin: Option<Listener>,
    pub(super) gateway: Option<Listener>,
    /// Of each guard, in the order of the configuration.
    pub(super) guards: Vec<Listener>,
    pub(super) metrics: Option<Listener>,
}

impl Listeners {
    /// Whether they speak TLS; all do, or none. That of metrics does not count.
    pub(super) fn is_encrypted(&self) -> bool {
        let bound = [&self.authority, &self.admin, &self.gateway];
        bound.into_iter().flatten().chain(&self.guards).all(Listener::is_encrypted)
    }

    /// The connections of each, by the name in metrics.
    pub(super) fn connections(&self) -> Vec<(&'static str, Connections)> {
        let named = [
            ("authority", &self.authority),
            ("admin", &self.admin),
            ("gateway", &self.gateway),
            ("metrics", &self.metrics),
        ];
        let counted = |(name, listener): (_, &Option<Listener>)| {
            listener.as_ref().map(|listener| (name, listener.connections().clone()))
        };
        let guards = self.guards.iter().map(|one| ("guard", one.connections().clone()));
        named.into_iter().filter_map(counted).chain(guards).collect()
    }

    pub(super) async fn bind(config: &Config, tls: &mut ProcessTls) -> Result<Self, Failure> {
        let mut bind = async |address: Option<SocketAddr>, name: Option<ListenerName>, plain| {
            let Some(address) = address else { return Ok(None) };
            let tls = if plain { None } else { tls.listener(name)? };
            Listener::bind(address, tls)
                .await
                .map(Some)
                .map_err(|e| Failure::usage(causes(&e)).next("see [listen] in attorn.toml"))
        };
        // On loopback whoever reads metrics needs no certificate of ours.
        let listen = &config.listen;
        let metrics = listen.metrics;
        let plain = metrics.is_some_and(|address| address.ip().is_loopback());
        let mut guards = Vec::with_capacity(config.guard.len());
        for guard in &config.guard {
            guards.extend(bind(Some(guard.listen), None, false).await?);
        }
        Ok(Self {
            guards,
            metrics: bind(metrics, None, plain).await?,
            authority: bind(listen.authority, Some(ListenerName::Authority), false).await?,
            admin: bind(listen.admin, Some(ListenerName::Admin), false).await?,
            gateway: bind(listen.gateway, Some(ListenerName::Gateway), false).await?,
        })
    }
}
