//! The public endpoints: which path is which, and what each takes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use attorn_audit::Kind;
use attorn_net::{Body, Peer};
use attorn_oauth::error::TokenError;
use attorn_oauth::form::FORM_BYTES_MAX;
use attorn_oauth::metadata::AuthorizationServerMetadata;
use attorn_oauth::resource::IssuerUrl;
use attorn_registry::ReasonCode;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::service::Service;

use crate::http::{
    BodyRefusal, empty, health, json_answer, method_not_allowed, public_json, read_body, readiness,
};
use crate::people::{self, Page, People};
use crate::proof::is_misdirected;
use crate::refused::Unserved;
use crate::shared::Shared;
use crate::{enroll, introspect, refused, revoke, token};

/// The public endpoints as a hyper service.
#[derive(Clone, Debug)]
pub struct PublicService {
    shared: Arc<Shared>,
    metadata: Bytes,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Authorize,
    Enroll,
    Health,
    Introspect,
    Jwks,
    Metadata,
    Ready,
    Revoke,
    Token,
}

impl PublicService {
    pub(crate) fn new(shared: Arc<Shared>, issuer: &IssuerUrl) -> Self {
        let mut metadata = AuthorizationServerMetadata::of(issuer, shared.methods);
        if let Some(people) = &shared.people {
            metadata = metadata.for_people(people.announced());
        }
        metadata = metadata.for_assertions(shared.trusted_issuers.kinds());
        // Strings and lists of strings: serializing cannot fail.
        let metadata = serde_json::to_vec(&metadata).unwrap_or_default().into();
        Self { shared, metadata }
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        if let Some((people, page)) = self.page(&head) {
            if is_misdirected(&head) {
                return self.misdirected(&head).await;
            }
            return people::answer((&self.shared, people), page, &head, body).await;
        }
        let Some(endpoint) = endpoint(head.uri.path(), self.shared.config.issuer_path()) else {
            return empty(StatusCode::NOT_FOUND);
        };
        if is_misdirected(&head) {
            return self.misdirected(&head).await;
        }
        let is_get = head.method == Method::GET;
        match endpoint {
            Endpoint::Authorize
            | Endpoint::Health
            | Endpoint::Jwks
            | Endpoint::Metadata
            | Endpoint::Ready
                if !is_get =>
            {
                method_not_allowed("GET")
            }
            Endpoint::Authorize => json_answer(StatusCode::BAD_REQUEST, NO_LOGIN),
            Endpoint::Health => health(&self.shared, &head),
            Endpoint::Ready => readiness(&self.shared),
            Endpoint::Jwks => match self.shared.keys.in_use() {
                Ok(keys) => public_json(keys.jwks.clone()),
                Err(_) => refused::unavailable(),
            },
            Endpoint::Metadata => public_json(self.metadata.clone()),
            Endpoint::Enroll | Endpoint::Introspect | Endpoint::Revoke | Endpoint::Token => {
                self.post(endpoint, &head, body).await
            }
        }
    }

    /// The page of a request, where people log in.
    fn page(&self, head: &Parts) -> Option<(&People, Page)> {
        let people = self.shared.people.as_ref()?;
        let path = head.uri.path().strip_prefix(self.shared.config.issuer_path())?;
        Some((people, Page::at(path)?))
    }

    async fn post<B>(&self, endpoint: Endpoint, head: &Parts, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        // RFC 6749 section 3.2: the token endpoint is used with POST; ours all are.
        if head.method != Method::POST {
            return method_not_allowed("POST");
        }
        let media_type = match endpoint {
            Endpoint::Enroll => "application/json",
            Endpoint::Introspect | Endpoint::Revoke | Endpoint::Token => {
                "application/x-www-form-urlencoded"
            }
            Endpoint::Authorize
            | Endpoint::Health
            | Endpoint::Jwks
            | Endpoint::Metadata
            | Endpoint::Ready => "",
        };
        // RFC 9440 section 2.2: a listed proxy is at fault, and what it sent is no certificate.
        if head.extensions.get::<Peer>().is_some_and(|peer| peer.client_cert.is_err()) {
            let garbled = (StatusCode::BAD_REQUEST, TokenError::CertificateHeader);
            return self.unread(endpoint, head, garbled).await;
        }
        let malformed = (StatusCode::BAD_REQUEST, TokenError::FormMalformed);
        if !is_media_type(head, media_type) {
            return self.unread(endpoint, head, malformed).await;
        }
        // Before any signature: who failed too often is not looked at.
        if let Err(limited) = self.shared.throttle.look(head) {
            let about = self.shared.entry_from(head, kind_of(endpoint), self.shared.clock.now_ms());
            return refused::answer(&self.shared, about, Unserved::Limited(limited)).await;
        }
        let body = match read_body(body, FORM_BYTES_MAX).await {
            Ok(body) => body,
            Err(BodyRefusal::TooLong) => {
                let too_long = (StatusCode::PAYLOAD_TOO_LARGE, TokenError::FormMalformed);
                return self.unread(endpoint, head, too_long).await;
            }
            Err(BodyRefusal::Broken) => {
                return self.unread(endpoint, head, malformed).await;
            }
        };
        match endpoint {
            Endpoint::Enroll => enroll::handle(&self.shared, head, &body).await,
            Endpoint::Introspect => introspect::handle(&self.shared, head, &body).await,
            Endpoint::Revoke => revoke::handle(&self.shared, head, &body).await,
            Endpoint::Token => token::handle(&self.shared, head, &body).await,
            Endpoint::Authorize
            | Endpoint::Health
            | Endpoint::Jwks
            | Endpoint::Metadata
            | Endpoint::Ready => empty(StatusCode::NOT_FOUND),
        }
    }
}

