//! Listeners, TLS, limits, graceful stop and outbound HTTP.
//!
//! Implemented: HTTP/1.1 and HTTP/2 listeners with limits on time, bytes and streams; TLS by rustls
//! on aws-lc-rs, the provider always named; client certificates, asked for and shown; certificates and
//! trust replaced while connections run; plain HTTP on loopback only; a pooled HTTP/1.1 client that
//! resolves once, judges every address and connects to a judged one.
//!
//! Not implemented: client certificates out of headers, the PROXY protocol, HTTP/2 towards upstreams, redirects,
//! HTTP proxies. Nothing here reads an environment variable or the system clock.

mod body;
mod certificate;
mod client;
mod clock;
mod connected;
mod connections;
mod der;
mod listener;
mod noise;
mod peer;
mod random;
mod rate;
mod serve;
mod several_places;
mod shutdown;
#[cfg(test)]
mod test_certificates;
mod tls;
mod trust;

pub use body::{Body, BodyClosed, BodySender, StreamAborted};
pub use certificate::PeerCertificate;
pub use client::{
    Client, ClientConfig, Reach, ResponseBody, ResponseBodyError, SendError, UrlRefusal,
};
pub use clock::{Clock, StepBack};
pub use connections::Connections;
pub use listener::{BindError, Listener};
pub use noise::{NoiseGate, Noisy, place};
pub use peer::Peer;
pub use random::Random;
pub use rate::{Bucket, Buckets, Rate, TooSoon};
pub use rustls::ServerConfig;
pub use serve::{Limits, serve};
pub use several_places::{Elsewhere, SeveralPlaces, Sighting};
pub use shutdown::Shutdown;
pub use tls::{
    ClientIdentity, Roots, Tls, TlsError, TlsMaterial, certificates_of_pem, life_end_s, read_pem,
};
pub use trust::Anchors;
