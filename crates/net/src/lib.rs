//! Listeners, TLS, limits, graceful stop and outbound HTTP.
//!
//! Implemented: HTTP/1.1 and HTTP/2 listeners with limits on time, bytes, streams and connections of one address; TLS by rustls
//! on aws-lc-rs, the provider always named; client certificates, asked for, shown, and out of a header
//! of a listed proxy (RFC 9440); certificates and trust replaced while connections run; plain HTTP on loopback only; a pooled client for HTTP/1.1
//! and, over TLS, HTTP/2, that resolves once, judges every address and connects to a judged one.
//!
//! Not implemented: the PROXY protocol, redirects, HTTP proxies for what we ask. Nothing here reads an environment variable or the system clock.

mod body;
mod certificate;
mod client;
mod client_cert;
mod clock;
mod connected;
mod connections;
mod der;
mod listener;
mod network;
mod noise;
mod peer;
mod random;
mod rate;
mod serve;
mod several_places;
mod shares;
mod shutdown;
#[cfg(test)]
mod test_certificates;
mod tls;
mod trust;

pub use body::{Body, BodyClosed, BodySender, StreamAborted};
pub use certificate::PeerCertificate;
pub use client::{
    Client, ClientConfig, Reach, RequestBody, ResponseBody, ResponseBodyError, SendError,
    UrlRefusal,
};
pub use client_cert::{ClientCertRefusal, read as read_client_cert};
pub use clock::{Clock, StepBack};
pub use connections::Connections;
pub use listener::{BindError, Listener};
pub use network::{Network, NetworkError};
pub use noise::{NoiseGate, Noisy, place};
pub use peer::{Peer, SEEN_CERTIFICATE};
pub use random::Random;
pub use rate::{Bucket, Buckets, Rate, TooSoon};
pub use rustls::ServerConfig;
pub use serve::{Limits, ReceivedBody, serve};
pub use several_places::{Elsewhere, SeveralPlaces, Sighting};
pub use shutdown::Shutdown;
pub use tls::{
    ClientIdentity, Roots, Tls, TlsError, TlsMaterial, certificates_of_pem, life_end_s, read_pem,
};
pub use trust::{Anchors, TrustedProxy, are_authorities};
