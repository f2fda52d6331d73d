//! The one answer of a code flow, at a port of 127.0.0.1: RFC 8252 section 7.3.
//!
//! Implemented: loopback only, `Host` must be this address (against DNS rebinding), one answer and then
//! the port is closed, whatever the answer was. Other programs of the machine can connect first: what
//! they send has not the `state`, and a code they catch is worth nothing without verifier and key.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attorn_net::{BindError, Body, Limits, Listener, Shutdown};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use tokio::sync::oneshot;
use url::Url;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{CodeFailure, denied};
use crate::metadata::AuthorizationServer;

/// A bound port that waits for nothing yet.
pub(crate) struct Callback {
    listener: Listener,
    redirect_uri: String,
}

type Answer = Result<Zeroizing<String>, CodeFailure>;

impl Callback {
    /// Binds the port of an address that was used before, or any other.
    pub(crate) async fn bind(before: Option<&str>) -> Result<Self, BindError> {
        let port = before.and_then(|uri| Url::parse(uri).ok()).and_then(|url| url.port());
        let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = match Listener::bind(on(port.unwrap_or(0)), None).await {
            // It may be taken by now. RFC 8252 section 7.3: any port will do.
            Err(_) if port.is_some() => Listener::bind(on(0), None).await?,
            bound => bound?,
        };
        let redirect_uri = format!("http://{}{PATH}", listener.address());
        Ok(Self { listener, redirect_uri })
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the answer of `server` to the request with `state`.
    pub(crate) async fn code(self, server: &AuthorizationServer, state: &str) -> Answer {
        let (told, answer) = oneshot::channel();
        let port = Arc::new(Port {
            authority: self.listener.address().to_string(),
            issuer: server.issuer.clone(),
            is_issuer_announced: server.authorization_response_iss_parameter_supported,
            state: state.to_owned(),
            told: Mutex::new(Some(told)),
        });
        let service = service_fn(move |request| {
            let port = Arc::clone(&port);
            async move { Ok::<_, Infallible>(port.answer(&request)) }
        });
        let shutdown = Shutdown::new();
        let served = attorn_net::serve(self.listener, service, LIMITS, shutdown.clone());
        tokio::pin!(served);
        let answer = tokio::select! {
            () = &mut served => return Err(CodeFailure::NobodyAnswered),
            answer = tokio::time::timeout(WAITING, answer) => answer,
        };
        // The page for the person is still to be sent.
        shutdown.start();
        served.await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(CodeFailure::NobodyAnswered),
        }
    }
}

