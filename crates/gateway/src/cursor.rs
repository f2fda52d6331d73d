//! Cursors of lists, sealed: a cursor of the upstream may count what is hidden, and belongs to the
//! caller who was given it.
//!
//! A sealed cursor is AES-256-GCM over the upstream's own, under a key of this process, with
//! caller, server and kind of list as associated data. After a restart a client starts its list
//! again.

use attorn_jose::{base64url, from_base64url};
use attorn_mcp::list::ListKind;
use attorn_registry::{Holder, PersonId, ServerId};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Seals and opens cursors.
pub(crate) struct CursorKey(LessSafeKey);

/// Whose cursor it is, and of which list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CursorOf<'a> {
    pub(crate) holder: Holder<'a>,
    pub(crate) server: &'a ServerId,
    pub(crate) kind: ListKind,
}

/// The library refused the key; cannot happen with 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor key cannot be used")]
pub(crate) struct CursorKeyError;

/// Not a cursor this caller was given for this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignCursor;

impl CursorKey {
    pub(crate) fn new(random: &[u8; 32]) -> Result<Self, CursorKeyError> {
        UnboundKey::new(&AES_256_GCM, random)
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| CursorKeyError)
    }

    /// What the caller sees instead of the upstream's `cursor`. `random` never repeats.
    pub(crate) fn seal(
        &self,
        cursor: &str,
        of: CursorOf<'_>,
        random: &[u8; PREFIX],
    ) -> Option<String> {
        let mut sealed = cursor.as_bytes().to_vec();
        let nonce = Nonce::assume_unique_for_key(*random);
        self.0.seal_in_place_append_tag(nonce, of.associated(), &mut sealed).ok()?;
        Some(base64url(&[random.as_slice(), &sealed].concat()))
    }

    /// The upstream's cursor again.
    pub(crate) fn open(&self, text: &str, of: CursorOf<'_>) -> Result<String, ForeignCursor> {
        let mut sealed = from_base64url(text).map_err(|_| ForeignCursor)?;
        let (random, body) = sealed.split_at_mut_checked(PREFIX).ok_or(ForeignCursor)?;
        let nonce = Nonce::try_assume_unique_for_key(random).map_err(|_| ForeignCursor)?;
        let cursor =
            self.0.open_in_place(nonce, of.associated(), body).map_err(|_| ForeignCursor)?;
        String::from_utf8(cursor.to_vec()).map_err(|_| ForeignCursor)
    }
}

impl CursorOf<'_> {
    fn associated(&self) -> Aad<Vec<u8>> {
        let Self { holder: Holder { agent, person }, server, kind } = *self;
        let person = person.map(PersonId::as_str).unwrap_or_default();
        let kind = kind.member();
        Aad::from(format!("attorn cursor v1\n{agent}\n{person}\n{server}\n{kind}").into_bytes())
    }
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey([redacted])")
    }
}

const PREFIX: usize = 12;

#[cfg(test)]
mod tests {
    use attorn_registry::AgentId;

    use super::*;

    #[test]
    fn a_cursor_opens_for_its_owner_and_list_only() {
        let key = CursorKey::new(&[1; 32]).unwrap();
        let (agent, other) = (AgentId::from_random(&[1; 16]), AgentId::from_random(&[2; 16]));
        let server = ServerId::from_random(&[3; 16]);
        let holder = Holder::alone(&agent);
        let of = CursorOf { holder, server: &server, kind: ListKind::Tools };
        let sealed = key.seal("page-2", of, &[9; 12]).unwrap();
        assert!(!sealed.contains("page"));
        assert_eq!(key.open(&sealed, of), Ok("page-2".to_owned()));
        let person = PersonId::from_random(&[4; 16]);
        let for_somebody = Holder { person: Some(&person), ..holder };
        for holder in [Holder::alone(&other), for_somebody] {
            assert_eq!(key.open(&sealed, CursorOf { holder, ..of }), Err(ForeignCursor));
        }
        assert_eq!(
            key.open(&sealed, CursorOf { kind: ListKind::Prompts, ..of }),
            Err(ForeignCursor)
        );
        let longer = format!("{sealed}AA");
        for forged in ["", "page-2", "AAAA", longer.as_str()] {
            assert_eq!(key.open(forged, of), Err(ForeignCursor), "{forged}");
        }
    }
}
