//! The `[authority.login]` part of the configuration: the provider at which people log in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use attorn_jose::{Algorithm, SigningKeyError};
use attorn_oauth::resource::UrlRefusal;
use attorn_registry::{GROUPS_MAX, Name, Role};
use serde::{Deserialize, Serialize};

use crate::issuer_keys::IssuerClientError;

/// Where people log in. Absent, they have a name and a password here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// The issuer of the OpenID Connect provider, exactly as its metadata and its tokens have it.
    pub issuer: String,
    /// What the log-in page calls it.
    pub display_name: String,
    /// Who this authority is at the provider.
    pub client_id: String,
    /// File with the private key by which it authenticates there (`private_key_jwt`): Ed25519 or P-256
    /// in PKCS #8, readable by its owner alone. Relative to the file.
    pub client_key: Option<PathBuf>,
    /// What the provider calls that key (`kid`), where it does not find it by itself.
    pub client_key_id: Option<String>,
    /// File with a client secret instead, for a provider that takes no key. Readable by its owner alone.
    /// Without either, the authority is a public client there.
    pub client_secret: Option<PathBuf>,
    /// What is asked for.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Algorithms that its ID tokens may be signed with: `EdDSA`, `ES256`, `PS256`, `RS256`.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// The claim of the ID token that holds a person's groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Roles by group of the provider: whoever is in the group at a log-in has them until the next one.
    #[serde(default)]
    pub roles: BTreeMap<String, BTreeSet<Role>>,
    /// Groups here by group of the provider, in the same way.
    #[serde(default)]
    pub groups: BTreeMap<String, BTreeSet<Name>>,
    /// Whether somebody who is unknown here, and in a group that is named above, is recorded at their
    /// first log-in. Otherwise an operator links them first.
    #[serde(default)]
    pub create: bool,
    /// Whether people may log in by name and password as well.
    #[serde(default = "default_passwords")]
    pub passwords: bool,
    /// Hosts of the provider beside the one of its issuer, as `host` or `host:port`, that are asked
    /// wherever they are: on an address of a private network, too.
    #[serde(default)]
    pub provider_hosts: Vec<String>,
    /// PEM file of the certificate authorities that count for the host of the issuer and for those hosts,
    /// instead of the public ones. Relative to the file.
    pub provider_roots: Option<PathBuf>,
}

