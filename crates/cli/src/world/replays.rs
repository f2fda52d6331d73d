//! The memory of used proofs that this gateway shares with others.

use attorn_net::Shutdown;
use attorn_replay::{Address, SharedReplays};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::exit::Failure;
use crate::files;
use crate::outside::system_random;

/// Connects in the background. A memory that is not there stops no gateway: it then accepts only
/// nonces of its own.
pub(super) fn start(
    config: &Config,
    shutdown: &Shutdown,
) -> Result<Option<SharedReplays>, Failure> {
    let Some(shared) = &config.shared_replays else { return Ok(None) };
    let password = shared.password_file.as_deref().map(files::read_private).transpose()?;
    let password = password.map(|text| Zeroizing::new(text.trim_end().to_owned()));
    let address = Address::parse(&shared.url, password.as_ref())
        .map_err(|e| Failure::usage(format!("`shared_replays.url`: {e}")))?;
    Ok(Some(SharedReplays::start(address, system_random(), shutdown.clone())))
}
