//! Notes signed with Ed25519, after C2SP signed-note.
//!
//! Implemented: signature type 0x01 (Ed25519), the text forms of keys that Go's
//! `golang.org/x/mod/sumdb/note` and the C2SP tools use (`vkey`, `skey`), notes with several
//! signatures. Not implemented: the timestamped cosignatures of witnesses (types 0x04 and 0x05);
//! like every signature of an unknown key they are passed over.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tree::sha256;

/// A key that signs notes.
pub struct NoteSigner {
    verifier: NoteVerifier,
    seed: [u8; 32],
    key: Ed25519KeyPair,
}

impl NoteSigner {
    /// A key with this name, from 32 random bytes.
    ///
    /// # Errors
    /// Refuses a name that is empty or contains white space or `+`.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Malformed)?;
        let public = key.public_key().as_ref().try_into().map_err(|_| KeyError::Malformed)?;
        let verifier = NoteVerifier::new(name, public)?;
        Ok(Self { verifier, seed: *seed, key })
    }

    /// Reads `PRIVATE+KEY+<name>+<id>+<base64(0x01 || seed)>`.
    ///
    /// # Errors
    /// Refuses any other form, and an id that does not fit the key.
    pub fn from_skey(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(SKEY_PREFIX).ok_or(KeyError::Malformed)?;
        let (name, id, seed) = split_key(rest)?;
        let signer = Self::from_seed(name, &seed)?;
        if signer.verifier.id != id {
            return Err(KeyError::IdMismatch);
        }
        Ok(signer)
    }

    /// The secret text form. Keep it out of logs.
    #[must_use]
    pub fn to_skey(&self) -> String {
        format!("{SKEY_PREFIX}{}", join_key(&self.verifier, &self.seed))
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The signed note. `text` should end with a newline and hold no control characters;
    /// [`open`] refuses it otherwise.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let mut signature = self.verifier.id.to_be_bytes().to_vec();
        signature.extend_from_slice(self.key.sign(text.as_bytes()).as_ref());
        format!("{text}\n{LINE_PREFIX}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({}, [redacted])", self.verifier.name)
    }
}

/// A key that verifies notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    id: u32,
    public: [u8; 32],
}

impl NoteVerifier {
    /// A key with this name.
    ///
    /// # Errors
    /// Refuses a name that is empty or contains white space or `+`.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        // C2SP signed-note, "Format": neither may appear in a key name.
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
        {
            return Err(KeyError::Name);
        }
        // C2SP signed-note: the first four bytes of SHA-256(name || 0x0A || type || public key).
        let mut material = name.as_bytes().to_vec();
        material.extend_from_slice(&[b'\n', TYPE_ED25519]);
        material.extend_from_slice(&public);
        let [a, b, c, d, ..] = sha256(&material);
        Ok(Self { name: name.to_owned(), id: u32::from_be_bytes([a, b, c, d]), public })
    }

    /// Reads `<name>+<id>+<base64(0x01 || public key)>`.
    ///
    /// # Errors
    /// Refuses any other form, and an id that does not fit the key.
    pub fn from_vkey(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = split_key(text)?;
        let verifier = Self::new(name, public)?;
        if verifier.id != id {
            return Err(KeyError::IdMismatch);
        }
        Ok(verifier)
    }

    /// The public text form.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        join_key(self, &self.public)
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key, as it stands before each of its signatures.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
}

/// A note with at least one good signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedNote<'a> {
    /// The text that was signed.
    pub text: &'a str,
    /// The first of the known keys whose signature was good.
    pub verified_by: &'a NoteVerifier,
}

/// Reads a note and verifies it.
///
/// # Errors
/// Refuses a malformed note, a wrong signature by one of `verifiers`, and a note that none of them
/// signed.
pub fn open<'a>(note: &'a str, verifiers: &'a [NoteVerifier]) -> Result<OpenedNote<'a>, NoteError> {
    if note.len() > NOTE_BYTES_MAX || note.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return Err(NoteError::Malformed);
    }
    // The signatures follow the last blank line.
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, rest) = note.split_at_checked(at + 1).ok_or(NoteError::Malformed)?;
    let lines = rest.strip_prefix('\n').and_then(|rest| rest.strip_suffix('\n'));
    let mut verified_by = None;
    for (number, line) in lines.ok_or(NoteError::Malformed)?.split('\n').enumerate() {
        if number >= SIGNATURES_MAX {
            return Err(NoteError::Malformed);
        }
        let (name, id, signature) = split_signature(line).ok_or(NoteError::Malformed)?;
        // A signature of an unknown key proves nothing and breaks nothing.
        let Some(verifier) = verifiers.iter().find(|key| key.name == name && key.id == id) else {
            continue;
        };
        // C2SP signed-note: a known key with a wrong signature refuses the whole note.
        UnparsedPublicKey::new(&ED25519, &verifier.public)
            .verify(text.as_bytes(), &signature)
            .map_err(|_| NoteError::SignatureMismatch)?;
        verified_by = verified_by.or(Some(verifier));
    }
    let verified_by = verified_by.ok_or(NoteError::Unverified)?;
    Ok(OpenedNote { text, verified_by })
}

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id in the text is not that of the key.
    #[error("the id does not fit the key")]
    IdMismatch,
    /// Not the text form of an Ed25519 key.
    #[error("not an Ed25519 note key")]
    Malformed,
    /// Empty, or with white space or `+`.
    #[error("the name of the key is empty or has white space or `+` in it")]
    Name,
}

/// Why a note is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("not a signed note")]
    Malformed,
    /// A known key is named, but the signature is not its own.
    #[error("the signature does not fit the note")]
    SignatureMismatch,
    /// No known key signed it.
    #[error("no known key signed the note")]
    Unverified,
}

fn split_key(text: &str) -> Result<(&str, u32, [u8; 32]), KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
    // Base64 may contain `+` itself: only the first one after the id separates.
    let (id, encoded) = rest.split_once('+').ok_or(KeyError::Malformed)?;
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if id.len() != 8 || !id.bytes().all(is_hex) {
        return Err(KeyError::Malformed);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Malformed)?;
    let key = STANDARD.decode(encoded).map_err(|_| KeyError::Malformed)?;
    match key.split_first() {
        Some((&TYPE_ED25519, key)) => {
            let key = key.try_into().map_err(|_| KeyError::Malformed)?;
            Ok((name, id, key))
        }
        Some(_) | None => Err(KeyError::Malformed),
    }
}

fn join_key(verifier: &NoteVerifier, key: &[u8; 32]) -> String {
    let mut typed = vec![TYPE_ED25519];
    typed.extend_from_slice(key);
    format!("{}+{:08x}+{}", verifier.name, verifier.id, STANDARD.encode(typed))
}

fn split_signature(line: &str) -> Option<(&str, u32, Vec<u8>)> {
    let (name, encoded) = line.strip_prefix(LINE_PREFIX)?.split_once(' ')?;
    if name.is_empty() {
        return None;
    }
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some((name, u32::from_be_bytes(*id), signature.to_vec()))
}

const TYPE_ED25519: u8 = 0x01;
const SKEY_PREFIX: &str = "PRIVATE+KEY+";
/// An em dash and a space.
const LINE_PREFIX: &str = "\u{2014} ";
/// As in Go's implementation.
const NOTE_BYTES_MAX: usize = 1_000_000;
const SIGNATURES_MAX: usize = 100;

#[cfg(test)]
mod tests;
