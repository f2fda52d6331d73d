//! A request to the authorization endpoint becomes a typed one, in three stages: RFC 6749 section
//! 4.1.1 with RFC 7636, RFC 8707, RFC 9207 and RFC 9449 section 10.
//!
//! Until client and redirect address are known to belong together, an error is shown and nobody is
//! sent anywhere (RFC 6749 section 4.1.2.1): [`Unaddressed`] has no way to make a redirect. After
//! that, [`Addressed`] answers every error with `error`, `state` and `iss`. Only what is left is an
//! [`AuthorizationRequest`].
//!
//! Not implemented: request objects (RFC 9101), other response types and modes, `claims`, `nonce`,
//! `max_age`, `acr_values`, several resources. What would only narrow is ignored (RFC 6749 section
//! 3.1), what would change the answer is refused.

use attorn_jose::Jkt;
use attorn_registry::{ReasonCode, ScopeSet};

use crate::error::ErrorCode;
use crate::form::Form;
use crate::pkce::{CodeChallenge, PkceRefusal};
use crate::redirect_uri::RedirectUri;
use crate::resource::ResourceIndicator;

/// RFC 6749 appendix A.5 sets no end. It comes back in a header, so ours is that of a header.
const STATE_BYTES_MAX: usize = 4096;
/// As many rights as a page can show.
const SCOPE_BYTES_MAX: usize = 8192;

/// A request whose client and address nobody has looked up yet.
#[derive(Debug)]
pub struct Unaddressed {
    form: Form,
    client_id: String,
}

/// A request that can be answered at an address of its client.
#[derive(Debug)]
pub struct Addressed {
    form: Form,
    client_id: String,
    redirect_uri: String,
    state: Option<String>,
}

/// What a client asks a person for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// The client, by the name it came with.
    pub client_id: String,
    /// Where the answer goes: an address that the client registered, verbatim.
    pub redirect_uri: String,
    /// Given back verbatim.
    pub state: Option<String>,
    /// What is asked for; `None` asks for all the person can give.
    pub scope: Option<ScopeSet>,
    /// The one MCP server.
    pub resource: ResourceIndicator,
    /// RFC 7636: what the verifier must fit.
    pub code_challenge: CodeChallenge,
    /// RFC 9449 section 10: the only key that may redeem the code.
    pub dpop_jkt: Option<Jkt>,
    /// What the person is to be asked.
    pub prompt: Prompt,
}

/// OpenID Connect Core 1.0 section 3.1.2.1, as far as it asks for more than we do anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// Consent is shown always, so `consent` and `select_account` ask for nothing new.
    #[default]
    Usual,
    /// The person logs in again.
    Login,
    /// Nobody is asked. That is never enough here.
    Never,
}

/// Why a request is answered on a page of ours, and nobody is sent anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ShownError {
    /// No `client_id`.
    #[error("the client is missing")]
    ClientMissing,
    /// No such client, or it may not ask people.
    #[error("the client is unknown")]
    ClientUnknown,
    /// Not a query in UTF-8, or longer than allowed.
    #[error("the request is malformed")]
    Malformed,
    /// A parameter occurs twice.
    #[error("a parameter is repeated")]
    ParameterRepeated,
    /// Not an address of this client, byte by byte.
    #[error("the redirect address is not registered")]
    RedirectUriMismatch,
    /// No address: it is never guessed, also where the client has only one.
    #[error("the redirect address is missing")]
    RedirectUriMissing,
    /// RFC 9101 section 5: request objects are not read, so nothing in one can be overridden.
    #[error("request objects are not accepted")]
    RequestObject,
    /// RFC 9126 section 4: unknown, used, past its end, or pushed by another client.
    #[error("the pushed request is unknown, used or too old")]
    RequestUriUnknown,
}

