//! Assertions for tokens: what a platform says of this program, or an identity provider of its person.
//!
//! Implemented: RFC 7523 section 2.1 with a JWT in a file, which is read for each token, since platforms put
//! a new one there before the old one ends; and with an ID-JAG, got by token exchange (RFC 8693) from the
//! identity provider for the ID token in a file
//! (draft-ietf-oauth-identity-assertion-authz-grant-04 section 4.3).
//! Not implemented: logging in at the provider, SAML, refresh tokens as subject tokens, proofs at the
//! provider.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use attorn_jose::SigningKey;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::fetch;
use crate::request::{Refusal, TokenFailure, Wish, refused};
use crate::secret::ClientSecret;
use crate::world::World;

/// A client that asks with assertions.
#[derive(Clone, Debug)]
pub struct AssertionClient {
    /// Where they come from.
    pub source: AssertionSource,
    /// How it proves who it is beside them.
    pub authentication: ClientProof,
    /// What tokens are bound to.
    pub key: SigningKey,
}

/// Where assertions come from.
#[derive(Clone, Debug)]
pub enum AssertionSource {
    /// A file that the platform keeps fresh.
    File(PathBuf),
    /// An identity provider, for an ID token.
    Provider(Provider),
}

/// An identity provider that gives ID-JAGs.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where it exchanges tokens.
    pub token_endpoint: Url,
    /// What this client is called there.
    pub client_id: Option<String>,
    /// Its secret there, if it has one.
    pub secret: Option<ClientSecret>,
    /// File with the ID token, as whoever logs the person in keeps it.
    pub id_token: PathBuf,
}

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// By nothing but the assertion: RFC 7521 section 4.1.
    Assertion,
    /// By its key (RFC 7523 section 2.2): this is its name.
    Key(String),
    /// By a secret that a foreign authorization server gave it. Attorn has none.
    Secret {
        /// Its name.
        client_id: String,
        /// The secret.
        secret: ClientSecret,
    },
}

/// Why there is no assertion.
#[derive(Debug, thiserror::Error)]
pub enum AssertionFailure {
    /// The file holds no JWT.
    #[error("`{}` holds no JWT", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The provider gave something else than an ID-JAG.
    #[error("the identity provider gave no ID-JAG")]
    Kind,
    /// The provider refused: RFC 6749 section 5.2.
    #[error("the identity provider refused: {}", .0.code)]
    Refused(Refusal),
}

/// RFC 8693 section 2.2.1.
#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    issued_token_type: String,
}

impl AssertionClient {
    /// An assertion for the token that is wished for.
    pub(crate) async fn assertion(
        &self,
        world: &World,
        wish: &Wish<'_>,
    ) -> Result<Zeroizing<String>, TokenFailure> {
        match &self.source {
            AssertionSource::File(path) => Ok(read(path)?),
            AssertionSource::Provider(provider) => provider.id_jag(world, wish).await,
        }
    }
}

impl Provider {
    /// Draft section 4.3, and what came of it.
    async fn id_jag(
        &self,
        world: &World,
        wish: &Wish<'_>,
    ) -> Result<Zeroizing<String>, TokenFailure> {
        let mut headers: HeaderMap = fetch::content_type("application/x-www-form-urlencoded");
        if let (Some(client_id), Some(secret)) = (&self.client_id, &self.secret) {
            headers.insert(AUTHORIZATION, secret.basic(client_id)?);
        }
        let body = Bytes::from(self.form(wish)?);
        let fetched = fetch::send(world, Method::POST, &self.token_endpoint, headers, body);
        let fetched = fetched.await.map_err(TokenFailure::Unreachable)?;
        if fetched.status != StatusCode::OK {
            let refusal = refused(&self.token_endpoint, &fetched)?;
            return Err(AssertionFailure::Refused(refusal).into());
        }
        let answer: Exchanged = fetch::parse(&self.token_endpoint, &fetched.body)
            .map_err(|_| TokenFailure::Malformed)?;
        // RFC 8693 section 2.2.1: what was issued need not be what was asked for.
        if answer.issued_token_type != ID_JAG_TOKEN {
            return Err(AssertionFailure::Kind.into());
        }
        Ok(Zeroizing::new(answer.access_token))
    }

    /// `audience` is the authorization server, `resource` the MCP server.
    fn form(&self, wish: &Wish<'_>) -> Result<String, AssertionFailure> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", TOKEN_EXCHANGE)
            .append_pair("requested_token_type", ID_JAG_TOKEN)
            .append_pair("audience", &wish.server.issuer)
            .append_pair("resource", wish.resource)
            .append_pair("subject_token", &read(&self.id_token)?)
            .append_pair("subject_token_type", ID_TOKEN);
        if let Some(scope) = wish.scope {
            form.append_pair("scope", scope);
        }
        if let (Some(client_id), None) = (&self.client_id, &self.secret) {
            form.append_pair("client_id", client_id);
        }
        Ok(form.finish())
    }
}

/// Platforms write the JWT with or without a line end.
fn read(path: &Path) -> Result<Zeroizing<String>, AssertionFailure> {
    let failed = |source| AssertionFailure::File { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    match text.trim() {
        "" => Err(AssertionFailure::Empty { path: path.to_owned() }),
        jwt => Ok(Zeroizing::new(jwt.to_owned())),
    }
}

/// As long as an authorization server could take.
const BYTES_MAX: u64 = 64 << 10;
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_JAG_TOKEN: &str = "urn:ietf:params:oauth:token-type:id-jag";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// RFC 7523 section 2.1.
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
