//! Puts in force what others changed in the registry, and what time changes in it.

use std::sync::Arc;
use std::time::Duration;

use attorn_net::Shutdown;

use crate::admin::sweep;
use crate::authority::{ApprovalsUnavailable, StartError};
use crate::shared::Shared;
use crate::{ended, people, restored};

/// Polls the number of the last change. Works on every database, and misses nothing: what counts
/// is the number, not a notification.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut swept = None;
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match shared.store.version().await {
            // A server of databases fell back to a copy that lags, or was restored under us.
            Ok(version) if version < shared.mark.at().version => {
                if let Err(error) = go_beyond(&shared).await {
                    tracing::error!(%error, "a registry that went back cannot be put in force");
                }
            }
            // A mark that could not be written is written as soon as it can be.
            Ok(version)
                if version > shared.published.load().version.min(shared.mark.at().version) =>
            {
                if let Err(error) = shared.publish().await {
                    tracing::error!(%error, "a change cannot be put in force");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the registry cannot be read"),
        }
        if let Err(error) = ended::note_uses(&shared).await {
            tracing::error!(%error, "that agents were used is not noted");
        }
        let minute = Some(shared.clock.now_s() / 60);
        if std::mem::replace(&mut swept, minute) == minute {
            continue;
        }
        if let Err(error) = ended::sweep(&shared).await {
            tracing::error!(%error, "agents past their end cannot be suspended");
        }
        if let Err(error) = end_approvals(&shared).await {
            tracing::error!(%error, "approvals past their end are not noted");
        }
        if let Err(error) = shared.store.forget_assertions(shared.clock.now_s()).await {
            tracing::error!(%error, "assertions that have ended are not forgotten");
        }
        if let Err(error) = people::sweep(&shared).await {
            tracing::error!(%error, "sessions that have ended are not forgotten");
        }
    }
}

async fn go_beyond(shared: &Shared) -> Result<(), StartError> {
    let _alone = shared.turns.next().await;
    restored::go_beyond(shared).await?;
    Ok(shared.publish().await?)
}

/// Notes approvals that nobody used in time.
async fn end_approvals(shared: &Shared) -> Result<(), ApprovalsUnavailable> {
    let _alone = shared.turns.next().await;
    if sweep(shared).await? { Ok(shared.publish().await?) } else { Ok(()) }
}

/// Changes through the admin API do not wait for this; only those of other processes do.
const INTERVAL: Duration = Duration::from_millis(500);
