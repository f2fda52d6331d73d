//! Reading claims: RFC 7519 section 4. A claim has its type or the token is refused; `null`, a
//! number in quotes and an array in place of an object are never "absent" or "close enough".

use std::borrow::Cow;

use attorn_json::Limits;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// RFC 9449 section 4.2 asks for a unique identifier; ours and others' fit in 128 bytes.
const IDENTIFIER_BYTES_MAX: usize = 128;

/// How far another clock may be ahead of ours, in seconds.
pub(crate) const CLOCK_AHEAD_S: u64 = 5;

/// Claims are small and flat: 4 KiB for proofs and assertions.
pub(crate) const PROOF_LIMITS: Limits = Limits { bytes_max: 4 << 10, depth_max: 16 };

/// A string claim that borrows where it has no escapes.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn is(&self, expected: &str) -> bool {
        self.0 == expected
    }
}

/// A claim that, when present, must have its type: `null` is not the same as absent.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A nested claim that must be an object: derived structs would take an array as well.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    if !raw.get().starts_with('{') {
        return Err(D::Error::custom("not an object"));
    }
    serde_json::from_str(raw.get()).map(Some).map_err(D::Error::custom)
}

/// Whether a text may name something: 1 to 128 visible ASCII characters, so that it means the same
/// in a log, a header and a terminal.
pub(crate) fn is_identifier(text: &str) -> bool {
    (1..=IDENTIFIER_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}
