//! One file per subcommand: what it takes, and what it does.

pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod can_i;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod consent;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod enroll;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod grant;
pub(crate) mod guard;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod lock;
pub(crate) mod owner;
pub(crate) mod person;
pub(crate) mod policy;
pub(crate) mod release;
pub(crate) mod request;
pub(crate) mod resource;
pub(crate) mod sample;
pub(crate) mod serve;
pub(crate) mod server;
mod status;
pub(crate) mod token;
pub(crate) mod tools;
mod whoami;
pub(crate) mod witness;
pub(crate) mod wrap;

use std::path::PathBuf;

use crate::args::{Cli, Command, Global};
use crate::exit::{Exit, Failure};
use crate::logging;
use crate::output::Output;
use crate::profile;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    /// Folder of keys and addresses.
    pub(crate) profile: PathBuf,
}

/// Runs one command to its end on a runtime of its own.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    #[cfg(feature = "planted")]
    crate::planted::plant()?;
    logging::start();
    let context = Context::new(&cli.global)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Failure::usage(format!("cannot start the runtime: {e}")))?;
    let ended = runtime.block_on(dispatch(&context, cli.command));
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    ended
}

impl Context {
    fn new(global: &Global) -> Result<Self, Failure> {
        let profile = match &global.profile {
            Some(folder) => folder.clone(),
            None => profile::default_folder()?,
        };
        Ok(Self { output: Output::new(global.output), profile })
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Dev(args) => Box::pin(dev::run(context, args)).await,
        Command::Serve(args) => Box::pin(serve::run(context, args)).await,
        Command::Init(args) => Box::pin(init::run(context, args)).await,
        Command::Wrap(args) => Box::pin(wrap::run(context, args)).await,
        Command::Connect(args) => Box::pin(connect::run(context, args)).await,
        Command::Enroll(args) => Box::pin(enroll::run(context, args)).await,
        Command::Status => Box::pin(status::run(context)).await,
        Command::Doctor(args) => Box::pin(doctor::run(context, args)).await,
        Command::Whoami => Box::pin(whoami::run(context)).await,
        Command::CanI(args) => Box::pin(can_i::run(context, args)).await,
        Command::Explain(args) => Box::pin(explain::run(context, args)).await,
        Command::Owner(command) => Box::pin(owner::run(context, command)).await,
        Command::Person(command) => Box::pin(person::run(context, command)).await,
        Command::Consent(command) => Box::pin(consent::run(context, command)).await,
        Command::Client(command) => Box::pin(client::run(context, command)).await,
        Command::Agent(command) => Box::pin(agent::run(context, command)).await,
        Command::Gateway(command) => Box::pin(gateway::run(context, command)).await,
        Command::Guard(args) => Box::pin(guard::run(context, args)).await,
        Command::Server(command) => Box::pin(server::run(context, command)).await,
        Command::Resource(command) => Box::pin(resource::run(context, command)).await,
        Command::Tools(command) => Box::pin(tools::run(context, command)).await,
        Command::Grant(command) => Box::pin(grant::run(context, command)).await,
        Command::Request(command) => Box::pin(request::run(context, command)).await,
        Command::Lock(command) => Box::pin(lock::run(context, command)).await,
        Command::Apply(args) => Box::pin(apply::run(context, args)).await,
        Command::Policy(command) => Box::pin(policy::run(context, command)).await,
        Command::Audit(command) => Box::pin(audit::run(context, command)).await,
        Command::Token(command) => Box::pin(token::run(context, command)).await,
        Command::Release(command) => release::run(context, &command),
        Command::Key(command) => Box::pin(key::run(context, command)).await,
        Command::Witness(command) => Box::pin(witness::run(command)).await,
        Command::SampleMcpServer(args) => Box::pin(sample::run_mcp_server(args)).await,
        Command::SampleApi(args) => Box::pin(sample::run_api(args)).await,
    }
}
