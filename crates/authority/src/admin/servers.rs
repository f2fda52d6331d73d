//! MCP servers: registered by address or command, stopped and resumed, retired for good.

use std::collections::{BTreeMap, BTreeSet};

use attorn_audit::{Entry, Kind};
use attorn_jose::{CertificateThumbprint, Jkt, PublicKey};
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{
    Class, KeyHolder, LifeCycle, McpServer, Name, ServerId, ServerKey, UpstreamSpec,
};
use attorn_store::NewServer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::reason::{Reason, ReasonWished};
use super::refusal::Refusal;

/// An MCP server.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerView {
    id: String,
    name: String,
    owner: Option<String>,
    state: &'static str,
    /// The resource identifier its tokens are for.
    resource: String,
    upstream: Upstream,
    /// The public keys that stand for it, past ones included.
    keys: Vec<ServerKeyView>,
    tools: usize,
    /// The classes for which it takes tokens without a proof: each is a finding.
    accept_bearer: Vec<&'static str>,
    created_s: u64,
}

/// For which classes a server takes tokens that are bound to no key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BearerWanted {
    /// `read` or `write`; the empty list is none.
    classes: Vec<String>,
    /// Why; recorded.
    reason: String,
}

/// A public key of a server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerKeyView {
    /// RFC 7638 thumbprint.
    jkt: String,
    /// `active` or `retired`.
    state: &'static str,
    /// Who has the private part: `gateway` or `server`.
    holder: &'static str,
    /// The public JWK.
    #[schema(value_type = Object)]
    jwk: serde_json::Value,
}

/// A new server. Without `Debug`: the upstream may hold secrets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerNew {
    /// `[a-z0-9][a-z0-9-]{0,62}`; part of its address at the gateway.
    pub(crate) name: String,
    /// Name or identifier of who answers for it.
    pub(crate) owner: String,
    pub(crate) upstream: Upstream,
}

/// A public key that an API holds itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyNew {
    /// The public JWK as text.
    pub(super) jwk: String,
}

/// What stands for a server that holds it itself: a public key, or a certificate; one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerKeyNew {
    /// The public JWK as text.
    jwk: Option<String>,
    /// SHA-256 of the certificate in DER, as base64url: `x5t#S256` of RFC 8705.
    certificate: Option<String>,
}

impl ServerKeyNew {
    /// The name, and the text beside it.
    fn read(&self) -> Result<(Jkt, String), Refusal> {
        match (&self.jwk, &self.certificate) {
            (Some(jwk), None) => {
                let key = PublicKey::parse_jwk(jwk).map_err(|_| Refusal::Key)?;
                Ok((key.thumbprint(), key.to_jwk(None)))
            }
            (None, Some(certificate)) => {
                let certificate: CertificateThumbprint =
                    certificate.parse().map_err(|_| Refusal::Key)?;
                let name = Confirmation::Certificate(certificate).key();
                Ok((name, ServerKey::text_of_certificate(&certificate)))
            }
            (Some(_), Some(_)) | (None, None) => Err(Refusal::Key),
        }
    }
}

/// How a server is reached. Every text is taken literally.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Upstream {
    /// Attorn's own administration API; cannot be registered.
    Builtin,
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: String,
    },
    /// A supervised child process, started without a shell.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// Its whole environment.
        #[serde(default)]
        env: BTreeMap<String, String>,
        /// SHA-256 of the program's file in hex; a file with another one is not started. It is read
        /// just before the start, so who may write the file can still swap it in between.
        sha256: Option<String>,
    },
}

pub(crate) async fn list(context: Context) -> Result<List<ServerView>, Refusal> {
    let mut servers: Vec<_> = context.snapshot.servers().collect();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(servers.into_iter().map(|server| ServerView::of(&context, server)).collect())
}

pub(crate) async fn show(context: Context) -> Result<ServerView, Refusal> {
    Ok(ServerView::of(&context, context.server(context.segment("server"))?))
}

