//! Cosignatures: what a witness signs once it has seen that a log only grew, after C2SP
//! tlog-cosignature.
//!
//! Implemented: Ed25519 (type 0x04, `cosignature/v1`), with keys in the text forms of C2SP
//! signed-note. Not implemented: ML-DSA-44 (type 0x06); such signatures are passed over. Not checked:
//! the time in a cosignature, which is the witness's word.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::note::{
    KeyError, NoteError, SKEY_PREFIX, join_key, key_id, signature_line, split_key, split_note,
};

/// A key that cosigns.
pub struct Cosigner {
    public: CosignerKey,
    seed: [u8; 32],
    key: Ed25519KeyPair,
}

impl Cosigner {
    /// A key with this name, from 32 random bytes. C2SP tlog-cosignature: what is signed does not
    /// hold the name, so no two names share a key.
    ///
    /// # Errors
    /// Refuses a name that is empty or contains white space or `+`.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Malformed)?;
        let public = key.public_key().as_ref().try_into().map_err(|_| KeyError::Malformed)?;
        Ok(Self { public: CosignerKey::new(name, public)?, seed: *seed, key })
    }

    /// Reads `PRIVATE+KEY+<name>+<id>+<base64(0x04 || seed)>`.
    ///
    /// # Errors
    /// Refuses any other form, and an id that does not fit the key.
    pub fn from_skey(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(SKEY_PREFIX).ok_or(KeyError::Malformed)?;
        let (name, id, seed) = split_key(rest, TYPE_COSIGNATURE)?;
        let cosigner = Self::from_seed(name, &seed)?;
        if cosigner.public.id != id {
            return Err(KeyError::IdMismatch);
        }
        Ok(cosigner)
    }

    /// The secret text form. Keep it out of logs.
    #[must_use]
    pub fn to_skey(&self) -> String {
        let CosignerKey { name, id, .. } = &self.public;
        format!("{SKEY_PREFIX}{}", join_key((name, *id), TYPE_COSIGNATURE, &self.seed))
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &CosignerKey {
        &self.public
    }

    /// The line that cosigns a checkpoint, whose text this is, at this time.
    #[must_use]
    pub fn cosign(&self, text: &str, time_s: u64) -> String {
        let mut signature = time_s.to_be_bytes().to_vec();
        signature.extend_from_slice(self.key.sign(message(text, time_s).as_bytes()).as_ref());
        signature_line((&self.public.name, self.public.id), &signature)
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({}, [redacted])", self.public.name)
    }
}

/// A key that verifies cosignatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    id: u32,
    public: [u8; 32],
}

impl CosignerKey {
    /// A key with this name.
    ///
    /// # Errors
    /// Refuses a name that is empty or contains white space or `+`.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        let id = key_id(name, TYPE_COSIGNATURE, &public)?;
        Ok(Self { name: name.to_owned(), id, public })
    }

    /// Reads `<name>+<id>+<base64(0x04 || public key)>`.
    ///
    /// # Errors
    /// Refuses any other form, and an id that does not fit the key.
    pub fn from_vkey(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = split_key(text, TYPE_COSIGNATURE)?;
        let key = Self::new(name, public)?;
        if key.id != id {
            return Err(KeyError::IdMismatch);
        }
        Ok(key)
    }

    /// The public text form.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        join_key((&self.name, self.id), TYPE_COSIGNATURE, &self.public)
    }

    /// The name of the witness.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A good cosignature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The name of the witness.
    pub name: String,
    /// When it signed, in Unix seconds, as it says.
    pub time_s: u64,
}

/// The cosignatures of a note by these keys, one for each key.
///
/// # Errors
/// Refuses a malformed note, and a wrong cosignature by one of `keys`.
pub fn cosignatures(note: &str, keys: &[CosignerKey]) -> Result<Vec<Cosignature>, NoteError> {
    let (text, signatures) = split_note(note).ok_or(NoteError::Malformed)?;
    let mut seen: Vec<&[u8; 32]> = Vec::new();
    let mut found = Vec::new();
    for signature in &signatures {
        let of = |key: &&CosignerKey| key.name == signature.name && key.id == signature.id;
        let Some(key) = keys.iter().find(of) else { continue };
        let (time_s, bytes) =
            signature.bytes.split_first_chunk::<8>().ok_or(NoteError::SignatureMismatch)?;
        let time_s = u64::from_be_bytes(*time_s);
        // C2SP tlog-cosignature: the time must not exceed 2^63 - 1.
        if i64::try_from(time_s).is_err() {
            return Err(NoteError::SignatureMismatch);
        }
        // C2SP signed-note: a known key with a wrong signature refuses the whole note.
        UnparsedPublicKey::new(&ED25519, &key.public)
            .verify(message(text, time_s).as_bytes(), bytes)
            .map_err(|_| NoteError::SignatureMismatch)?;
        // One key under two names is one witness.
        if !seen.contains(&&key.public) {
            seen.push(&key.public);
            found.push(Cosignature { name: key.name.clone(), time_s });
        }
    }
    Ok(found)
}