impl PublicService {
    /// RFC 9110 section 15.5.20: a request of another listener, which may ask more of its clients.
    async fn misdirected(&self, head: &Parts) -> Response<Body> {
        let now_ms = self.shared.clock.now_ms();
        let about = self.shared.entry_from(head, Kind::TokenRefused, now_ms);
        match self.shared.note_refusal(about, ReasonCode::FrameOrigin).await {
            Ok(()) => empty(StatusCode::MISDIRECTED_REQUEST),
            Err(_) => refused::unavailable(),
        }
    }

    /// A body nobody looked into.
    async fn unread(
        &self,
        endpoint: Endpoint,
        head: &Parts,
        (status, error): (StatusCode, TokenError),
    ) -> Response<Body> {
        let about = self.shared.entry_from(head, kind_of(endpoint), self.shared.clock.now_ms());
        if self.shared.note_refusal(about, error.reason()).await.is_err() {
            return refused::unavailable();
        }
        refused::error(status, error.code(), error.description())
    }
}

/// What a refusal at an endpoint is in the journal.
fn kind_of(endpoint: Endpoint) -> Kind {
    match endpoint {
        Endpoint::Enroll => Kind::IdentityEnrolmentRefused,
        Endpoint::Introspect => Kind::TokenIntrospected,
        Endpoint::Revoke => Kind::TokenRevoked,
        Endpoint::Authorize
        | Endpoint::Health
        | Endpoint::Jwks
        | Endpoint::Metadata
        | Endpoint::Ready
        | Endpoint::Token => Kind::TokenRefused,
    }
}

/// RFC 6749 section 4.1.2.1: no redirect address is registered, so nobody is sent anywhere.
const NO_LOGIN: &str = concat!(
    r#"{"error":"unsupported_response_type","#,
    r#""error_description":"nobody logs in here: agents use the client credentials grant"}"#
);

/// RFC 8414 section 3.1 puts the well-known part before the path of the issuer, OpenID Connect
/// Discovery 1.0 section 4 behind it, and MCP 2026-07-28 asks clients to try both.
fn endpoint(path: &str, issuer_path: &str) -> Option<Endpoint> {
    let inserted = |name: &str| {
        path.strip_prefix("/.well-known/").and_then(|rest| rest.strip_prefix(name))
            == Some(issuer_path)
    };
    if inserted("oauth-authorization-server") || inserted("openid-configuration") {
        return Some(Endpoint::Metadata);
    }
    match path.strip_prefix(issuer_path)? {
        "/.well-known/openid-configuration" => Some(Endpoint::Metadata),
        "/authorize" => Some(Endpoint::Authorize),
        "/enroll" => Some(Endpoint::Enroll),
        "/healthz" => Some(Endpoint::Health),
        "/introspect" => Some(Endpoint::Introspect),
        "/jwks" => Some(Endpoint::Jwks),
        "/readyz" => Some(Endpoint::Ready),
        "/revoke" => Some(Endpoint::Revoke),
        "/token" => Some(Endpoint::Token),
        _ => None,
    }
}

/// Whether a body says, once, that it is of this media type. Forms and JSON are in UTF-8 (RFC 6749
/// appendix B, RFC 8259 section 8.1): who says another charset means other characters than we would
/// read. Other parameters do not matter.
pub(crate) fn is_media_type(head: &Parts, expected: &str) -> bool {
    let mut values = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(expected))
        && parts.all(leaves_utf8)
}

/// Whether a parameter of a media type is no other charset than UTF-8.
fn leaves_utf8(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some((name, charset)) if name.trim_end().eq_ignore_ascii_case("charset") => {
            charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    }
}

/// One public request under way.
#[expect(missing_debug_implementations, reason = "a future has nothing to show")]
pub struct Answering(Pin<Box<dyn Future<Output = Response<Body>> + Send>>);

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl<B> Service<Request<B>> for PublicService
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<B>) -> Answering {
        Answering(Box::pin(self.clone().answer(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_found_where_clients_look() {
        let check =
            |path, issuer_path| assert_eq!(endpoint(path, issuer_path), Some(Endpoint::Metadata));
        check("/.well-known/oauth-authorization-server", "");
        check("/.well-known/openid-configuration", "");
        check("/.well-known/oauth-authorization-server/t/a", "/t/a");
        check("/.well-known/openid-configuration/t/a", "/t/a");
        check("/t/a/.well-known/openid-configuration", "/t/a");
    }

    #[test]
    fn a_body_is_of_one_media_type_in_utf8() {
        let check = |values: &[&str], expected| {
            let mut request = Request::new(());
            for value in values {
                request.headers_mut().append(CONTENT_TYPE, value.parse().unwrap());
            }
            let (head, ()) = request.into_parts();
            assert_eq!(is_media_type(&head, "application/json"), expected, "{values:?}");
        };
        check(&["application/json"], true);
        check(&["Application/JSON ; charset=UTF-8"], true);
        check(&["application/json;charset=\"utf-8\";q=1"], true);
        check(&["application/json; charset=utf-16"], false);
        check(&["application/json; a=b; CHARSET = iso-8859-1"], false);
        check(&["text/plain"], false);
        check(&["application/json, text/plain"], false);
        check(&["application/json", "application/json"], false);
        check(&[], false);
    }

    #[test]
    fn other_tenants_and_odd_spellings_are_not_found() {
        assert_eq!(endpoint("/t/a/token", "/t/a"), Some(Endpoint::Token));
        for path in ["/t/b/token", "/token", "/t/a/token/", "/t/a//token", "/T/a/token"] {
            assert_eq!(endpoint(path, "/t/a"), None, "{path}");
        }
    }
}
