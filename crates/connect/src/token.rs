//! Access tokens: got once for all callers, renewed before they end, never shown.
//!
//! Implemented: one request at a time whoever asks (single flight), renewal at four fifths of the
//! lifetime, an older token while its renewal fails, widening on demand.
//! Not implemented: refresh tokens, tokens kept on disk.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use attorn_jose::SigningKey;
use tokio::sync::Mutex;

use crate::assertion::AssertionClient;
use crate::code::CodeClient;
use crate::discovery::{self, DiscoveryError};
use crate::metadata::AuthorizationServer;
use crate::nonces::Nonces;
use crate::request::{self, TokenFailure};
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
    /// `authorization_code` with PKCE at a server that approves without a person. Only on request.
    UnattendedCode(CodeClient),
}

impl Grant {
    /// The key that signs proofs.
    pub(crate) const fn key(&self) -> Option<&SigningKey> {
        match self {
            Self::ClientCredentials(Identity { credential: Credential::Key(key), .. }) => Some(key),
            Self::ClientCredentials(Identity { credential: Credential::Certificate, .. }) => None,
            Self::Assertion(client) => Some(&client.key),
            Self::UnattendedCode(client) => Some(&client.key),
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
    server: AuthorizationServer,
    resource: String,
    grant: Grant,
    unbound: UnboundTokens,
    nonces: Nonces,
    current: RwLock<Option<Arc<AccessToken>>>,
    // Held during a token request, so that there is one at a time.
    flight: Mutex<Flight>,
}

#[derive(Default)]
struct Flight {
    /// The scopes to ask for; none at first, which asks for all that is granted.
    scope: Option<String>,
    count: u64,
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
        Self(Arc::new(Inner {
            world,
            server,
            resource: resource.into(),
            grant,
            unbound,
            nonces: Nonces::default(),
            current: RwLock::new(None),
            flight: Mutex::new(Flight::default()),
        }))
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
        match self.kept().filter(|token| token.number > stale.number) {
            Some(newer) => Ok(newer),
            None => self.renewed(&mut flight).await,
        }
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
        let landed = self.request(&mut flight).await;
        if !landed.as_ref().is_ok_and(|token| token.has(scopes)) {
            // The wider set is not to be had; renewals must not ask for it for ever.
            flight.scope = asked_before;
        }
        landed
    }

    fn fresh(&self) -> Option<Arc<AccessToken>> {
        self.kept().filter(|token| self.0.world.clock.now_ms() < token.renew_ms)
    }

    fn kept(&self) -> Option<Arc<AccessToken>> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token of the remembered scope; of all that is granted when that is no longer to be had.
    async fn renewed(&self, flight: &mut Flight) -> Result<Arc<AccessToken>, TokenFailure> {
        match self.request(flight).await {
            // RFC 6749 section 5.2: the scope exceeds what is granted now.
            Err(TokenFailure::Refused(refusal))
                if refusal.code == "invalid_scope" && flight.scope.is_some() =>
            {
                flight.scope = None;
                self.request(flight).await
            }
            landed => landed,
        }
    }

    async fn request(&self, flight: &mut Flight) -> Result<Arc<AccessToken>, TokenFailure> {
        let Inner { world, server, resource, grant, nonces, .. } = &*self.0;
        let asked_ms = world.clock.now_ms();
        let wish = request::Wish { server, resource, scope: flight.scope.as_deref() };
        let answer = request::token(world, nonces, grant, &wish).await?;
        let bound = answer.token_type.eq_ignore_ascii_case("DPoP");
        // RFC 9449 section 5: `Bearer` in answer to a proof means that the token is not bound.
        let knows_dpop = !server.dpop_signing_alg_values_supported.is_empty();
        // RFC 8705 section 3: `Bearer`, and bound all the same to the certificate that was shown.
        let certified = grant.key().is_none()
            && server.tls_client_certificate_bound_access_tokens
            && answer.token_type.eq_ignore_ascii_case("Bearer");
        let acceptable = certified
            || match self.0.unbound {
                UnboundTokens::Refuse => bound,
                UnboundTokens::AcceptWithoutDpopSupport => {
                    bound || (!knows_dpop && answer.token_type.eq_ignore_ascii_case("Bearer"))
                }
            };
        if !acceptable {
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
