//! Listeners, TLS, limits, graceful stop and outbound HTTP.
//!
//! Implemented: HTTP/1.1 and HTTP/2 listeners with limits on time, bytes and streams; TLS by rustls
//! on aws-lc-rs, the provider always named; plain HTTP on loopback only; a pooled HTTP/1.1 client
//! that resolves once, judges every address and connects to a judged one.
//!
//! Not implemented: client certificates, the PROXY protocol, HTTP/2 towards upstreams, redirects,
//! HTTP proxies. Nothing here reads an environment variable or the system clock.

mod body;
mod client;
mod clock;
mod listener;
mod peer;
mod random;
mod serve;
mod shutdown;
mod tls;

pub use body::{Body, BodyClosed, BodySender, StreamAborted};
pub use client::{
    Client, ClientConfig, Reach, ResponseBody, ResponseBodyError, SendError, UrlRefusal,
};
pub use clock::Clock;
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub use random::Random;
pub use serve::{Limits, serve};
pub use shutdown::Shutdown;
pub use tls::{Roots, TlsError, server_config, server_config_from_files};
