//! People: they log in, are asked what an application may do for them, and their clients redeem what
//! they gave. Nothing of it is there without `[authority.clients]`.
//!
//! File to open first: `authorize.rs`, then `consent.rs`, then `code_grant.rs`.
//!
//! Implemented: RFC 6749 section 4.1 for public clients with RFC 7636, RFC 9126, RFC 9207 and RFC 9449
//! section 10; clients that are registered, register themselves (RFC 7591) or are the URL of a
//! document; refresh tokens that rotate; log-in by name and password, by a passkey (WebAuthn Level 3,
//! `passkey_login.rs`), or at an OpenID Connect provider (`provider.rs`); pages for calls that wait for a
//! person, for what happened, for what a person gave, and for how they sign in.
//!
//! Not implemented: pages for anything else.

mod approvals;
mod attempts;
mod authorize;
mod browser;
mod clients;
mod code_grant;
mod config;
mod consent;
mod consents;
mod documents;
mod endings;
mod forms;
mod invite;
mod login;
mod login_config;
mod offer;
mod page;
mod passkey_login;
mod passkeys;
mod password;
mod provider;
mod push;
mod refresh_grant;
mod register;
mod returns;
mod route;
mod sessions;
mod settings;
mod shown;
mod steps;
mod traces;
mod visitor;
mod waiting;

use attorn_net::Random;
use attorn_store::Failure;

use crate::shared::Shared;

pub(crate) use clients::{named as client_named, redeeming};
pub(crate) use code_grant::prolong;
pub use config::{ClientsConfig, ClientsRefusal, Registration};
pub(crate) use endings::revoke_of_client;
pub use login_config::{LoginConfig, LoginRefusal};
pub(crate) use provider::Provider;
pub(crate) use route::{Page, answer};
pub(crate) use {code_grant::redeem as redeem_code, refresh_grant::redeem as redeem_refresh};

use attempts::Counted;
use documents::Documents;
use forms::FormKey;
use passkeys::Passkeys;
use password::Passwords;
use returns::Returns;
use waiting::Held;

/// What the endpoints for people share.
#[derive(Debug)]
pub(crate) struct People {
    config: ClientsConfig,
    form_key: FormKey,
    passwords: Passwords,
    passkeys: Passkeys,
    /// Where people log in beside that, or instead.
    provider: Option<Provider>,
    documents: Documents,
    /// Log-ins that failed, by name and by address.
    login_failures: Counted,
    /// Registrations, by address.
    registrations: Counted,
    /// Requests that wait for a person, by the digest of their name.
    waiting: Held<waiting::Waiting>,
    /// Pushed requests: RFC 9126.
    pushed: Held<waiting::Pushed>,
    /// Where browsers wanted to go before they had to log in.
    returns: Returns,
}

impl People {
    pub(crate) fn new(
        config: ClientsConfig,
        provider: Option<Provider>,
        (issuer, random): (&str, &Random),
    ) -> Result<Self, ClientsRefusal> {
        config.verify()?;
        Ok(Self {
            provider,
            form_key: FormKey::new(random),
            passwords: Passwords::new(random),
            passkeys: Passkeys::of(issuer),
            documents: Documents::new(&config)?,
            login_failures: Counted::new(LOGIN_WINDOW_S),
            registrations: Counted::new(REGISTRATION_WINDOW_S),
            waiting: Held::new(WAITING_MAX, |waiting| !waiting.offered.is_empty()),
            pushed: Held::new(WAITING_MAX, |_| false),
            returns: Returns::default(),
            config,
        })
    }

    /// Whether people may log in by name and password.
    pub(crate) fn allows_passwords(&self) -> bool {
        self.provider.as_ref().is_none_or(Provider::allows_passwords)
    }

    /// Whether people may log in by a passkey: where they may have an account here, and the issuer has a
    /// name.
    pub(crate) fn offers_passkeys(&self) -> bool {
        self.allows_passwords() && self.passkeys.party().is_ok()
    }

    /// How clients may become known, for the metadata.
    pub(crate) fn announced(&self) -> attorn_oauth::metadata::PeoplesClients {
        attorn_oauth::metadata::PeoplesClients {
            documents: self.config.documents,
            registration: self.config.registration == Registration::Open,
        }
    }
}

/// Forgets sessions that have ended by age.
pub(crate) async fn sweep(shared: &Shared) -> Result<(), Failure> {
    let before_s = shared.clock.now_s().saturating_sub(browser::SESSION_LIMITS.absolute_s);
    match &shared.people {
        Some(_) => shared.store.forget_sessions(before_s).await,
        None => Ok(()),
    }
}

const LOGIN_WINDOW_S: u64 = 15 * 60;
const REGISTRATION_WINDOW_S: u64 = 3600;
/// Each is some kilobytes.
const WAITING_MAX: usize = 4096;
