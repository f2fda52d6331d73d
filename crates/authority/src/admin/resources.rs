//! Downstream resources: APIs, their operations, and which servers may get tokens for them.

use attorn_audit::{Entry, Kind};
use attorn_jose::PublicKey;
use attorn_oauth::resource::ResourceIndicator;
use attorn_registry::{
    Class, Downstream, HttpMethod, LifeCycle, Name, OperationId, PathTemplate, Resource,
    ResourceId, ResourceKey, ResourceOperation, ResourceRefusal, ScopePattern, is_plain_path,
};
use attorn_store::NewResource;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::reason::{Reason, ReasonWished};
use super::refusal::{Missing, Refusal};
use super::servers::KeyNew;

/// An API behind MCP servers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourceView {
    id: String,
    name: String,
    /// The resource identifier, and the one audience of its tokens.
    url: String,
    owner: Option<String>,
    state: &'static str,
    /// Thumbprint of the key it asks about tokens with.
    key: Option<String>,
    operations: Vec<OperationView>,
    downstreams: Vec<DownstreamView>,
    created_s: u64,
}

/// One operation of an API.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationView {
    id: String,
    class: &'static str,
    method: &'static str,
    path: String,
    scope: String,
}

/// What a server may get tokens for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DownstreamView {
    server: String,
    resource: String,
    /// What the caller's token must hold at the server.
    from: String,
    /// What the server may get for it at the API.
    to: String,
}

/// A request to an API, as its operations read it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestAsked {
    method: String,
    /// Below the URL of the API, as it stands in the request line.
    path: String,
}

/// The operation that a request would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MatchView {
    /// Its name; absent where the request is no operation.
    operation: Option<String>,
    /// The scopes that it needs: those of every operation that an API could take it for.
    needed: String,
    /// Whether the path has one reading only. Another one matches nothing.
    plain_path: bool,
}

/// A new API.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceNew {
    /// `[a-z0-9][a-z0-9-]{0,62}`
    name: String,
    /// Name or identifier of who answers for it.
    owner: String,
    /// The canonical `https` URL under which it is reached.
    url: String,
}

/// A new operation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationNew {
    /// Its name in scopes: 1 to 64 of `A-Za-z0-9_.-`.
    id: String,
    /// `read`, `write` or `irreversible`.
    class: String,
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    method: String,
    /// Below the URL, such as `/invoices/{id}`.
    path: String,
}

/// A rule of what a server may get tokens for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DownstreamRule {
    /// Name or identifier of the API.
    resource: String,
    /// A scope of the server, or `<class>:*`.
    from: String,
    /// A scope of the API, or `<class>:*`.
    to: String,
}

pub(crate) async fn list(context: Context) -> Result<List<ResourceView>, Refusal> {
    let mut resources: Vec<_> = context.snapshot.resources().collect();
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(resources.into_iter().map(|one| ResourceView::of(&context, one)).collect())
}

pub(crate) async fn show(context: Context) -> Result<ResourceView, Refusal> {
    Ok(ResourceView::of(&context, named(&context, context.segment("resource"))?))
}

pub(crate) async fn matched(context: Context, asked: RequestAsked) -> Result<MatchView, Refusal> {
    let resource = named(&context, context.segment("resource"))?;
    let matched = resource.operation_at(&asked.method, &asked.path);
    Ok(MatchView {
        operation: matched.as_ref().map(|matched| matched.operation.id.as_str().to_owned()),
        needed: matched.map(|matched| matched.needed.to_string()).unwrap_or_default(),
        plain_path: is_plain_path(&asked.path),
    })
}

