//! A request to the token endpoint becomes one typed request per grant: RFC 6749 section 4.
//!
//! Implemented: `client_credentials` (RFC 6749 section 4.4) with `private_key_jwt`, a JWT-SVID or
//! a client certificate, `scope`, one `resource` and `authorization_details` (RFC 9396); token
//! exchange (RFC 8693 section 2.1) of access tokens, with the evidence of how the subject token came;
//! codes (RFC 6749 section 4.1.3, RFC 7636 section 4.5) and refresh tokens (section 6) of people's
//! clients, which say who they are and have nothing to prove it with (OAuth 2.1, `none`);
//! assertions of other issuers (RFC 7523 section 2.1).
//! Not implemented: every other grant, `audience`, actor tokens, other token types. What is not checked here: whether the client,
//! the resource and the scope exist; only their form is.

use attorn_registry::{AuthorizationDetails, ScopeSet};

use crate::client_assertion::ASSERTION_TYPE;
use crate::client_metadata::{CODE_GRANT, REFRESH_GRANT};
use crate::error::TokenError;
use crate::evidence::{APPROVAL_EVIDENCE, CERTIFICATE_EVIDENCE};
use crate::form::Form;
use crate::grant::GrantRefusal;
use crate::jwt_grant::JWT_BEARER;
use crate::jwt_svid;
use crate::resource::ResourceIndicator;

/// RFC 8693 section 2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 section 3.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Which grants the endpoint serves beside those of agents and servers. One that is not served does not
/// exist. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Those of people's clients: codes and refresh tokens.
    pub people: bool,
    /// Assertions of other issuers.
    pub assertions: bool,
}

/// A token request whose form is right.
#[derive(Debug)]
pub enum TokenRequest {
    /// RFC 6749 section 4.1.3.
    AuthorizationCode(AuthorizationCode),
    /// RFC 6749 section 6.
    RefreshToken(RefreshToken),
    /// RFC 6749 section 4.4.
    ClientCredentials(ClientCredentials),
    /// RFC 7523 section 2.1.
    JwtBearer(JwtBearer),
    /// RFC 8693 section 2.1.
    TokenExchange(TokenExchange),
}

/// The parameters of RFC 6749 section 4.1.3, RFC 7636 section 4.5 and RFC 8707 section 2.2.
pub struct AuthorizationCode {
    /// The client, by its own word: it has nothing to prove it with.
    pub client_id: String,
    /// The code.
    pub code: String,
    /// What the challenge was made from.
    pub code_verifier: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// What the token is for; `None` is what the code is for.
    pub resource: Option<ResourceIndicator>,
}

/// The parameters of RFC 6749 section 6 and RFC 8707 section 2.2.
pub struct RefreshToken {
    /// The client, by its own word.
    pub client_id: String,
    /// The refresh token.
    pub refresh_token: String,
    /// What the token is for; `None` is what the refresh token is for.
    pub resource: Option<ResourceIndicator>,
    /// Less than before; `None` is all that is left of it.
    pub scope: Option<ScopeSet>,
}

impl std::fmt::Debug for AuthorizationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorizationCode([redacted])")
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken([redacted])")
    }
}

/// The parameters of RFC 8693 section 2.1 that are served, and the evidence of our profile.
pub struct TokenExchange {
    /// How the client wants to prove who it is.
    pub client: PresentedClient,
    /// The token that the client was called with.
    pub subject_token: String,
    /// The DPoP proof that came with it.
    pub subject_token_proof: Option<String>,
    /// Evidence that it came with the certificate it is bound to, from the process that saw that. Not
    /// looked at yet.
    pub certificate: Option<String>,
    /// Evidence of the approval of the call, from the process that let it through. Not looked at yet.
    pub approval: Option<String>,
    /// What the new token is for.
    pub resource: ResourceIndicator,
    /// What it asks for; `None` asks for all it may have.
    pub scope: Option<ScopeSet>,
}

impl std::fmt::Debug for TokenExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenExchange([redacted])")
    }
}

/// The parameters of RFC 6749 section 4.4.2.
#[derive(Debug)]
pub struct ClientCredentials {
    /// How the client wants to prove who it is.
    pub client: PresentedClient,
    /// What it asks for; `None` asks for all it may have.
    pub scope: Option<ScopeSet>,
    /// What it asks for of the arguments of tools: RFC 9396 section 6.
    pub details: Option<AuthorizationDetails>,
    /// What the token is for; `None` where the client has only one resource.
    pub resource: Option<ResourceIndicator>,
}

/// The parameters of RFC 7523 section 2.1.
pub struct JwtBearer {
    /// The assertion.
    pub assertion: String,
    /// How the client says or proves who it is. `None`: the assertion alone says it (RFC 7521 section
    /// 4.1).
    pub client: Option<PresentedClient>,
    /// What it asks for; `None` asks for all it may have.
    pub scope: Option<ScopeSet>,
    /// What it asks for of the arguments of tools: RFC 9396 section 6.
    pub details: Option<AuthorizationDetails>,
    /// What the token is for; `None` where the assertion says it, or there is only one.
    pub resource: Option<ResourceIndicator>,
}

