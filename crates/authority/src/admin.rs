//! The admin API: every operation behind one guard, with one scope each.
//!
//! The table of operations makes the routes, the scopes and the `OpenAPI` document. A request is
//! admitted by the same decision as any tool call; a change is recorded before it happens, put in
//! force, and recorded again before it is answered.
//!
//! A file of many changes passes the same decisions and checks, item by item.
//!
//! Not implemented: paging of lists.

mod about;
mod access;
mod agents;
mod apply;
mod approval_desk;
mod approvals;
mod audit;
mod authentication;
mod clients;
mod context;
mod delegation;
mod explain;
mod gateways;
mod grants;
mod guard;
mod handle;
mod imports;
mod issuer_keys;
mod last_operator;
mod list;
mod locks;
mod openapi;
mod operation;
mod operation_list;
mod owners;
mod passkeys;
mod payloads;
mod person_grants;
mod persons;
mod policies;
mod precondition;
mod reason;
mod refusal;
mod resources;
mod route;
mod routes;
mod servers;
mod service;
mod tools;

pub(crate) use approval_desk::{Asking, SaidWord, Saying, say, sweep};
pub(crate) use approvals::{
    ApprovalDetails, EarlierCall as EarlierDecision, WordView as SpokenWord,
};
pub(crate) use audit::{chain_of, decisions};
pub(crate) use operation::encoded;
pub(crate) use reason::Reason;
pub(crate) use refusal::{Missing, Refusal};

pub use operation::{BASE_PATH, Method, Operation, Row, SERVER_NAME};
pub use precondition::policy_tag;
pub use service::{AdminService, Administering};
