//! `attorn serve`: the roles the config names, until asked to stop.

use std::path::PathBuf;

use clap::Args;

use crate::commands::Context;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::write_error;
use crate::signals::Signals;
use crate::world::World;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  attorn serve\n  attorn serve --config /etc/attorn/attorn.toml"
)]
pub(crate) struct ServeArgs {
    /// The configuration file
    #[arg(long, default_value = "attorn.toml", value_name = "FILE", env = "ATTORN_CONFIG")]
    config: PathBuf,
}

pub(crate) async fn run(_: &Context, args: ServeArgs) -> Result<Exit, Failure> {
    // A configuration is large, and so is what runs with it.
    Box::pin(serve(Config::load(&args.config)?)).await
}

/// Runs what a configuration names until asked to stop.
pub(crate) async fn serve(config: Config) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let world = World::start(config).await?;
    for line in world.summary() {
        write_error(&line);
    }
    // Scripts wait for this line.
    write_error("ready");
    signals.stop_asked().await;
    write_error("stopping: running requests may finish");
    world.stop().await;
    Ok(Exit::Yes)
}