impl std::fmt::Debug for JwtBearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JwtBearer([redacted])")
    }
}

/// A client's way to say who it is, which nobody has looked at yet.
pub enum PresentedClient {
    /// RFC 7521 section 4.2: a JWT by a key of the client.
    Assertion {
        /// The JWT.
        assertion: String,
        /// The `client_id` parameter, which must then agree.
        client_id: Option<String>,
    },
    /// RFC 8705 section 2: the certificate of the connection; the parameter says whose it is.
    Certificate {
        /// The `client_id` parameter.
        client_id: String,
    },
    /// draft-ietf-oauth-spiffe-client-auth-02 section 3.1: a JWT-SVID.
    JwtSvid {
        /// The JWT-SVID.
        svid: String,
        /// The `client_id` parameter: the SVID itself names a workload and no client.
        client_id: String,
    },
}

impl std::fmt::Debug for PresentedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresentedClient([redacted])")
    }
}

impl TokenRequest {
    /// Parses a form. `authorization` is the request's `Authorization` header, where it has one.
    ///
    /// # Errors
    /// [`TokenError`], the first that applies.
    pub fn parse(
        body: &[u8],
        authorization: Option<&str>,
        served: Served,
    ) -> Result<Self, TokenError> {
        let form = Form::parse(body)?;
        // RFC 6749 section 4: the grant decides which parameters there are.
        match form.value("grant_type") {
            Some(CODE_GRANT | REFRESH_GRANT) if !served.people => {
                Err(TokenError::GrantTypeUnsupported)
            }
            Some(JWT_BEARER) if !served.assertions => Err(TokenError::GrantTypeUnsupported),
            Some(CODE_GRANT) => {
                AuthorizationCode::of(&form, authorization).map(Self::AuthorizationCode)
            }
            Some(REFRESH_GRANT) => RefreshToken::of(&form, authorization).map(Self::RefreshToken),
            Some("client_credentials") => {
                ClientCredentials::of(&form, authorization).map(Self::ClientCredentials)
            }
            Some(JWT_BEARER) => JwtBearer::of(&form, authorization).map(Self::JwtBearer),
            Some(TOKEN_EXCHANGE) => {
                TokenExchange::of(&form, authorization).map(Self::TokenExchange)
            }
            Some(_) => Err(TokenError::GrantTypeUnsupported),
            None => Err(TokenError::GrantTypeMissing),
        }
    }
}

impl ClientCredentials {
    fn of(form: &Form, authorization: Option<&str>) -> Result<Self, TokenError> {
        Ok(Self {
            client: PresentedClient::of(form, authorization)?,
            scope: scope(form)?,
            details: details(form)?,
            resource: one_resource(form)?,
        })
    }
}

impl JwtBearer {
    fn of(form: &Form, authorization: Option<&str>) -> Result<Self, TokenError> {
        let assertion = form.value("assertion").ok_or(TokenError::JwtGrantMissing)?;
        let is_silent = authorization.is_none() && CLIENT.iter().all(|it| form.value(it).is_none());
        Ok(Self {
            assertion: assertion.to_owned(),
            // RFC 7521 section 4.1: who asks may stay unnamed; who names itself is held to it.
            client: (!is_silent).then(|| PresentedClient::of(form, authorization)).transpose()?,
            scope: scope(form)?,
            details: details(form)?,
            resource: one_resource(form)?,
        })
    }
}

impl AuthorizationCode {
    fn of(form: &Form, authorization: Option<&str>) -> Result<Self, TokenError> {
        let required = |name| form.value(name).map(str::to_owned);
        Ok(Self {
            client_id: public_client(form, authorization)?,
            code: required("code").ok_or(TokenError::CodeMissing)?,
            // RFC 7636 section 4.5: required, since no code is given without a challenge.
            code_verifier: required("code_verifier")
                .ok_or(TokenError::Grant(GrantRefusal::CodeVerifier))?,
            // RFC 6749 section 4.1.3: required, since no code is given without one.
            redirect_uri: required("redirect_uri")
                .ok_or(TokenError::Grant(GrantRefusal::RedirectUri))?,
            resource: one_resource(form)?,
        })
    }
}

impl RefreshToken {
    fn of(form: &Form, authorization: Option<&str>) -> Result<Self, TokenError> {
        let refresh_token = form.value("refresh_token").ok_or(TokenError::RefreshTokenMissing)?;
        Ok(Self {
            client_id: public_client(form, authorization)?,
            refresh_token: refresh_token.to_owned(),
            resource: one_resource(form)?,
            scope: scope(form)?,
        })
    }
}

/// RFC 6749 section 3.2.1: a client that cannot authenticate says who it is. One that tries to, has a
/// credential that nobody gave it.
fn public_client(form: &Form, authorization: Option<&str>) -> Result<String, TokenError> {
    match PresentedClient::of(form, authorization)? {
        // The same form as that of a client with a certificate, of which nothing is read here.
        PresentedClient::Certificate { client_id } => Ok(client_id),
        PresentedClient::Assertion { .. } | PresentedClient::JwtSvid { .. } => {
            Err(TokenError::GrantTypeNotRegistered)
        }
    }
}

