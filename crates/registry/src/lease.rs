//! Which of several processes with one gateway's identity goes on.
//!
//! The authority gives a gateway a lease: a random value, replaced now and then, that the gateway
//! keeps in its state folder. A copy of that folder holds the lease of the time it was made. The
//! rule: **who presents the newest lease goes on; a lease that was replaced never counts again.**
//!
//! A new lease replaces the old one only once it was presented. Until then the old one counts, so
//! that a gateway which dies before the new one is on its disk, or never hears the answer, is not
//! locked out. Two that hold the same lease both get a new one; the first that presents its new
//! lease goes on, and the other is refused with its next question.
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
    /// The lease that was given after it and not presented yet.
    pub issued: Option<LeaseDigest>,
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
    /// The key its token is bound to.
    pub key: String,
    /// Its log.
    pub log: LogHead,
    /// A new lease, should it get one.
    pub fresh: LeaseDigest,
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
    let log = asked.log.clone();
    let record = match record {
        Some(record) if record.only_key.is_none() => record,
        Some(record) if record.only_key.as_ref() != Some(&asked.key) => {
            return Err(LeaseRefusal::Copied);
        }
        Some(_) | None => {
            let issued = Some(asked.fresh);
            return Ok((LeaseRecord { held: asked.lease, issued, only_key: None, log }, true));
        }
    };
    let is_new = record.issued.is_some() && record.issued == asked.lease;
    if !is_new && record.held != asked.lease {
        return Err(LeaseRefusal::Copied);
    }
    let (before, now) = (&record.log, &asked.log);
    if now.size < before.size || (now.size == before.size && now.root != before.root) {
        return Err(LeaseRefusal::LogForked);
    }
    // Given and not presented: the answer was lost, or could not be kept. It gets another one.
    let was_lost = record.issued.is_some() && !is_new;
    if asked.is_due || was_lost {
        let issued = Some(asked.fresh);
        return Ok((LeaseRecord { held: asked.lease, issued, only_key: None, log }, true));
    }
    if is_new {
        let held = asked.lease;
        return Ok((LeaseRecord { held, issued: None, only_key: None, log }, false));
    }
    Ok((record.clone(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(size: u64, root: &str) -> LogHead {
        LogHead { size, root: root.to_owned() }
    }

    fn asked(lease: Option<u8>, fresh: u8, is_due: bool) -> PresentedLease {
        let lease = lease.map(|byte| [byte; 32]);
        let key = "key-1".to_owned();
        PresentedLease { lease, key, log: log(5, "r"), fresh: [fresh; 32], is_due }
    }

    /// A gateway that started, was given lease 1 and presented it.
    fn heard() -> LeaseRecord {
        let (record, issued) = present_lease(None, &asked(None, 1, true)).unwrap();
        assert!(issued);
        let (record, issued) = present_lease(Some(&record), &asked(Some(1), 9, false)).unwrap();
        assert!(!issued);
        assert_eq!((record.held, record.issued), (Some([1; 32]), None));
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
            assert!(present_lease(Some(&again), &asked(Some(3), 9, false)).is_ok());
            // What was lost does not count either: it may be on the disk of a copy.
            let refused = present_lease(Some(&again), &asked(Some(2), 9, false));
            assert_eq!(refused, Err(LeaseRefusal::Copied));
        }
    }

    #[test]
    fn of_two_with_the_same_lease_the_first_that_presents_its_new_one_goes_on() {
        let (one, _) = present_lease(Some(&heard()), &asked(Some(1), 2, true)).unwrap();
        let (both, _) = present_lease(Some(&one), &asked(Some(1), 3, true)).unwrap();
        let refused = present_lease(Some(&both), &asked(Some(2), 9, false));
        assert_eq!(refused, Err(LeaseRefusal::Copied));
        let (after, _) = present_lease(Some(&both), &asked(Some(3), 9, false)).unwrap();
        let refused = present_lease(Some(&after), &asked(Some(1), 9, true));
        assert_eq!(refused, Err(LeaseRefusal::Copied));
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
