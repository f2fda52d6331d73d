//! The parts of a request head that prove something.

use attorn_jose::{Algorithm, CertificateThumbprint};
use attorn_net::Peer;
use attorn_oauth::dpop::{self, DpopRefusal, NoncePolicy, ProofExpectation, VerifiedProof};
use attorn_oauth::mtls::PresentedCertificate;
use http::header::{AUTHORIZATION, HeaderMap};
use http::request::Parts;

use crate::http::DPOP;
use crate::shared::Shared;

/// Verifies the proof of a request to a public endpoint, which carries no access token.
pub(crate) fn verify_proof(
    shared: &Shared,
    head: &Parts,
    path: &str,
    now_s: u64,
) -> Result<VerifiedProof, DpopRefusal> {
    let expected = ProofExpectation {
        algorithms: &ALGORITHMS,
        htm: head.method.as_str(),
        // From the configuration, never from `Host`.
        htu: &shared.config.endpoint(path),
        access_token: None,
        nonce: NoncePolicy::Required(&shared.nonces),
        header_cache: Some(&shared.header_cache),
    };
    dpop::verify(proof_of(&head.headers)?, &expected, now_s)
}

/// As [`verify_proof`], where a request may come without one: a client with a certificate needs none.
pub(crate) fn verify_present_proof(
    shared: &Shared,
    head: &Parts,
    path: &str,
    now_s: u64,
) -> Result<Option<VerifiedProof>, DpopRefusal> {
    if !head.headers.contains_key(DPOP) {
        return Ok(None);
    }
    verify_proof(shared, head, path, now_s).map(Some)
}

/// The client certificate of the request's connection, here or at a listed proxy.
pub(crate) fn certificate(head: &Parts) -> Option<PresentedCertificate<'_>> {
    let certificate = head.extensions.get::<Peer>()?.certificate.as_ref()?;
    Some(PresentedCertificate {
        thumbprint: CertificateThumbprint::from_bytes(certificate.thumbprint),
        not_before_s: certificate.not_before_s,
        not_after_s: certificate.not_after_s,
        anchors: &certificate.anchors,
        dns_names: &certificate.dns_names,
        uris: &certificate.uris,
    })
}

/// Whether the request belongs to another listener: RFC 9110 section 15.5.20.
pub(crate) fn is_misdirected(head: &Parts) -> bool {
    let peer = head.extensions.get::<Peer>();
    peer.is_some_and(|peer| peer.is_misdirected(&head.uri, &head.headers))
}

/// RFC 9449 section 4.3, check 1: exactly one `DPoP` header.
pub(crate) fn proof_of(headers: &HeaderMap) -> Result<&str, DpopRefusal> {
    let mut values = headers.get_all(DPOP).iter();
    let value = values.next().ok_or(DpopRefusal::Missing)?;
    if values.next().is_some() {
        return Err(DpopRefusal::Malformed);
    }
    value.to_str().map_err(|_| DpopRefusal::Malformed)
}

/// The `Authorization` header; one that is no text still counts as present.
pub(crate) fn authorization(head: &Parts) -> Option<&str> {
    head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or(""))
}

/// What the metadata announces, and nothing else.
pub(crate) const ALGORITHMS: [Algorithm; 3] = Algorithm::ALL;
