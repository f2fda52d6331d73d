//! `attorn guard`: one guard in a process of its own, without a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use attorn_guard::{ApiUrl, Config as GuardConfig, UpstreamUrl};
use clap::Args;

use crate::commands::Context;
use crate::commands::serve::serve;
use crate::config::Config;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GuardArgs {
    /// URL under which the API is registered
    resource: String,
    /// URL of the API itself; plain HTTP on loopback only
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// Address to listen on; off loopback use `attorn serve` with `[tls]`
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Folder of its journal and what it remembers
    #[arg(long, value_name = "DIR", default_value = "guard-state")]
    state: PathBuf,
}

const EXAMPLES: &str = "\
A guard enrolls like a gateway:
  attorn gateway register guard-1 --owner platform --code-file code.txt
Then, where it runs:
  attorn enroll --url https://authority.example.com --code @code.txt --profile guard-profile
  attorn guard https://api.example.com/billing --upstream http://127.0.0.1:9000 \\
    --listen 127.0.0.1:7810 --profile guard-profile

In the process of the authority, or for several APIs, use [[guard]] in attorn.toml.";

pub(crate) async fn run(context: &Context, args: GuardArgs) -> Result<Exit, Failure> {
    let url = |text: &str, name: &str, error| Failure::usage(format!("{name} `{text}`: {error}"));
    let resource = ApiUrl::parse(&args.resource);
    let resource = resource.map_err(|e| {
        url(&args.resource, "RESOURCE", e).next("attorn resource show NAME, for its URL")
    })?;
    let upstream = UpstreamUrl::parse(&args.upstream);
    let upstream = upstream.map_err(|e| url(&args.upstream, "--upstream", e))?;
    let guard = GuardConfig::new(resource, args.listen, upstream);
    Box::pin(serve(Config::of_guard(args.state, context.profile.clone(), guard))).await
}
