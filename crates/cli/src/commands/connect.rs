//! `attorn connect`: plain MCP on this side, bound HTTPS on the other.

mod federation;
mod person;

use std::net::SocketAddr;
use std::path::PathBuf;

use attorn_connect::token::{Credential, Grant, Identity as TokenIdentity, UnboundTokens};
use attorn_connect::{Connector, Era, LocalPort, OpenError, Options, TokenFailure, World};
use attorn_jose::SigningKey;
use attorn_net::Shutdown;
use clap::Args;
use url::Url;

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::write_error;
use crate::outside::{causes, connect_world};
use crate::profile::{self, Identity, Profile, Who};
use crate::signals::Signals;

use federation::FederationArgs;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConnectArgs {
    /// The server's name at the gateway, or its full address
    #[arg(value_name = "SERVER|URL")]
    server: String,
    /// The agent to go as, when more than one is enrolled here
    #[arg(long)]
    agent: Option<String>,
    /// Serve loopback HTTP on this address instead of standard input and output
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Act for the person at this computer, who logs in and is asked in a browser
    #[arg(long, conflicts_with_all = ["agent", "key"])]
    person: bool,
    /// Program that opens an address for `--person`; `none` prints it
    #[arg(long, requires = "person", env = "BROWSER", value_name = "PROGRAM")]
    browser: Option<String>,
    /// Client id, for a key that was not enrolled with `attorn agent enroll`; with `--person` a name
    /// that was registered, or the address of a metadata document
    #[arg(long)]
    client_id: Option<String>,
    /// File (0600) with a secret, for authorization servers that know nothing better
    #[arg(long, requires = "client_id", conflicts_with = "key", value_name = "FILE")]
    client_secret: Option<PathBuf>,
    /// PEM file of the certificate authorities that count, for who is not enrolled
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// Private key file (PKCS#8 PEM, 0600) of that client
    #[arg(long, requires = "client_id", value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    federation: FederationArgs,
    /// Take bearer tokens from an authorization server that knows no DPoP
    #[arg(long)]
    accept_bearer: bool,
}

const EXAMPLES: &str = "\
Examples:
  attorn connect crm                               in an MCP client's `command`
  attorn connect crm --agent billing-agent --listen 127.0.0.1:9000
  attorn connect https://gateway.example.com/crm/mcp --person
  attorn connect https://gateway.example.com/crm/mcp --client-id agt_… --key key.pem
  attorn connect https://gateway.example.com/crm/mcp --workload-token /var/run/secrets/attorn/token
  attorn connect crm --id-token id.jwt --idp https://login.example.com --idp-client-id desk";

pub(crate) async fn run(context: &Context, args: ConnectArgs) -> Result<Exit, Failure> {
    let Way { grant, issuer, resource, world } = if args.federation.is_there() {
        federation::way(context, &args).await?
    } else {
        way(context, &args)?
    };
    let resource = Url::parse(&resource)
        .map_err(|_| Failure::usage(format!("`{resource}` is not an address")))?;
    let unbound = if args.accept_bearer {
        UnboundTokens::AcceptWithoutDpopSupport
    } else {
        UnboundTokens::Refuse
    };
    let options = Options { resource, issuer, grant, unbound, era: Era::Unknown };
    let fix = || format!("attorn doctor {}", args.server);
    let connector = Connector::open(world, options).await.map_err(|e| not_open(&e).next(fix()))?;
    let mut signals = Signals::listen()?;
    match args.listen {
        None => {
            let served = tokio::select! {
                served = attorn_connect::run_stdio(connector) => served,
                () = signals.stop_asked() => Ok(()),
            };
            served.map_err(|e| Failure::unreachable(format!("the pipes broke: {e}")))?;
        }
        Some(address) => listen(context, connector, address, &mut signals).await?,
    }
    Ok(Exit::Yes)
}

/// Where to go and as whom.
struct Way {
    grant: Grant,
    issuer: Option<String>,
    resource: String,
    world: World,
}

