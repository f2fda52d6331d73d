//! stub
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct InitArgs {}
pub(crate) async fn run(_context: &Context, _args: InitArgs) -> Result<Exit, Failure> {
    Ok(Exit::Yes)
}