/// Why a request is answered at the address of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthorizationError {
    /// The person, or what the person may give, said no.
    #[error("access was denied")]
    AccessDenied,
    /// RFC 7636 section 4.4.1.
    #[error("{0}")]
    Challenge(PkceRefusal),
    /// The person would have to be asked, and must not be.
    #[error("consent is required")]
    ConsentRequired,
    /// Not a thumbprint.
    #[error("dpop_jkt is malformed")]
    DpopJkt,
    /// The parameter and the proof of a pushed request name different keys.
    #[error("dpop_jkt and the proof name different keys")]
    DpopJktMismatch,
    /// Nobody is logged in, and nobody may be asked to.
    #[error("login is required")]
    LoginRequired,
    /// An unknown `prompt`, or `none` beside another.
    #[error("the prompt is unknown")]
    Prompt,
    /// `resource` is not an acceptable URL.
    #[error("the resource is malformed")]
    ResourceMalformed,
    /// RFC 8707 section 2: which server, is never guessed.
    #[error("the resource is missing")]
    ResourceMissing,
    /// Several resources; a token has one audience.
    #[error("a token is for one resource")]
    ResourceRepeated,
    /// No such server, or not for this person. The two look the same.
    #[error("the resource is unknown")]
    ResourceUnknown,
    /// Another response mode than `query`.
    #[error("the response mode is not served")]
    ResponseMode,
    /// Another response type than `code`, or none.
    #[error("the response type is not served")]
    ResponseType,
    /// `scope` is not a list of scopes.
    #[error("the scope is malformed")]
    ScopeMalformed,
    /// Nothing of what was asked can be given by this person.
    #[error("nothing of the scope can be given")]
    ScopeNotGrantable,
    /// The journal or the registry does not take the step.
    #[error("the server cannot do it at the moment")]
    Unavailable,
}

impl Unaddressed {
    /// Reads the query, or the body of a push.
    ///
    /// # Errors
    /// [`ShownError`].
    pub fn parse(query: &[u8]) -> Result<Self, ShownError> {
        let form = Form::parse(query).map_err(|refusal| {
            let is_repeated = refusal.is_repetition();
            if is_repeated { ShownError::ParameterRepeated } else { ShownError::Malformed }
        })?;
        // RFC 9101 section 6.1: by value it would have to be verified before anything is read.
        if form.value("request").is_some() {
            return Err(ShownError::RequestObject);
        }
        let client_id = form.value("client_id").ok_or(ShownError::ClientMissing)?.to_owned();
        Ok(Self { form, client_id })
    }

    /// Who asks, by its own word.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// RFC 9126 section 4: the request was pushed before, and this names it. Then nothing else of
    /// this query is read.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        self.form.value("request_uri")
    }

    /// The second stage, with the addresses that the client registered.
    ///
    /// # Errors
    /// [`ShownError`]: still on a page of ours.
    pub fn addressed(self, registered: &[RedirectUri]) -> Result<Addressed, ShownError> {
        let Self { form, client_id } = self;
        // RFC 9126 section 2.1: a push must not name another one.
        if form.value("request_uri").is_some() {
            return Err(ShownError::RequestUriUnknown);
        }
        // RFC 6749 section 3.1.2.3 lets a client with one address leave it out; ours may not.
        let asked = form.value("redirect_uri").ok_or(ShownError::RedirectUriMissing)?;
        if !registered.iter().any(|redirect_uri| redirect_uri.accepts(asked)) {
            return Err(ShownError::RedirectUriMismatch);
        }
        let state = form.value("state").map(str::to_owned);
        if state.as_ref().is_some_and(|state| state.len() > STATE_BYTES_MAX) {
            return Err(ShownError::Malformed);
        }
        let redirect_uri = asked.to_owned();
        Ok(Addressed { form, client_id, redirect_uri, state })
    }
}

impl Addressed {
    /// Where an answer goes.
    #[must_use]
    pub fn destination(&self) -> Destination {
        Destination { redirect_uri: self.redirect_uri.clone(), state: self.state.clone() }
    }

