//! Notes signed with Ed25519, after C2SP signed-note.
//!
//! Implemented: signature type 0x01 (Ed25519), the text forms of keys that Go's
//! `golang.org/x/mod/sumdb/note` and the C2SP tools use (`vkey`, `skey`), notes with several
//! signatures. The timestamped cosignatures of witnesses are in [`crate::cosignature`]; here they are
//! passed over, like every signature of an unknown key.

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
        let (name, id, seed) = split_key(rest, TYPE_ED25519)?;
        let signer = Self::from_seed(name, &seed)?;
        if signer.verifier.id != id {
            return Err(KeyError::IdMismatch);
        }
        Ok(signer)
    }

    /// The secret text form. Keep it out of logs.
    #[must_use]
    pub fn to_skey(&self) -> String {
        let NoteVerifier { name, id, .. } = &self.verifier;
        format!("{SKEY_PREFIX}{}", join_key((name, *id), TYPE_ED25519, &self.seed))
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
        let NoteVerifier { name, id, .. } = &self.verifier;
        let line = signature_line((name, *id), self.key.sign(text.as_bytes()).as_ref());
        format!("{text}\n{line}")
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
        let id = key_id(name, TYPE_ED25519, &public)?;
        Ok(Self { name: name.to_owned(), id, public })
    }

    /// Reads `<name>+<id>+<base64(0x01 || public key)>`.
    ///
    /// # Errors
    /// Refuses any other form, and an id that does not fit the key.
    pub fn from_vkey(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = split_key(text, TYPE_ED25519)?;
        let verifier = Self::new(name, public)?;
        if verifier.id != id {
            return Err(KeyError::IdMismatch);
        }
        Ok(verifier)
    }

    /// The public text form.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        join_key((&self.name, self.id), TYPE_ED25519, &self.public)
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
    let (text, signatures) = split_note(note).ok_or(NoteError::Malformed)?;
    let mut verified_by = None;
    for Signature { name, id, bytes: signature } in signatures {
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

/// One signature of a note, by whom it says it is.
pub(crate) struct Signature<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: u32,
    /// After the id.
    pub(crate) bytes: Vec<u8>,
}

/// The text and the signatures of a note; nothing is verified.
pub(crate) fn split_note(note: &str) -> Option<(&str, Vec<Signature<'_>>)> {
    if note.len() > NOTE_BYTES_MAX || note.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return None;
    }
    // The signatures follow the last blank line.
    let (text, rest) = note.split_at_checked(note.rfind("\n\n")? + 1)?;
    let lines = rest.strip_prefix('\n')?.strip_suffix('\n')?.split('\n');
    let signatures: Vec<_> = lines.take(SIGNATURES_MAX + 1).map(split_signature).collect();
    if signatures.len() > SIGNATURES_MAX {
        return None;
    }
    Some((text, signatures.into_iter().collect::<Option<_>>()?))
}

/// C2SP signed-note: the first four bytes of SHA-256(name || 0x0A || type || public key).
pub(crate) fn key_id(name: &str, kind: u8, public: &[u8; 32]) -> Result<u32, KeyError> {
    // C2SP signed-note, "Format": neither may appear in a key name.
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
        return Err(KeyError::Name);
    }
    let mut material = name.as_bytes().to_vec();
    material.extend_from_slice(&[b'\n', kind]);
    material.extend_from_slice(public);
    let [a, b, c, d, ..] = sha256(&material);
    Ok(u32::from_be_bytes([a, b, c, d]))
}

pub(crate) fn split_key(text: &str, kind: u8) -> Result<(&str, u32, [u8; 32]), KeyError> {
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
        Some((there, key)) if *there == kind => {
            let key = key.try_into().map_err(|_| KeyError::Malformed)?;
            Ok((name, id, key))
        }
        Some(_) | None => Err(KeyError::Malformed),
    }
}

pub(crate) fn join_key((name, id): (&str, u32), kind: u8, key: &[u8; 32]) -> String {
    let mut typed = vec![kind];
    typed.extend_from_slice(key);
    format!("{name}+{id:08x}+{}", STANDARD.encode(typed))
}

/// The line of a signature, with its end.
pub(crate) fn signature_line((name, id): (&str, u32), signature: &[u8]) -> String {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(signature);
    format!("{LINE_PREFIX}{name} {}\n", STANDARD.encode(bytes))
}

fn split_signature(line: &str) -> Option<Signature<'_>> {
    let (name, encoded) = line.strip_prefix(LINE_PREFIX)?.split_once(' ')?;
    if name.is_empty() {
        return None;
    }
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some(Signature { name, id: u32::from_be_bytes(*id), bytes: signature.to_vec() })
}

const TYPE_ED25519: u8 = 0x01;
pub(crate) const SKEY_PREFIX: &str = "PRIVATE+KEY+";
/// An em dash and a space.
const LINE_PREFIX: &str = "\u{2014} ";
/// As in Go's implementation.
const NOTE_BYTES_MAX: usize = 1_000_000;
const SIGNATURES_MAX: usize = 100;

#[cfg(test)]
mod tests;