pub(crate) async fn register(
    context: Context,
    new: ServerNew,
) -> Result<Effect<ServerView>, Refusal> {
    match &new.upstream {
        Upstream::Builtin => Err(Refusal::Builtin),
        Upstream::Http { .. } => put_into_registry(&context, new).await,
        // Threat model R27: to start a process is one privilege, and it is not this one.
        Upstream::Stdio { .. } => Err(Refusal::CommandElsewhere),
    }
}

/// Registers a program that Attorn starts: whoever may do this runs programs as Attorn does.
pub(crate) async fn register_command(
    context: Context,
    new: ServerNew,
) -> Result<Effect<ServerView>, Refusal> {
    match &new.upstream {
        Upstream::Builtin => Err(Refusal::Builtin),
        Upstream::Http { .. } => Err(Refusal::Form),
        Upstream::Stdio { .. } => put_into_registry(&context, new).await,
    }
}

async fn put_into_registry(
    context: &Context,
    new: ServerNew,
) -> Result<Effect<ServerView>, Refusal> {
    let new = read(context, new)?;
    let server = context.shared.store.register_server(&context.act(), &new).await?.record;
    Ok(Effect::new(ServerView::of(context, &server), registered(context, &server)))
}

/// The server to be.
pub(crate) fn read(context: &Context, new: ServerNew) -> Result<NewServer, Refusal> {
    Ok(NewServer {
        id: ServerId::from_random(&context.shared.random.bytes()),
        name: Name::parse(&new.name)?,
        owner: context.owner(&new.owner)?.id.clone(),
        upstream: new.upstream.into(),
    })
}

/// What the journal says of a new server.
pub(crate) fn registered(context: &Context, server: &McpServer) -> Entry {
    let mut fact = about(context, Kind::IdentityRegistered, server);
    fact.detail.insert("upstream".to_owned(), summary(&server.upstream));
    if let UpstreamSpec::Stdio { sha256: Some(sha256), .. } = &server.upstream {
        fact.detail.insert("program_sha256".to_owned(), sha256.clone());
    }
    fact
}

/// Records a public key or a certificate whose private part the server holds. That it does is proven by
/// each use.
pub(crate) async fn key(
    context: Context,
    new: ServerKeyNew,
) -> Result<Effect<ServerView>, Refusal> {
    let server = context.server(context.segment("server"))?;
    if server.is_builtin() {
        return Err(Refusal::Builtin);
    }
    let (jkt, jwk) = new.read()?;
    let (store, act) = (&context.shared.store, context.act());
    let changed = store.add_server_key(&act, &server.id, (jkt, &jwk), KeyHolder::Server).await?;
    let mut fact = about(&context, Kind::KeyAdded, &changed.record);
    fact.server_key = Some(jkt.to_string());
    Ok(Effect::new(ServerView::of(&context, &changed.record), fact))
}

pub(crate) async fn suspend(
    context: Context,
    reason: Reason,
) -> Result<Effect<ServerView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Suspended, Kind::IdentitySuspended, reason).await
}

pub(crate) async fn resume(
    context: Context,
    reason: ReasonWished,
) -> Result<Effect<ServerView>, Refusal> {
    become_state(context, LifeCycle::Active, Kind::IdentityResumed, reason.text()).await
}

/// Says for which classes tokens without a proof are taken: an exception that each entry marks.
pub(crate) async fn bearer(
    context: Context,
    wanted: BearerWanted,
) -> Result<Effect<ServerView>, Refusal> {
    let server = context.server(context.segment("server"))?;
    if wanted.reason.trim().is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    if server.is_builtin() {
        return Err(Refusal::Builtin);
    }
    let classes = wanted.classes.iter().map(|text| text.parse().map_err(|_| Refusal::Form));
    let classes = classes.collect::<Result<BTreeSet<Class>, _>>()?;
    let store = &context.shared.store;
    let server = store.set_server_bearer(&context.act(), &server.id, &classes).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &server);
    let names: Vec<_> = classes.iter().map(|class| class.as_str()).collect();
    fact.detail.insert("accept_bearer".to_owned(), names.join(" "));
    fact.detail.insert("reason".to_owned(), wanted.reason);
    Ok(Effect::new(ServerView::of(&context, &server), fact))
}