    /// The last stage.
    ///
    /// # Errors
    /// [`AuthorizationError`], the first that applies.
    pub fn request(self) -> Result<AuthorizationRequest, AuthorizationError> {
        let form = &self.form;
        // RFC 9700 section 2.1.2: no token leaves through the front channel.
        if form.value("response_type") != Some("code") {
            return Err(AuthorizationError::ResponseType);
        }
        if !matches!(form.value("response_mode"), None | Some("query")) {
            return Err(AuthorizationError::ResponseMode);
        }
        let (challenge, method) =
            (form.value("code_challenge"), form.value("code_challenge_method"));
        let code_challenge =
            CodeChallenge::parse(challenge, method).map_err(AuthorizationError::Challenge)?;
        let dpop_jkt = form.value("dpop_jkt").map(str::parse).transpose();
        let dpop_jkt = dpop_jkt.map_err(|_| AuthorizationError::DpopJkt)?;
        let scope = form.value("scope");
        // Requests that wait are in memory.
        if scope.is_some_and(|scope| scope.len() > SCOPE_BYTES_MAX) {
            return Err(AuthorizationError::ScopeMalformed);
        }
        let scope = scope.map(ScopeSet::parse).transpose();
        let scope = scope.map_err(|_| AuthorizationError::ScopeMalformed)?;
        let prompt = prompt(form.value("prompt"))?;
        let resource = resource(form)?;
        let Self { client_id, redirect_uri, state, .. } = self;
        Ok(AuthorizationRequest {
            client_id,
            redirect_uri,
            state,
            scope,
            resource,
            code_challenge,
            dpop_jkt,
            prompt,
        })
    }
}

/// An address of a client, with the state it wants back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    redirect_uri: String,
    state: Option<String>,
}

impl Destination {
    /// The address, verbatim.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// RFC 6749 section 4.1.2 and RFC 9207 section 2: where the browser brings a code.
    #[must_use]
    pub fn with_code(&self, code: &str, issuer: &str) -> String {
        self.with(&[("code", code)], issuer)
    }

    /// RFC 6749 section 4.1.2.1 and RFC 9207 section 2: where the browser brings an error.
    #[must_use]
    pub fn with_error(&self, error: AuthorizationError, issuer: &str) -> String {
        let (code, text) = (error.code().as_str(), error.description());
        self.with(&[("error", code), ("error_description", text)], issuer)
    }

    fn with(&self, parameters: &[(&str, &str)], issuer: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        // RFC 9207 section 2: also on errors.
        query.append_pair("iss", issuer);
        // RFC 6749 section 3.1.2: a query of the address is kept.
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.redirect_uri, query.finish())
    }
}

impl AuthorizationRequest {
    /// Where the answer goes.
    #[must_use]
    pub fn destination(&self) -> Destination {
        Destination { redirect_uri: self.redirect_uri.clone(), state: self.state.clone() }
    }
}

/// RFC 8707 section 2: exactly one.
fn resource(form: &Form) -> Result<ResourceIndicator, AuthorizationError> {
    let mut resources = form.values("resource");
    let first = resources.next().ok_or(AuthorizationError::ResourceMissing)?;
    if resources.next().is_some() {
        return Err(AuthorizationError::ResourceRepeated);
    }
    ResourceIndicator::parse(first).map_err(|_| AuthorizationError::ResourceMalformed)
}

fn prompt(asked: Option<&str>) -> Result<Prompt, AuthorizationError> {
    let mut prompt = Prompt::Usual;
    let asked: Vec<&str> = asked.map(|asked| asked.split(' ').collect()).unwrap_or_default();
    for one in &asked {
        prompt = match *one {
            "consent" | "select_account" => prompt,
            "login" => Prompt::Login,
            // OpenID Connect Core 1.0 section 3.1.2.1: `none` with any other value is an error.
            "none" if asked.len() == 1 => Prompt::Never,
            _ => return Err(AuthorizationError::Prompt),
        };
    }
    Ok(prompt)
}

