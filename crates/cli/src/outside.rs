//! The outside world as the edges take it: clock, randomness and an HTTP client.

use std::path::Path;

use attorn_net::{Client, ClientConfig, ClientIdentity, Clock, Random, Roots};

use crate::clock;
use crate::exit::Failure;
use crate::files;

/// The system clock.
pub(crate) fn system_clock() -> Clock {
    Clock::new(clock::now_ms)
}

/// The operating system's generator.
pub(crate) fn system_random() -> Random {
    Random::new(clock::fill_random)
}

/// What the agent's side and the commands reach the world with.
///
/// `roots` is a PEM file of certificate authorities; without one the public ones count.
pub(crate) fn connect_world(roots: Option<&Path>) -> Result<attorn_connect::World, Failure> {
    connect_world_as(roots, None)
}

/// As [`connect_world`], with a certificate to show.
pub(crate) fn connect_world_as(
    roots: Option<&Path>,
    identity: Option<ClientIdentity>,
) -> Result<attorn_connect::World, Failure> {
    let roots = match roots {
        Some(path) => Roots::Pem(files::read_text(path)?),
        None => Roots::Public,
    };
    let client = Client::new(ClientConfig { roots, identity, ..ClientConfig::default() })
        .map_err(|e| Failure::usage(format!("cannot set up TLS: {}", causes(&e))))?;
    Ok(attorn_connect::World { client, clock: system_clock(), random: system_random() })
}

/// An error and all its causes on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let part = next.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = next.source();
    }
    text
}
