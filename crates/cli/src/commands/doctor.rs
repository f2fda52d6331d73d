//! `attorn doctor`: the way to a gateway or authority, step by step, each failure with its fix.
//!
//! It goes on past a failure wherever the next step can be looked at without it.

mod apis;
mod certificate;
mod effective;
mod funnel;
mod issuers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use attorn_connect::discovery::DiscoveryError;
use attorn_connect::token::Identity;
use attorn_connect::{AuthorizedClient, TokenSource, World, discovery};
use bytes::Bytes;
use clap::Args;
use http::header::DATE;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use url::Url;

use self::funnel::Funnel;
use crate::admin::{Admin, Operation, items};
use crate::agent::mcp_headers;
use crate::commands::Context;
use crate::commands::connect::resource_of;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::json::{at, member, text};
use crate::output::{Format, Output};
use crate::outside::causes;
use crate::profile::{self, Profile, Proof, Who};

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
    funnel.ok("key", &profile.proof.thumbprint()?);
    let world = profile.world()?;
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
    if authority(&mut funnel, &world, (&profile.identity.issuer, &profile.proof)).await {
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
    funnel.ok("config", &format!("{} is valid; its values:", path.display()));
    if asked.is_some()
        && let Err(failure) = effective::show(output, path)
    {
        funnel.fail("config", &failure);
    }
    Some(config)
}

/// Connection, clock, readiness, metadata and keys of the authority; whether it can be used at all.
async fn authority(funnel: &mut Funnel, world: &World, (issuer, proof): (&str, &Proof)) -> bool {
    let healthy = get(world, &format!("{issuer}/healthz")).await;
    let answer = match healthy {
        Ok(answer) => answer,
        Err(failure) => {
            funnel.fail("connection", &failure);
            return false;
        }
    };
    let tls = if issuer.starts_with("https://") {
        "TLS, certificate trusted"
    } else {
        "plain HTTP, which is for loopback only"
    };
    funnel.ok("connection", &format!("{issuer}: {tls}"));
    funnel.check("clock", clock(&answer.headers, world.clock.now_s()));
    readiness(funnel, world, issuer).await;
    let server = match discovery::authorization_server(world, issuer).await {
        Ok(server) => server,
        Err(error) => {
            funnel.fail("authority", &undiscovered(&error));
            return false;
        }
    };
    funnel.ok("authority", &format!("tokens at {}", server.token_endpoint));
    certificate::at_authority(funnel, (world, proof), &server, &answer.headers);
    let keys = get(world, &format!("{issuer}/jwks")).await.and_then(|answer| {
        let count = member(&answer.json(), "keys").as_array().map_or(0, Vec::len);
        if answer.status.is_success() && count > 0 {
            Ok(format!("{count} keys to verify tokens with"))
        } else {
            Err(Failure::no("the authority publishes no keys").next("attorn key rotate"))
        }
    });
    funnel.check("keys", keys);
    true
}

/// Journal, checkpoint and snapshot, as the process itself sees them.
async fn readiness(funnel: &mut Funnel, world: &World, issuer: &str) {
    let answer = match get(world, &format!("{issuer}/readyz")).await {
        Ok(answer) => answer,
        Err(failure) => return funnel.fail("ready", &failure),
    };
    let told = answer.json();
    let problems = member(&told, "problems").as_array().cloned().unwrap_or_default();
    for (step, problem, good, fix) in READINESS {
        if problems.iter().any(|one| one == problem) {
            funnel.fail(step, &Failure::no((*problem).to_owned()).next(*fix));
        } else {
            funnel.ok(step, good);
        }
    }
}

/// Step, what `/readyz` calls its failure, what is said without it, and the fix.
const READINESS: &[(&str, &str, &str, &str)] = &[
    (
        "journal",
        "journal.failed",
        "takes entries",
        "look at disk and log of `attorn serve`, then start it again",
    ),
    (
        "checkpoint",
        "checkpoint.late",
        "signed in time",
        "free space on the disk of the journal: df -h",
    ),
    ("snapshot", "snapshot.stale", "up to date", "see that the gateway reaches its authority"),
];

