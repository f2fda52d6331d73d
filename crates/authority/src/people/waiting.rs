//! What is kept for a moment between two requests: of a client that pushed, of a person who is asked.
//!
//! In memory, since a restart costs nobody more than a click. Bounded: without room the oldest goes,
//! what a stranger put there before what somebody who is logged in looks at.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use attorn_jose::{base64url, sha256};
use attorn_net::Random;
use attorn_oauth::authorization_request::AuthorizationRequest;
use attorn_registry::Scope;

use super::clients::KnownClient;

/// A request that waits for a person.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) request: AuthorizationRequest,
    pub(crate) client: KnownClient,
    /// SHA-256 of the name of the browser that began it. No other one ends it.
    pub(crate) browser: [u8; 32],
    /// Before this second, a log-in does not count: the client asked for a new one.
    pub(crate) login_from_s: u64,
    /// What the page offered, in its order: the form says numbers. Empty until somebody who is
    /// logged in looked at it.
    pub(crate) offered: Vec<Scope>,
}

/// A pushed request.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    pub(crate) request: AuthorizationRequest,
    pub(crate) client: KnownClient,
}

/// Things by the digest of a name that only one holder knows.
#[derive(Debug)]
pub(crate) struct Held<T> {
    things: Mutex<HashMap<[u8; 32], Kept<T>>>,
    things_max: usize,
    /// Whether a thing is worth more than one that anybody could have put there.
    is_dear: fn(&T) -> bool,
}

#[derive(Debug)]
struct Kept<T> {
    thing: T,
    until_s: u64,
}

impl<T: Clone> Held<T> {
    pub(crate) fn new(things_max: usize, is_dear: fn(&T) -> bool) -> Self {
        Self { things: Mutex::default(), things_max, is_dear }
    }

    /// Keeps a thing until `until_s`. Gives the name under which it is found.
    pub(crate) fn put(&self, random: &Random, thing: T, until_s: u64, now_s: u64) -> String {
        let name = base64url(&random.bytes::<32>());
        let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        if things.len() >= self.things_max {
            things.retain(|_, kept| now_s < kept.until_s);
        }
        if things.len() >= self.things_max {
            let oldest =
                things.iter().min_by_key(|(_, kept)| ((self.is_dear)(&kept.thing), kept.until_s));
            let oldest = oldest.map(|(name, _)| *name);
            oldest.and_then(|oldest| things.remove(&oldest));
        }
        things.insert(sha256(name.as_bytes()), Kept { thing, until_s });
        name
    }

    /// What has this name, if it has not ended.
    pub(crate) fn look(&self, name: &str, now_s: u64) -> Option<T> {
        let things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = things.get(&sha256(name.as_bytes())).filter(|kept| now_s < kept.until_s)?;
        Some(kept.thing.clone())
    }

    /// Changes what has this name. It ends when it would have.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut T)) {
        let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = things.get_mut(&sha256(name.as_bytes())) {
            change(&mut kept.thing);
        }
    }

    /// Takes what has this name: of two at once one gets it.
    pub(crate) fn take(&self, name: &str, now_s: u64) -> Option<T> {
        let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = things.remove(&sha256(name.as_bytes()))?;
        (now_s < kept.until_s).then_some(kept.thing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn random() -> Random {
        let next = AtomicU8::new(0);
        Random::new(move |bytes| bytes.fill(next.fetch_add(1, Ordering::Relaxed)))
    }

    #[test]
    fn a_thing_is_taken_once_and_ends() {
        let (held, random) = (Held::new(2, |_| false), random());
        let name = held.put(&random, "a", 20, 10);
        assert_eq!(held.look(&name, 19), Some("a"));
        held.change(&name, |thing| *thing = "b");
        assert_eq!(held.look(&name, 20), None);
        assert_eq!(held.take(&name, 19), Some("b"));
        assert_eq!(held.take(&name, 19), None);
        let late = held.put(&random, "c", 20, 10);
        assert_eq!(held.take(&late, 20), None);
    }

    #[test]
    fn without_room_the_oldest_goes() {
        let (held, random) = (Held::new(2, |_| false), random());
        let first = held.put(&random, 1, 20, 10);
        let second = held.put(&random, 2, 21, 11);
        let third = held.put(&random, 3, 22, 12);
        assert_eq!(held.look(&first, 12), None);
        assert_eq!((held.look(&second, 12), held.look(&third, 12)), (Some(2), Some(3)));
    }

    #[test]
    fn a_flood_does_not_push_out_who_is_logged_in() {
        let (held, random) = (Held::new(2, |thing| *thing == 7), random());
        let dear = held.put(&random, 7, 20, 10);
        for number in 0..5 {
            held.put(&random, number, 100, 11);
        }
        assert_eq!(held.look(&dear, 12), Some(7));
    }
}
