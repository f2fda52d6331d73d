//! What the browser says: `CollectedClientData`, WebAuthn Level 3 section 5.8.1.
//!
//! Unknown members are left alone: the same section lets browsers add some, and they do. `tokenBinding` of
//! Level 2 is one of them.

use attorn_jose::sha256;
use attorn_json::{Limits, Value};

use crate::refusal::WebauthnRefusal;

/// What a browser was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceremony {
    /// A new passkey: `webauthn.create`.
    Create,
    /// A word by one that is there: `webauthn.get`.
    Get,
}

/// Client data of a page that was not within a page of another origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientData {
    ceremony: Ceremony,
    challenge: String,
    origin: String,
    hash: [u8; 32],
}

impl ClientData {
    /// Reads `clientDataJSON`, byte by byte what the authenticator signs the hash of.
    ///
    /// # Errors
    /// [`WebauthnRefusal::ClientData`], [`WebauthnRefusal::Ceremony`] or [`WebauthnRefusal::CrossOrigin`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WebauthnRefusal> {
        let document =
            attorn_json::parse(bytes, &LIMITS).map_err(|_| WebauthnRefusal::ClientData)?;
        let value = document.value();
        if !value.is_object() {
            return Err(WebauthnRefusal::ClientData);
        }
        let ceremony = match text(value, "type")?.as_str() {
            "webauthn.create" => Ceremony::Create,
            "webauthn.get" => Ceremony::Get,
            _ => return Err(WebauthnRefusal::Ceremony),
        };
        // WebAuthn Level 3 sections 7.1 and 7.2: no page of ours is in a frame of another origin. A
        // browser of Level 1 does not say it.
        match value.member("crossOrigin").map(|member| member.boolean()) {
            None | Some(Some(false)) => {}
            Some(Some(true)) => return Err(WebauthnRefusal::CrossOrigin),
            Some(None) => return Err(WebauthnRefusal::ClientData),
        }
        if value.member("topOrigin").is_some() {
            return Err(WebauthnRefusal::CrossOrigin);
        }
        Ok(Self {
            ceremony,
            challenge: text(value, "challenge")?,
            origin: text(value, "origin")?,
            hash: sha256(bytes),
        })
    }

    /// What was asked for.
    #[must_use]
    pub const fn ceremony(&self) -> Ceremony {
        self.ceremony
    }

    /// The challenge that the page gave, as base64url.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// The origin of the page.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// SHA-256 of all of it, which signatures are about.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

fn text(value: Value<'_>, name: &str) -> Result<String, WebauthnRefusal> {
    let text = value.member(name).and_then(Value::string);
    text.map(std::borrow::Cow::into_owned).ok_or(WebauthnRefusal::ClientData)
}

/// Four short members, and what browsers add.
const LIMITS: Limits = Limits { bytes_max: 4 << 10, depth_max: 4 };

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<WebauthnRefusal> {
        ClientData::parse(text.as_bytes()).err()
    }

    #[test]
    fn it_is_read_whatever_a_browser_adds() {
        let text = r#"{"type":"webauthn.get","challenge":"AA","origin":"https://id.example","crossOrigin":false,"other_keys_can_be_added_here":"do not compare"}"#;
        let read = ClientData::parse(text.as_bytes()).unwrap();
        assert_eq!((read.ceremony(), read.challenge()), (Ceremony::Get, "AA"));
        assert_eq!((read.origin(), read.hash()), ("https://id.example", &sha256(text.as_bytes())));
        assert_eq!(
            refusal(r#"{"type":"webauthn.create","challenge":"AA","origin":"https://id.example"}"#),
            None
        );
    }

    #[test]
    fn a_frame_of_another_origin_is_refused() {
        let with = |more: &str| {
            refusal(&format!(r#"{{"type":"webauthn.get","challenge":"AA","origin":"o"{more}}}"#))
        };
        assert_eq!(with(""), None);
        assert_eq!(with(r#","crossOrigin":false"#), None);
        assert_eq!(with(r#","crossOrigin":true"#), Some(WebauthnRefusal::CrossOrigin));
        assert_eq!(
            with(r#","topOrigin":"https://id.example""#),
            Some(WebauthnRefusal::CrossOrigin)
        );
        for other in [r#","crossOrigin":"false""#, r#","crossOrigin":null"#, r#","crossOrigin":0"#]
        {
            assert_eq!(with(other), Some(WebauthnRefusal::ClientData), "{other}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for text in [
            "",
            "[]",
            "null",
            r#"{"challenge":"AA","origin":"o"}"#,
            r#"{"type":"webauthn.get","origin":"o"}"#,
            r#"{"type":"webauthn.get","challenge":"AA"}"#,
            r#"{"type":"webauthn.get","challenge":1,"origin":"o"}"#,
            r#"{"type":"webauthn.get","challenge":"AA","challenge":"BB","origin":"o"}"#,
            r#"{"type":"webauthn.get","challenge":"AA","origin":"o"} "x""#,
        ] {
            assert_eq!(refusal(text), Some(WebauthnRefusal::ClientData), "{text}");
        }
        for kind in ["payment.get", "webauthn.Get", ""] {
            let text = format!(r#"{{"type":"{kind}","challenge":"AA","origin":"o"}}"#);
            assert_eq!(refusal(&text), Some(WebauthnRefusal::Ceremony), "{kind}");
        }
        let long = format!(
            r#"{{"type":"webauthn.get","challenge":"AA","origin":"o","x":"{}"}}"#,
            "x".repeat(4 << 10)
        );
        assert_eq!(refusal(&long), Some(WebauthnRefusal::ClientData));
    }
}
