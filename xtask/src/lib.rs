//! Entry points of the house: generated documents, checks, tests and benches.
//!
//! `cargo xtask ci` is the whole CI job. Each step prints what it runs and how long it took.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a developer's tool: it talks to a terminal and measures real time"
)]

pub mod ci;
pub mod generated;
pub mod setup;
pub mod step;
