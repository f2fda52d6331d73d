//! Diagnostics on standard error: plain lines on a terminal, JSON lines elsewhere.
//!
//! `ATTORN_LOG` sets what is shown, such as `info` or `attorn_gateway=debug`. Secrets are never
//! logged: their types print `[redacted]`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts the subscriber of this process. A second start changes nothing.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("ATTORN_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        subscriber.compact().try_init()
    } else {
        subscriber.json().try_init()
    };
    drop(started);
}