struct Port {
    authority: String,
    issuer: String,
    is_issuer_announced: bool,
    state: String,
    told: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl Port {
    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if only(request.headers(), &HOST) != Some(self.authority.as_str()) {
            return page(StatusCode::MISDIRECTED_REQUEST, "This is not the address you asked for.");
        }
        if request.uri().path() != PATH {
            return page(StatusCode::NOT_FOUND, "There is nothing here.");
        }
        if request.method() != Method::GET {
            return page(StatusCode::METHOD_NOT_ALLOWED, "There is nothing here.");
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(told) = told else {
            return page(StatusCode::GONE, "This request was answered before.");
        };
        let answer = self.judge(request.uri().query().unwrap_or_default());
        let (status, text) = match &answer {
            Ok(_) => (StatusCode::OK, "You are logged in. You can close this window."),
            Err(CodeFailure::Denied { .. }) => {
                (StatusCode::OK, "Nothing was allowed. You can close this window.")
            }
            Err(_) => (
                StatusCode::BAD_REQUEST,
                "This answer was refused. Go back to the program and start again there.",
            ),
        };
        // Whoever waited may be gone; then nobody needs the answer.
        let _gone = told.send(answer);
        page(status, text)
    }

    fn judge(&self, query: &str) -> Answer {
        let all = |name: &str| -> Vec<String> {
            let pairs = form_urlencoded::parse(query.as_bytes());
            pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned()).collect()
        };
        // Random and used once, so its comparison tells nobody anything they could use.
        if all("state").as_slice() != [self.state.as_str()] {
            return Err(CodeFailure::StateMismatch);
        }
        // RFC 9207 section 2.4: absent is only fine when it was not announced.
        match all("iss").as_slice() {
            [issuer] if *issuer == self.issuer => {}
            [] if !self.is_issuer_announced => {}
            _ => return Err(CodeFailure::IssuerMismatch),
        }
        match (all("code").as_slice(), all("error").as_slice()) {
            ([code], []) => Ok(Zeroizing::new(code.clone())),
            ([], [error]) => Err(denied(error)),
            _ => Err(CodeFailure::Malformed),
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

fn page(status: StatusCode, text: &'static str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Attorn</title><h1>Attorn</h1><p>{text}</p></html>"
    );
    let mut response = Response::new(Body::full(html));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
        (CACHE_CONTROL, "no-store"),
        // The address of the page holds the code.
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    response
}

const PATH: &str = "/callback";
/// As long as an authorization server keeps the request, and somebody may look for a password.
const WAITING: Duration = Duration::from_secs(600);
const LIMITS: Limits = Limits {
    connections_max: 16,
    per_address_max: 16,
    of_loopback_max: 16,
    header_timeout: Duration::from_secs(5),
    header_bytes_max: 16 * 1024,
    header_count_max: 64,
    streams_max: 4,
    write_timeout: Duration::from_secs(5),
    drain_timeout: Duration::from_secs(1),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(is_issuer_announced: bool, query: &str) -> Result<String, &'static str> {
        let port = Port {
            authority: "127.0.0.1:4000".to_owned(),
            issuer: "https://id.example".to_owned(),
            is_issuer_announced,
            state: "s1".to_owned(),
            told: Mutex::default(),
        };
        port.judge(query).map(|code| code.to_string()).map_err(|failure| match failure {
            CodeFailure::Denied { .. } => "denied",
            CodeFailure::IssuerMismatch => "issuer",
            CodeFailure::Malformed => "malformed",
            CodeFailure::StateMismatch => "state",
            CodeFailure::Browser(_)
            | CodeFailure::NobodyAnswered
            | CodeFailure::NotOffered
            | CodeFailure::Port(_)
            | CodeFailure::Registration(_) => "other",
        })
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_left_and_the_address_is_always_loopback() {
        let first = Callback::bind(None).await.unwrap();
        let second = Callback::bind(Some(first.redirect_uri())).await.unwrap();
        assert_ne!(first.redirect_uri(), second.redirect_uri());
        for callback in [&first, &second] {
            assert!(callback.listener.address().ip().is_loopback());
        }
        let before = first.redirect_uri().to_owned();
        drop(first);
        let again = Callback::bind(Some(&before)).await.unwrap();
        assert_eq!(again.redirect_uri(), before);
        // Nothing but the port is taken from what was kept.
        let elsewhere = Callback::bind(Some("http://192.0.2.1:0/callback")).await.unwrap();
        assert!(elsewhere.redirect_uri().starts_with("http://127.0.0.1:"));
    }

    #[test]
    fn an_answer_is_whole_or_refused() {
        let iss = "&iss=https%3A%2F%2Fid.example";
        assert_eq!(judged(true, &format!("code=c&state=s1{iss}")), Ok("c".to_owned()));
        assert_eq!(judged(false, "code=c&state=s1"), Ok("c".to_owned()));
        assert_eq!(judged(false, &format!("code=c&state=s1{iss}")), Ok("c".to_owned()));
        for (query, expected) in [
            (format!("code=c{iss}"), "state"),
            (format!("code=c&state=s2{iss}"), "state"),
            (format!("code=c&state=s1&state=s1{iss}"), "state"),
            ("code=c&state=s1".to_owned(), "issuer"),
            ("code=c&state=s1&iss=https%3A%2F%2Fevil.example".to_owned(), "issuer"),
            ("code=c&state=s1&iss=https%3A%2F%2Fid.example%2F".to_owned(), "issuer"),
            (format!("code=c&state=s1{iss}{iss}"), "issuer"),
            (format!("code=c&code=d&state=s1{iss}"), "malformed"),
            (format!("code=c&error=access_denied&state=s1{iss}"), "malformed"),
            (format!("state=s1{iss}"), "malformed"),
            (format!("error=access_denied&state=s1{iss}"), "denied"),
        ] {
            assert_eq!(judged(true, &query), Err(expected), "{query}");
        }
    }
}
