//! The memory of used proofs that several gateways share: RFC 9449 section 11.1 across nodes, in
//! Redis or Valkey.
//!
//! Implemented: a proof whose nonce any of the gateways accepts is burned with one atomic script,
//! which answers only while the memory is the one that the nonce was made with. The key of the
//! shared nonces lives in that memory and carries its life: after a restart, a failover or a loss
//! of all keys there is another key, and no proof of before is accepted. When the memory does not
//! answer there is no shared nonce, and each gateway makes its own, which no other accepts.
//!
//! Beside it, rates that gateways share: [`SharedRate`].
//!
//! Not implemented: Redis Cluster and Sentinel. Not checked: the clock of the server. One that
//! jumps ahead by more than [`REMEMBERED_S`] minus 65 seconds forgets proofs early.

mod address;
mod memory;
mod rates;
mod shared;

pub use address::{Address, AddressError};
pub use memory::REMEMBERED_S;
pub use rates::{SharedRate, SharedTake};
pub use shared::{Current, SharedReplays};
