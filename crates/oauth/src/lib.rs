//! The rules of the authorization server and of the resource server, without their I/O.
//!
//! Implemented: RFC 9068 access tokens bound by RFC 9449 (DPoP) or
//! RFC 8705 (certificates), RFC 7523 client assertions, the
//! `client_credentials` grant of RFC 6749 with RFC 8707 resource indicators, metadata by RFC 8414
//! and RFC 9728, challenges by RFC 9110 section 11, and the proof of possession that enrols a key.
//!
//! RFC 8693 token exchange, RFC 9396 details, and for people the authorization code grant of
//! RFC 6749 section 4.1 with RFC 7636, RFC 9126, RFC 9207, refresh tokens, and clients that register
//! by RFC 7591 or are a URL.
//!
//! Not implemented: client secrets, request objects. A request that needs one of them is refused.
//!
//! Time is an argument, in whole seconds since 1970 UTC. Random bytes are arguments. Each kind of
//! JWT has its own module with its own media type, keys and audience, and the maker stands beside
//! the checker (RFC 8725 section 3.12).

pub mod access_token;
pub mod actor;
pub mod authorization_request;
pub mod challenge;
mod claim;
pub mod claim_rules;
pub mod client_assertion;
pub mod client_id_url;
pub mod client_metadata;
pub mod confirmation;
pub mod dpop;
pub mod enrolment;
pub mod error;
pub mod evidence;
pub mod form;
pub mod grant;
pub mod id_jag;
pub mod id_token;
pub mod issuer_metadata;
pub mod jwks;
pub mod jwt_grant;
pub mod jwt_svid;
pub mod metadata;
pub mod mtls;
pub mod nonce;
pub mod pkce;
pub mod possession;
pub mod provider_metadata;
pub mod pushed_request;
pub mod redirect_uri;
pub mod registry_message;
pub mod replay;
pub mod resource;
pub mod scope;
pub mod spiffe_bundle;
pub mod subject;
pub mod token_client;
pub mod token_request;
pub mod trusted_keys;
pub mod workload_grant;
