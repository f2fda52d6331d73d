//! `attorn dev`: every role in this process, a sample to protect, and proof that it works.

mod acts;
mod chain;
mod provider;
mod scene;
mod stolen;

use std::path::PathBuf;

use clap::Args;

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::world::World;

use self::provider::Provider;
use self::scene::{SampleApi, Scene};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevArgs {
    /// Keep everything in this folder [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End after the demonstration; exit code 0 only if everything went as it must
    #[arg(long)]
    once: bool,
}

const EXAMPLES: &str = "\
Examples:
  attorn dev
  attorn dev --once && echo as it must
  attorn dev --dir ./try     then, in a second terminal: attorn --profile ./try/profile status";

pub(crate) async fn run(context: &Context, args: DevArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let folder = Folder::open(args.dir)?;
    let started = {
        let _progress = Progress::start("starting authority, gateway and samples");
        start(&folder).await
    };
    let ended = match started {
        Err(failure) => Err(failure),
        Ok((world, samples)) => {
            let ended = tokio::select! {
                () = signals.stop_asked() => Ok(Exit::Yes),
                shown = show(context.output, &world, samples, &folder) => match shown {
                    Ok((exit, scene)) if !args.once => {
                        next_commands(context.output, &scene);
                        signals.stop_asked().await;
                        Ok(exit)
                    }
                    Ok((exit, _scene)) => Ok(exit),
                    Err(failure) => Err(failure),
                },
            };
            world.stop().await;
            ended
        }
    };
    folder.close();
    ended
}

/// API and provider first: the guard has to know where the one is, the authority whose word counts.
async fn start(folder: &Folder) -> Result<(World, (SampleApi, Provider)), Failure> {
    let api = SampleApi::start(&folder.path.join("sample-api.addr")).await?;
    let provider = Provider::open(&folder.path)?;
    let more = provider::config_text();
    let world = World::start_embedded(&folder.path, None, Some((api.url(), &more))).await?;
    Ok((world, (api, provider)))
}

/// Sets the scene and plays it. The scene is given back: its sample API runs as long as it lives.
async fn show(
    output: Output,
    world: &World,
    samples: (SampleApi, Provider),
    folder: &Folder,
) -> Result<(Exit, Scene), Failure> {
    let scene = Scene::set_up(world, samples, &folder.path, output).await?;
    output.say(&format!("state      {}{}", folder.path.display(), folder.note()));
    output.say(&format!("authority  {}\nadmin API  {}", world.issuer(), world.admin_url()));
    output.say(&format!("gateway    {}\nsample API {}\n", world.gateway_url(), scene.api_url()));
    let exit = acts::play(&scene, output).await?;
    Ok((exit, scene))
}

fn next_commands(output: Output, scene: &Scene) {
    let profile = scene.profile_folder().display().to_string();
    output.say("\nEverything stays up until you press Ctrl-C. In another terminal:");
    if let Ok(program) = std::env::current_exe() {
        output.say(&format!("  alias attorn={}", program.display()));
    }
    output.say(&format!("  export ATTORN_PROFILE={profile}"));
    for (command, what) in [
        ("attorn can-i support-agent invoices/add_note", "why not, step by step"),
        ("attorn audit search --decision deny", "everything that was refused"),
        ("attorn lock create agent/billing-agent --reason \"try it\"", "stops it at once"),
        ("attorn connect invoices --agent billing-agent", "the `command` of an MCP client"),
        ("attorn explain --last", "the last refusal"),
        ("attorn request list", "payments that wait for you"),
    ] {
        output.say(&format!("  {command:<60} # {what}"));
    }
}

/// Where the state is, and whether it goes away.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(named: Option<PathBuf>) -> Result<Self, Failure> {
        let temporary = named.is_none();
        let unique = attorn_jose::base64url(&crate::clock::random::<9>());
        let path =
            named.unwrap_or_else(|| std::env::temp_dir().join(format!("attorn-dev-{unique}")));
        crate::files::make_private_folder(&path)?;
        let path = path
            .canonicalize()
            .map_err(|e| Failure::usage(format!("cannot use `{}`: {e}", path.display())))?;
        Ok(Self { path, temporary })
    }

    fn note(&self) -> &'static str {
        if self.temporary { " (removed at the end)" } else { "" }
    }

    fn close(self) {
        if self.temporary {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
