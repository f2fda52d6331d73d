//! Bugs to plant, one at a time, so that the checks can be checked.
//!
//! A check may pass because nothing is wrong, or because it would not notice. `cargo xtask planted`
//! plants each [`Bug`] in turn and expects one check to fail. Without the cargo feature `planted`
//! the question [`is_planted`] is the constant `false`, so the compiler drops every such branch.
//!
//! Which bug is planted is a global, against the house rule: handing it down would change the
//! signatures of the very code it is to leave as it is. It is set once and never read in a release.

mod bug;
mod plant;

pub use bug::Bug;
pub use plant::{NotPlanted, is_planted, plant};
