//! Conditions on one argument of a call. Values are compared as they are after parsing, never as
//! they are spelled: escapes are decoded, and `100`, `100.0` and `1e2` are one number.
//!
//! What a condition cannot judge for certain is [`Judged::Unreadable`], which is never a no: a
//! value of another type, a number that readers disagree about, a path that leads elsewhere.

use attorn_json::Value;
use serde::{Deserialize, Serialize};

use crate::pointer::{ArgumentPointer, Reached};

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Which argument.
    pub at: ArgumentPointer,
    /// What it must be.
    pub is: ArgumentTest,
}

/// What an argument must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentTest {
    /// Not there.
    Absent,
    /// At least this number.
    AtLeast(Number),
    /// At most this number.
    AtMost(Number),
    /// Exactly this value.
    Equals(Scalar),
    /// There, whatever it is; `null` is there.
    Exists,
    /// Less than this number.
    Less(Number),
    /// More than this number.
    More(Number),
    /// One of these values.
    OneOf(Vec<Scalar>),
    /// A text that starts like this.
    Prefix(String),
}

/// A value that is not made of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
}

/// A number that every reader reads alike: finite, and below 2^53 where it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Number(f64);

// Never not-a-number, so equality is total.
impl Eq for Number {}

/// The number is one that readers disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number in a condition is finite and less than 2^53")]
pub struct NumberError;

/// How a condition was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Holds,
    Not,
    Unreadable,
}

impl Condition {
    pub(crate) fn judge(&self, arguments: Value<'_>) -> Judged {
        let value = match self.at.reach(arguments) {
            Reached::Unreadable => return Judged::Unreadable,
            Reached::Absent => return Judged::of(self.is == ArgumentTest::Absent),
            Reached::Value(value) => value,
        };
        match &self.is {
            ArgumentTest::Absent => Judged::Not,
            ArgumentTest::Exists => Judged::Holds,
            ArgumentTest::Equals(expected) => expected.judge(value),
            ArgumentTest::OneOf(all) => one_of(all, value),
            ArgumentTest::Prefix(prefix) => prefixed(prefix, value),
            ArgumentTest::Less(limit) => compared(value, |number| number < limit.0),
            ArgumentTest::AtMost(limit) => compared(value, |number| number <= limit.0),
            ArgumentTest::More(limit) => compared(value, |number| number > limit.0),
            ArgumentTest::AtLeast(limit) => compared(value, |number| number >= limit.0),
        }
    }

    /// Whether texts and lists stay within their bounds.
    pub(crate) fn is_bounded(&self) -> bool {
        let short = |scalar: &Scalar| match scalar {
            Scalar::Text(text) => text.len() <= TEXT_BYTES_MAX,
            Scalar::Null | Scalar::Boolean(_) | Scalar::Number(_) => true,
        };
        match &self.is {
            ArgumentTest::Equals(scalar) => short(scalar),
            ArgumentTest::OneOf(all) => {
                !all.is_empty() && all.len() <= VALUES_MAX && all.iter().all(short)
            }
            ArgumentTest::Prefix(prefix) => {
                !prefix.is_empty() && prefix.len() <= TEXT_BYTES_MAX && is_plain_path(prefix)
            }
            ArgumentTest::Absent
            | ArgumentTest::Exists
            | ArgumentTest::AtLeast(_)
            | ArgumentTest::AtMost(_)
            | ArgumentTest::Less(_)
            | ArgumentTest::More(_) => true,
        }
    }
}

impl Judged {
    fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Not }
    }
}

impl Scalar {
    fn judge(&self, value: Value<'_>) -> Judged {
        match self {
            Self::Null if value.is_null() => Judged::Holds,
            Self::Null => Judged::Unreadable,
            Self::Boolean(expected) => {
                value.boolean().map_or(Judged::Unreadable, |found| Judged::of(found == *expected))
            }
            Self::Number(expected) => compared(value, |number| number == expected.0),
            Self::Text(expected) => match value.string() {
                Some(found) if found == expected.as_str() => Judged::Holds,
                Some(found) if are_lookalikes(expected, &found) => Judged::Unreadable,
                Some(_) => Judged::Not,
                None => Judged::Unreadable,
            },
        }
    }
}

/// Holds if one does; unreadable unless the value has the type of at least one of them.
fn one_of(all: &[Scalar], value: Value<'_>) -> Judged {
    let mut judged = Judged::Unreadable;
    for scalar in all {
        match scalar.judge(value) {
            Judged::Holds => return Judged::Holds,
            Judged::Not => judged = Judged::Not,
            Judged::Unreadable => {}
        }
    }
    judged
}

/// A prefix speaks of paths and names as they are written. What could mean another place than it
/// says is not judged: steps upwards, control characters, escapes of URLs.
fn prefixed(prefix: &str, value: Value<'_>) -> Judged {
    match value.string() {
        Some(found) if !is_plain_path(&found) || are_lookalikes(prefix, &found) => {
            Judged::Unreadable
        }
        Some(found) => Judged::of(found.starts_with(prefix)),
        None => Judged::Unreadable,
    }
}

fn is_plain_path(text: &str) -> bool {
    let upwards = text.split(['/', '\\']).any(|step| step == "." || step == "..");
    !upwards && !text.contains(|c: char| c.is_control() || c == '%' || c == '\\')
}

/// Two texts outside ASCII may be one text in two normal forms. Nobody here can tell.
fn are_lookalikes(expected: &str, found: &str) -> bool {
    !expected.is_ascii() && !found.is_ascii() && !found.starts_with(expected)
}

fn compared(value: Value<'_>, holds: impl Fn(f64) -> bool) -> Judged {
    match value.number().and_then(Number::of_token) {
        Some(number) => Judged::of(holds(number.0)),
        None => Judged::Unreadable,
    }
}

impl Number {
    /// RFC 8785 section 3.2.2.3: beyond 2^53, and with more digits than a double holds, readers
    /// disagree about the number.
    fn of_token(token: &str) -> Option<Self> {
        let mantissa = token.split(['e', 'E']).next().unwrap_or_default();
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
        if digits > DIGITS_MAX {
            return None;
        }
        Self::try_from(token.parse::<f64>().ok()?).ok()
    }
}

impl TryFrom<f64> for Number {
    type Error = NumberError;
    fn try_from(number: f64) -> Result<Self, NumberError> {
        if number.is_finite() && number.abs() < WHOLE_END {
            Ok(Self(number))
        } else {
            Err(NumberError)
        }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        number.0
    }
}

/// 2^53.
const WHOLE_END: f64 = 9_007_199_254_740_992.0;
/// Digits that a double keeps apart from its neighbours.
const DIGITS_MAX: usize = 17;
const TEXT_BYTES_MAX: usize = 256;
const VALUES_MAX: usize = 64;

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
