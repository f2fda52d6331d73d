//! The compact serialization: RFC 7515 section 7.1.
//!
//! Implemented: parse, then verify with a key the caller chose, in the order of RFC 7515
//! section 5.2. Not implemented: the JSON serialization (section 7.2), detached payloads
//! (appendix F), JWE. They have another number of parts and are refused by it.

use std::sync::Arc;

use attorn_json::{Document, JsonError, Limits};
use attorn_planted::{Bug, is_planted};

use crate::algorithm::Algorithm;
use crate::base64url::from_base64url;
use crate::header::{Header, HeaderError};
use crate::header_cache::HeaderCache;
use crate::public_key::{PublicKey, SignatureError};
use crate::thumbprint::Jkt;

/// A JWS whose form is right and whose signature nobody has looked at yet.
///
/// Claims to act on exist only in a [`Verified`].
#[derive(Debug)]
pub struct Compact<'a> {
    header: Arc<Header>,
    header_text: &'a str,
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a text is not a JWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// A part is not canonical base64url.
    #[error("a part is not canonical base64url")]
    Encoding,
    /// The header is not acceptable.
    #[error("the header is not acceptable: {0}")]
    Header(#[from] HeaderError),
    /// Not exactly three parts.
    #[error("a compact JWS has three parts")]
    PartCount,
    /// Longer than the caller allows.
    #[error("longer than {max} bytes")]
    TooLong {
        /// The most bytes allowed.
        max: usize,
    },
}

impl<'a> Compact<'a> {
    /// Parses the three parts and the header.
    ///
    /// # Errors
    /// [`JwsError`]; nothing cryptographic has happened then but the parsing of an embedded key.
    pub fn parse(text: &'a str, limits: &Limits) -> Result<Self, JwsError> {
        Self::parse_with(text, limits, |encoded| parse_header(encoded, limits))
    }

    /// Like [`Compact::parse`], but takes a header that was seen in a verified JWS from the cache.
    ///
    /// # Errors
    /// As [`Compact::parse`].
    pub fn parse_cached(
        text: &'a str,
        limits: &Limits,
        cache: &HeaderCache,
    ) -> Result<Self, JwsError> {
        Self::parse_with(text, limits, |encoded| match cache.find(encoded) {
            Some(header) => Ok(header),
            None => parse_header(encoded, limits),
        })
    }

    /// Like [`Compact::parse`], for a token of another issuer: its header may name `RS256` too.
    ///
    /// # Errors
    /// As [`Compact::parse`].
    pub fn parse_of_issuer(text: &'a str, limits: &Limits) -> Result<Self, JwsError> {
        Self::parse_with(text, limits, |encoded| {
            let bytes = from_base64url(encoded).map_err(|_| JwsError::Encoding)?;
            Ok(Arc::new(Header::parse(&bytes, limits, Algorithm::of_issuer)?))
        })
    }

    fn parse_with(
        text: &'a str,
        limits: &Limits,
        header: impl FnOnce(&str) -> Result<Arc<Header>, JwsError>,
    ) -> Result<Self, JwsError> {
        // Before anything is decoded: the length is the attacker's choice.
        if text.len() > limits.bytes_max {
            return Err(JwsError::TooLong { max: limits.bytes_max });
        }
        // RFC 7515 section 7.1: header, payload and signature, joined by periods.
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::PartCount)?;
        let (header_text, payload) = signing_input.split_once('.').ok_or(JwsError::PartCount)?;
        // RFC 7516 section 9: five parts would be a JWE.
        if payload.contains('.') {
            return Err(JwsError::PartCount);
        }
        // RFC 7515 section 5.2, steps 2, 6 and 7.
        let payload = from_base64url(payload).map_err(|_| JwsError::Encoding)?;
        let signature = from_base64url(signature).map_err(|_| JwsError::Encoding)?;
        Ok(Self { header: header(header_text)?, header_text, signing_input, payload, signature })
    }

    /// The header. It is not authenticated yet: good for choosing a key and nothing more.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, which anybody may have written. It may choose whose key is tried, as `iss` does
    /// in RFC 7523 section 3, and must be read again from the [`Verified`].
    #[must_use]
    pub fn unauthenticated_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Verifies the signature under a key the caller chose.
    ///
    /// # Errors
    /// [`SignatureError`]: another algorithm, a wrong length, or a signature that does not hold.
    pub fn verify(self, key: &PublicKey) -> Result<Verified<'a>, SignatureError> {
        // RFC 8725 section 3.1: the key decides on the algorithm; the header can only agree.
        if self.header.alg != key.algorithm() && !is_planted(Bug::SignatureAlgorithmUnchecked) {
            return Err(SignatureError::AlgorithmMismatch {
                header: self.header.alg,
                key: key.algorithm(),
            });
        }
        // RFC 7515 section 5.2, step 8: over the text as received, never over a new spelling.
        key.verify(self.signing_input.as_bytes(), &self.signature)?;
        Ok(Verified {
            header: self.header,
            header_text: self.header_text,
            signing_input: self.signing_input,
            payload: self.payload,
            key: key.thumbprint(),
        })
    }
}

fn parse_header(encoded: &str, limits: &Limits) -> Result<Arc<Header>, JwsError> {
    // RFC 7515 section 5.2, step 2.
    let bytes = from_base64url(encoded).map_err(|_| JwsError::Encoding)?;
    Ok(Arc::new(Header::parse(&bytes, limits, str::parse)?))
}

/// Proof that a signature held. Made by [`Compact::verify`] and nowhere else.
#[derive(Debug)]
pub struct Verified<'a> {
    header: Arc<Header>,
    header_text: &'a str,
    signing_input: &'a str,
    payload: Vec<u8>,
    key: Jkt,
}

impl Verified<'_> {
    /// The header, now authenticated.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The signed bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The text that was signed. It names what was said, as the whole does not: some signatures have
    /// two spellings that both verify.
    #[must_use]
    pub fn signing_input(&self) -> &str {
        self.signing_input
    }

    /// The thumbprint of the key under which the signature held.
    #[must_use]
    pub const fn key(&self) -> Jkt {
        self.key
    }

    /// The payload as strict JSON: RFC 7519 section 7.2, step 10.
    ///
    /// # Errors
    /// [`JsonError`]: duplicate members, nesting, encoding.
    pub fn claims(&self, limits: &Limits) -> Result<Document<'_>, JsonError> {
        attorn_json::parse(&self.payload, limits)
    }

    /// Lets [`Compact::parse_cached`] skip the parsing of this header next time.
    pub fn remember_header(&self, cache: &HeaderCache) {
        cache.remember(self.header_text, &self.header);
    }
}
