//! What a target is: how its inputs look, and what must hold of each.

use std::fmt::Debug;

use attorn_jose::SigningKey;

use super::corpus::Corpus;

/// One entry of the list.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// What is checked beyond "no panic", in a sentence.
    pub(crate) oracle: &'static str,
    pub(crate) prepare: fn(&Corpus) -> Result<Subject, String>,
}

/// What a target checks of one input; the text says what does not hold.
pub(crate) trait Check: FnMut(&[u8]) -> Result<Seen, String> {}

impl<F: FnMut(&[u8]) -> Result<Seen, String>> Check for F {}

/// A target that is ready to run.
pub(crate) struct Subject {
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) shape: Shape,
    /// Depends on its input alone, so that a saved input fails again.
    pub(crate) check: Box<dyn Check>,
}

/// How an input is built, so that a mutation can go below its surface.
pub(crate) enum Shape {
    /// Bytes, with words that are worth inserting.
    Text(&'static [&'static str]),
    /// A JSON text.
    Json,
    /// Header lines, an empty line, a JSON text.
    Framed,
    /// A compact JWS. Header and claims are changed as JSON and signed again by this key, which is
    /// an Ed25519 key: its signatures are the same each time.
    Jws(SigningKey),
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) accepted: bool,
    /// Tells one outcome from another.
    pub(crate) outcome: u64,
}

impl Seen {
    pub(crate) fn accepted(how: &impl Debug) -> Self {
        Self { accepted: true, outcome: name(how) }
    }

    pub(crate) fn refused(why: &impl Debug) -> Self {
        Self { accepted: false, outcome: name(why) }
    }
}

/// Without digits: that something broke at another byte is not another outcome.
fn name(outcome: &impl Debug) -> u64 {
    let text = format!("{outcome:?}");
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_digit()).take(200).collect();
    super::random::Random::of(&letters).draw()
}

/// Fails with `what` where `holds` is false.
pub(crate) fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
