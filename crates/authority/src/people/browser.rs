//! The browser at the other end: its name, and its session.
//!
//! Two cookies. The first names the browser and lets in nowhere: it ties a request that waits, and
//! each form, to the browser that began it. The second is a session; it is new at each log-in, and
//! the one before is ended, so that nobody can log in into a session that somebody else prepared.

use attorn_jose::{base64url, sha256};
use attorn_net::Random;
use attorn_registry::{LockTarget, Person, PersonId, Snapshot};
use attorn_store::{Failure, Session, SessionLimits};
use http::HeaderMap;
use http::header::COOKIE;

use crate::shared::Shared;

/// OWASP ASVS 5.0 section 7.3: a session ends when nobody uses it, and in any case.
pub(crate) const SESSION_LIMITS: SessionLimits =
    SessionLimits { idle_s: 30 * 60, absolute_s: 12 * 3600 };

/// A browser by its cookies.
#[derive(Debug)]
pub(crate) struct Browser {
    name: String,
    is_new: bool,
    session: Option<String>,
}

/// Somebody who is logged in.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) person: Person,
    pub(crate) session: Session,
}

/// Which of the two cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    Browser,
    Session,
}

impl Cookie {
    /// RFC 6265bis section 4.1.3.2: the prefix makes a browser refuse a cookie that another host or
    /// a connection without TLS sets. Without TLS, which is on loopback only, it cannot be used.
    const fn name(self, encrypted: bool) -> &'static str {
        match (self, encrypted) {
            (Self::Browser, true) => "__Host-attorn-browser",
            (Self::Browser, false) => "attorn-browser",
            (Self::Session, true) => "__Host-attorn-session",
            (Self::Session, false) => "attorn-session",
        }
    }

    /// The value of `Set-Cookie`. Without a value it is taken away.
    pub(crate) fn set(self, value: Option<&str>, encrypted: bool) -> String {
        let secure = if encrypted { "; Secure" } else { "" };
        let end = if value.is_none() { "; Max-Age=0" } else { "" };
        let (name, value) = (self.name(encrypted), value.unwrap_or_default());
        // Lax: a client sends people here by a link, and no other site posts a form with it.
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{end}")
    }
}

/// Whether a person may be logged in now: active, and not locked.
pub(crate) fn may_sign_in(snapshot: &Snapshot, id: &PersonId, now_s: u64) -> bool {
    let locked = LockTarget::Person { person: id.clone() };
    snapshot.acting_person(id).is_ok() && snapshot.active_lock(&locked, now_s).is_none()
}

impl Browser {
    /// Reads the cookies of a request. A browser without a name gets one.
    pub(crate) fn of(headers: &HeaderMap, encrypted: bool, random: &Random) -> Self {
        let session = cookie(headers, Cookie::Session.name(encrypted));
        match cookie(headers, Cookie::Browser.name(encrypted)) {
            Some(name) => Self { name, is_new: false, session },
            // A session without it was made elsewhere.
            None => Self { name: base64url(&random.bytes::<32>()), is_new: true, session: None },
        }
    }

    /// The digest of its name.
    pub(crate) fn digest(&self) -> [u8; 32] {
        sha256(self.name.as_bytes())
    }

    /// The digest of the session it says it has.
    pub(crate) fn session_digest(&self) -> Option<[u8; 32]> {
        self.session.as_ref().map(|session| sha256(session.as_bytes()))
    }

    /// The name it has to be given, if it is new.
    pub(crate) fn new_name(&self) -> Option<&str> {
        self.is_new.then_some(self.name.as_str())
    }

    /// Who is logged in, if somebody is; the session counts as used now.
    pub(crate) async fn logged_in(
        &self,
        shared: &Shared,
        now_s: u64,
    ) -> Result<Option<LoggedIn>, Failure> {
        let Some(digest) = self.session_digest() else { return Ok(None) };
        let session = shared.store.session(&digest, SESSION_LIMITS, now_s).await?;
        let Some(session) = session else { return Ok(None) };
        let snapshot = shared.published.load();
        // Of the registry in force: a lock or suspension counts at once.
        if !may_sign_in(&snapshot, &session.person, now_s) {
            return Ok(None);
        }
        let Some(person) = snapshot.person(&session.person).cloned() else { return Ok(None) };
        shared.store.touch_session(&digest, now_s).await?;
        Ok(Some(LoggedIn { person, session }))
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str, session: Option<&str>) -> Self {
        Self { name: name.to_owned(), is_new: false, session: session.map(str::to_owned) }
    }
}

/// Whether a session still counts, where something was waited for since it was looked at.
pub(crate) async fn still_counts(shared: &Shared, session: &Session) -> Result<bool, Failure> {
    let now_s = shared.clock.now_s();
    let lives = shared.store.session(&session.digest, SESSION_LIMITS, now_s).await?.is_some();
    Ok(lives && may_sign_in(&shared.published.load(), &session.person, now_s))
}

/// The one value of a cookie. Two of one name are two writers, and neither counts.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs =
        texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let value = values.next()?;
    let is_ours = value.len() == COOKIE_CHARACTERS && values.next().is_none();
    is_ours.then(|| value.to_owned())
}

/// 32 bytes in base64url.
const COOKIE_CHARACTERS: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cookies: &[&str], encrypted: bool) -> Browser {
        let headers = cookies.iter().map(|text| (COOKIE, text.parse().unwrap())).collect();
        Browser::of(&headers, encrypted, &Random::new(|bytes| bytes.fill(1)))
    }

    #[test]
    fn cookies_are_kept_from_scripts_and_other_hosts() {
        assert_eq!(
            Cookie::Session.set(Some("v"), true),
            "__Host-attorn-session=v; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            Cookie::Browser.set(Some("v"), false),
            "attorn-browser=v; Path=/; HttpOnly; SameSite=Lax"
        );
        assert!(Cookie::Session.set(None, true).ends_with("; Secure; Max-Age=0"));
    }

    #[test]
    fn a_browser_is_read_back() {
        let (name, session) = ("a".repeat(43), "s".repeat(43));
        let both = format!("x=y; __Host-attorn-browser={name}; __Host-attorn-session={session}");
        let browser = read(&[&both], true);
        assert_eq!((browser.name.as_str(), browser.new_name()), (name.as_str(), None));
        assert_eq!(browser.session_digest(), Some(sha256(session.as_bytes())));
        // Without TLS the cookies have other names, so one of them never counts for the other.
        assert!(read(&[&both], false).new_name().is_some());
    }

    #[test]
    fn what_is_not_ours_does_not_count() {
        let (name, session) = ("a".repeat(43), "s".repeat(43));
        let good = format!("attorn-browser={name}");
        for other in ["attorn-session=short", "", "attorn-session="] {
            assert_eq!(read(&[&good, other], false).session_digest(), None, "{other}");
        }
        let twice = format!("attorn-session={session}; attorn-session={session}");
        assert_eq!(read(&[&good, &twice], false).session_digest(), None);
        // A session without the browser it was opened in.
        assert_eq!(read(&[&format!("attorn-session={session}")], false).session_digest(), None);
    }
}