impl ShownError {
    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::ClientMissing | Self::ClientUnknown => ReasonCode::ClientUnknown,
            Self::RedirectUriMismatch | Self::RedirectUriMissing => ReasonCode::RedirectMismatch,
            Self::Malformed
            | Self::ParameterRepeated
            | Self::RequestObject
            | Self::RequestUriUnknown => ReasonCode::RequestMalformed,
        }
    }

    /// The code that the endpoint for pushed requests answers with: RFC 9126 section 2.3.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::ClientMissing | Self::ClientUnknown => ErrorCode::InvalidClient,
            Self::Malformed
            | Self::ParameterRepeated
            | Self::RedirectUriMismatch
            | Self::RedirectUriMissing
            | Self::RequestObject
            | Self::RequestUriUnknown => ErrorCode::InvalidRequest,
        }
    }

    /// Fixed text for a person and for a client.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::ClientMissing => "the application did not say who it is",
            Self::ClientUnknown => "the application is not known here",
            Self::Malformed => "the request cannot be read",
            Self::ParameterRepeated => "a parameter of the request is repeated",
            Self::RedirectUriMismatch => "the application gave an address that is not its own",
            Self::RedirectUriMissing => "the application gave no address to come back to",
            Self::RequestObject => "the application sent its request in a form that is not taken",
            Self::RequestUriUnknown => "the request was used before, or is too old",
        }
    }
}

impl AuthorizationError {
    /// RFC 6749 section 4.1.2.1, with the codes of RFC 8707 section 2 and OpenID Connect Core 1.0
    /// section 3.1.2.6.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::AccessDenied => ErrorCode::AccessDenied,
            // RFC 7636 section 4.4.1.
            Self::Challenge(_)
            | Self::DpopJkt
            | Self::DpopJktMismatch
            | Self::Prompt
            | Self::ResponseMode => ErrorCode::InvalidRequest,
            Self::ConsentRequired => ErrorCode::ConsentRequired,
            Self::LoginRequired => ErrorCode::LoginRequired,
            // RFC 8707 section 2.
            Self::ResourceMalformed
            | Self::ResourceMissing
            | Self::ResourceRepeated
            | Self::ResourceUnknown => ErrorCode::InvalidTarget,
            Self::ResponseType => ErrorCode::UnsupportedResponseType,
            Self::ScopeMalformed | Self::ScopeNotGrantable => ErrorCode::InvalidScope,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
        }
    }

    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::AccessDenied => ReasonCode::ConsentDenied,
            Self::Challenge(_)
            | Self::DpopJkt
            | Self::Prompt
            | Self::ResponseMode
            | Self::ResponseType => ReasonCode::RequestMalformed,
            Self::DpopJktMismatch => ReasonCode::PossessionKeyMismatch,
            Self::ConsentRequired | Self::LoginRequired => ReasonCode::LoginRequired,
            Self::ResourceMalformed
            | Self::ResourceMissing
            | Self::ResourceRepeated
            | Self::ResourceUnknown => ReasonCode::ExchangeTarget,
            Self::ScopeMalformed | Self::ScopeNotGrantable => ReasonCode::ExchangeScope,
            Self::Unavailable => ReasonCode::JournalUnavailable,
        }
    }

    /// Fixed text, nothing of the request.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::AccessDenied => "the person did not allow it",
            Self::Challenge(_) => "a code_challenge with the method S256 is required",
            Self::ConsentRequired => "the person has to be asked",
            Self::DpopJkt => "dpop_jkt must be the SHA-256 thumbprint of a key",
            Self::DpopJktMismatch => "dpop_jkt and the DPoP proof name different keys",
            Self::LoginRequired => "nobody is logged in",
            Self::Prompt => "the prompt is not known",
            Self::ResourceMalformed => "the resource must be an absolute https URL",
            Self::ResourceMissing => "the resource is missing",
            Self::ResourceRepeated => "a token is for one resource",
            Self::ResourceUnknown => "the resource is unknown",
            Self::ResponseMode => "the response mode is query",
            Self::ResponseType => "the response type is code",
            Self::ScopeMalformed => "the scope is malformed",
            Self::ScopeNotGrantable => "nothing of the scope can be given",
            Self::Unavailable => "try again in a moment",
        }
    }
}

#[cfg(test)]
mod tests;
