//! Documents of clients: draft-ietf-oauth-client-id-metadata-document-02 sections 5 and 8.
//!
//! Implemented: one GET with TLS, no redirect, 3 seconds, 5 KiB, JSON only; every address of the host
//! is judged before the connection, which goes to a judged one. A good answer is kept between a
//! minute and a day as it asks (section 5.2), an error never is. When the host cannot be reached, a
//! document of the last day still counts.
//! Not implemented: `Vary`, conditional requests, signed documents.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use attorn_net::{Buckets, Rate, SendError};
use attorn_oauth::client_id_url::ClientIdUrl;
use attorn_oauth::client_metadata::{ClientMetadata, ClientMetadataRefusal, METADATA_BYTES_MAX};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use http::{Request, StatusCode};
use tokio::sync::Semaphore;

use super::config::{ClientsConfig, ClientsRefusal};
use crate::issuer_keys::is_plain_json;
use crate::outward::Outward;

/// Where documents are fetched and kept.
#[derive(Debug)]
pub(crate) struct Documents {
    clients: Outward,
    kept: Mutex<HashMap<String, Kept>>,
    places: Semaphore,
    by_host: Buckets<String>,
}

#[derive(Clone, Debug)]
struct Kept {
    metadata: ClientMetadata,
    fetched_s: u64,
    until_s: u64,
}

/// Why there is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentRefusal {
    /// The host is somewhere it must not be.
    Address,
    /// It answered something else than a document.
    Answer,
    /// The document is not one that is accepted.
    Metadata(ClientMetadataRefusal),
    /// Too many are fetched, of this host or at once.
    TooMany,
    /// It did not answer.
    Unreachable,
}

impl Documents {
    pub(crate) fn new(config: &ClientsConfig) -> Result<Self, ClientsRefusal> {
        Ok(Self {
            clients: Outward::new(config.metadata_roots.as_deref(), TIME_MAX)?,
            kept: Mutex::default(),
            places: Semaphore::new(AT_ONCE_MAX),
            by_host: Buckets::new(Rate::new(1, 20), HOSTS_MAX),
        })
    }

    /// The document of a client, as it is or was lately.
    pub(crate) async fn read(
        &self,
        url: &ClientIdUrl,
        now_s: u64,
    ) -> Result<ClientMetadata, DocumentRefusal> {
        let kept = self.kept(url.as_str());
        if let Some(kept) = kept.as_ref().filter(|kept| now_s < kept.until_s) {
            return Ok(kept.metadata.clone());
        }
        let fetched = match self.by_host.take(&url.host().to_owned()) {
            Ok(()) => self.fetch(url).await,
            Err(_too_soon) => Err(DocumentRefusal::TooMany),
        };
        match (fetched, kept) {
            (Ok((metadata, keep_s)), _) => {
                let until_s = now_s.saturating_add(keep_s);
                let kept = Kept { metadata: metadata.clone(), fetched_s: now_s, until_s };
                self.keep(url.as_str(), kept, now_s);
                Ok(metadata)
            }
            // Where the host is down, its clients go on for a day.
            (Err(DocumentRefusal::Unreachable | DocumentRefusal::TooMany), Some(kept))
                if now_s.saturating_sub(kept.fetched_s) < KEEP_MAX_S =>
            {
                Ok(kept.metadata)
            }
            (Err(refusal), _) => Err(refusal),
        }
    }

    async fn fetch(&self, url: &ClientIdUrl) -> Result<(ClientMetadata, u64), DocumentRefusal> {
        let _place = self.places.try_acquire().map_err(|_full| DocumentRefusal::TooMany)?;
        let client = if url.is_listed() { &self.clients.listed } else { &self.clients.public };
        let request = Request::get(url.as_str()).header(ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|_| DocumentRefusal::Answer)?;
        let exchange = async {
            let answer = client.send(request).await.map_err(|error| match error {
                SendError::AddressRefused => DocumentRefusal::Address,
                SendError::Url(_) => DocumentRefusal::Answer,
                SendError::Connect(_)
                | SendError::ConnectTimeout
                | SendError::Exchange(_)
                | SendError::HeadTimeout
                | SendError::Resolve(_) => DocumentRefusal::Unreachable,
            })?;
            let (head, body) = answer.into_parts();
            // Section 5: a redirect is not followed, so it is no document.
            if head.status != StatusCode::OK || !is_plain_json(&head.headers) {
                return Err(DocumentRefusal::Answer);
            }
            let body = body.bytes(METADATA_BYTES_MAX).await;
            Ok((head.headers, body.map_err(|_| DocumentRefusal::Answer)?))
        };
        // For the whole of it: one that drips is given up.
        let exchanged = tokio::time::timeout(TIME_MAX, exchange).await;
        let (headers, body) = exchanged.map_err(|_late| DocumentRefusal::Unreachable)??;
        let metadata = ClientMetadata::of_document(&body, url.as_str());
        Ok((metadata.map_err(DocumentRefusal::Metadata)?, keep_s(&headers)))
    }

    fn kept(&self, url: &str) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    fn keep(&self, url: &str, new: Kept, now_s: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX && !kept.contains_key(url) {
            kept.retain(|_, old| now_s.saturating_sub(old.fetched_s) < KEEP_MAX_S);
        }
        if kept.len() >= KEPT_MAX && !kept.contains_key(url) {
            let oldest = kept.iter().min_by_key(|(_, old)| old.fetched_s);
            let oldest = oldest.map(|(url, _)| url.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        kept.insert(url.to_owned(), new);
    }
}

/// Section 5.2 with RFC 9111 section 5.2.2: as the answer asks, within our bounds. One that must not
/// be kept is kept for the shortest time: else every click would be a request.
fn keep_s(headers: &HeaderMap) -> u64 {
    let texts = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut keep_s = KEEP_USUAL_S;
    for directive in texts.flat_map(|text| text.split(',')).map(str::trim) {
        match directive.split_once('=') {
            Some((name, age)) if name.eq_ignore_ascii_case("max-age") => {
                keep_s = age.trim_matches('"').parse().unwrap_or(0);
            }
            None if ["no-store", "no-cache"]
                .iter()
                .any(|no| directive.eq_ignore_ascii_case(no)) =>
            {
                return KEEP_MIN_S;
            }
            Some(_) | None => {}
        }
    }
    keep_s.clamp(KEEP_MIN_S, KEEP_MAX_S)
}

const TIME_MAX: Duration = Duration::from_secs(3);
const AT_ONCE_MAX: usize = 8;
const HOSTS_MAX: usize = 4096;
const KEPT_MAX: usize = 1024;
const KEEP_MIN_S: u64 = 60;
const KEEP_USUAL_S: u64 = 3600;
const KEEP_MAX_S: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())])
    }

    #[test]
    fn a_document_is_kept_as_it_asks_within_bounds() {
        assert_eq!(keep_s(&HeaderMap::new()), KEEP_USUAL_S);
        for (value, expected) in [
            ("max-age=600", 600),
            ("public, max-age=600", 600),
            ("max-age=5", KEEP_MIN_S),
            ("max-age=315360000", KEEP_MAX_S),
            ("max-age=-1", KEEP_MIN_S),
            ("no-store", KEEP_MIN_S),
            ("max-age=600, NO-CACHE", KEEP_MIN_S),
            ("private", KEEP_USUAL_S),
        ] {
            assert_eq!(keep_s(&headers(value)), expected, "{value}");
        }
    }
}