impl TokenExchange {
    fn of(form: &Form, authorization: Option<&str>) -> Result<Self, TokenError> {
        // RFC 8693 section 2.1: required. Nothing else stands in for it, so a request without it is
        // no other grant.
        let subject_token = form.value("subject_token").ok_or(TokenError::SubjectTokenMissing)?;
        // RFC 8693 section 3: what is served, under one name. A token of another kind that comes
        // under it does not verify.
        if form.value("subject_token_type") != Some(ACCESS_TOKEN) {
            return Err(TokenError::SubjectTokenType);
        }
        if !matches!(form.value("requested_token_type"), None | Some(ACCESS_TOKEN)) {
            return Err(TokenError::RequestedTokenType);
        }
        match (form.value("actor_token"), form.value("actor_token_type")) {
            (None, None) => {}
            // The actor is who authenticated, and nobody brings another one.
            (Some(_), Some(_)) => return Err(TokenError::ActorTokenRefused),
            // RFC 8693 section 2.1: the type is required with the token, and must not be without.
            (Some(_), None) | (None, Some(_)) => return Err(TokenError::ActorTokenPair),
        }
        // RFC 8693 section 2.1: a logical name. Ours are resource identifiers.
        if form.values("audience").next().is_some() {
            return Err(TokenError::ResourceUnknown);
        }
        Ok(Self {
            client: PresentedClient::of(form, authorization)?,
            subject_token: subject_token.to_owned(),
            subject_token_proof: form.value("subject_token_proof").map(str::to_owned),
            certificate: form.value(CERTIFICATE_EVIDENCE).map(str::to_owned),
            approval: form.value(APPROVAL_EVIDENCE).map(str::to_owned),
            resource: one_resource(form)?.ok_or(TokenError::ResourceMissing)?,
            scope: scope(form)?,
        })
    }
}

/// Every parameter that says who asks.
const CLIENT: [&str; 4] =
    ["client_assertion", "client_assertion_type", "client_id", "client_secret"];

/// RFC 6749 section 3.3.
fn scope(form: &Form) -> Result<Option<ScopeSet>, TokenError> {
    let scope = form.value("scope").map(ScopeSet::parse).transpose();
    scope.map_err(|_| TokenError::ScopeMalformed)
}

/// RFC 9396 section 5: unknown types, unknown fields and missing ones are refused.
fn details(form: &Form) -> Result<Option<AuthorizationDetails>, TokenError> {
    let details = form.value("authorization_details").map(AuthorizationDetails::parse);
    details.transpose().map_err(|_| TokenError::AuthorizationDetails)
}

/// RFC 8707 section 2 allows several; a token of ours has one audience.
fn one_resource(form: &Form) -> Result<Option<ResourceIndicator>, TokenError> {
    let mut resources = form.values("resource");
    let Some(first) = resources.next() else { return Ok(None) };
    if resources.next().is_some() {
        return Err(TokenError::ResourceRepeated);
    }
    ResourceIndicator::parse(first).map(Some).map_err(|_| TokenError::ResourceMalformed)
}

impl PresentedClient {
    /// Finds the one way of client authentication of a request; also for revocation and introspection
    /// (RFC 7009 section 2.1, RFC 7662 section 2.1).
    ///
    /// # Errors
    /// Two ways at once are a malformed request; none, or a secret, is a failed authentication.
    pub fn of(form: &Form, authorization: Option<&str>) -> Result<Self, TokenError> {
        let assertion = form.value("client_assertion");
        let assertion_type = form.value("client_assertion_type");
        let has_secret = form.value("client_secret").is_some() || authorization.is_some();
        // RFC 6749 section 2.3: a client must not use more than one method in a request.
        if has_secret && (assertion.is_some() || assertion_type.is_some()) {
            return Err(TokenError::ClientAuthenticationRepeated);
        }
        let client_id = form.value("client_id").map(str::to_owned);
        match (assertion, assertion_type) {
            // RFC 7521 section 4.2: both parameters are required.
            (Some(assertion), Some(ASSERTION_TYPE)) => {
                Ok(Self::Assertion { assertion: assertion.to_owned(), client_id })
            }
            (Some(svid), Some(jwt_svid::ASSERTION_TYPE)) => Ok(Self::JwtSvid {
                svid: svid.to_owned(),
                client_id: client_id.ok_or(TokenError::ClientAuthenticationMissing)?,
            }),
            (Some(_), Some(_) | None) | (None, Some(_)) => Err(TokenError::AssertionType),
            (None, None) if has_secret => Err(TokenError::ClientAuthenticationMissing),
            // RFC 8705 section 2: `client_id` is required.
            (None, None) => client_id
                .map(|client_id| Self::Certificate { client_id })
                .ok_or(TokenError::ClientAuthenticationMissing),
        }
    }
}
