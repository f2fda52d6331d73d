//! Answers to browsers: pages, ways on, cookies.

use attorn_audit::Entry;
use attorn_console::{ErrorPage, HEADERS, POLICY_WITH_SCRIPT, content_security_policy};
use attorn_net::Body;
use attorn_registry::ReasonCode;
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    SET_COOKIE,
};
use http::{Response, StatusCode};

use super::browser::{Browser, Cookie};
use crate::http::{empty, json_answer, set};
use crate::shared::Shared;

/// A page. `leads_to` is the one other place its form may end at.
pub(crate) fn page(status: StatusCode, html: String, leads_to: Option<&str>) -> Response<Body> {
    let mut answer = Response::new(Body::full(html));
    *answer.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, html);
    protect(&mut answer);
    set(&mut answer, CONTENT_SECURITY_POLICY, &content_security_policy(leads_to));
    answer
}

/// A page with passkeys, which runs our one script. Its form ends at a page of ours.
pub(crate) fn scripted(status: StatusCode, html: String) -> Response<Body> {
    let mut answer = page(status, html, None);
    let policy = HeaderValue::from_static(POLICY_WITH_SCRIPT);
    // In the place of the other one: of two policies both would hold.
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

/// An answer to that script.
pub(crate) fn json(body: &serde_json::Value) -> Response<Body> {
    let mut answer = json_answer(StatusCode::OK, body.to_string());
    protect(&mut answer);
    answer
}

/// RFC 9700 section 4.12: after a form, 303, so that no browser sends the form on.
pub(crate) fn see_other(location: &str) -> Response<Body> {
    let mut answer = empty(StatusCode::SEE_OTHER);
    protect(&mut answer);
    set(&mut answer, LOCATION, location);
    answer
}

/// What went wrong, on a page of ours. Nobody is sent anywhere.
pub(crate) fn error(
    shared: &Shared,
    status: StatusCode,
    (what, next): (&str, &str),
) -> Response<Body> {
    let html = ErrorPage { base: shared.config.issuer_path(), what, next }.html();
    page(status, html, None)
}

/// A form that did not come from a page of ours, or is too old. Nothing was done.
pub(crate) async fn forged(shared: &Shared, about: Entry) -> Response<Body> {
    if shared.note_refusal(about, ReasonCode::FormForged).await.is_err() {
        return unavailable(shared);
    }
    let text =
        ("This form is not from this browser, or too old.", "Go back and open the page again.");
    error(shared, StatusCode::FORBIDDEN, text)
}

/// Ours to mend.
pub(crate) fn unavailable(shared: &Shared) -> Response<Body> {
    let text = ("It cannot be done at the moment.", "Try again in a moment.");
    error(shared, StatusCode::SERVICE_UNAVAILABLE, text)
}

/// RFC 6585 section 4.
pub(crate) fn too_many(shared: &Shared, wait_s: u64) -> Response<Body> {
    let text = ("It was tried too often.", "Wait some minutes, then try again.");
    let mut answer = error(shared, StatusCode::TOO_MANY_REQUESTS, text);
    set(&mut answer, RETRY_AFTER, &wait_s.max(1).to_string());
    answer
}

/// Our one style sheet. It may be kept: it holds nothing of anybody.
pub(crate) fn style() -> Response<Body> {
    let mut answer = Response::new(Body::full(attorn_console::STYLE));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    protect(&mut answer);
    let kept = HeaderValue::from_static("public, max-age=3600");
    answer.headers_mut().insert(http::header::CACHE_CONTROL, kept);
    answer
}

/// Our one script. It goes with the pages of this version, so it is not kept.
pub(crate) fn script() -> Response<Body> {
    let mut answer = Response::new(Body::full(attorn_console::SCRIPT));
    let script = HeaderValue::from_static("text/javascript; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, script);
    protect(&mut answer);
    answer
}

/// Gives a new browser its name.
pub(crate) fn name_browser(answer: &mut Response<Body>, shared: &Shared, browser: &Browser) {
    if let Some(name) = browser.new_name() {
        set_cookie(answer, shared, Cookie::Browser, Some(name));
    }
}

pub(crate) fn set_cookie(
    answer: &mut Response<Body>,
    shared: &Shared,
    cookie: Cookie,
    value: Option<&str>,
) {
    set(answer, SET_COOKIE, &cookie.set(value, is_encrypted(shared)));
}

/// From the configuration: behind a proxy our own connection may be plain.
pub(crate) fn is_encrypted(shared: &Shared) -> bool {
    shared.config.issuer.starts_with("https://")
}

/// RFC 6454 section 6.2: scheme, host and port of the issuer.
pub(crate) fn origin(shared: &Shared) -> &str {
    let issuer = shared.config.issuer.as_str();
    issuer.strip_suffix(shared.config.issuer_path()).unwrap_or(issuer)
}

fn protect(answer: &mut Response<Body>) {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}
