//! How often what another system refuses is sent again as it was, and when it is sent in parts.
//!
//! A system that refuses a batch because of what stands in one entry (a filter in front of it, a limit
//! of its own) would never get what comes after it. So after [`ATTEMPTS`] the batch is halved, and
//! halved again, until the entry stands alone. For [`HASTE`] after that each refused batch is halved
//! at once: whoever can make one such entry can make many, and each would cost the attempts of a
//! batch.

use std::ops::Range;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::BATCH_ENTRIES_MAX;

/// What becomes of a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is sent again as it was.
    Again,
    /// Its one entry is what is refused, unless everything is.
    Alone,
    /// It ends here from now on.
    Half(u64),
}

#[derive(Debug)]
pub(super) struct Patience {
    /// Entries that the next batch may have.
    entries_max: u64,
    /// The batch that was refused last, and how often in a row.
    refused: (Range<u64>, u32),
    /// Until then a refused batch is halved at once.
    hasty_until: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { entries_max: BATCH_ENTRIES_MAX, refused: (0..0, 0), hasty_until: None }
    }
}

impl Patience {
    /// Whether a refusal with this status can be about what is sent: it is not understood, forbidden,
    /// too large or not taken (RFC 9110 sections 15.5.1, 15.5.4, 15.5.14 and 15.5.21). Any other is
    /// about who sends, where to, or when, and no other batch would do better.
    pub(super) const fn is_about_content(status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::FORBIDDEN
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY
        )
    }

    pub(super) const fn entries_max(&self) -> u64 {
        self.entries_max
    }

    /// The batch was refused, maybe because of what is in it.
    pub(super) fn note_refusal(&mut self, batch: Range<u64>, now: Instant) -> Next {
        let (last, times) = &mut self.refused;
        *times = if *last == batch { times.saturating_add(1) } else { 1 };
        let length = batch.end.saturating_sub(batch.start);
        let is_hasty = self.hasty_until.is_some_and(|until| now < until);
        let (is_again, half) = (*times < ATTEMPTS && !is_hasty, batch.start + length / 2);
        *last = batch;
        if is_again {
            return Next::Again;
        }
        if length <= 1 {
            return Next::Alone;
        }
        self.note_parted(now);
        self.entries_max = length / 2;
        Next::Half(half)
    }

    /// A batch was halved, or an entry left out: more of them may come.
    pub(super) fn note_parted(&mut self, now: Instant) {
        self.entries_max = 1;
        self.hasty_until = Some(now + HASTE);
    }

    /// Where entries are taken again, more of them are sent at once.
    pub(super) fn note_acceptance(&mut self) {
        self.entries_max = BATCH_ENTRIES_MAX.min(self.entries_max.saturating_mul(2));
    }
}

/// With the pauses between them about half a minute: a restart of the other system is over by then.
const ATTEMPTS: u32 = 5;
const HASTE: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_sent_as_it_was_before_it_is_sent_in_parts() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for _ in 1..ATTEMPTS {
            assert_eq!(patience.note_refusal(10..14, now), Next::Again);
        }
        assert_eq!(patience.note_refusal(10..14, now), Next::Half(12));
        // Where it is the other system that is wrong, parts need no patience of their own.
        assert_eq!(patience.note_refusal(10..12, now), Next::Half(11));
        assert_eq!(patience.note_refusal(10..11, now), Next::Alone);
        patience.note_parted(now);
        assert_eq!(patience.entries_max(), 1);
        for larger in [2, 4, 8] {
            patience.note_acceptance();
            assert_eq!(patience.entries_max(), larger);
        }
        assert_eq!(patience.note_refusal(20..25, now), Next::Half(22));
        for _ in 0..20 {
            patience.note_acceptance();
        }
        assert_eq!(patience.entries_max(), BATCH_ENTRIES_MAX);
        // Much later it is as patient as at first; another batch is another one.
        let later = now + HASTE;
        for batch in [30..31, 30..32, 30..31] {
            assert_eq!(patience.note_refusal(batch, later), Next::Again);
        }
    }

    #[test]
    fn only_some_refusals_are_about_what_is_sent() {
        let about = |status: u16| Patience::is_about_content(StatusCode::from_u16(status).unwrap());
        assert!([400, 403, 413, 422].into_iter().all(about));
        assert!(
            ![301, 302, 401, 404, 408, 409, 415, 429, 431, 500, 502, 503].into_iter().any(about)
        );
    }
}
