//! `attorn enroll`: redeem a one-time code. The key is made here and never leaves.

use std::path::{Path, PathBuf};

use attorn_connect::{World, discovery};
use attorn_jose::{Algorithm, SigningKey, SigningKeyError};
use attorn_net::ClientIdentity;
use attorn_oauth::enrolment::{NewEnrolment, new_enrolment};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::Change;
use crate::clock;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::text;
use crate::output::clean;
use crate::outside::{causes, connect_world};
use crate::profile::{CERTIFICATE, Identity, KnownServer, Profile, Proof, Who};
use crate::values::Source;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EnrollArgs {
    /// The authority's issuer address
    #[arg(long, value_name = "ISSUER")]
    pub(crate) url: String,
    /// The one-time code: `@FILE` (removed once redeemed), or `-` for standard input
    #[arg(long, value_name = "CODE", default_value = "-")]
    pub(crate) code: Source,
    /// Kind of key to make
    #[arg(long, value_enum, default_value = "ed25519")]
    pub(crate) key_type: KeyType,
    /// PEM file of certificate authorities to trust instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,
    /// PEM file of a certificate chain, leaf first: the agent is known by it and needs no code
    #[arg(long, value_name = "FILE", requires_all = ["key", "client_id", "name"])]
    pub(crate) certificate: Option<PathBuf>,
    /// Private key of the certificate (PKCS#8 PEM, 0600)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Client id of the agent with that certificate
    #[arg(long, requires = "certificate")]
    pub(crate) client_id: Option<String>,
    /// Name of the agent with that certificate
    #[arg(long, requires = "certificate")]
    pub(crate) name: Option<String>,
    /// Where servers are found, for an agent with a certificate
    #[arg(long, value_name = "URL", requires = "certificate")]
    pub(crate) gateway: Option<String>,
    /// Where the admin API is, for an operator or a gateway with a certificate
    #[arg(long, value_name = "URL", requires = "certificate")]
    pub(crate) admin_url: Option<String>,
    /// The certificate is that of a gateway, which follows the authority
    #[arg(long, requires = "admin_url")]
    pub(crate) as_gateway: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// The algorithms of a key made here.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeyType {
    /// Ed25519, the cheapest to verify
    Ed25519,
    /// ECDSA on P-256
    Es256,
}

const EXAMPLES: &str = "\
Examples:
  attorn enroll --url https://authority.example.com --code @code.txt
  attorn agent enroll --url http://127.0.0.1:7800 --code - --key-type es256 < code.txt
  attorn agent enroll --url https://authority.example.com --name billing-agent \
    --client-id agt_… --certificate billing.crt --key billing.key --gateway https://gw.example.com
  attorn enroll --url https://authority.example.com --name gw-1 --client-id agt_… --as-gateway \
    --certificate gw-1.crt --key gw-1.key --admin-url https://admin.example.com --profile gw-profile";

pub(crate) async fn run(context: &Context, args: EnrollArgs) -> Result<Exit, Failure> {
    if args.change.dry_run {
        let world = connect_world(args.roots.as_deref())?;
        authority_of(&world, &args.url).await?;
        let folder = context.profile.display();
        context.output.say(&format!("would make a key in {folder} and redeem the code"));
        return Ok(Exit::Yes);
    }
    if let (Some(certificate), Some(key)) = (&args.certificate, &args.key) {
        return with_certificate(context, &args, (certificate, key)).await;
    }
    let code = Zeroizing::new(args.code.read()?);
    let request = Enrolment { issuer: &args.url, code: &code, key_type: args.key_type };
    let enrolled = enroll(&request, args.roots.as_deref(), &context.profile).await?;
    if let Source::File(path) = &args.code {
        // The code is spent; a file that looks like a secret would only worry people.
        crate::files::remove_if_there(path)?;
    }
    context.output.object(&enrolled.summary);
    context.output.say(enrolled.next);
    Ok(Exit::Yes)
}

/// Keeps a certificate that the registry knows already. Nothing is sent but a look at the
/// authority's metadata: the first token shows whether the certificate is taken.
async fn with_certificate(
    context: &Context,
    args: &EnrollArgs,
    (certificate, key): (&Path, &Path),
) -> Result<Exit, Failure> {
    let identity = Identity {
        issuer: args.url.clone(),
        client_id: args.client_id.clone().unwrap_or_default(),
        name: args.name.clone().unwrap_or_default(),
        admin_url: args.admin_url.clone(),
        gateway_url: args.gateway.clone(),
        roots: args
            .roots
            .as_deref()
            .map(std::path::absolute)
            .transpose()
            .map_err(|e| unlocatable(&e))?,
        certificate: Some(PathBuf::from(CERTIFICATE)),
        servers: Vec::new(),
    };
    let proof = Proof::Certificate(ClientIdentity {
        certificates_pem: crate::files::read_text(certificate)?,
        key_pem: Zeroizing::new(crate::files::read_private(key)?),
    });
    let profile = Profile::new(identity, proof);
    // A key that is not the certificate's is found out here and not with the first call.
    authority_of(&profile.world()?, &args.url).await?;
    let who = match &profile.identity.admin_url {
        Some(_) if args.as_gateway => Who::Gateway,
        Some(_) => Who::Operator,
        None => Who::Agent(&profile.identity.name),
    };
    let place = profile.save(&context.profile, who)?;
    context.output.object(&json!({
        "name": profile.identity.name,
        "client_id": profile.identity.client_id,
        "certificate": profile.proof.thumbprint()?,
        "folder": place.display().to_string(),
    }));
    context.output.say(next(who));
    Ok(Exit::Yes)
}

