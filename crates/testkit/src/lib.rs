//! Parts for tests: a raw HTTP client that can send malformed bytes, forged tokens and proofs, and
//! a canary MCP server that counts what reaches it, a Redis and a PostgreSQL server, a proxy, an
//! authenticator.
//!
//! Nothing here is linked into the product.

pub mod authenticator;
pub mod canary;
pub mod forge;
pub mod haproxy;
pub mod hpack;
pub mod http2;
pub mod ocsf;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod tls;
pub mod weak_rsa;
pub mod wire;