pub(crate) async fn retire(
    context: Context,
    reason: Reason,
) -> Result<Effect<ServerView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Retired, Kind::IdentityRetired, reason).await
}

async fn become_state(
    context: Context,
    to: LifeCycle,
    kind: Kind,
    reason: Option<String>,
) -> Result<Effect<ServerView>, Refusal> {
    let server = context.server(context.segment("server"))?;
    if server.is_builtin() {
        // Nobody could undo it: the API that would is the one that stopped.
        return Err(Refusal::Builtin);
    }
    // What waits is taken with its findings, and no other way.
    if server.state == LifeCycle::Pending && to == LifeCycle::Active {
        return Err(Refusal::Quarantined);
    }
    let store = &context.shared.store;
    let server = store.set_server_state(&context.act(), &server.id, to).await?.record;
    let mut fact = about(&context, kind, &server);
    fact.detail.extend(reason.map(|reason| ("reason".to_owned(), reason)));
    Ok(Effect::new(ServerView::of(&context, &server), fact))
}

/// What the journal says of any change of a server.
pub(crate) fn about(context: &Context, kind: Kind, server: &McpServer) -> Entry {
    let mut fact = context.fact(kind);
    fact.server = Some(server.id.to_string());
    fact.owner = server.owner.as_ref().map(ToString::to_string);
    fact
}

/// What the journal says of an upstream: never its environment or its query, which may hold secrets.
pub(crate) fn summary(upstream: &UpstreamSpec) -> String {
    match upstream {
        UpstreamSpec::Builtin => "builtin".to_owned(),
        UpstreamSpec::Http { url } => without_query(url),
        UpstreamSpec::Stdio { command, .. } => command.clone(),
    }
}

/// Whether an upstream has parts that [`Upstream::shown`] does not show.
pub(crate) fn may_hold_secrets(upstream: &UpstreamSpec) -> bool {
    match upstream {
        UpstreamSpec::Builtin => false,
        UpstreamSpec::Http { url } => url.contains('?'),
        UpstreamSpec::Stdio { env, .. } => !env.is_empty(),
    }
}

/// The address of an upstream; that there is a query is told, but not which.
fn without_query(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(place, _)| format!("{place}?[redacted]"))
}

impl ServerView {
    pub(crate) fn of(context: &Context, server: &McpServer) -> Self {
        Self {
            id: server.id.to_string(),
            name: server.name.to_string(),
            owner: context.owner_name(server.owner.as_ref()),
            state: server.state.as_str(),
            resource: context.shared.config.resource_of(server.name.as_str()),
            upstream: Upstream::shown(&server.upstream),
            keys: server.keys.iter().map(ServerKeyView::of).collect(),
            tools: server.tools.len(),
            accept_bearer: server.accept_bearer.iter().map(|class| class.as_str()).collect(),
            created_s: server.created_s,
        }
    }
}

impl ServerKeyView {
    fn of(key: &ServerKey) -> Self {
        Self {
            jkt: key.jkt.to_string(),
            state: key.state.as_str(),
            holder: key.holder.as_str(),
            // The registry holds what a key of ours wrote.
            jwk: serde_json::from_str(&key.jwk).unwrap_or_default(),
        }
    }
}

impl Upstream {
    /// Queries and the values of environment variables are not told: they may be secrets.
    fn shown(upstream: &UpstreamSpec) -> Self {
        match upstream.clone() {
            UpstreamSpec::Builtin => Self::Builtin,
            UpstreamSpec::Http { url } => Self::Http { url: without_query(&url) },
            UpstreamSpec::Stdio { command, args, env, sha256 } => {
                let env = env.into_keys().map(|name| (name, "[redacted]".to_owned())).collect();
                Self::Stdio { command, args, env, sha256 }
            }
        }
    }
}

impl From<Upstream> for UpstreamSpec {
    fn from(upstream: Upstream) -> Self {
        match upstream {
            Upstream::Builtin => Self::Builtin,
            Upstream::Http { url } => Self::Http { url },
            Upstream::Stdio { command, args, env, sha256 } => {
                Self::Stdio { command, args, env, sha256 }
            }
        }
    }
}