fn way(context: &Context, args: &ConnectArgs) -> Result<Way, Failure> {
    let foreign = args.person || args.key.is_some();
    if foreign && !args.server.contains("://") {
        return Err(Failure::usage("without an enrolled agent, name the server by its address"));
    }
    let roots = args.roots.as_deref();
    if args.person {
        let grant = Grant::Person(person::client(context, args)?);
        let world = connect_world(roots)?;
        return Ok(Way { grant, issuer: None, resource: args.server.clone(), world });
    }
    if args.client_id.is_some() != args.key.is_some() {
        return Err(Failure::usage("`--client-id` and `--key` go together, or with `--person`")
            .next("attorn connect URL --person"));
    }
    if let (Some(client_id), Some(key)) = (&args.client_id, &args.key) {
        let key = SigningKey::from_pkcs8_pem(&files::read_private(key)?)
            .map_err(|e| Failure::usage(e.to_string()))?;
        let credential = Credential::Key(key);
        let who = TokenIdentity { client_id: client_id.clone(), credential };
        let grant = Grant::ClientCredentials(who);
        let world = connect_world(roots)?;
        return Ok(Way { grant, issuer: None, resource: args.server.clone(), world });
    }
    let profile = load(context, args.agent.as_deref())?;
    let (world, credential) = (profile.world()?, profile.proof.credential());
    let Profile { identity, .. } = profile;
    let resource = resource_of(&identity, &args.server)?;
    let who = TokenIdentity { client_id: identity.client_id, credential };
    let grant = Grant::ClientCredentials(who);
    Ok(Way { grant, issuer: Some(identity.issuer), resource, world })
}

/// Serves one loopback port. Its address holds this start's secret: it goes to standard output,
/// for the client's configuration, and nowhere else.
async fn listen(
    context: &Context,
    connector: Connector,
    address: SocketAddr,
    signals: &mut Signals,
) -> Result<(), Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::usage("`--listen` takes a loopback address")
            .next("attorn connect SERVER --listen 127.0.0.1:0"));
    }
    let port =
        LocalPort::bind(connector, address.port()).await.map_err(|e| Failure::usage(causes(&e)))?;
    let url = port.url();
    if context.output.is_machine() {
        context.output.object(&serde_json::json!({ "url": url }));
    } else {
        context.output.text(&url);
        write_error("give this address to the client; it is new at each start and a secret");
    }
    let shutdown = Shutdown::new();
    let served = port.serve(shutdown.clone());
    tokio::pin!(served);
    tokio::select! {
        () = &mut served => {}
        () = signals.stop_asked() => {
            shutdown.start();
            served.await;
        }
    }
    Ok(())
}

fn not_open(error: &OpenError) -> Failure {
    match error {
        OpenError::Discovery(_) => Failure::unreachable(causes(error)),
        OpenError::Token(TokenFailure::Refused(_)) => Failure::no(causes(error)),
        OpenError::Call(_) | OpenError::Token(_) => Failure::unreachable(causes(error)),
    }
}

/// The one enrolled agent, or the one that was named.
fn load(context: &Context, agent: Option<&str>) -> Result<Profile, Failure> {
    if let Some(name) = agent {
        return Profile::load(&context.profile, Who::Agent(name));
    }
    match profile::agents(&context.profile).as_slice() {
        [only] => Profile::load(&context.profile, Who::Agent(only)),
        [] => {
            Err(Failure::usage(format!("no agent is enrolled in `{}`", context.profile.display()))
                .next("attorn agent enroll --url ISSUER --code @FILE   (or, for a person, attorn connect URL --person)"))
        }
        several => {
            Err(Failure::usage(format!("several agents are enrolled: {}", several.join(", ")))
                .next("attorn connect SERVER --agent NAME"))
        }
    }
}

/// The resource identifier of a server people name by its short name or its address.
pub(crate) fn resource_of(identity: &Identity, target: &str) -> Result<String, Failure> {
    if target.contains("://") {
        return Ok(target.to_owned());
    }
    if let Some(known) = identity.servers.iter().find(|server| server.name == target) {
        return Ok(known.resource.clone());
    }
    // Granted after the enrolment.
    match &identity.gateway_url {
        Some(gateway) => Ok(format!("{gateway}/{target}/mcp")),
        None => Err(Failure::usage(format!("the address of `{target}` is not known here"))
            .next("attorn connect https://GATEWAY/SERVER/mcp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::KnownServer;

    #[test]
    fn a_server_is_found_by_name_or_address() {
        let known =
            KnownServer { name: "crm".into(), resource: "https://gw.example/crm/mcp".into() };
        let identity = Identity {
            issuer: "https://id.example".into(),
            client_id: "agt_1".into(),
            name: "a".into(),
            admin_url: None,
            gateway_url: Some("https://gw.example".into()),
            roots: None,
            certificate: None,
            servers: vec![known],
        };
        let check = |target, expected| {
            assert_eq!(resource_of(&identity, target).ok().as_deref(), Some(expected));
        };
        check("crm", "https://gw.example/crm/mcp");
        check("time", "https://gw.example/time/mcp");
        check("https://other.example/x/mcp", "https://other.example/x/mcp");
        let empty = Identity { servers: Vec::new(), ..identity };
        assert_eq!(resource_of(&empty, "crm").ok().as_deref(), Some("https://gw.example/crm/mcp"));
        let lost = Identity { gateway_url: None, ..empty };
        assert!(resource_of(&lost, "crm").is_err());
    }
}