/// RFC 9449 section 11.1: a proof from a clock that is off is refused.
fn clock(headers: &HeaderMap, now_s: u64) -> Result<String, Failure> {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let Some(there_s) = date.and_then(http_date_s) else {
        return Ok("the authority tells no time".to_owned());
    };
    let (ahead_s, behind_s) = (now_s.saturating_sub(there_s), there_s.saturating_sub(now_s));
    if ahead_s > AHEAD_S_MAX || behind_s > BEHIND_S_MAX {
        let what = if ahead_s > 0 {
            format!("this machine is {ahead_s} s ahead of the authority")
        } else {
            format!("this machine is {behind_s} s behind the authority")
        };
        return Err(Failure::usage(what).next("set the clock: timedatectl set-ntp true"));
    }
    Ok(format!("{} s apart", ahead_s.max(behind_s)))
}

/// RFC 9110 section 5.6.7, the form that is sent: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date_s(text: &str) -> Option<u64> {
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = u64::try_from(MONTHS.iter().position(|one| *one == month)?).ok()? + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    // Days since 1970 in the Gregorian calendar, years begun in March.
    let shifted = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (years, months) = shifted;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
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
            && let Ok(answer) = get(place.world, health.as_str()).await
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
        let fix = format!("attorn grant list --agent {}", identity.name);
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
    let answer = match admin.read(Operation::GrantList, &[], &[]).await {
        Ok(answer) => answer,
        Err(failure) => return funnel.fail("grants", &failure),
    };
    let mut found = 0;
    for grant in items(&answer) {
        let Some(finding) = text(grant, "finding") else { continue };
        found += 1;
        let of = |name| text(grant, name).unwrap_or_default();
        let what = format!("{} of {}: {finding}", of("id"), of("agent"));
        funnel.find("grants", &what, &format!("attorn grant revoke {} --reason …", of("id")));
    }
    if found == 0 {
        funnel.ok("grants", "no agent joins private data, untrusted content and a way out");
    }
}

/// Whether each server was ever seen to offer something.
async fn servers(funnel: &mut Funnel, admin: &Admin) {
    let listed = match admin.read(Operation::ServerList, &[], &[]).await {
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
            let fix = format!("attorn server accept-bearer {name} --none --reason …");
            funnel.find(&step, what, &fix);
        }
        let tools = member(server, "tools").as_u64().unwrap_or_default();
        match text(server, "state") {
            Some("active") if tools > 0 => funnel.ok(&step, &format!("active, {tools} tools seen")),
            Some("active") => {
                let failure = Failure::no("no tool of it was ever seen: it cannot be reached");
                funnel.fail(&step, &failure.next(format!("attorn server show {name}")));
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
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    // MCP 2026-07-28, Versioning: the server is there and speaks older revisions only. The
    // gateway says so after it has taken token and proof.
    if at(&told, "/error/code") == UNSUPPORTED_VERSION {
        return Ok("answered; the server speaks older revisions only".to_owned());
    }
    let reason = at(&told, "/error/data/reason").as_str().unwrap_or("no reason told");
    Err(Failure::no(format!("answered {status}: {reason}")).next("attorn explain --last"))
}

/// What a plain GET gave.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

async fn get(world: &World, url: &str) -> Result<Answer, Failure> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() =
        url.parse().map_err(|_| Failure::usage(format!("`{url}` is not an address")))?;
    let answer = world.client.send_within(request, ANSWER_WITHIN).await;
    let answer =
        answer.map_err(|e| Failure::unreachable(causes(&e)).next("start it: attorn serve"))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body })
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
const ANSWER_BYTES_MAX: usize = 1 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A proof may be dated 5 s ahead and 60 s back; a second for the way.
const AHEAD_S_MAX: u64 = 4;
const BEHIND_S_MAX: u64 = 55;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared() {
        // RFC 9110 section 5.6.7.
        assert_eq!(http_date_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date_s("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date_s("Tue, 29 Feb 2000 00:00:01 GMT"), Some(951_782_401));
        assert_eq!(http_date_s("yesterday"), None);
        let mut headers = HeaderMap::new();
        assert!(clock(&headers, 1).is_ok());
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let there_s = 784_111_777;
        for (now_s, is_well) in [
            (there_s, true),
            (there_s + 4, true),
            (there_s + 5, false),
            (there_s - 55, true),
            (there_s - 56, false),
        ] {
            assert_eq!(clock(&headers, now_s).is_ok(), is_well, "{now_s}");
        }
    }
}