pub(crate) async fn register(
    context: Context,
    new: ResourceNew,
) -> Result<Effect<ResourceView>, Refusal> {
    let new = NewResource {
        id: ResourceId::from_random(&context.shared.random.bytes()),
        name: Name::parse(&new.name)?,
        url: address(&context, &new.url)?,
        owner: context.owner(&new.owner)?.id.clone(),
    };
    let record = context.shared.store.register_resource(&context.act(), &new).await?.record;
    let mut fact = about(&context, Kind::IdentityRegistered, &record);
    fact.detail.insert("url".to_owned(), record.url.clone());
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

/// RFC 8707 section 2, and none of our own addresses: a token for an API is for nothing else.
fn address(context: &Context, url: &str) -> Result<String, Refusal> {
    let indicator = ResourceIndicator::parse(url).map_err(|_| Refusal::ResourceUrl)?;
    let config = &context.shared.config;
    let own = [&config.gateway_url, &config.admin_url, &config.issuer];
    let is_own = |own: &&String| {
        let rest = url.strip_prefix(own.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if own.iter().any(is_own) { Err(Refusal::ResourceUrl) } else { Ok(indicator.to_string()) }
}

pub(crate) async fn suspend(
    context: Context,
    reason: Reason,
) -> Result<Effect<ResourceView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Suspended, Kind::IdentitySuspended, reason).await
}

pub(crate) async fn resume(
    context: Context,
    reason: ReasonWished,
) -> Result<Effect<ResourceView>, Refusal> {
    become_state(context, LifeCycle::Active, Kind::IdentityResumed, reason.text()).await
}

pub(crate) async fn retire(
    context: Context,
    reason: Reason,
) -> Result<Effect<ResourceView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Retired, Kind::IdentityRetired, reason).await
}

async fn become_state(
    context: Context,
    to: LifeCycle,
    kind: Kind,
    reason: Option<String>,
) -> Result<Effect<ResourceView>, Refusal> {
    let id = &named(&context, context.segment("resource"))?.id;
    let store = &context.shared.store;
    let record = store.set_resource_state(&context.act(), id, to).await?.record;
    let mut fact = about(&context, kind, &record);
    fact.detail.extend(reason.map(|reason| ("reason".to_owned(), reason)));
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

/// Records the public key that an API asks about tokens with. Each use proves that it holds it.
pub(crate) async fn key(context: Context, new: KeyNew) -> Result<Effect<ResourceView>, Refusal> {
    let id = &named(&context, context.segment("resource"))?.id;
    let key = PublicKey::parse_jwk(&new.jwk).map_err(|_| Refusal::Key)?;
    let jkt = key.thumbprint();
    let key = ResourceKey { jkt, jwk: key.to_jwk(None) };
    let record = context.shared.store.set_resource_key(&context.act(), id, key).await?.record;
    let mut fact = about(&context, Kind::KeyAdded, &record);
    fact.detail.insert("key".to_owned(), jkt.to_string());
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

pub(crate) async fn add_operation(
    context: Context,
    new: OperationNew,
) -> Result<Effect<ResourceView>, Refusal> {
    let id = &named(&context, context.segment("resource"))?.id;
    let class: Class = new.class.parse().map_err(|_| Refusal::Form)?;
    let operation = ResourceOperation {
        id: OperationId::parse(&new.id)?,
        class,
        method: HttpMethod::parse(&new.method)?,
        path: PathTemplate::parse(&new.path)?,
    };
    let told = operation.to_string();
    let store = &context.shared.store;
    let record = store.add_operation(&context.act(), id, operation).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &record);
    fact.detail.insert("operation".to_owned(), told);
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

pub(crate) async fn remove_operation(
    context: Context,
    _nothing: ReasonWished,
) -> Result<Effect<ResourceView>, Refusal> {
    let id = &named(&context, context.segment("resource"))?.id;
    let (store, operation) = (&context.shared.store, context.segment("operation"));
    let record = store.remove_operation(&context.act(), id, operation).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &record);
    fact.detail.insert("operation_removed".to_owned(), operation.to_owned());
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

pub(crate) async fn downstreams(context: Context) -> Result<List<DownstreamView>, Refusal> {
    let server = &context.server(context.segment("server"))?.id;
    let views = context.snapshot.resources().flat_map(|one| DownstreamView::all_of(&context, one));
    let name = context.snapshot.server(server).map(|server| server.name.to_string());
    let mut views: Vec<_> = views.filter(|one| Some(&one.server) == name.as_ref()).collect();
    views.sort_by(|a, b| (&a.resource, &a.from, &a.to).cmp(&(&b.resource, &b.from, &b.to)));
    Ok(views.into_iter().collect())
}

pub(crate) async fn allow(
    context: Context,
    asked: DownstreamRule,
) -> Result<Effect<ResourceView>, Refusal> {
    let (id, rule) = rule(&context, &asked)?;
    if rule.widens() {
        return Err(ResourceRefusal::Widened.into());
    }
    let told = (rule.server.to_string(), format!("{} -> {}", rule.from, rule.to));
    let store = &context.shared.store;
    let record = store.allow_downstream(&context.act(), &id, rule).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &record);
    fact.server = Some(told.0);
    fact.detail.insert("downstream_allowed".to_owned(), told.1);
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

pub(crate) async fn deny(
    context: Context,
    asked: DownstreamRule,
) -> Result<Effect<ResourceView>, Refusal> {
    let (id, rule) = rule(&context, &asked)?;
    let store = &context.shared.store;
    let record = store.deny_downstream(&context.act(), &id, &rule).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &record);
    fact.server = Some(rule.server.to_string());
    fact.detail.insert("downstream_removed".to_owned(), format!("{} -> {}", rule.from, rule.to));
    Ok(Effect::new(ResourceView::of(&context, &record), fact))
}

fn rule(context: &Context, asked: &DownstreamRule) -> Result<(ResourceId, Downstream), Refusal> {
    let server = context.server(context.segment("server"))?;
    if server.is_builtin() {
        // It calls nobody.
        return Err(Refusal::Builtin);
    }
    let (from, to) = (ScopePattern::parse(&asked.from)?, ScopePattern::parse(&asked.to)?);
    let resource = named(context, &asked.resource)?;
    Ok((resource.id.clone(), Downstream { server: server.id.clone(), from, to }))
}

/// An API by name or identifier.
pub(crate) fn named<'c>(context: &'c Context, text: &str) -> Result<&'c Resource, Refusal> {
    let by_id = || context.snapshot.resource(&ResourceId::parse(text).ok()?);
    let found = context.snapshot.resource_named(text).or_else(by_id);
    found.ok_or(Refusal::Missing(Missing::Resource))
}