/// What comes after an enrolment.
const fn next(who: Who<'_>) -> &'static str {
    match who {
        Who::Agent(_) => "next: attorn connect SERVER",
        Who::Gateway => "next: attorn serve, with `[follow]` in its configuration",
        Who::Operator => "next: attorn whoami",
    }
}

fn unlocatable(error: &std::io::Error) -> Failure {
    Failure::usage(format!("the current folder is not known: {error}"))
}

/// What an enrolment needs.
#[derive(Clone, Copy)]
pub(crate) struct Enrolment<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) code: &'a str,
    pub(crate) key_type: KeyType,
}

/// What came of it; the key and addresses are in the profile folder.
#[derive(Debug)]
pub(crate) struct Enrolled {
    next: &'static str,
    pub(crate) summary: Value,
}

#[derive(Deserialize)]
struct Answer {
    client_id: String,
    name: String,
    kind: String,
    issuer: String,
    admin_url: Option<String>,
    gateway_url: Option<String>,
    #[serde(default)]
    servers: Vec<KnownServer>,
}

/// Redeems the code and saves key and addresses under `folder`.
pub(crate) async fn enroll(
    request: &Enrolment<'_>,
    roots: Option<&Path>,
    folder: &Path,
) -> Result<Enrolled, Failure> {
    let key = new_key(request.key_type)?;
    let answer = redeem(request, roots, &key).await?;
    if answer.issuer != request.issuer {
        return Err(Failure::no("the authority calls itself by another address"));
    }
    let identity = Identity {
        issuer: answer.issuer,
        client_id: answer.client_id,
        name: answer.name,
        admin_url: answer.admin_url,
        gateway_url: answer.gateway_url,
        roots: roots.map(Path::to_owned),
        certificate: None,
        servers: answer.servers,
    };
    let profile = Profile::new(identity, Proof::Key(key));
    let who = match answer.kind.as_str() {
        "gateway" => Who::Gateway,
        "operator" => Who::Operator,
        _ => Who::Agent(&profile.identity.name),
    };
    let place = profile.save(folder, who)?;
    let summary = json!({
        "name": profile.identity.name,
        "client_id": profile.identity.client_id,
        "kind": answer.kind,
        "key": profile.proof.thumbprint()?,
        "folder": place.display().to_string(),
    });
    Ok(Enrolled { next: next(who), summary })
}

fn new_key(key_type: KeyType) -> Result<SigningKey, Failure> {
    let algorithm = match key_type {
        KeyType::Ed25519 => Algorithm::EdDsa,
        KeyType::Es256 => Algorithm::Es256,
    };
    loop {
        let seed = Zeroizing::new(clock::random::<32>());
        match SigningKey::from_seed(algorithm, &seed) {
            Ok(key) => return Ok(key),
            // FIPS 186-5 appendix A.2.2: a seed outside the group is drawn again.
            Err(SigningKeyError::Seed) => {}
            Err(error) => return Err(Failure::no(error.to_string())),
        }
    }
}

/// The metadata must name the same issuer: a code is not given to somebody else.
async fn authority_of(world: &World, issuer: &str) -> Result<(), Failure> {
    let found = discovery::authorization_server(world, issuer).await;
    let unreachable = |e| Failure::unreachable(causes(&e)).next(format!("attorn doctor {issuer}"));
    found.map(drop).map_err(unreachable)
}

async fn redeem(
    request: &Enrolment<'_>,
    roots: Option<&Path>,
    key: &SigningKey,
) -> Result<Answer, Failure> {
    let world = connect_world(roots)?;
    authority_of(&world, request.issuer).await?;
    let jti = attorn_jose::base64url(&clock::random::<16>());
    let proof = new_enrolment(
        key,
        &NewEnrolment {
            issuer: request.issuer,
            code: request.code,
            iat_s: clock::now_s(),
            jti: &jti,
        },
    )
    .map_err(|e| Failure::no(e.to_string()))?;
    let body = Zeroizing::new(json!({ "code": request.code, "proof": proof }).to_string());
    let mut message = Request::new(Bytes::copy_from_slice(body.as_bytes()));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = format!("{}/enroll", request.issuer)
        .parse()
        .map_err(|_| Failure::usage(format!("`{}` is not an address", request.issuer)))?;
    message.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response =
        world.client.send(message).await.map_err(|e| Failure::unreachable(causes(&e)))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| Failure::unreachable("the answer broke off"))?.to_bytes();
    if status != StatusCode::OK {
        return Err(code_refused(&body));
    }
    serde_json::from_slice(&body).map_err(|_| Failure::no("the answer is not an enrolment"))
}

fn code_refused(body: &[u8]) -> Failure {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = text(&answer, "error_description").or_else(|| text(&answer, "error"));
    let told = clean(told.unwrap_or("refused"));
    Failure::no(format!("the code is not taken: {told}"))
        .next("ask for a new one: attorn agent code NAME")
}

const ANSWER_BYTES_MAX: usize = 1 << 20;
