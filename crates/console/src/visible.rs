//! Text of somebody else, so that what cannot be seen is seen.

/// A text in pieces: as it is, or, where a reader would see nothing or see it otherwise, escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    pub(crate) pieces: Vec<Piece>,
}

/// A run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Whether it stands for characters that cannot be seen.
    pub(crate) is_hidden: bool,
}

impl Visible {
    /// `is_hidden` says which characters a reader would not see; each becomes `\u{…}`.
    #[must_use]
    pub fn of(text: &str, is_hidden: fn(char) -> bool) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for character in text.chars() {
            let hidden = is_hidden(character);
            if pieces.last().is_none_or(|last| last.is_hidden != hidden) {
                pieces.push(Piece { text: String::new(), is_hidden: hidden });
            }
            let Some(last) = pieces.last_mut() else { continue };
            if hidden {
                last.text.extend(character.escape_unicode());
            } else {
                last.text.push(character);
            }
        }
        Self { pieces }
    }

    /// Whether something in it cannot be seen.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.pieces.iter().any(|piece| piece.is_hidden)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_a_piece_of_its_own() {
        let text = Visible::of("a\u{202e}\u{200b}b", |c| !c.is_ascii());
        let pieces: Vec<_> =
            text.pieces.iter().map(|piece| (piece.text.as_str(), piece.is_hidden)).collect();
        assert_eq!(pieces, [("a", false), ("\\u{202e}\\u{200b}", true), ("b", false)]);
        assert!(text.hides() && !text.is_empty());
        let plain = Visible::of("a b", |_| false);
        assert!(!plain.hides());
        assert!(Visible::of("", |_| true).is_empty());
    }
}
