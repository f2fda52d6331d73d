//! stub
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {}
pub(crate) async fn run(_context: &Context, _args: ServeArgs) -> Result<Exit, Failure> {
    Ok(Exit::Yes)
}