/// A part that cannot be started with.
#[derive(Debug, thiserror::Error)]
pub enum LoginRefusal {
    /// An algorithm that is not verified here, or none.
    #[error("`algorithms` holds one or more of EdDSA, ES256, PS256, RS256")]
    Algorithms,
    /// The connection to the provider cannot be set up.
    #[error("`provider_roots`: {0}")]
    Client(#[from] IssuerClientError),
    /// There is nothing to log in for.
    #[error("it needs `[authority.clients]`")]
    ClientsMissing,
    /// Nobody could ever be recorded.
    #[error("`create` needs a group in `roles` or `groups`")]
    CreateWithoutGroups,
    /// Two ways to authenticate.
    #[error("`client_key` or `client_secret`, not both")]
    Credentials,
    /// A file of ours that others can read, or that is not there.
    #[error("cannot use `{setting}`: {source}")]
    File {
        /// Which setting.
        setting: &'static str,
        /// What is wrong.
        source: std::io::Error,
    },
    /// More groups than a person may have.
    #[error("`groups` leads to more than {GROUPS_MAX} groups")]
    Groups,
    /// The issuer is no URL to be asked.
    #[error("`issuer`: {0}")]
    Issuer(#[from] UrlRefusal),
    /// The key is not usable.
    #[error("`client_key`: {0}")]
    Key(#[from] SigningKeyError),
    /// A text that a page or a request cannot carry.
    #[error("`{0}` is empty, too long, or holds what cannot be shown or sent")]
    Text(&'static str),
}

impl LoginConfig {
    /// Refuses what no log-in could come out of, or more than one meant.
    ///
    /// # Errors
    /// See [`LoginRefusal`].
    pub fn verify(&self) -> Result<(), LoginRefusal> {
        let is_shown = |text: &str| {
            (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        let is_sent = |text: &str| {
            (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !is_shown(&self.display_name) {
            return Err(LoginRefusal::Text("display_name"));
        }
        if !is_sent(&self.client_id) {
            return Err(LoginRefusal::Text("client_id"));
        }
        // OpenID Connect Core 1.0 section 3.1.2.1: without `openid` it is no log-in.
        let has_openid = self.scopes.iter().any(|scope| scope == "openid");
        if !has_openid || !self.scopes.iter().all(|scope| is_sent(scope)) {
            return Err(LoginRefusal::Text("scopes"));
        }
        if self.groups_claim.is_empty() {
            return Err(LoginRefusal::Text("groups_claim"));
        }
        if self.client_key.is_some() && self.client_secret.is_some() {
            return Err(LoginRefusal::Credentials);
        }
        if self.create && self.roles.is_empty() && self.groups.is_empty() {
            return Err(LoginRefusal::CreateWithoutGroups);
        }
        let groups: BTreeSet<_> = self.groups.values().flatten().collect();
        if groups.len() > GROUPS_MAX {
            return Err(LoginRefusal::Groups);
        }
        self.algorithms().map(|_| ())
    }

    /// The algorithms of its tokens.
    pub(crate) fn algorithms(&self) -> Result<Vec<Algorithm>, LoginRefusal> {
        let read = self.algorithms.iter().map(|name| Algorithm::of_issuer(name));
        let read = read.collect::<Result<Vec<_>, _>>().map_err(|_| LoginRefusal::Algorithms)?;
        if read.is_empty() { Err(LoginRefusal::Algorithms) } else { Ok(read) }
    }
}

fn default_scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

/// OpenID Connect Core 1.0 section 15.1: every provider has `RS256`, and many have nothing else.
fn default_algorithms() -> Vec<String> {
    Algorithm::OF_ISSUERS.map(|algorithm| algorithm.name().to_owned()).to_vec()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

const fn default_passwords() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &str) -> LoginConfig {
        let text = format!(
            r#"{{"issuer":"https://id.example","display_name":"Example","client_id":"attorn"{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn three_lines_are_enough() {
        let config = parse("");
        assert!(config.verify().is_ok());
        assert_eq!(config.algorithms().unwrap(), Algorithm::OF_ISSUERS);
        assert!(config.passwords && !config.create && config.groups_claim == "groups");
        assert_eq!(config.scopes, ["openid", "profile", "email"]);
    }

    #[test]
    fn what_nobody_could_mean_is_refused() {
        for (more, refusal) in [
            (r#","scopes":["profile"]"#, "Text"),
            (r#","scopes":["openid","a b"]"#, "Text"),
            (r#","groups_claim":"""#, "Text"),
            (r#","algorithms":[]"#, "Algorithms"),
            (r#","algorithms":["none"]"#, "Algorithms"),
            (r#","algorithms":["HS256"]"#, "Algorithms"),
            (r#","client_key":"a","client_secret":"b""#, "Credentials"),
            (r#","create":true"#, "CreateWithoutGroups"),
        ] {
            let refused = parse(more).verify().unwrap_err();
            assert!(format!("{refused:?}").starts_with(refusal), "{more}: {refused:?}");
        }
        let many: Vec<_> = (0..65).map(|number| format!(r#""g{number}""#)).collect();
        let many = parse(&format!(r#","groups":{{"all":[{}]}}"#, many.join(",")));
        assert!(matches!(many.verify(), Err(LoginRefusal::Groups)));
        let created = parse(r#","create":true,"roles":{"admins":["admin"]}"#);
        assert!(created.verify().is_ok());
        let unnamed = LoginConfig { display_name: String::new(), ..parse("") };
        assert!(matches!(unnamed.verify(), Err(LoginRefusal::Text("display_name"))));
    }
}
