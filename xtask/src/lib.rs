//! Entry points of the house: generated documents, checks, tests and benches.
//!
//! `cargo xtask ci` is the whole CI job. Each step prints what it runs and how long it took.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a developer's tool: it talks to a terminal and measures real time"
)]

pub mod agent;
pub mod bench;
pub mod bounded;
pub mod ci;
pub mod conformance;
pub mod crash;
pub mod curl;
pub mod disk;
pub mod documents;
pub mod fuzz;
pub mod generated;
pub mod injected;
pub mod installation;
pub mod instructions;
pub mod interop;
pub mod lock_bench;
pub mod memory_limit;
pub mod mutants;
pub mod negative;
pub mod peopled_installation;
pub mod pki;
pub mod planted;
pub mod pressure;
pub mod release;
pub mod setup;
pub mod simulate;
pub mod soak;
pub mod step;
pub mod tls_installation;
pub mod trace_bench;
pub mod wrapped;
