//! Media types of requests and answers (RFC 9110 sections 8.3 and 12.5.1).
//!
//! Not here: quality values beyond `q=0`, and media type parameters beyond `charset`.

pub(crate) use attorn_enforce::host::single;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};

/// The two kinds of answer that MCP knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    EventStream,
    Json,
}

/// The one media type a message declares, if it is one of ours and in UTF-8.
pub(crate) fn declared(headers: &HeaderMap) -> Option<Media> {
    let mut parts = single(headers, &CONTENT_TYPE)?.split(';');
    // RFC 9110 section 8.3.1: type and subtype are case-insensitive.
    let essence = parts.next()?.trim();
    let media = if essence.eq_ignore_ascii_case("application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Media::EventStream
    } else {
        return None;
    };
    // RFC 8259 section 8.1 and the SSE format: UTF-8 and nothing else.
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    });
    utf8.then_some(media)
}

/// Whether a coding other than `identity` is declared. None is ever undone: what cannot be read
/// cannot be filtered.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether the client takes answers of this kind. Only a range that names it, or a wildcard,
/// counts; `q=0` excludes.
pub(crate) fn accepts(headers: &HeaderMap, media: Media) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| range_takes(range, media))
}

fn range_takes(range: &str, media: Media) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let (kind, full) = match media {
        Media::EventStream => ("text/*", "text/event-stream"),
        Media::Json => ("application/*", "application/json"),
    };
    let named = parts.next().is_some_and(|essence| {
        essence == "*/*" || essence.eq_ignore_ascii_case(kind) || essence.eq_ignore_ascii_case(full)
    });
    let excluded =
        parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
    named && !excluded
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};

    use super::{Media, accepts, declared, is_encoded};

    fn with(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_media_type_is_one_known_type_in_utf_8() {
        let check = |values: &[&str], expected| {
            assert_eq!(declared(&with(&CONTENT_TYPE, values)), expected, "{values:?}");
        };
        check(&["application/json"], Some(Media::Json));
        check(&["Application/JSON; charset=UTF-8"], Some(Media::Json));
        check(&["text/event-stream;charset=utf-8"], Some(Media::EventStream));
        check(&[], None);
        check(&["application/json", "application/json"], None);
        check(&["application/json-rpc"], None);
        check(&["text/plain"], None);
        check(&["application/json; charset=utf-16"], None);
        check(&["multipart/form-data; boundary=x"], None);
    }

    #[test]
    fn a_client_must_take_what_it_may_be_sent() {
        let both = with(&ACCEPT, &["application/json, text/event-stream"]);
        assert!(accepts(&both, Media::Json) && accepts(&both, Media::EventStream));
        let any = with(&ACCEPT, &["*/*"]);
        assert!(accepts(&any, Media::Json) && accepts(&any, Media::EventStream));
        let one = with(&ACCEPT, &["application/json;q=0.9"]);
        assert!(accepts(&one, Media::Json) && !accepts(&one, Media::EventStream));
        assert!(!accepts(&with(&ACCEPT, &["application/json;q=0"]), Media::Json));
        assert!(!accepts(&HeaderMap::new(), Media::Json));
    }

    #[test]
    fn any_coding_but_identity_counts() {
        assert!(!is_encoded(&HeaderMap::new()));
        assert!(!is_encoded(&with(&CONTENT_ENCODING, &["identity"])));
        assert!(is_encoded(&with(&CONTENT_ENCODING, &["gzip"])));
        assert!(is_encoded(&with(&CONTENT_ENCODING, &["identity", "br"])));
    }
}
