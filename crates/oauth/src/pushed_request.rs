//! Pushed authorization requests: RFC 9126, the parts without a store.
//!
//! Implemented: the form of a `request_uri` (section 2.2), its short life, and which key a pushed
//! request is bound to (RFC 9449 section 10.1). Not implemented: request objects (section 3) and
//! `request_uri` values that anybody else would have to be asked for.

use attorn_jose::Jkt;

/// RFC 9126 section 2.2: between 5 and 600 seconds. A browser opens it at once.
pub const REQUEST_LIFETIME_S: u64 = 60;
/// RFC 9126 section 2.2.
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// The reference of a pushed request, without the prefix that all have.
#[must_use]
pub fn reference_of(request_uri: &str) -> Option<&str> {
    // An address to be fetched is none of ours: nothing is ever fetched for it.
    request_uri.strip_prefix(PREFIX)
}

/// The `request_uri` of a reference.
#[must_use]
pub fn request_uri(reference: &str) -> String {
    format!("{PREFIX}{reference}")
}

/// The parameter and the proof of one request name different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dpop_jkt and the proof name different keys")]
pub struct KeysDiffer;

/// RFC 9449 section 10.1: a proof of the push binds the code as `dpop_jkt` does; both must agree.
///
/// # Errors
/// [`KeysDiffer`].
pub fn bound_key(parameter: Option<Jkt>, proof: Option<Jkt>) -> Result<Option<Jkt>, KeysDiffer> {
    match (parameter, proof) {
        (Some(parameter), Some(proof)) if parameter != proof => Err(KeysDiffer),
        (parameter, proof) => Ok(parameter.or(proof)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_references_are_read() {
        assert_eq!(reference_of(&request_uri("abc")), Some("abc"));
        for other in [
            "https://client.example/request.jwt",
            "http://169.254.169.254/latest",
            "urn:example:abc",
            "URN:ietf:params:oauth:request_uri:abc",
            "",
        ] {
            assert_eq!(reference_of(other), None, "{other}");
        }
    }

    #[test]
    fn parameter_and_proof_must_agree() {
        let (a, b) = (Jkt::from_bytes([1; 32]), Jkt::from_bytes([2; 32]));
        assert_eq!(bound_key(None, None), Ok(None));
        assert_eq!(bound_key(Some(a), None), Ok(Some(a)));
        assert_eq!(bound_key(None, Some(a)), Ok(Some(a)));
        assert_eq!(bound_key(Some(a), Some(a)), Ok(Some(a)));
        assert_eq!(bound_key(Some(a), Some(b)), Err(KeysDiffer));
    }
}
