//! The authority driven in-process: real services, store, journal and keys, a scripted clock.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper fails its test by panicking"
)]

mod admin;
mod admission;
mod apply;
mod approvals;
mod audit;
mod details;
mod ends;
mod enrolment;
mod escalation;
mod exchange;
mod faults;
mod imports;
mod jwt_grant;
mod keys;
mod last_operator;
mod limits;
mod metadata;
mod mtls;
mod operation_list;
mod people;
mod places;
mod revocation;
mod sign_in;
mod token;
mod world;
