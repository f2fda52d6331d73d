//! One connection and what is known of its peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use crate::certificate::PeerCertificate;
use crate::{Peer, Tls, client_cert};

/// A connection whose handshake is over.
pub(crate) struct Connected {
    peer: Peer,
    client: Option<Client>,
}

/// For so long a chain counts as it was judged: a list of revoked certificates, or a certificate in the
/// middle, can end while the connection stays.
const JUDGED_FOR: Duration = Duration::from_secs(60);

/// The other end of TLS. Its chain, where it showed one, is judged again when the trust changes, and
/// once a minute.
struct Client {
    tls: Tls,
    chain: Vec<CertificateDer<'static>>,
    judged: ArcSwap<Judged>,
}

struct Judged {
    generation: u64,
    at: Instant,
    certificate: Option<Arc<PeerCertificate>>,
}

impl Connected {
    pub(crate) const fn plain(address: SocketAddr) -> Self {
        Self { peer: Peer::new(address, false), client: None }
    }

    pub(crate) fn encrypted(address: SocketAddr, tls: &Tls, connection: &ServerConnection) -> Self {
        let server_name = connection.server_name().map(Arc::from);
        let chain = connection.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = chain.iter().map(|der| der.clone().into_owned()).collect();
        let judged = ArcSwap::from_pointee(Judged::now(tls, &chain));
        let client = Some(Client { tls: tls.clone(), chain, judged });
        Self { peer: Peer { server_name, ..Peer::new(address, true) }, client }
    }

    /// Whether the other end is a listed proxy, by its address and its own certificate.
    pub(crate) fn is_proxy(&self) -> bool {
        let Some(client) = &self.client else { return false };
        let own = client.certificate();
        client.tls.proxy(self.peer.address.ip(), own.as_deref()).is_some()
    }

    /// What is known now of the peer of a request with these headers, which count only where the
    /// other end is a listed proxy.
    pub(crate) fn peer(&self, headers: &HeaderMap) -> Peer {
        // Without TLS nobody knows who writes the headers.
        let Some(client) = &self.client else { return self.peer.clone() };
        let own = client.certificate();
        let Some(proxy) = client.tls.proxy(self.peer.address.ip(), own.as_deref()) else {
            return Peer { certificate: own, ..self.peer.clone() };
        };
        // RFC 9440 section 4: what the proxy says, and never its own certificate.
        let peer = Peer { proxy: Some(proxy), ..self.peer.clone() };
        match client_cert::read(headers) {
            Ok(chain) => {
                let certificate = client.tls.judge(&chain).1.map(Arc::new);
                Peer { certificate, ..peer }
            }
            Err(refusal) => Peer { client_cert: Err(refusal), ..peer },
        }
    }
}

impl Client {
    fn certificate(&self) -> Option<Arc<PeerCertificate>> {
        let judged = self.judged.load();
        if judged.counts(self.tls.generation(), Instant::now()) {
            return judged.certificate.clone();
        }
        // The trust changed since: whoever it does not hold any more is a stranger from here on.
        let judged = Judged::now(&self.tls, &self.chain);
        let certificate = judged.certificate.clone();
        self.judged.store(Arc::new(judged));
        certificate
    }
}

impl Judged {
    fn now(tls: &Tls, chain: &[CertificateDer<'_>]) -> Self {
        let (generation, certificate) = tls.judge(chain);
        Self { generation, at: Instant::now(), certificate: certificate.map(Arc::new) }
    }

    fn counts(&self, generation: u64, now: Instant) -> bool {
        self.generation == generation && now.saturating_duration_since(self.at) < JUDGED_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_judged_again_after_a_change_and_after_a_while() {
        let at = Instant::now();
        let judged = Judged { generation: 3, at, certificate: None };
        assert!(judged.counts(3, at));
        assert!(judged.counts(3, at + Duration::from_secs(59)));
        assert!(!judged.counts(3, at + Duration::from_secs(60)));
        assert!(!judged.counts(4, at));
    }
}
