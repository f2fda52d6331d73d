//! An authenticator and its browser in software: passkeys for tests, right or wrong.
//!
//! Written from WebAuthn Level 3 and nothing of ours, so that one reading does not check itself. Fixtures
//! only: the seeds of the keys are known.

use attorn_jose::{Algorithm, PublicKey, SigningKey, base64url, from_base64url, sha256};
use serde_json::Value;

/// A passkey, and who it is for.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// Its private key.
    pub key: SigningKey,
    /// Its name.
    pub credential: Vec<u8>,
    /// The relying party.
    pub rp_id: String,
    /// The page.
    pub origin: String,
    /// Whose it is.
    pub user_handle: Vec<u8>,
    /// How often it was used; 0 does not count.
    pub sign_count: u32,
    /// What it says it did, without the bit for a new key.
    pub flags: u8,
}

/// What a browser gives for a new passkey.
#[derive(Clone, Debug)]
pub struct Created {
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `attestationObject`.
    pub attestation_object: Vec<u8>,
}

/// What it gives for a word by one.
#[derive(Clone, Debug)]
pub struct Asserted {
    /// `rawId`.
    pub credential: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `signature`.
    pub signature: Vec<u8>,
    /// `userHandle`.
    pub user_handle: Vec<u8>,
}

/// Section 6.1: somebody was there, and was verified.
pub const PRESENT_AND_VERIFIED: u8 = 0b0000_0101;
/// Section 6.1: a new key follows.
pub const ATTESTED: u8 = 0b0100_0000;

impl Authenticator {
    /// A passkey for a relying party, from a seed.
    ///
    /// # Panics
    /// Where the seed is no key of the algorithm, which happens to one in 2^32.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a fixture fails its test by panicking")]
    pub fn new(algorithm: Algorithm, seed: u8, rp_id: &str, origin: &str) -> Self {
        Self {
            key: SigningKey::from_seed(algorithm, &[seed; 32]).expect("a seed"),
            credential: sha256(&[seed]).to_vec(),
            rp_id: rp_id.to_owned(),
            origin: origin.to_owned(),
            user_handle: b"somebody".to_vec(),
            sign_count: 0,
            flags: PRESENT_AND_VERIFIED,
        }
    }

    /// What a browser says of its page.
    #[must_use]
    pub fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let origin = &self.origin;
        let text = format!(
            r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
        );
        text.into_bytes()
    }

    /// Section 6.1, without a key and without extensions.
    #[must_use]
    pub fn data(&self, more_flags: u8) -> Vec<u8> {
        let count = self.sign_count.to_be_bytes();
        [&sha256(self.rp_id.as_bytes())[..], &[self.flags | more_flags], &count].concat()
    }

    /// Section 6.5.1: the new key, behind the data.
    #[must_use]
    pub fn data_with_key(&self) -> Vec<u8> {
        let length = u16::try_from(self.credential.len()).unwrap_or(u16::MAX).to_be_bytes();
        let key = cose_key(self.key.public());
        [&self.data(ATTESTED)[..], &[0; 16], &length, &self.credential, &key].concat()
    }

    /// Makes the passkey known.
    #[must_use]
    pub fn create(&self, challenge: &str) -> Created {
        Created {
            client_data: self.client_data("webauthn.create", challenge),
            attestation_object: attestation_object("none", &[0xa0], &self.data_with_key()),
        }
    }

    /// Uses the passkey.
    #[must_use]
    pub fn assert(&self, challenge: &str) -> Asserted {
        self.assert_with(&self.client_data("webauthn.get", challenge), &self.data(0))
    }

    /// Uses the passkey for other client data or authenticator data than it should.
    #[must_use]
    pub fn assert_with(&self, client_data: &[u8], data: &[u8]) -> Asserted {
        Asserted {
            credential: self.credential.clone(),
            client_data: client_data.to_vec(),
            authenticator_data: data.to_vec(),
            signature: self.sign(data, client_data),
            user_handle: self.user_handle.clone(),
        }
    }

    /// Section 6.3.3: signs the data and the hash of the client data.
    #[must_use]
    pub fn sign(&self, data: &[u8], client_data: &[u8]) -> Vec<u8> {
        let signed = [data, &sha256(client_data)].concat();
        let raw = self.key.sign(&signed).unwrap_or_default();
        match self.key.public().algorithm() {
            Algorithm::Es256 => der(&raw),
            Algorithm::EdDsa | Algorithm::Ps256 | Algorithm::Rs256 => raw,
        }
    }
}

/// Section 6.5: the three members in their order.
#[must_use]
pub fn attestation_object(format: &str, statement: &[u8], data: &[u8]) -> Vec<u8> {
    let parts = [
        vec![0xa3],
        text("fmt"),
        text(format),
        text("attStmt"),
        statement.to_vec(),
        text("authData"),
        byte_string(data),
    ];
    parts.concat()
}

/// Section 6.5.1.1: a public key in COSE.
#[must_use]
pub fn cose_key(key: &PublicKey) -> Vec<u8> {
    let jwk: Value = serde_json::from_str(&key.to_jwk(None)).unwrap_or_default();
    let member = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        from_base64url(text).unwrap_or_default()
    };
    match key.algorithm() {
        Algorithm::Es256 => {
            let (x, y) = (byte_string(&member("x")), byte_string(&member("y")));
            [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21][..], &x, &[0x22], &y].concat()
        }
        Algorithm::EdDsa => {
            [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21][..], &byte_string(&member("x"))].concat()
        }
        Algorithm::Ps256 | Algorithm::Rs256 => Vec::new(),
    }
}

/// A fresh-looking challenge, as base64url.
#[must_use]
pub fn challenge(seed: u8) -> String {
    base64url(&sha256(&[seed, seed]))
}

/// RFC 8949 section 3: a byte string.
#[must_use]
pub fn byte_string(bytes: &[u8]) -> Vec<u8> {
    [head(0x40, bytes.len()), bytes.to_vec()].concat()
}

/// RFC 8949 section 3: a text.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    [head(0x60, text.len()), text.as_bytes().to_vec()].concat()
}

fn head(major: u8, length: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    match length {
        0..=23 => vec![major | low],
        24..=255 => vec![major | 24, low],
        _ => vec![major | 25, high, low],
    }
}

/// RFC 3279 section 2.2.3, of the two halves of a JOSE signature.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let zeros = half.iter().take_while(|byte| **byte == 0).count();
        let digits = half.get(zeros..).unwrap_or_default();
        let sign: &[u8] = if digits.first().is_some_and(|byte| *byte > 0x7f) { &[0] } else { &[] };
        let length = u8::try_from(sign.len() + digits.len()).unwrap_or_default();
        [&[2, length][..], sign, digits].concat()
    };
    let (r, s) = raw.split_at_checked(32).unwrap_or_default();
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap_or_default()][..], &body].concat()
}
