//! The hidden samples: what `attorn dev` protects.

use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;

use crate::exit::{Exit, Failure};
use crate::signals::Signals;

#[derive(Debug, Args)]
pub(crate) struct SampleMcpServerArgs {
    /// The invoice API it calls; without it, a private one
    #[arg(long, value_name = "URL", env = "INVOICES_API_URL")]
    api: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SampleApiArgs {
    /// Address to listen on; loopback only
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
}

pub(crate) async fn run_mcp_server(args: SampleMcpServerArgs) -> Result<Exit, Failure> {
    attorn_sample_mcp_server::run_stdio(args.api)
        .await
        .map(|()| Exit::Yes)
        .map_err(|e| Failure::no(e.to_string()))
}

pub(crate) async fn run_api(args: SampleApiArgs) -> Result<Exit, Failure> {
    // It asks nobody for a credential, so nobody else may reach it.
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage("the sample API listens on loopback only"));
    }
    let failed = |e| Failure::usage(format!("cannot listen on `{}`: {e}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    crate::output::write_error(&format!("sample API on http://{address}"));
    let mut signals = Signals::listen()?;
    tokio::select! {
        () = signals.stop_asked() => {}
        _ = attorn_sample_api::serve(listener) => {}
    }
    Ok(Exit::Yes)
}
