//! Passwords: argon2id, off the threads that answer, a few at a time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use attorn_net::Random;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Fewest characters of a password: NIST SP 800-63B-4 section 3.1.1.2 asks for 15 where it is the
/// only factor.
pub(crate) const CHARACTERS_MIN: usize = 15;
const BYTES_MAX: usize = 1024;

/// What hashes and compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    /// Who works and who waits for it.
    queue: Semaphore,
    random: Random,
    /// The hash of no password: who asks for a name that is not there waits as long.
    nobody: String,
}

/// A password that cannot be looked at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

impl Passwords {
    pub(crate) fn new(random: &Random) -> Self {
        let nobody = hash(&random.bytes::<32>(), &random.bytes()).unwrap_or_default();
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Self { places, queue: Semaphore::new(QUEUE_MAX), random: random.clone(), nobody }
    }

    /// The text to be kept of a new password.
    pub(crate) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Busy> {
        let salt = self.random.bytes::<16>();
        self.work(move || hash(password.as_bytes(), &salt)).await?.ok_or(Busy)
    }

    /// Whether a password is the one that was kept. Takes as long where nothing was.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<String>,
        kept: Option<String>,
    ) -> Result<bool, Busy> {
        let is_known = kept.is_some();
        let kept = kept.unwrap_or_else(|| self.nobody.clone());
        let is_right = self.work(move || verify(password.as_bytes(), &kept)).await?;
        Ok(is_known && is_right)
    }

    /// Memory and cores are bounded: who finds no place, or none in time, is told to come again.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _in_queue = self.queue.try_acquire().map_err(|_full| Busy)?;
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(WAIT_MAX, place).await.map_err(|_late| Busy)?;
        let place = place.map_err(|_closed| Busy)?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        worked.await.map_err(|_| Busy)
    }
}

fn hash(password: &[u8], salt: &[u8; 16]) -> Option<String> {
    Some(argon2()?.hash_password_with_salt(password, salt).ok()?.to_string())
}

/// The parameters are those of the kept text, so that ours can be raised later.
fn verify(password: &[u8], kept: &str) -> bool {
    let (Ok(kept), Some(argon2)) = (PasswordHash::new(kept), argon2()) else { return false };
    password.len() <= BYTES_MAX && argon2.verify_password(password, &kept).is_ok()
}

/// RFC 9106 section 4, with the smaller memory that OWASP's Password Storage Cheat Sheet names.
fn argon2() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Whether a new password can be taken.
pub(crate) fn is_long_enough(password: &str) -> bool {
    password.chars().count() >= CHARACTERS_MIN && password.len() <= BYTES_MAX
}

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// 19 MiB each.
const AT_ONCE_MAX: usize = 2;
/// More would not get their turn in time.
const QUEUE_MAX: usize = 128;
const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use tokio::task::JoinSet;

    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(&Random::new(|bytes| bytes.fill(5)))
    }

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let passwords = passwords();
        let kept = passwords.hash(text("correct horse battery")).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        let verify = |password, kept: &str| passwords.verify(text(password), Some(kept.to_owned()));
        assert_eq!(verify("correct horse battery", &kept).await, Ok(true));
        assert_eq!(verify("correct horse batterx", &kept).await, Ok(false));
        assert_eq!(verify("", &kept).await, Ok(false));
        assert_eq!(verify("x", "not a hash").await, Ok(false));
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let passwords = passwords();
        assert!(passwords.nobody.starts_with("$argon2id$"));
        assert_eq!(passwords.verify(text("x"), None).await, Ok(false));
        // Not even the one that its hash was made from.
        let bytes = String::from_utf8(vec![5; 32]).unwrap();
        assert_eq!(passwords.verify(text(&bytes), None).await, Ok(false));
    }

    #[tokio::test]
    async fn of_a_flood_two_are_hashed_at_once_and_few_wait() {
        let passwords = Arc::new(passwords());
        let all = u32::try_from(AT_ONCE_MAX).unwrap();
        let held = Arc::clone(&passwords.places).acquire_many_owned(all).await.unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut flood = JoinSet::new();
        for _ in 0..QUEUE_MAX + 100 {
            let (passwords, now, most) =
                (Arc::clone(&passwords), Arc::clone(&now), Arc::clone(&most));
            let counted = move || {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, SeqCst);
            };
            flood.spawn(async move { passwords.work(counted).await });
        }
        // Nobody gets a place: whoever is answered is one too many.
        for _ in 0..100 {
            assert_eq!(flood.join_next().await.unwrap().unwrap(), Err(Busy));
        }
        drop(held);
        while let Some(served) = flood.join_next().await {
            assert_eq!(served.unwrap(), Ok(()));
        }
        assert!(most.load(SeqCst) <= AT_ONCE_MAX, "{most:?}");
        // Afterwards there is room again.
        assert_eq!(passwords.work(|| ()).await, Ok(()));
    }

    #[test]
    fn a_new_password_has_its_length() {
        assert!(is_long_enough("fifteen letters") && !is_long_enough("fourteen chars"));
        assert!(!is_long_enough(&"x".repeat(BYTES_MAX + 1)));
    }
}
