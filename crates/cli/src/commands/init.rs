//! `attorn init`: a config, keys, and the first administrator's one-time code.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::args::Change;
use crate::commands::Context;
use crate::config::{Config, EXAMPLE};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::world::World;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// Folder of the new `attorn.toml`
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    change: Change,
}

const EXAMPLES: &str = "\
Examples:
  attorn init
  attorn serve
  attorn enroll --url http://127.0.0.1:7800 --code @attorn-state/first-admin.code

Run it again for a new code, as long as no administrator is enrolled.";

pub(crate) async fn run(context: &Context, args: InitArgs) -> Result<Exit, Failure> {
    let path = args.dir.join("attorn.toml");
    if args.change.dry_run {
        context.output.say(&format!("would write {} unless it exists:\n", path.display()));
        context.output.text(EXAMPLE);
        return Ok(Exit::Yes);
    }
    if write_config(&args.dir, &path)? {
        context.output.say(&format!("wrote {}", path.display()));
    }
    let config = Config::load(&path)?;
    let code_file = config.state.join("first-admin.code");
    let Some(issuer) = config.authority.as_ref().map(|authority| authority.issuer.clone()) else {
        return Err(Failure::usage("this configuration has no `[authority]`")
            .next("attorn enroll --url ISSUER --code @FILE, for a gateway alone"));
    };
    let code = World::first_admin_code(config).await?;
    files::write_private(&code_file, code.as_bytes())?;
    let output = context.output;
    output.say(&format!("wrote {} (single use, 10 minutes)", code_file.display()));
    output.say(&format!("next: attorn serve --config {}", path.display()));
    output.say(&format!("then: attorn enroll --url {issuer} --code @{}", code_file.display()));
    Ok(Exit::Yes)
}

/// Writes the example; false if there is a config already, which stays as it is.
fn write_config(folder: &Path, path: &Path) -> Result<bool, Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Failure::usage(format!("cannot make `{}`: {e}", folder.display())))?;
    if path.exists() {
        return Ok(false);
    }
    std::fs::write(path, EXAMPLE)
        .map_err(|e| Failure::usage(format!("cannot write `{}`: {e}", path.display())))?;
    Ok(true)
}
