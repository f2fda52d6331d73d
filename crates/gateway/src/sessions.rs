//! Sessions of the revisions before 2026-07-28 (MCP 2025-11-25, Transports, Session Management).
//!
//! The identifier a client sees is ours; the upstream's own stays inside. A session belongs to the
//! subject, the client and the key that opened it: to anyone else it does not exist.
//!
//! Not here: sessions of 2026-07-28, which has none, and sessions that survive a restart.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use attorn_jose::{Jkt, base64url};
use attorn_mcp::Revision;

use crate::pending::Pending;
use crate::upstream::UpstreamSession;

/// Whom a session belongs to. All three must be the same on every request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Principal {
    pub(crate) subject: String,
    pub(crate) client_id: String,
    pub(crate) key: Jkt,
}

/// One open session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) principal: Principal,
    /// Serial of the server's registration: a server registered anew knows nothing of it.
    behind: u64,
    /// The revision that client and upstream agreed on.
    pub(crate) revision: Revision,
    pub(crate) upstream: UpstreamSession,
    /// What is asked and not answered yet, in both directions.
    pub(crate) pending: Pending,
    used_s: AtomicU64,
}

impl Session {
    pub(crate) fn new(
        principal: Principal,
        behind: u64,
        revision: Revision,
        upstream: UpstreamSession,
    ) -> Self {
        let pending = Pending::default();
        Self { principal, behind, revision, upstream, pending, used_s: AtomicU64::new(0) }
    }
}

/// The sessions of this gateway.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    opening: Mutex<HashMap<(String, u64), usize>>,
    idle_s: u64,
}

/// Room for one session that is being opened. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Room<'s> {
    sessions: &'s Sessions,
    of: (String, u64),
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut opening = self.sessions.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = opening.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                opening.remove(&self.of);
            }
        }
    }
}

/// Why no session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySessions;

impl Sessions {
    pub(crate) fn new(idle_s: u64) -> Self {
        Self { open: Mutex::default(), opening: Mutex::default(), idle_s }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Room for one more of the client of `principal`, of which `at_most` may be at the server
    /// `behind`. Asked before the upstream is bothered. Those that are being opened count as well.
    pub(crate) fn reserve(
        &self,
        principal: &Principal,
        behind: u64,
        (at_most, now_s): (usize, u64),
    ) -> Result<Room<'_>, TooManySessions> {
        let of = (principal.client_id.clone(), behind);
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let begun: usize =
            opening.iter().filter(|((client, _), _)| *client == of.0).map(|(_, count)| count).sum();
        let begun_here = opening.get(&of).copied().unwrap_or_default();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= SESSIONS_MAX {
            open.retain(|_, session| !self.is_idle(session, now_s));
        }
        // A client may have tokens for as many keys as it likes, so its keys are not counted apart.
        let is_own = |session: &&Arc<Session>| session.principal.client_id == principal.client_id;
        let own = open.values().filter(is_own).count() + begun;
        let here = open.values().filter(is_own).filter(|session| session.behind == behind).count();
        drop(open);
        if self.count() >= SESSIONS_MAX
            || own >= SESSIONS_PER_CLIENT_MAX
            || here + begun_here >= at_most
        {
            return Err(TooManySessions);
        }
        *opening.entry(of.clone()).or_default() += 1;
        Ok(Room { sessions: self, of })
    }

    /// Opens a session and names it. MCP 2025-11-25, Session Management: globally unique,
    /// cryptographically secure, visible ASCII.
    pub(crate) fn open(&self, session: Session, random: &[u8; 24], now_s: u64) -> String {
        let id = base64url(random);
        session.used_s.store(now_s, Ordering::Relaxed);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id.clone(), Arc::new(session));
        id
    }

    /// The session of this identifier, if it is the caller's and the server's. Somebody else's
    /// session and no session look alike.
    pub(crate) fn find(
        &self,
        id: &str,
        principal: &Principal,
        behind: u64,
        now_s: u64,
    ) -> Option<Arc<Session>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get(id)?;
        if self.is_idle(session, now_s) {
            open.remove(id);
            return None;
        }
        if &session.principal != principal || session.behind != behind {
            return None;
        }
        session.used_s.store(now_s, Ordering::Relaxed);
        Some(Arc::clone(session))
    }

    /// Forgets a session that the client ended or the upstream no longer knows.
    pub(crate) fn close_same(&self, session: &Arc<Session>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, other| !Arc::ptr_eq(other, session));
    }

    /// Forgets every session nobody used for long, or whose server is none of `served`, serials of
    /// registrations; the upstream's side ends with it.
    pub(crate) fn close_unused(&self, served: &HashSet<u64>, now_s: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| served.contains(&session.behind) && !self.is_idle(session, now_s));
    }

    fn is_idle(&self, session: &Session, now_s: u64) -> bool {
        now_s.saturating_sub(session.used_s.load(Ordering::Relaxed)) > self.idle_s
    }
}

