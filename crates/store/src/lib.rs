//! The registry on SQL: one module per aggregate.
//!
//! Every change counts a version up in the transaction that makes it, leaves a row that says what
//! changed, and returns both with the record. Readers poll the version and load what changed.
//!
//! The SQL is one text for SQLite and PostgreSQL. What differs is in `postgres.rs`: how
//! transactions begin, and what a session is told. The index is on SQLite always.
//!
//! What survives a crash: a change is on disk when its method returns (SQLite: write-ahead log,
//! `synchronous = FULL`; PostgreSQL: `synchronous_commit` on, and no start with `fsync` off);
//! before that, nothing of it is.

mod agent_keys;
mod agent_uses;
mod agents;
mod approvals;
mod assertions;
mod batch;
mod change;
mod codes;
mod column;
mod config;
mod consents;
mod database;
mod delta;
mod enrolments;
mod erasures;
mod failure;
mod families;
mod family_ends;
mod grants;
mod imports;
pub mod index;
mod invitations;
mod issuer_keys;
mod leases;
mod locks;
mod mark;
mod owners;
mod passkeys;
mod person_grants;
mod person_links;
mod persons;
mod policies;
mod postgres;
mod public_clients;
mod resources;
mod revocations;
mod server_keys;
mod servers;
mod sessions;
mod snapshot;
mod tools;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod on_postgres;

pub use agents::NewAgent;
pub use assertions::Reuse;
pub use batch::Batch;
pub use change::{Act, ChangeKind, ChangeRecord, Changed};
pub use codes::{CODE_LIFETIME_S, Code, TakenCode};
pub use config::Config;
pub use database::Store;
pub use delta::DELTA_CHANGES_MAX;
pub use enrolments::ENROLMENT_LIFETIME_S;
pub use failure::{Failure, Refusal, StoreError};
pub use families::{Family, Given, RefreshRecord};
pub use imports::{Import, ImportedName, NewImport};
pub use invitations::INVITATION_LIFETIME_S;
pub use mark::{Mark, MarkError};
pub use owners::NewOwner;
pub use passkeys::{PASSKEYS_MAX, Passkey};
pub use persons::{LoginRecord, NewPerson, PersonSettings};
pub use policies::PolicyRecord;
pub use postgres::{AddressError, PostgresAddress};
pub use public_clients::NewPublicClient;
pub use resources::NewResource;
pub use revocations::InForce;
pub use servers::NewServer;
pub use sessions::{Session, SessionLimits, SignedInBy};
pub use tools::{Confirmed, NewDefinition, NewDefinitions, SeenTool, ToolDefinitions};
