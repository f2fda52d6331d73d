//! The host that a request was sent to.

use http::header::{HOST, HeaderMap, HeaderName};
use http::{Version, request};

/// The one host a request names: `:authority` or an absolute target, and `Host`. When both are
/// there they must be the same.
#[must_use]
pub fn addressed(head: &request::Parts) -> Option<&str> {
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    if head.headers.contains_key(HOST) {
        // RFC 9112 section 3.2: more than one `Host` is refused.
        let host = single(&head.headers, &HOST)?;
        return target.is_none_or(|target| target.eq_ignore_ascii_case(host)).then_some(host);
    }
    // HTTP/1.1 without `Host` is refused (RFC 9112 section 3.2); HTTP/2 has `:authority`.
    if head.version == Version::HTTP_2 { target } else { None }
}

/// The value of a header that must not be repeated.
#[must_use]
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}