const SESSIONS_MAX: usize = 65_536;
// Each may hold a child process of a stdio upstream.
const SESSIONS_PER_CLIENT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use attorn_jose::sha256;

    use super::*;

    fn principal(subject: &str, client_id: &str, key: &str) -> Principal {
        Principal {
            subject: subject.to_owned(),
            client_id: client_id.to_owned(),
            key: base64url(&sha256(key.as_bytes())).parse().unwrap(),
        }
    }

    fn session(principal: &Principal) -> Session {
        let upstream = UpstreamSession::Http { id: None };
        Session::new(principal.clone(), 1, Revision::V2025_11_25, upstream)
    }

    #[test]
    fn a_session_is_bound_to_subject_client_key_and_server() {
        let sessions = Sessions::new(60);
        let own = principal("agt_a", "agt_a", "k");
        let id = sessions.open(session(&own), &[3; 24], 100);
        assert!(sessions.find(&id, &own, 1, 100).is_some());
        for other in [
            principal("agt_b", "agt_a", "k"),
            principal("agt_a", "agt_b", "k"),
            principal("agt_a", "agt_a", "l"),
        ] {
            assert!(sessions.find(&id, &other, 1, 100).is_none());
        }
        assert!(sessions.find(&id, &own, 2, 100).is_none());
        assert!(sessions.find("AAAA", &own, 1, 100).is_none());
    }

    #[test]
    fn a_session_ends_when_closed_or_unused() {
        let sessions = Sessions::new(60);
        let own = principal("agt_a", "agt_a", "k");
        let first = sessions.open(session(&own), &[3; 24], 100);
        let open = sessions.find(&first, &own, 1, 100).unwrap();
        sessions.close_same(&open);
        assert!(sessions.find(&first, &own, 1, 100).is_none());
        let second = sessions.open(session(&own), &[4; 24], 100);
        assert!(sessions.find(&second, &own, 1, 160).is_some());
        assert!(sessions.find(&second, &own, 1, 221).is_none());
    }

    #[test]
    fn a_session_ends_with_the_registration_of_its_server() {
        let sessions = Sessions::new(60);
        let own = principal("agt_a", "agt_a", "k");
        let id = sessions.open(session(&own), &[3; 24], 100);
        sessions.close_unused(&HashSet::from([1, 2]), 100);
        assert!(sessions.find(&id, &own, 1, 100).is_some());
        sessions.close_unused(&HashSet::from([2]), 100);
        assert!(sessions.find(&id, &own, 1, 100).is_none());
    }

    /// A client may have its tokens bound to as many keys as it likes.
    #[test]
    fn one_client_cannot_take_all_sessions() {
        let sessions = Sessions::new(60);
        let other = principal("agt_b", "agt_b", "l");
        for byte in 0..64 {
            let own = principal("agt_a", "agt_a", &format!("k{byte}"));
            assert!(sessions.reserve(&own, 1, (100, 100)).is_ok());
            sessions.open(session(&own), &[byte; 24], 100);
        }
        let own = principal("agt_a", "agt_a", "another");
        assert_eq!(sessions.reserve(&own, 1, (100, 100)).err(), Some(TooManySessions));
        assert!(sessions.reserve(&other, 1, (100, 100)).is_ok());
    }

    /// Also when it opens them all at the same time.
    #[test]
    fn one_client_cannot_take_all_children_of_a_server() {
        let sessions = Sessions::new(60);
        let (own, other) = (principal("agt_a", "agt_a", "k"), principal("agt_b", "agt_b", "l"));
        let first = sessions.reserve(&own, 1, (2, 100)).unwrap();
        let second = sessions.reserve(&own, 1, (2, 100)).unwrap();
        assert_eq!(sessions.reserve(&own, 1, (2, 100)).err(), Some(TooManySessions));
        assert!(sessions.reserve(&own, 2, (2, 100)).is_ok());
        assert!(sessions.reserve(&other, 1, (2, 100)).is_ok());
        drop((first, second));
        sessions.open(session(&own), &[3; 24], 100);
        let _third = sessions.reserve(&own, 1, (2, 100)).unwrap();
        assert_eq!(sessions.reserve(&own, 1, (2, 100)).err(), Some(TooManySessions));
    }
}
