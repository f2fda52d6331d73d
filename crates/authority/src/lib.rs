//! HTTP of the authorization server and of the admin API.
//!
//! File to open first: `token.rs`, the walk of one token request; then `admin/handle.rs`, the walk
//! of one administrative request.
//!
//! Implemented: metadata (RFC 8414 and the OpenID discovery path), keys, `/token` with
//! `client_credentials` and token exchange (RFC 8693), clients known by
//! assertions, certificates (RFC 8705) and SVIDs, `/revoke` (RFC 7009), `/introspect` (RFC 7662), enrolment of keys with
//! one-time codes, rotation of the signing keys, the admin API with one scope per operation, the
//! search index over the journal.
//!
//! With `[authority.clients]` also people: log-in, consent, codes and refresh tokens for their clients,
//! in `people.rs`; with `[authority.login]` they log in at an OpenID Connect provider.
//!
//! Not implemented: several authorities on one registry.

mod admin;
mod authority;
mod bootstrap;
mod client;
mod code;
mod config;
mod delegated_token;
mod ended;
mod enroll;
mod exchange;
mod followers;
mod hop;
mod http;
mod indexer;
mod introspect;
mod issuer_keys;
mod jwt_grant;
mod keys;
mod leases;
mod limits;
mod look;
mod news;
mod noise;
mod outward;
mod people;
mod places;
mod proof;
mod public;
mod refresh;
mod refused;
mod restored;
mod revoke;
mod rotation;
mod search;
mod shared;
mod standing;
mod token;
mod traced;
mod trust_domains;
mod trusted_issuers;
mod turns;

pub use admin::{
    AdminService, Administering, BASE_PATH, Method, Operation, Row, SERVER_NAME, policy_tag,
};
pub use authority::{ApprovalsUnavailable, Authority, Parts, StartError};
pub use code::EnrolmentCode;
pub use config::{Config, ConfigRefusal};
pub use followers::{Follower, Followers};
pub use issuer_keys::{FetchRefusal, IssuerClientError};
pub use keys::KeyError;
pub use limits::Limits;
pub use look::{IssuerFinding, LookRefusal, SeenIssuer, look_at_issuer, look_at_provider};
pub use news::{change_after, next_snapshot};
pub use people::{ClientsConfig, ClientsRefusal, LoginConfig, LoginRefusal, Registration};
pub use public::{Answering, PublicService};
pub use shared::PublishError;
pub use trust_domains::TrustDomains;
pub use trusted_issuers::{ConsentBy, TrustedIssuer, TrustedIssuersRefusal};
