//! What was sealed here is forgotten when the registry says so, also after a start from a backup.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use attorn_net::Shutdown;
use attorn_payloads::SealedPayloads;
use attorn_registry::Published;

/// Follows the registry until the shutdown.
pub(super) async fn follow(
    payloads: SealedPayloads,
    published: Arc<Published>,
    shutdown: Shutdown,
) {
    let (mut followed, mut done) = (None, HashMap::<String, u64>::new());
    loop {
        let snapshot = published.load();
        if followed != Some(snapshot.version) {
            let open = snapshot.erasures().filter(|(of, until_s)| done.get(*of) != Some(until_s));
            let open: Vec<_> = open.map(|(of, until_s)| (of.to_owned(), until_s)).collect();
            let payloads = payloads.clone();
            let erased = tokio::task::spawn_blocking(move || erase(&payloads, open)).await;
            let (erased, all) = erased.unwrap_or_default();
            done.extend(erased);
            // What failed is tried again at the next look.
            followed = all.then_some(snapshot.version);
        }
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Gives what is done, and whether that is all.
fn erase(payloads: &SealedPayloads, open: Vec<(String, u64)>) -> (Vec<(String, u64)>, bool) {
    let mut done = Vec::with_capacity(open.len());
    let mut all = true;
    for (subject, until_s) in open {
        match payloads.erase(&subject, until_s) {
            Ok(had_payloads) => {
                tracing::info!(subject, had_payloads, "payloads are erased");
                done.push((subject, until_s));
            }
            Err(error) => {
                tracing::error!(subject, %error, "payloads are not erased yet");
                all = false;
            }
        }
    }
    (done, all)
}

const PAUSE: Duration = Duration::from_millis(500);
