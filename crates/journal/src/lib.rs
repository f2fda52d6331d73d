//! The durable, signed, append-only log.
