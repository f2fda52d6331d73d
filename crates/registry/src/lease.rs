//! Which of several processes with one gateway's identity goes on.
//!
//! The authority gives a gateway a lease: a random value, replaced now and then, that the gateway
//! keeps in its state folder. A copy of that folder holds the lease of the time it was made. The
//! rule: **who presents the newest lease goes on; a lease that was replaced never counts again.**
//!
//! A new lease replaces the old one only once it was presented. Until then the old one counts, so
//! that a gateway which dies before the new one is on its disk, or never hears the answer, is not
//! locked out. Two that hold the same lease both get a new one; the first that presents its new
//! lease goes on, and the other is refused with its next question. The last few that were given
//! count until one is presented: questions that overtake each other lock nobody out either.
//!
//! What is remembered may be from a backup, which knows no lease of later. A lease carries the time
//! at which it was given, sealed by the authority: one that is later than any remembered here was
//! given before the backup came back, and counts.
//!
//! Not found by a lease alone: a copy that runs while the other one never asks again. Then there is
//! one that runs, and its log is compared with the one told last.

/// SHA-256 of a lease: the registry does not hold what a gateway presents.
pub type LeaseDigest = [u8; 32];

/// How far the log of a gateway got, as the gateway tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them, in base64.
    pub root: String,
}

/// What is remembered of a gateway that was heard before, or that enrolled a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The lease that counts; `None` before the first one was presented.
    pub held: Option<LeaseDigest>,
    /// The leases that were given after it, oldest first; none of them was presented yet.
    pub issued: Vec<LeaseDigest>,
    /// Time of the latest lease that was given, in Unix milliseconds.
    pub latest_ms: u64,
    /// Set by an enrolment: whoever has this key is the gateway, whatever it presents.
    pub only_key: Option<String>,
    /// Its log, when it was given a lease last.
    pub log: LogHead,
}

/// What a gateway presents with a question.
#[derive(Clone, Debug)]
pub struct PresentedLease {
    /// Its lease; `None` if it has none.
    pub lease: Option<LeaseDigest>,
    /// The time at which it was given, if the authority's own seal says so.
    pub sealed_ms: Option<u64>,
    /// The key its token is bound to.
    pub key: String,
    /// Its log.
    pub log: LogHead,
    /// A new lease, should it get one.
    pub fresh: LeaseDigest,
    /// The time that the new lease carries.
    pub fresh_ms: u64,
    /// Whether it is time for a new one.
    pub is_due: bool,
}

/// Why a gateway does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefusal {
    /// The lease was replaced, or is none of ours: another process goes on in its place.
    #[error("another process runs as this gateway, or its state folder is an old one")]
    Copied,
    /// Fewer entries than told before, or others: the log is not the one it was.
    #[error("the log of this gateway is not the one that it told of before")]
    LogForked,
}

/// Judges one question. Gives what to remember, and whether the fresh lease is in it.
///
/// `None` is a gateway of which nothing is remembered: what it presents counts from now on.
///
/// # Errors
/// [`LeaseRefusal`]; what is remembered stays as it is.
pub fn present_lease(
    record: Option<&LeaseRecord>,
    asked: &PresentedLease,
) -> Result<(LeaseRecord, bool), LeaseRefusal> {
    let record = match record {
        Some(record) if record.only_key.is_none() => record,
        Some(record) if record.only_key.as_ref() != Some(&asked.key) => {
            return Err(LeaseRefusal::Copied);
        }
        Some(_) | None => {
            let latest_ms = record.map_or(0, |record| record.latest_ms);
            return Ok((given(asked, Vec::new(), latest_ms), true));
        }
    };
    let is_new = asked.lease.is_some_and(|lease| record.issued.contains(&lease))
        || asked.sealed_ms.is_some_and(|sealed_ms| sealed_ms > record.latest_ms);
    if !is_new && record.held != asked.lease {
        return Err(LeaseRefusal::Copied);
    }
    let (before, now) = (&record.log, &asked.log);
    if now.size < before.size || (now.size == before.size && now.root != before.root) {
        return Err(LeaseRefusal::LogForked);
    }
    let waiting = if is_new { Vec::new() } else { record.issued.clone() };
    let latest_ms = record.latest_ms.max(asked.sealed_ms.unwrap_or(0));
    // Given and not presented: the answer was lost, or could not be kept. It gets another one.
    if asked.is_due || !waiting.is_empty() {
        return Ok((given(asked, waiting, latest_ms), true));
    }
    if is_new {
        let (held, log) = (asked.lease, asked.log.clone());
        let (issued, only_key) = (Vec::new(), None);
        return Ok((LeaseRecord { held, issued, latest_ms, only_key, log }, false));
    }
    Ok((record.clone(), false))
}

