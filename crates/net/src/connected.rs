//! One connection and what is known of its peer.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;

use crate::certificate::PeerCertificate;
use crate::{Peer, Tls};

/// A connection whose handshake is over.
pub(crate) struct Connected {
    peer: Peer,
    client: Option<Client>,
}

/// A client certificate whose chain is judged again when the trust changes.
struct Client {
    tls: Tls,
    chain: Vec<CertificateDer<'static>>,
    judged: ArcSwap<Judged>,
}

struct Judged {
    generation: u64,
    certificate: Option<Arc<PeerCertificate>>,
}

impl Connected {
    pub(crate) const fn plain(address: SocketAddr) -> Self {
        Self { peer: Peer::new(address, false), client: None }
    }

    pub(crate) fn encrypted(address: SocketAddr, tls: &Tls, connection: &ServerConnection) -> Self {
        let server_name = connection.server_name().map(Arc::from);
        let client = connection.peer_certificates().map(|chain| {
            let chain: Vec<_> = chain.iter().map(|der| der.clone().into_owned()).collect();
            let judged = ArcSwap::from_pointee(Judged::now(tls, &chain));
            Client { tls: tls.clone(), chain, judged }
        });
        Self { peer: Peer { server_name, ..Peer::new(address, true) }, client }
    }

    /// What is known of the peer now.
    pub(crate) fn peer(&self) -> Peer {
        let certificate = self.client.as_ref().and_then(Client::certificate);
        Peer { certificate, ..self.peer.clone() }
    }
}

impl Client {
    fn certificate(&self) -> Option<Arc<PeerCertificate>> {
        let judged = self.judged.load();
        if judged.generation == self.tls.generation() {
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
        Self { generation, certificate: certificate.map(Arc::new) }
    }
}
