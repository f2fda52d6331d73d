//! A small invoice server on the official Rust SDK: the kind of server Attorn protects unchanged.
//!
//! It offers two read tools, one write tool, one irreversible tool, one tool without annotations,
//! a resource and a prompt. It knows nothing of Attorn and holds no credential.

mod api;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use rmcp::ServiceExt;
use rmcp::transport::stdio;
use tokio::net::TcpListener;

use crate::api::Api;
use crate::server::InvoiceServer;

/// Serves MCP on standard input and output until the client leaves.
///
/// `api_base` is the invoice API, such as `http://127.0.0.1:9000`; without one a private API
/// with the same start data is run in this process.
///
/// # Errors
/// [`SampleError`] when the address is not usable or the handshake fails.
pub async fn run_stdio(api_base: Option<String>) -> Result<(), SampleError> {
    let base = match api_base {
        Some(base) => base,
        None => private_api().await.map_err(SampleError::Api)?,
    };
    let server = InvoiceServer::new(Api::new(&base).ok_or(SampleError::ApiBase)?);
    let running = server.serve(stdio()).await.map_err(|_| SampleError::Handshake)?;
    running.waiting().await.map_err(|_| SampleError::Stopped)?;
    Ok(())
}

async fn private_api() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(attorn_sample_api::serve(listener));
    Ok(base)
}

/// Why the sample stopped.
#[derive(Debug)]
pub enum SampleError {
    /// The private API could not listen.
    Api(io::Error),
    /// The address is not `http://host:port`.
    ApiBase,
    /// The client sent no valid opening message.
    Handshake,
    /// The serving task ended early.
    Stopped,
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => write!(f, "the sample API could not listen: {error}"),
            Self::ApiBase => f.write_str("the API address is not `http://host:port`"),
            Self::Handshake => f.write_str("the client sent no valid opening message"),
            Self::Stopped => f.write_str("the serving task ended early"),
        }
    }
}

impl std::error::Error for SampleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Api(error) => Some(error),
            Self::ApiBase | Self::Handshake | Self::Stopped => None,
        }
    }
}
