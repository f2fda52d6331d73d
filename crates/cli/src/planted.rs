//! A binary for developers, with one bug in it: see `attorn_planted`. Not part of any release.

use crate::config::Config;
use crate::exit::Failure;
use crate::output::write_error;

/// Plants the bug that the environment names, and says so in every process.
pub(crate) fn plant() -> Result<(), Failure> {
    let Ok(name) = std::env::var("ATTORN_PLANTED") else { return Ok(()) };
    let bug = attorn_planted::plant(&name)
        .map_err(|refusal| Failure::usage(format!("ATTORN_PLANTED=`{name}`: {refusal}")))?;
    write_error(&format!("this binary has a bug planted: {}", bug.name()));
    Ok(())
}

/// Such a binary serves nobody but this machine, whether or not a bug was named.
pub(crate) fn verify_loopback(config: &Config) -> Result<(), Failure> {
    let listen = &config.listen;
    let addresses = [listen.authority, listen.admin, listen.gateway].into_iter().flatten();
    let guards = config.guard.iter().map(|guard| guard.listen);
    if addresses.chain(guards).all(|address| address.ip().is_loopback()) {
        return Ok(());
    }
    Err(Failure::usage("this binary was built to have bugs planted: it serves on loopback only"))
}
