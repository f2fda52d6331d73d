//! `attorn doctor`: the way to a gateway or authority, step by step, each failure with its fix.
//!
//! It goes on past a failure wherever the next step can be looked at without it.

mod apis;
mod asked;
mod authority;
mod certificate;
mod effective;
mod funnel;
mod issuers;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use attorn_connect::discovery::DiscoveryError;
use attorn_connect::token::Identity;
use attorn_connect::{AuthorizedClient, TokenSource, World, discovery};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Method};
use serde_json::Value;
use url::Url;

use self::funnel::{Funnel, word};
use crate::admin::{Admin, Operation, items};
use crate::agent::mcp_headers;
use crate::commands::Context;
use crate::commands::connect::resource_of;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::json::{at, member, text};
use crate::output::{Format, Output};
use crate::outside::causes;
use crate::profile::{self, Profile, Who};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// A server's name or address; without it, the authority of this profile
    #[arg(value_name = "SERVER|URL")]
    target: Option<String>,
    /// The agent to go as [default: the only one enrolled, else the operator]
    #[arg(long, value_name = "AGENT")]
    client: Option<String>,
    /// Also check this configuration file [default: `attorn.toml`, where there is one], and print
    /// every value of it with where it came from
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON document a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  attorn doctor
  attorn doctor --config /etc/attorn/attorn.toml
  attorn doctor http://127.0.0.1:7802/crm/mcp --client billing-agent

Exit codes: 0 all well, 1 something is refused, 2 something here is wrong, 3 cannot reach.";

pub(crate) async fn run(context: &Context, args: DoctorArgs) -> Result<Exit, Failure> {
    let output = if args.json { Output::new(Format::Ndjson) } else { context.output };
    let mut funnel = Funnel::new(output);
    let config = configuration(&mut funnel, output, args.config.as_deref());
    if let Some(config) = &config {
        issuers::look(&mut funnel, config).await;
    }
    let client = args.client.or_else(|| match profile::agents(&context.profile).as_slice() {
        [only] if args.target.is_some() => Some(only.clone()),
        _ => None,
    });
    let who = client.as_deref().map_or(Who::Operator, Who::Agent);
    let profile = match Profile::load(&context.profile, who) {
        Ok(profile) => profile,
        Err(failure) => {
            funnel.fail("profile", &failure);
            return Ok(funnel.end());
        }
    };
    funnel.ok("profile", &format!("{} ({})", profile.identity.name, profile.identity.client_id));
    funnel.check("key", profile.proof.thumbprint());
    let world = match profile.world() {
        Ok(world) => world,
        Err(failure) => {
            funnel.fail("tls", &failure);
            return Ok(funnel.end());
        }
    };
    let resource = match &args.target {
        Some(target) => resource_of(&profile.identity, target),
        None => Ok(format!("{}/admin", profile.identity.admin_url.clone().unwrap_or_default())),
    };
    let url = resource.and_then(|resource| {
        Url::parse(&resource).map_err(|_| Failure::usage(format!("`{resource}` is not an address")))
    });
    let url = match url {
        Ok(url) => url,
        Err(failure) => {
            funnel.fail("address", &failure);
            return Ok(funnel.end());
        }
    };
    funnel.ok("address", url.as_str());
    let place = Place { world: &world, url: &url, at_gateway: args.target.is_some() };
    if authority::look(&mut funnel, &world, (&profile.identity.issuer, &profile.proof)).await {
        walk(&mut funnel, &place, &profile).await;
        if !place.at_gateway {
            registry(&mut funnel, context, config.as_ref()).await;
        }
    }
    Ok(funnel.end())
}

/// Where the walk ends.
struct Place<'a> {
    world: &'a World,
    url: &'a Url,
    at_gateway: bool,
}

/// The file of the roles on this machine, if there is one.
fn configuration(funnel: &mut Funnel, output: Output, asked: Option<&Path>) -> Option<Config> {
    let path = asked.unwrap_or_else(|| Path::new("attorn.toml"));
    if asked.is_none() && !path.exists() {
        funnel.skip("config", "no attorn.toml here: the roles run elsewhere");
        return None;
    }
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(failure) => {
            funnel.fail("config", &failure);
            return None;
        }
    };
    if asked.is_none() {
        funnel.ok("config", &format!("{} is valid", path.display()));
        return Some(config);
    }
    funnel.ok("config", &format!("{} is valid; its values:", path.display()));
    if let Err(failure) = effective::show(output, path, &config) {
        funnel.fail("config", &failure);
    }
    Some(config)
}

/// The resource itself: its metadata, a token for it, one harmless request.
async fn walk(funnel: &mut Funnel, place: &Place<'_>, profile: &Profile) {
    let Profile { identity, proof, .. } = profile;
    if place.at_gateway {
        let found = discovery::discover(place.world, place.url, Some(&identity.issuer)).await;
        let told = found
            .map(|found| format!("protected by {}", found.server.issuer))
            .map_err(|error| undiscovered(&error));
        if !funnel.check("gateway", told) {
            return;
        }
        if let Some(health) = place.url.join("/healthz").ok().filter(|url| url.scheme() == "https")
            && let Ok(answer) = asked::get(place.world, health.as_str()).await
        {
            certificate::at_gateway(funnel, proof, &answer.headers);
        }
    }
    let who = Identity { client_id: identity.client_id.clone(), credential: proof.credential() };
    let resource = place.url.as_str();
    let source = TokenSource::for_issuer(place.world.clone(), &identity.issuer, resource, who);
    let tokens = match source.await {
        Ok(tokens) => tokens,
        Err(error) => return funnel.fail("token", &undiscovered(&error)),
    };
    let scope = tokens.scope().await.map_err(|error| {
        let fix = format!("attorn grant list --agent {}", word(&identity.name));
        Failure::no(causes(&error)).next(fix)
    });
    let told = scope.map(|scope| format!("bound; scope {}", scope.as_deref().unwrap_or("-")));
    if !funnel.check("token", told) {
        return;
    }
    let called = match AuthorizedClient::new(tokens) {
        Ok(client) => call(&client, place.url, place.at_gateway).await,
        Err(error) => Err(Failure::usage(causes(&error))),
    };
    funnel.check("call", called);
}

