//! Public clients of people that an operator registers.

use attorn_oauth::redirect_uri::RedirectUri;
use attorn_registry::{AgentId, ClientSource, Name, PublicClient};
use attorn_store::NewPublicClient;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agents;
use super::context::{Context, Effect};
use super::refusal::Refusal;

/// A new public client.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientNew {
    /// `[a-z0-9][a-z0-9-]{0,62}`
    name: String,
    /// Name or identifier of who answers for it.
    owner: String,
    /// What people are shown; the name unless said otherwise.
    display_name: Option<String>,
    /// Where an authorization code may go, exactly; the port of a loopback address is free.
    redirect_uris: Vec<String>,
}

/// A public client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientView {
    /// Its OAuth `client_id`.
    id: String,
    name: String,
    owner: String,
    display_name: String,
    redirect_uris: Vec<String>,
    state: &'static str,
}

pub(crate) async fn register(
    context: Context,
    new: ClientNew,
) -> Result<Effect<ClientView>, Refusal> {
    let owner = context.owner(&new.owner)?.clone();
    let client = PublicClient {
        display_name: new.display_name.unwrap_or_else(|| new.name.clone()),
        redirect_uris: new.redirect_uris,
        source: ClientSource::Registered,
    };
    // The same rule as where they are compared: what it does not take would never be accepted.
    if !client.redirect_uris.iter().all(|uri| RedirectUri::parse(uri).is_ok()) {
        return Err(Refusal::RedirectUri);
    }
    let new = NewPublicClient {
        id: AgentId::from_random(&context.shared.random.bytes()),
        name: Name::parse(&new.name)?,
        owner: Some(owner.id),
        client,
    };
    let agent = context.shared.store.register_public_client(&context.act(), &new).await?.record;
    let mut fact = agents::registered(&context, &agent);
    fact.detail.insert("redirect_uris".to_owned(), new.client.redirect_uris.join(" "));
    let output = ClientView {
        id: agent.id.to_string(),
        name: agent.name.to_string(),
        owner: owner.name.to_string(),
        display_name: new.client.display_name,
        redirect_uris: new.client.redirect_uris,
        state: agent.state.as_str(),
    };
    Ok(Effect::new(output, fact))
}