pub(super) fn about(context: &Context, kind: Kind, resource: &Resource) -> Entry {
    let mut fact = context.fact(kind);
    fact.downstream_resource = Some(resource.id.to_string());
    fact.owner = resource.owner.as_ref().map(ToString::to_string);
    fact.detail.insert("name".to_owned(), resource.name.to_string());
    fact
}

impl ResourceView {
    fn of(context: &Context, resource: &Resource) -> Self {
        Self {
            id: resource.id.to_string(),
            name: resource.name.to_string(),
            url: resource.url.clone(),
            owner: context.owner_name(resource.owner.as_ref()),
            state: resource.state.as_str(),
            key: resource.key.as_ref().map(|key| key.jkt.to_string()),
            operations: resource.operations.iter().map(OperationView::of).collect(),
            downstreams: DownstreamView::all_of(context, resource).collect(),
            created_s: resource.created_s,
        }
    }
}

impl OperationView {
    pub(super) fn of(operation: &ResourceOperation) -> Self {
        Self {
            id: operation.id.as_str().to_owned(),
            class: operation.class.as_str(),
            method: operation.method.as_str(),
            path: operation.path.to_string(),
            scope: operation.scope().to_string(),
        }
    }
}

impl DownstreamView {
    fn all_of(context: &Context, resource: &Resource) -> impl Iterator<Item = Self> {
        resource.downstreams.iter().map(|rule| {
            let server = context.snapshot.server(&rule.server);
            let server = server.map_or_else(|| rule.server.to_string(), |one| one.name.to_string());
            let (from, to) = (rule.from.to_string(), rule.to.to_string());
            Self { server, resource: resource.name.to_string(), from, to }
        })
    }
}