/// What the registry says about servers and grants, and about what this machine's file names.
async fn registry(funnel: &mut Funnel, context: &Context, config: Option<&Config>) {
    match Admin::open(context).await {
        Ok(admin) => {
            servers(funnel, &admin).await;
            findings(funnel, &admin).await;
            if let Some(config) = config {
                apis::look(funnel, &admin, config).await;
            }
        }
        Err(failure) => funnel.fail("registry", &failure),
    }
}

/// Grants that join risks, and grants that wait. A finding is no failure of the installation.
async fn findings(funnel: &mut Funnel, admin: &Admin) {
    let answer = match asked::listed(admin, Operation::GrantList).await {
        Ok(answer) => answer,
        Err(failure) => return funnel.fail("grants", &failure),
    };
    let mut found = 0;
    for grant in items(&answer) {
        let Some(finding) = text(grant, "finding") else { continue };
        found += 1;
        let of = |name| text(grant, name).unwrap_or_default();
        let what = format!("{} of {}: {finding}", of("id"), of("agent"));
        let fix = format!("attorn grant revoke {} --reason …", word(of("id")));
        funnel.find("grants", &what, &fix);
    }
    if found == 0 {
        funnel.ok("grants", "no agent joins private data, untrusted content and a way out");
    }
}

/// Whether each server was ever seen to offer something.
async fn servers(funnel: &mut Funnel, admin: &Admin) {
    let listed = match asked::listed(admin, Operation::ServerList).await {
        Ok(listed) => listed,
        Err(failure) => return funnel.fail("servers", &failure),
    };
    let behind = |server: &&Value| at(server, "/upstream/kind") != "builtin";
    for server in items(&listed).iter().filter(behind) {
        let name = text(server, "name").unwrap_or_default();
        let step = format!("server {name}");
        let open = member(server, "accept_bearer").as_array().map_or(0, Vec::len);
        if open > 0 {
            let what = "it takes tokens without a proof: whoever gets hold of one can use it";
            let fix = format!("attorn server accept-bearer {} --none --reason …", word(name));
            funnel.find(&step, what, &fix);
        }
        let tools = member(server, "tools").as_u64().unwrap_or_default();
        match text(server, "state") {
            Some("active") if tools > 0 => funnel.ok(&step, &format!("active, {tools} tools seen")),
            Some("active") => {
                let failure = Failure::no("no tool of it was ever seen: it cannot be reached");
                funnel.fail(&step, &failure.next(format!("attorn server show {}", word(name))));
            }
            state => funnel.skip(&step, state.unwrap_or("unknown")),
        }
    }
}

/// One harmless request with token and proof.
async fn call(client: &AuthorizedClient, url: &Url, at_gateway: bool) -> Result<String, Failure> {
    let mut headers = HeaderMap::new();
    let (method, url, body) = if at_gateway {
        headers = mcp_headers("tools/list");
        (Method::POST, url.clone(), Bytes::from_static(LIST))
    } else {
        let path = Operation::Whoami.path_of(&[]);
        let url = url.join(&path).map_err(|e| Failure::usage(e.to_string()))?;
        (Method::GET, url, Bytes::new())
    };
    let answer = client.send(method, &url, &headers, body).await;
    let answer = answer.map_err(|e| Failure::unreachable(causes(&e)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(format!("answered {status}"));
    }
    // The status is told, whatever becomes of the body.
    let body = asked::whole(answer.into_body(), asked::ANSWER_WITHIN).await.unwrap_or_default();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    // MCP 2026-07-28, Versioning: the server is there and speaks older revisions only. The
    // gateway says so after it has taken token and proof.
    if at(&told, "/error/code") == UNSUPPORTED_VERSION {
        return Ok("answered; the server speaks older revisions only".to_owned());
    }
    let reason = at(&told, "/error/data/reason").as_str().unwrap_or("no reason told");
    Err(Failure::no(format!("answered {status}: {reason}")).next("attorn explain --last"))
}

fn undiscovered(error: &DiscoveryError) -> Failure {
    let what = causes(error);
    match error {
        DiscoveryError::Unreachable { .. } | DiscoveryError::AuthorizationServerUnknown { .. } => {
            Failure::unreachable(what).next("start it: attorn serve")
        }
        DiscoveryError::IssuerMismatch { .. } | DiscoveryError::IssuerNotListed { .. } => {
            Failure::no(what).next("enroll at this authority: attorn agent enroll --url ISSUER")
        }
        DiscoveryError::NoAuthorizationServer
        | DiscoveryError::NotProtected { .. }
        | DiscoveryError::ResourceMismatch { .. } => {
            Failure::no(what).next("compare the address with: attorn server list")
        }
        DiscoveryError::UrlRefused { .. } => Failure::usage(what).next("attorn doctor https://…"),
    }
}

/// MCP 2026-07-28: a request without a handshake.
const LIST: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"attorn-doctor","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
const UNSUPPORTED_VERSION: i64 = -32022;
