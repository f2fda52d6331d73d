//! Opening the way to one MCP server.

use std::time::Duration;

use attorn_net::ResponseBody;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use url::Url;

use crate::authorized::{AuthorizedClient, CallError};
use crate::discovery::{DiscoveryError, discover};
use crate::request::TokenFailure;
use crate::token::{Grant, Place, TokenSource, UnboundTokens};
use crate::world::World;

/// What a connector is told by its user. Nothing of it comes from the folder it runs in.
#[derive(Clone, Debug)]
pub struct Options {
    /// The MCP server: its URL is its resource identifier.
    pub resource: Url,
    /// The only authorization server to use, when the user knows it.
    pub issuer: Option<String>,
    /// How tokens are got.
    pub grant: Grant,
    /// What to do with tokens that are not bound.
    pub unbound: UnboundTokens,
    /// What is known about the server's revision before the first message.
    pub era: Era,
}

/// Which generation of MCP a server speaks: MCP 2026-07-28, Versioning, Terminology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Modern for certain: no answer may talk a client down to the handshake.
    Modern,
    /// To be learned from its answers.
    Unknown,
}

/// The way to one MCP server, with a token in hand.
#[derive(Clone, Debug)]
pub struct Connector {
    pub(crate) calls: AuthorizedClient,
    pub(crate) url: Url,
    pub(crate) era: Era,
}

/// Why a connector could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The resource is no absolute URL.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The resource or its authorization server is not what it should be.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// No token is to be had.
    #[error(transparent)]
    Token(#[from] TokenFailure),
}

impl Connector {
    /// Discovers the server's authorization server and gets a first token, so that a wrong key is
    /// told at once and not with the first call.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(world: World, options: Options) -> Result<Self, OpenError> {
        let Options { resource, issuer, grant, unbound, era } = options;
        let found = discover(&world, &resource, issuer.as_deref()).await?;
        let unbound = match unbound {
            // RFC 9728 section 2: a resource that asks for bound tokens would not take others.
            UnboundTokens::AcceptWithoutDpopSupport
                if !found.resource.dpop_bound_access_tokens_required =>
            {
                unbound
            }
            UnboundTokens::AcceptWithoutDpopSupport | UnboundTokens::Refuse => {
                UnboundTokens::Refuse
            }
        };
        let place = Place { url: resource.clone(), issuer };
        let tokens = TokenSource::found(world, found, place, grant, unbound);
        tokens.token().await?;
        Ok(Self { calls: AuthorizedClient::new(tokens)?, url: resource, era })
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, CallError> {
        self.calls.send_within(method, &self.url, headers, body, limit).await
    }
}

/// A tool may take its time; a client that no longer waits cancels.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30 * 60);