/// C2SP tlog-cosignature, "Ed25519 signed message".
fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

const TYPE_COSIGNATURE: u8 = 0x04;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::note::NoteSigner;
    use crate::tree::empty_root;

    fn cosigner(seed: u8) -> Cosigner {
        Cosigner::from_seed(&format!("witness.example/w{seed}"), &[seed; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "log.example".to_owned(), size: 7, root: empty_root() }
    }

    fn note() -> String {
        checkpoint().sign(&NoteSigner::from_seed("log.example", &[9; 32]).unwrap())
    }

    #[test]
    fn a_cosignature_reads_back_and_the_log_verifies_as_before() {
        let (one, two) = (cosigner(1), cosigner(2));
        let text = checkpoint().to_text();
        let note = format!("{}{}{}", note(), one.cosign(&text, 100), two.cosign(&text, 101));
        let keys = [two.public().clone(), one.public().clone()];
        let found = cosignatures(&note, &keys).unwrap();
        let names: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.time_s)).collect();
        assert_eq!(names, [("witness.example/w1", 100), ("witness.example/w2", 101)]);
        let log = NoteSigner::from_seed("log.example", &[9; 32]).unwrap();
        assert_eq!(Checkpoint::open(&note, &[log.verifier().clone()]), Ok(checkpoint()));
        assert_eq!(cosignatures(&note, &[cosigner(3).public().clone()]), Ok(Vec::new()));
    }

    #[test]
    fn what_was_changed_is_refused() {
        let one = cosigner(1);
        let (text, keys) = (checkpoint().to_text(), [one.public().clone()]);
        let refused = |line: &str| cosignatures(&format!("{}{line}", note()), &keys);
        let other = Checkpoint { size: 8, ..checkpoint() }.to_text();
        assert_eq!(refused(&one.cosign(&other, 100)), Err(NoteError::SignatureMismatch));
        assert_eq!(refused(&one.cosign(&text, 1 << 63)), Err(NoteError::SignatureMismatch));
        // A signature of a log by the same key is none of a witness.
        let id = (one.public.name.as_str(), one.public.id);
        let plain = signature_line(id, one.key.sign(text.as_bytes()).as_ref());
        assert_eq!(refused(&plain), Err(NoteError::SignatureMismatch));
        assert_eq!(refused(&signature_line(id, &[0; 7])), Err(NoteError::SignatureMismatch));
        assert_eq!(refused("no signature\n"), Err(NoteError::Malformed));
    }

    #[test]
    fn one_key_counts_once_under_whatever_name() {
        let one = cosigner(1);
        let again = Cosigner::from_seed("witness.example/other", &[1; 32]).unwrap();
        let text = checkpoint().to_text();
        let lines = [one.cosign(&text, 1), one.cosign(&text, 2), again.cosign(&text, 3)].concat();
        let keys = [one.public().clone(), again.public().clone()];
        assert_eq!(cosignatures(&format!("{}{lines}", note()), &keys).unwrap().len(), 1);
    }

    #[test]
    fn keys_read_back_and_are_no_keys_of_logs() {
        let one = cosigner(1);
        let vkey = one.public().to_vkey();
        assert_eq!(CosignerKey::from_vkey(&vkey).as_ref(), Ok(one.public()));
        assert_eq!(Cosigner::from_skey(&one.to_skey()).unwrap().public(), one.public());
        assert!(crate::note::NoteVerifier::from_vkey(&vkey).is_err());
        let log = NoteSigner::from_seed("log.example", &[9; 32]).unwrap();
        assert!(CosignerKey::from_vkey(&log.verifier().to_vkey()).is_err());
        let renamed = vkey.replacen("w1", "w2", 1);
        assert_eq!(CosignerKey::from_vkey(&renamed), Err(KeyError::IdMismatch));
    }
}
