//! Small JSON documents over HTTP: bounded, never redirected, strict.

use attorn_json::Limits;
use attorn_net::{ResponseBodyError, SendError};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::world::World;

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The body broke off or is too long.
    #[error("the answer of `{url}` broke off")]
    Body {
        /// Where it came from.
        url: Box<Url>,
        /// What happened.
        source: ResponseBodyError,
    },
    /// The body is not strict JSON of the expected form.
    #[error("the answer of `{url}` is not the expected JSON")]
    Malformed {
        /// Where it came from.
        url: Box<Url>,
    },
    /// Nothing answered.
    #[error("`{url}` did not answer")]
    Send {
        /// Who was asked.
        url: Box<Url>,
        /// What happened.
        source: SendError,
    },
    /// The answer is an error, or a redirect: those are not followed.
    #[error("`{url}` answered {status}")]
    Status {
        /// Who answered.
        url: Box<Url>,
        /// With what.
        status: StatusCode,
    },
}

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// `GET url`, expecting one JSON object.
pub(crate) async fn get_json<T: DeserializeOwned>(
    world: &World,
    url: &Url,
) -> Result<T, FetchError> {
    let fetched = send(world, Method::GET, url, HeaderMap::new(), Bytes::new()).await?;
    if fetched.status != StatusCode::OK {
        return Err(FetchError::Status { url: Box::new(url.clone()), status: fetched.status });
    }
    parse(url, &fetched.body)
}

/// Reads one JSON object strictly.
pub(crate) fn parse<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, FetchError> {
    let malformed = || FetchError::Malformed { url: Box::new(url.clone()) };
    let document = attorn_json::parse(body, &DOCUMENT).map_err(|_| malformed())?;
    document.to().map_err(|_| malformed())
}

/// Sends one request and reads its whole answer, at most [`DOCUMENT`] bytes.
pub(crate) async fn send(
    world: &World,
    method: Method,
    url: &Url,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Fetched, FetchError> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    // `Url` writes only what `Uri` reads; if not, the URL is the peer's malformed one.
    *request.uri_mut() =
        url.as_str().parse().map_err(|_| FetchError::Malformed { url: Box::new(url.clone()) })?;
    let answer = world.client.send_within(request, ANSWER_TIMEOUT);
    let response =
        answer.await.map_err(|source| FetchError::Send { url: Box::new(url.clone()), source })?;
    let (head, body) = response.into_parts();
    let whole = tokio::time::timeout(ANSWER_TIMEOUT, body.bytes(DOCUMENT.bytes_max));
    let body = whole
        .await
        .unwrap_or(Err(ResponseBodyError::Rested))
        .map_err(|source| FetchError::Body { url: Box::new(url.clone()), source })?;
    Ok(Fetched { status: head.status, headers: head.headers, body })
}

/// Headers of a form or JSON body.
pub(crate) fn content_type(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
}

const DOCUMENT: Limits = Limits { bytes_max: 256 * 1024, depth_max: 16 };
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);
