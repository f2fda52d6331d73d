//! Passkeys: for which host they are, and the challenges that wait for an answer.
//!
//! WebAuthn Level 3 section 13.4.3: a challenge is random, is kept here and not by the browser, and is good
//! for one answer. It is also good for one browser, for one thing, and for five minutes.

use attorn_net::Random;
use attorn_registry::PersonId;
use attorn_webauthn::{NoRelyingParty, RelyingParty};

use super::browser::Browser;
use super::waiting::Held;

/// What passkeys need.
#[derive(Debug)]
pub(crate) struct Passkeys {
    party: Result<RelyingParty, NoRelyingParty>,
    challenges: Held<Challenge>,
}

/// What a challenge is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A person adds a passkey, in the session of this digest.
    Add { person: PersonId, session: [u8; 32] },
    /// Somebody says who they are.
    LogIn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Challenge {
    browser: [u8; 32],
    purpose: Purpose,
}

impl Passkeys {
    pub(crate) fn of(issuer: &str) -> Self {
        Self {
            party: RelyingParty::of_issuer(issuer),
            // Anybody can fill it; who is logged in is not pushed out by that.
            challenges: Held::new(CHALLENGES_MAX, |challenge| challenge.purpose != Purpose::LogIn),
        }
    }

    /// Who asks for passkeys, where the issuer has a name.
    pub(crate) const fn party(&self) -> Result<&RelyingParty, NoRelyingParty> {
        match &self.party {
            Ok(party) => Ok(party),
            Err(why) => Err(*why),
        }
    }

    /// A challenge for this browser, as base64url.
    pub(crate) fn ask(
        &self,
        random: &Random,
        browser: &Browser,
        purpose: Purpose,
        now_s: u64,
    ) -> String {
        let challenge = Challenge { browser: browser.digest(), purpose };
        self.challenges.put(random, challenge, now_s.saturating_add(CHALLENGE_S), now_s)
    }

    /// Uses a challenge up, whatever comes of it. Says whether it was one of this browser for this.
    pub(crate) fn take(
        &self,
        challenge: &str,
        browser: &Browser,
        purpose: &Purpose,
        now_s: u64,
    ) -> bool {
        let taken = self.challenges.take(challenge, now_s);
        taken.is_some_and(|it| it.browser == browser.digest() && it.purpose == *purpose)
    }
}

/// WebAuthn Level 3 section 15.1 recommends five minutes and more; a person looks for a key meanwhile.
pub(crate) const CHALLENGE_S: u64 = 300;
/// Some hundred bytes each.
const CHALLENGES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn random() -> Random {
        let next = AtomicU8::new(0);
        Random::new(move |bytes| bytes.fill(next.fetch_add(1, Ordering::Relaxed)))
    }

    fn add(session: u8) -> Purpose {
        Purpose::Add { person: PersonId::from_random(&[1; 16]), session: [session; 32] }
    }

    #[test]
    fn a_challenge_is_for_one_browser_one_thing_and_once() {
        let (passkeys, random) = (Passkeys::of("https://id.example"), random());
        let (ann, bob) = (Browser::named("a", None), Browser::named("b", None));
        let ask = |purpose: &Purpose| passkeys.ask(&random, &ann, purpose.clone(), 10);
        let good = ask(&Purpose::LogIn);
        assert!(passkeys.take(&good, &ann, &Purpose::LogIn, 11));
        assert!(!passkeys.take(&good, &ann, &Purpose::LogIn, 11));
        let added = ask(&add(1));
        assert!(passkeys.take(&added, &ann, &add(1), 10 + CHALLENGE_S - 1));
        for (asked, browser, purpose, now_s) in [
            (Purpose::LogIn, &bob, Purpose::LogIn, 11),
            (Purpose::LogIn, &ann, add(1), 11),
            (add(1), &ann, Purpose::LogIn, 11),
            (add(1), &ann, add(2), 11),
            (Purpose::LogIn, &ann, Purpose::LogIn, 10 + CHALLENGE_S),
        ] {
            let challenge = ask(&asked);
            assert!(!passkeys.take(&challenge, browser, &purpose, now_s), "{asked:?} {purpose:?}");
            // It is used up all the same.
            assert!(!passkeys.take(&challenge, &ann, &asked, 11));
        }
        assert!(!passkeys.take("", &ann, &Purpose::LogIn, 11));
    }

    #[test]
    fn a_flood_of_log_ins_does_not_push_out_who_is_logged_in() {
        let (passkeys, browser) = (Passkeys::of("https://id.example"), Browser::named("a", None));
        let count = std::sync::atomic::AtomicU64::new(0);
        let random = Random::new(move |bytes| {
            let number = count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            bytes[..8].copy_from_slice(&number);
        });
        let added = passkeys.ask(&random, &browser, add(1), 10);
        for _ in 0..=CHALLENGES_MAX {
            passkeys.ask(&random, &browser, Purpose::LogIn, 11);
        }
        assert!(passkeys.take(&added, &browser, &add(1), 12));
    }
}
