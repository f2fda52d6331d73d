//! Making a JWS: RFC 7515 section 5.1. Not implemented: any header member beyond these four.

use crate::base64url::base64url;
use crate::public_key::json_string;
use crate::signing_key::{SignError, SigningKey};

/// What a new header says beside `alg`.
#[derive(Clone, Copy, Debug)]
pub struct NewHeader<'a> {
    /// The media type: RFC 8725 section 3.11 asks for an explicit one.
    pub typ: &'a str,
    /// The name of the key in its set.
    pub kid: Option<&'a str>,
    /// Whether to embed the public key, as a proof of possession does.
    pub jwk: bool,
}

/// Signs claims into a compact JWS.
///
/// # Errors
/// [`SignError`] if the library fails.
pub fn sign(header: &NewHeader<'_>, claims: &[u8], key: &SigningKey) -> Result<String, SignError> {
    let mut signing_input = base64url(header_json(header, key).as_bytes());
    signing_input.push('.');
    signing_input.push_str(&base64url(claims));
    let signature = key.sign(signing_input.as_bytes())?;
    signing_input.push('.');
    signing_input.push_str(&base64url(&signature));
    Ok(signing_input)
}

/// The header in RFC 8785 order, so that one key gives one header text.
fn header_json(header: &NewHeader<'_>, key: &SigningKey) -> String {
    let mut json = format!(r#"{{"alg":"{}""#, key.public().algorithm());
    if header.jwk {
        json.push_str(r#","jwk":"#);
        json.push_str(&key.public().to_jwk(None));
    }
    if let Some(kid) = header.kid {
        json.push_str(r#","kid":"#);
        json.push_str(&json_string(kid));
    }
    json.push_str(r#","typ":"#);
    json.push_str(&json_string(header.typ));
    json.push('}');
    json
}
