//! Access tokens: got once for all callers, renewed before they end, never shown.
//!
//! Implemented: one request at a time whoever asks (single flight), renewal at four fifths of the
//! lifetime, an older token while its renewal fails, widening on demand, an authorization server that
//! a resource leaves for another one.
//! Not implemented: access tokens kept on disk.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use attorn_jose::SigningKey;
use tokio::sync::Mutex;
use url::Url;

use crate::assertion::AssertionClient;
use crate::code::{Login, PersonClient};
use crate::discovery::{self, Discovered, DiscoveryError};
use crate::metadata::AuthorizationServer;
use crate::nonces::Nonces;
use crate::request::{self, Answer, TokenFailure};
use crate::world::World;

/// Who asks for tokens.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The `client_id` at the authorization server.
    pub client_id: String,
    /// What it proves who it is with.
    pub credential: Credential,
}

/// What a client proves who it is with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The certificate that the HTTP client of the [`World`] shows: RFC 8705. Tokens are bound to it.
    Certificate,
    /// A key that signs assertions and proofs: RFC 7523, RFC 9449.
    Key(SigningKey),
}

/// How tokens are got.
#[derive(Clone, Debug)]
pub enum Grant {
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`: somebody else says who asks.
    Assertion(AssertionClient),
    /// `client_credentials`: a program acting for itself.
    ClientCredentials(Identity),
    /// `authorization_code` with PKCE: a program acting for the person at this computer.
    Person(PersonClient),
}

impl Grant {
    /// The key that signs proofs.
    pub(crate) const fn key(&self) -> Option<&SigningKey> {
        match self {
            Self::ClientCredentials(Identity { credential: Credential::Key(key), .. }) => Some(key),
            Self::ClientCredentials(Identity { credential: Credential::Certificate, .. }) => None,
            Self::Assertion(client) => Some(&client.key),
            Self::Person(client) => Some(&client.key),
        }
    }

    /// What to ask for first. A program acting for itself asks for all that is granted; a person is not
    /// asked for more than the server says it takes.
    fn first_scope(&self, found: &Discovered) -> Option<String> {
        match self {
            Self::Assertion(_) | Self::ClientCredentials(_) => None,
            Self::Person(_) => found.first_scope(),
        }
    }
}

/// What to do with a token that is not bound to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnboundTokens {
    /// Discard it: RFC 9449 section 5 leaves that to the client.
    Refuse,
    /// Use it as a bearer token where the server's metadata knows no DPoP.
    AcceptWithoutDpopSupport,
}

/// A source of tokens for one resource. Clones share the token.
#[derive(Clone)]
pub struct TokenSource(Arc<Inner>);

struct Inner {
    world: World,
    resource: String,
    place: Option<Place>,
    grant: Grant,
    unbound: UnboundTokens,
    nonces: Nonces,
    current: RwLock<Option<Arc<AccessToken>>>,
    // Held during a token request, so that there is one at a time.
    flight: Mutex<Flight>,
}

/// Where a resource was found, to look again.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its address.
    pub(crate) url: Url,
    /// The only authorization server that counts, when the user knows it.
    pub(crate) issuer: Option<String>,
}

struct Flight {
    server: AuthorizationServer,
    /// The scopes to ask for; none asks for all that is granted.
    scope: Option<String>,
    count: u64,
    login: Login,
}

/// An access token and what its server said about it.
pub(crate) struct AccessToken {
    text: String,
    pub(crate) bound: bool,
    pub(crate) scope: Option<String>,
    number: u64,
    renew_ms: u64,
    expires_ms: u64,
}

impl TokenSource {
    /// Tokens for `resource` from `server`, whose metadata was verified by [`discovery`].
    pub fn new(
        world: World,
        server: AuthorizationServer,
        resource: impl Into<String>,
        grant: Grant,
        unbound: UnboundTokens,
    ) -> Self {
        Self::with(world, Flight::to(server), resource.into(), None, grant, unbound)
    }

    /// Tokens for a resource that was found at `place`.
    pub(crate) fn found(
        world: World,
        found: Discovered,
        place: Place,
        grant: Grant,
        unbound: UnboundTokens,
    ) -> Self {
        let scope = grant.first_scope(&found);
        let flight = Flight { scope, ..Flight::to(found.server) };
        Self::with(world, flight, found.resource.resource, Some(place), grant, unbound)
    }

    fn with(
        world: World,
        flight: Flight,
        resource: String,
        place: Option<Place>,
        grant: Grant,
        unbound: UnboundTokens,
    ) -> Self {
        let (nonces, current) = (Nonces::default(), RwLock::new(None));
        let flight = Mutex::new(flight);
        Self(Arc::new(Inner { world, resource, place, grant, unbound, nonces, current, flight }))
    }

    /// Bound tokens for `resource` from the authorization server called `issuer`.
    ///
    /// # Errors
    /// When the issuer's metadata cannot be read or names another issuer.
    pub async fn for_issuer(
        world: World,
        issuer: &str,
        resource: impl Into<String>,
        identity: Identity,
    ) -> Result<Self, DiscoveryError> {
        let server = discovery::authorization_server(&world, issuer).await?;
        let grant = Grant::ClientCredentials(identity);
        Ok(Self::new(world, server, resource, grant, UnboundTokens::Refuse))
    }

    /// The scopes of the current token, as its server named them; gets a token if there is none.
    ///
    /// # Errors
    /// See [`TokenFailure`].
    pub async fn scope(&self) -> Result<Option<String>, TokenFailure> {
        Ok(self.token().await?.scope.clone())
    }

    /// The resource identifier the tokens are for.
    pub fn resource(&self) -> &str {
        &self.0.resource
    }

    pub(crate) fn world(&self) -> &World {
        &self.0.world
    }

    /// The key that signs proofs; a client with a certificate needs none.
    pub(crate) fn key(&self) -> Option<&SigningKey> {
        self.0.grant.key()
    }

    pub(crate) fn nonces(&self) -> &Nonces {
        &self.0.nonces
    }

    /// A token with some life left.
    pub(crate) async fn token(&self) -> Result<Arc<AccessToken>, TokenFailure> {
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let mut flight = self.0.flight.lock().await;
        // Another caller may have landed while this one waited.
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        match self.renewed(&mut flight).await {
            // A short outage of the authorization server is not yet an outage of the calls.
            Err(TokenFailure::Unreachable(error)) => self
                .kept()
                .filter(|token| self.0.world.clock.now_ms() < token.expires_ms)
                .ok_or(TokenFailure::Unreachable(error)),
            landed => landed,
        }
    }

    /// A token other than `stale`, which the resource no longer takes.
    pub(crate) async fn instead_of(
        &self,
        stale: &AccessToken,
    ) -> Result<Arc<AccessToken>, TokenFailure> {
        let mut flight = self.0.flight.lock().await;
        if let Some(newer) = self.kept().filter(|token| token.number > stale.number) {
            return Ok(newer);
        }
        self.look_again(&mut flight).await?;
        self.renewed(&mut flight).await
    }

    /// Where the resource trusts another server now, a person is asked there. What the application has
    /// at the old one stays there: MCP 2026-07-28, Authorization Server Binding.
    async fn look_again(&self, flight: &mut Flight) -> Result<(), TokenFailure> {
        let Inner { world, place, grant, .. } = &*self.0;
        let (Grant::Person(client), Some(place)) = (grant, place) else { return Ok(()) };
        let found = discovery::discover(world, &place.url, place.issuer.as_deref()).await;
        // A token that is refused while the metadata is not to be had may still be renewed.
        let Ok(found) = found else { return Ok(()) };
        if found.server.issuer == flight.server.issuer {
            return Ok(());
        }
        if client.known.as_ref().is_some_and(|known| !known.is_document()) {
            return Err(TokenFailure::Moved { issuer: found.server.issuer });
        }
        tracing::warn!(issuer = %found.server.issuer, "the server trusts another issuer now");
        flight.login = Login::default();
        flight.scope = grant.first_scope(&found);
        flight.server = found.server;
        Ok(())
    }

    /// A token that also has `scopes`, which `narrow` lacked. Remembered for renewals.
    pub(crate) async fn widened(
        &self,
        narrow: &AccessToken,
        scopes: &str,
    ) -> Result<Arc<AccessToken>, TokenFailure> {
        let mut flight = self.0.flight.lock().await;
        let newer = self.kept().filter(|token| token.number > narrow.number);
        if let Some(newer) = newer.filter(|token| token.has(scopes)) {
            return Ok(newer);
        }
        // MCP 2026-07-28, Step-Up Authorization Flow: what was there, and what is asked for.
        let asked_before = flight.scope.clone();
        let held = asked_before.clone().or_else(|| narrow.scope.clone()).unwrap_or_default();
        flight.scope = Some(union(&held, scopes));
        let landed = self.request(&mut flight, true).await;
        if !landed.as_ref().is_ok_and(|token| token.has(scopes)) {
            // The wider set is not to be had; renewals must not ask for it for ever.
            flight.scope = asked_before;
        }
        landed
    }

    /// Asks, with what is kept for a person read first and written last.
    async fn answer(&self, flight: &mut Flight, is_wider: bool) -> Result<Answer, TokenFailure> {
        let Inner { world, resource, grant, nonces, .. } = &*self.0;
        let Flight { server, scope, login, .. } = flight;
        let wish = request::Wish { server, resource, scope: scope.as_deref(), is_wider };
        let file = match grant {
            Grant::Person(client) => client.file.as_ref().map(|file| (file, client)),
            Grant::Assertion(_) | Grant::ClientCredentials(_) => None,
        };
        let Some((file, client)) = file else {
            return request::token(world, nonces, grant, &wish, login).await;
        };
        let locked = file.lock().await?;
        let kept = locked
            .read(&server.issuer)?
            .filter(|kept| kept.client.as_ref().is_some_and(|kept| kept.is(client.known.as_ref())));
        // Another program may have renewed it since. What a client with a secret has is in memory alone.
        let is_in_memory = login.client.as_ref().is_some_and(|client| !client.is_public());
        if kept.is_some() || !is_in_memory {
            *login = kept.unwrap_or_default();
        }
        let answer = request::token(world, nonces, grant, &wish, login).await;
        // Also after a refusal: what counts no longer is not tried again.
        locked.write(&server.issuer, login)?;
        answer
    }

    /// Whether a token of this type is used, RFC 9449 section 5.
    fn is_acceptable(&self, token_type: &str, server: &AuthorizationServer) -> bool {
        let is_bearer = token_type.eq_ignore_ascii_case("Bearer");
        // RFC 8705 section 3: `Bearer`, and bound all the same to the certificate that was shown.
        let is_certified = self.0.grant.key().is_none()
            && server.tls_client_certificate_bound_access_tokens
            && is_bearer;
        // `Bearer` in answer to a proof means that the token is not bound.
        let knows_dpop = !server.dpop_signing_alg_values_supported.is_empty();
        let is_taken_unbound = match self.0.unbound {
            UnboundTokens::Refuse => false,
            UnboundTokens::AcceptWithoutDpopSupport => !knows_dpop && is_bearer,
        };
        token_type.eq_ignore_ascii_case("DPoP") || is_certified || is_taken_unbound
    }

    fn fresh(&self) -> Option<Arc<AccessToken>> {
        self.kept().filter(|token| self.0.world.clock.now_ms() < token.renew_ms)
    }

    fn kept(&self) -> Option<Arc<AccessToken>> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token of the remembered scope; of all that is granted when that is no longer to be had.
    async fn renewed(&self, flight: &mut Flight) -> Result<Arc<AccessToken>, TokenFailure> {
        match self.request(flight, false).await {
            // RFC 6749 section 5.2: the scope exceeds what is granted now.
            Err(TokenFailure::Refused(refusal))
                if refusal.code == "invalid_scope" && flight.scope.is_some() =>
            {
                flight.scope = None;
                self.request(flight, false).await
            }
            landed => landed,
        }
    }

    async fn request(
        &self,
        flight: &mut Flight,
        is_wider: bool,
    ) -> Result<Arc<AccessToken>, TokenFailure> {
        let asked_ms = self.0.world.clock.now_ms();
        let answer = self.answer(flight, is_wider).await?;
        let bound = answer.token_type.eq_ignore_ascii_case("DPoP");
        if !self.is_acceptable(&answer.token_type, &flight.server) {
            return Err(TokenFailure::Unbound);
        }
        flight.count = flight.count.saturating_add(1);
        let life_ms = answer.expires_in.unwrap_or(LIFETIME_UNSAID_S).saturating_mul(1000);
        let token = Arc::new(AccessToken {
            text: answer.access_token,
            bound,
            // RFC 6749 section 5.1: no `scope` means the scope asked for.
            scope: answer.scope.or_else(|| flight.scope.clone()),
            number: flight.count,
            renew_ms: asked_ms.saturating_add(life_ms.saturating_mul(4) / 5),
            expires_ms: asked_ms.saturating_add(life_ms),
        });
        let kept = Arc::clone(&token);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(token)
    }
}

impl Flight {
    fn to(server: AuthorizationServer) -> Self {
        Self { server, scope: None, count: 0, login: Login::default() }
    }
}

impl AccessToken {
    /// The value of `Authorization`: RFC 9449 section 7.1 or RFC 6750 section 2.1.
    pub(crate) fn authorization(&self) -> String {
        format!("{} {}", if self.bound { "DPoP" } else { "Bearer" }, self.text)
    }

    /// The token itself, for the digest in a proof.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether every one of `scopes` is in this token, as far as its server said.
    pub(crate) fn has(&self, scopes: &str) -> bool {
        let held = self.scope.as_deref().unwrap_or("");
        scopes.split_ascii_whitespace().all(|scope| held.split(' ').any(|known| known == scope))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("resource", &self.0.resource).finish_non_exhaustive()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([redacted])")
    }
}

/// All of `held`, then what `more` adds, each once.
fn union(held: &str, more: &str) -> String {
    let mut all: Vec<&str> = held.split_ascii_whitespace().collect();
    for scope in more.split_ascii_whitespace() {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all.join(" ")
}

/// RFC 6749 section 5.1 lets a server leave the lifetime out.
const LIFETIME_UNSAID_S: u64 = 60;
