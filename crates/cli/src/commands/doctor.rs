//! `attorn doctor`: the way to a gateway or authority, step by step, each failure with its fix.

use attorn_connect::discovery::DiscoveryError;
use attorn_connect::metadata::AuthorizationServer;
use attorn_connect::token::Identity;
use attorn_connect::{AuthorizedClient, TokenSource, World, discovery};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use url::Url;

use crate::admin::{Admin, Operation, items};
use crate::agent::mcp_headers;
use crate::commands::Context;
use crate::commands::connect::resource_of;
use crate::exit::{Exit, Failure};
use crate::json::{at, text};
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
}

const EXAMPLES: &str = "\
Examples:
  attorn doctor
  attorn doctor http://127.0.0.1:7802/crm/mcp --client billing-agent";

/// The funnel: steps in order, stopped by the first failure.
struct Funnel<'a> {
    context: &'a Context,
    number: usize,
}

impl Funnel<'_> {
    fn ok(&mut self, step: &str, detail: &str) {
        self.line(step, "ok", detail, None);
    }

    fn fail(&mut self, step: &str, failure: &Failure) -> Exit {
        self.line(step, "FAIL", &failure.what, failure.next.as_deref());
        failure.exit
    }

    fn line(&mut self, step: &str, outcome: &str, detail: &str, fix: Option<&str>) {
        self.number += 1;
        let output = self.context.output;
        if output.is_machine() {
            let row = json!({
                "number": self.number, "step": step, "outcome": outcome, "detail": detail, "fix": fix,
            });
            return output.text(&row.to_string());
        }
        output.say(&format!("{:>2} {step:<12} {outcome:<5} {detail}", self.number));
        if let Some(fix) = fix {
            output.say(&format!("   fix: {fix}"));
        }
    }
}

pub(crate) async fn run(context: &Context, args: DoctorArgs) -> Result<Exit, Failure> {
    let mut funnel = Funnel { context, number: 0 };
    let client = args.client.or_else(|| match profile::agents(&context.profile).as_slice() {
        [only] if args.target.is_some() => Some(only.clone()),
        _ => None,
    });
    let who = client.as_deref().map_or(Who::Operator, Who::Agent);
    let profile = match Profile::load(&context.profile, who) {
        Ok(profile) => profile,
        Err(failure) => return Ok(funnel.fail("profile", &failure)),
    };
    funnel.ok("profile", &format!("{} ({})", profile.identity.name, profile.identity.client_id));
    funnel.ok("key", &profile.proof.thumbprint()?);
    let world = profile.world()?;
    let resource = match &args.target {
        Some(target) => resource_of(&profile.identity, target),
        None => Ok(format!("{}/admin", profile.identity.admin_url.clone().unwrap_or_default())),
    };
    let resource = match resource {
        Ok(resource) => resource,
        Err(failure) => return Ok(funnel.fail("address", &failure)),
    };
    let at_gateway = args.target.is_some();
    let walked = walk(&mut funnel, &world, profile, &resource, at_gateway).await;
    Ok(match walked {
        Ok(Exit::Yes) if !at_gateway => findings(&mut funnel).await?,
        Ok(exit) => exit,
        Err((step, failure)) => funnel.fail(step, &failure),
    })
}

async fn walk(
    funnel: &mut Funnel<'_>,
    world: &World,
    profile: Profile,
    resource: &str,
    at_gateway: bool,
) -> Result<Exit, (&'static str, Failure)> {
    let credential = profile.proof.credential();
    let Profile { identity, proof: profile_proof } = profile;
    let url = Url::parse(resource)
        .map_err(|_| ("address", Failure::usage(format!("`{resource}` is not an address"))))?;
    funnel.ok("address", url.as_str());
    if at_gateway {
        let found = discovery::discover(world, &url, Some(&identity.issuer))
            .await
            .map_err(|e| ("discovery", undiscovered(&e)))?;
        funnel.ok("discovery", &format!("protected by {}", found.server.issuer));
    }
    let server = discovery::authorization_server(world, &identity.issuer)
        .await
        .map_err(|e| ("authority", undiscovered(&e)))?;
    funnel.ok("authority", &format!("tokens at {}", server.token_endpoint));
    if matches!(profile_proof, Proof::Certificate(_)) {
        asked_for_certificate(world, &server).map_err(|failure| ("certificate", failure))?;
        funnel.ok("certificate", "asked for in the handshake");
    }
    let who = Identity { client_id: identity.client_id, credential };
    let tokens = TokenSource::for_issuer(world.clone(), &identity.issuer, resource, who)
        .await
        .map_err(|e| ("authority", undiscovered(&e)))?;
    let scope = tokens.scope().await.map_err(|e| {
        let fix = format!("attorn grant list --agent {}", identity.name);
        ("token", Failure::no(causes(&e)).next(fix))
    })?;
    funnel.ok("token", &format!("bound; scope {}", scope.as_deref().unwrap_or("-")));
    let client = AuthorizedClient::new(tokens).map_err(|e| ("call", Failure::usage(causes(&e))))?;
    let answered = call(&client, &url, at_gateway).await.map_err(|failure| ("call", failure))?;
    funnel.ok("call", &answered);
    Ok(Exit::Yes)
}

/// Grants that join risks, and grants that wait. A finding is no failure of the installation.
async fn findings(funnel: &mut Funnel<'_>) -> Result<Exit, Failure> {
    let admin = Admin::open(funnel.context).await?;
    let answer = admin.read(Operation::GrantList, &[], &[]).await?;
    let mut found = 0;
    for grant in items(&answer) {
        let Some(finding) = text(grant, "finding") else { continue };
        found += 1;
        let of = |name| text(grant, name).unwrap_or_default();
        let what = format!("{} of {}: {finding}", of("id"), of("agent"));
        let fix = format!("attorn grant revoke {} --reason …", of("id"));
        funnel.line("grants", "FIND", &what, Some(&fix));
    }
    if found == 0 {
        funnel.ok("grants", "no agent joins private data, untrusted content and a way out");
    }
    Ok(Exit::Yes)
}

/// An authority that takes certificates asks for them. Where it says so and nobody asked, TLS ends
/// somewhere before it, and the certificate with it.
fn asked_for_certificate(world: &World, server: &AuthorizationServer) -> Result<(), Failure> {
    if !server.tls_client_certificate_bound_access_tokens {
        return Err(Failure::no("the authority takes no client certificates")
            .next("set `client_auth = \"optional\"` under [tls] of its attorn.toml"));
    }
    if !world.client.was_asked_for_certificate() {
        return Err(Failure::no("nobody asked for the certificate: something before it ends TLS")
            .next("let the proxy pass TLS through, or use an agent with a key (DPoP)"));
    }
    Ok(())
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
    Err(Failure::no(format!("answered {status}")).next("attorn explain --last"))
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
