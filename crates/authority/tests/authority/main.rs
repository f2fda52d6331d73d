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
mod exchange_by_certificate;
mod faults;
mod gateway_by_certificate;
mod hops;
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
mod server_by_certificate;
mod sign_in;
mod token;
mod world;
