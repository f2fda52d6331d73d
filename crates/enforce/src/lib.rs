//! What every enforcement point does alike, be it in front of MCP servers or of APIs.
//!
//! Implemented: proofs of possession with nonces of a node and of a memory that nodes share; how
//! long the authority was not heard; the snapshot in force with its keys and policies; the trace a request belongs
//! to, and its spans; the host it was sent to; intent before effect and outcome after;
//! who failed too often, and what is told of a limit.
//!
//! Not here: tokens, decisions and answers, which each enforcement point has of its own.

pub mod circuit;
pub mod course;
pub mod freshness;
pub mod host;
pub mod keys;
pub mod limited;
pub mod proofs;
pub mod record;
pub mod sealing;
pub mod trace;
pub mod view;

pub use freshness::{Freshness, SILENT_MAX};