/// What to remember when the fresh lease is given, beside those that wait.
fn given(asked: &PresentedLease, mut waiting: Vec<LeaseDigest>, latest_ms: u64) -> LeaseRecord {
    if waiting.len() >= WAITING_MAX {
        waiting.remove(0);
    }
    waiting.push(asked.fresh);
    LeaseRecord {
        held: asked.lease,
        issued: waiting,
        latest_ms: latest_ms.max(asked.fresh_ms),
        only_key: None,
        log: asked.log.clone(),
    }
}

/// Leases that were given and not presented. More than questions of one gateway overtake each other.
const WAITING_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn log(size: u64, root: &str) -> LogHead {
        LogHead { size, root: root.to_owned() }
    }

    fn asked(lease: Option<u8>, fresh: u8, is_due: bool) -> PresentedLease {
        let lease = lease.map(|byte| [byte; 32]);
        let key = "key-1".to_owned();
        let (log, fresh, fresh_ms) = (log(5, "r"), [fresh; 32], u64::from(fresh));
        PresentedLease { lease, sealed_ms: None, key, log, fresh, fresh_ms, is_due }
    }

    /// A gateway that started, was given lease 1 and presented it.
    fn heard() -> LeaseRecord {
        let (record, issued) = present_lease(None, &asked(None, 1, true)).unwrap();
        assert!(issued);
        let (record, issued) = present_lease(Some(&record), &asked(Some(1), 9, false)).unwrap();
        assert!(!issued);
        assert_eq!((record.held, &record.issued), (Some([1; 32]), &Vec::new()));
        record
    }

    #[test]
    fn a_lease_that_was_replaced_never_counts_again() {
        let (record, _) = present_lease(Some(&heard()), &asked(Some(1), 2, true)).unwrap();
        let (record, _) = present_lease(Some(&record), &asked(Some(2), 9, false)).unwrap();
        for stale in [Some(1), None, Some(7)] {
            let refused = present_lease(Some(&record), &asked(stale, 9, true));
            assert_eq!(refused, Err(LeaseRefusal::Copied), "{stale:?}");
        }
        assert!(present_lease(Some(&record), &asked(Some(2), 9, false)).is_ok());
    }

    #[test]
    fn a_lease_that_never_reached_the_disk_locks_nobody_out() {
        // Before the first one, and later.
        for (record, own) in [(None, None), (Some(heard()), Some(1))] {
            let (first, _) = present_lease(record.as_ref(), &asked(own, 2, true)).unwrap();
            let (again, issued) = present_lease(Some(&first), &asked(own, 3, false)).unwrap();
            assert!(issued, "the lost one is replaced");
            // Once one was presented what was lost does not count: it may be on a copy's disk.
            let (after, _) = present_lease(Some(&again), &asked(Some(3), 9, false)).unwrap();
            let refused = present_lease(Some(&after), &asked(Some(2), 9, false));
            assert_eq!(refused, Err(LeaseRefusal::Copied));
        }
    }

    #[test]
    fn of_two_with_the_same_lease_the_first_that_presents_its_new_one_goes_on() {
        let (one, _) = present_lease(Some(&heard()), &asked(Some(1), 2, true)).unwrap();
        let (both, _) = present_lease(Some(&one), &asked(Some(1), 3, true)).unwrap();
        for (first, other) in [(2, 3), (3, 2)] {
            let (after, _) = present_lease(Some(&both), &asked(Some(first), 9, false)).unwrap();
            for stale in [1, other] {
                let refused = present_lease(Some(&after), &asked(Some(stale), 9, true));
                assert_eq!(refused, Err(LeaseRefusal::Copied), "{first} {stale}");
            }
        }
    }

    #[test]
    fn a_question_that_was_overtaken_locks_nobody_out() {
        // The gateway hears the answer to its second question; its first one is judged afterwards.
        let (heard_of, _) = present_lease(Some(&heard()), &asked(Some(1), 2, true)).unwrap();
        let (late, _) = present_lease(Some(&heard_of), &asked(Some(1), 3, false)).unwrap();
        let (after, issued) = present_lease(Some(&late), &asked(Some(2), 9, false)).unwrap();
        assert!(!issued);
        assert_eq!((after.held, after.issued), (Some([2; 32]), Vec::new()));
    }

    #[test]
    fn few_leases_wait_to_be_presented() {
        let mut record = heard();
        for fresh in 2..=9 {
            (record, _) = present_lease(Some(&record), &asked(Some(1), fresh, false)).unwrap();
            (record, _) = present_lease(Some(&record), &asked(Some(1), fresh, true)).unwrap();
        }
        assert_eq!(record.issued.len(), WAITING_MAX);
    }

    #[test]
    fn a_registry_from_a_backup_believes_what_it_gave_later_and_nothing_else() {
        let (record, _) = present_lease(Some(&heard()), &asked(Some(1), 2, true)).unwrap();
        let (backup, _) = present_lease(Some(&record), &asked(Some(2), 9, false)).unwrap();
        assert_eq!(backup.latest_ms, 2);
        let sealed = |lease, sealed_ms| {
            let asked = PresentedLease { sealed_ms, ..asked(Some(lease), 8, true) };
            present_lease(Some(&backup), &asked)
        };
        // Given after the backup was made.
        let (record, issued) = sealed(5, Some(5)).unwrap();
        assert!(issued);
        assert_eq!((record.held, record.latest_ms), (Some([5; 32]), 8));
        // Of another copy that held an earlier one, the later one goes on.
        let between = PresentedLease { sealed_ms: Some(4), ..asked(Some(4), 9, true) };
        assert_eq!(present_lease(Some(&record), &between), Err(LeaseRefusal::Copied));
        for (lease, sealed_ms) in [(5, None), (1, Some(1)), (7, Some(2))] {
            assert_eq!(sealed(lease, sealed_ms), Err(LeaseRefusal::Copied), "{lease}");
        }
    }

    #[test]
    fn a_log_that_went_back_or_forked_is_refused() {
        let told = |size, root| {
            let asked = PresentedLease { log: log(size, root), ..asked(Some(1), 2, true) };
            present_lease(Some(&heard()), &asked).map(|(record, _)| record.log)
        };
        assert_eq!(told(4, "r"), Err(LeaseRefusal::LogForked));
        assert_eq!(told(5, "other"), Err(LeaseRefusal::LogForked));
        assert_eq!(told(5, "r"), Ok(log(5, "r")));
        assert_eq!(told(6, "s"), Ok(log(6, "s")));
    }

    #[test]
    fn after_an_enrolment_the_new_key_is_the_gateway() {
        let enrolled = LeaseRecord { only_key: Some("key-2".to_owned()), ..heard() };
        let old = present_lease(Some(&enrolled), &asked(Some(1), 2, true));
        assert_eq!(old, Err(LeaseRefusal::Copied));
        let new = PresentedLease { key: "key-2".to_owned(), ..asked(None, 2, false) };
        let (record, issued) = present_lease(Some(&enrolled), &new).unwrap();
        assert!(issued && record.only_key.is_none());
    }
}
