//! Diagnostics on standard error: plain lines on a terminal, JSON lines elsewhere.
//!
//! `ATTORN_LOG` sets what is shown, such as `info` or `attorn_gateway=debug`. Secrets are never
//! logged: their types print `[redacted]`. Of warnings and errors each place in the code writes so
//! many lines in a second: see [`flood`]. That lines are missing is told whatever is shown.

mod flood;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) use flood::left_out;

/// Starts the subscriber of this process. A second start changes nothing.
pub(crate) fn start() {
    let shown = EnvFilter::try_from_env("ATTORN_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let filter = with_notice(shown);
    let limited = tracing_subscriber::registry().with(filter).with(flood::Floods::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        limited.with(lines.compact()).try_init()
    } else {
        limited.with(lines.json()).try_init()
    };
    drop(started);
}

/// Lets the line through that says how many were left out: they are counted anew once it is made.
fn with_notice(shown: EnvFilter) -> EnvFilter {
    match format!("{}=warn", flood::NOTICE).parse::<Directive>() {
        Ok(notice) => shown.add_directive(notice),
        // The text is our own: a test has it parsed.
        Err(_) => shown,
    }
}
