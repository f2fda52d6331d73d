//! What the authority is told once, at its start.

use std::num::NonZeroU32;

use attorn_audit::note::NoteVerifier;
use attorn_net::SeveralPlaces;
use attorn_oauth::resource::{IssuerUrl, UrlRefusal};
use attorn_registry::APPROVAL_LIFETIME_MAX_S;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::people::{ClientsConfig, LoginConfig};
use crate::trusted_issuers::TrustedIssuer;

/// The authority's part of the configuration file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The issuer identifier: RFC 8414 section 2, an `https` URL without query and fragment.
    pub issuer: String,
    /// Where the admin API is reached, without a path.
    pub admin_url: String,
    /// Where the gateway is reached; resource identifiers are made from it.
    pub gateway_url: String,
    /// Life of an access token in seconds.
    #[serde(default = "default_token_lifetime_s")]
    pub token_lifetime_s: u64,
    /// Life of an access token with an irreversible scope, in seconds.
    #[serde(default = "default_irreversible_token_lifetime_s")]
    pub irreversible_token_lifetime_s: u64,
    /// Time in seconds after which a call that waits for a person, or was approved and not made, does
    /// not wait any more. At most 1800.
    #[serde(default = "default_approval_lifetime_s")]
    pub approval_lifetime_s: u64,
    /// Whether a grant that lets one agent read private data, take in untrusted content and send
    /// outside waits for a second owner. Without it such a grant is a finding and counts.
    #[serde(default)]
    pub second_owner_for_triple: bool,
    /// Keys of namespaces, `namespace+id+base64` (C2SP signed-note): a `server.json` that one of them
    /// signed is known to be by whom its namespace belongs to.
    #[serde(default)]
    pub import_keys: Vec<String>,
    /// Days after which an agent that nobody used is suspended. Absent, none is. At least 1.
    pub agents_unused_days: Option<NonZeroU32>,
    /// What becomes of a client that asks for tokens from two network addresses within the life of
    /// a token: `off`, `record` or `refuse` from the second one. Loopback is no address. Behind a
    /// proxy everybody has its address.
    #[serde(default)]
    pub several_places: SeveralPlaces,
    /// How much of everything a client gets.
    #[serde(default)]
    pub limits: Limits,
    /// Clients of people. Absent, nobody logs in here.
    pub clients: Option<ClientsConfig>,
    /// The OpenID Connect provider at which people log in. Absent, they have a name and a password here.
    pub login: Option<LoginConfig>,
    /// Others whose JWTs are taken as grants: platforms, for their workloads, and identity providers, for
    /// people. None by default, and then there is no such grant.
    #[serde(default)]
    pub trusted_issuers: Vec<TrustedIssuer>,
}

/// A configuration the authority cannot start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigRefusal {
    /// An approval would live longer than half an hour, or not at all.
    #[error("`approval_lifetime_s` is between 1 and {APPROVAL_LIFETIME_MAX_S} seconds")]
    ApprovalLifetime,
    /// A text under `import_keys` is no key.
    #[error("`import_keys` holds a text that is no Ed25519 key of a signed note")]
    ImportKey,
    /// A token would live longer than five minutes, or not at all.
    #[error("a token lives between 1 and {TOKEN_LIFETIME_MAX_S} seconds")]
    Lifetime,
    /// A URL is not one that identifies something.
    #[error("`{setting}`: {source}")]
    Url {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it.
        source: UrlRefusal,
    },
}

impl Config {
    /// Refuses what would make weak tokens or ambiguous identifiers.
    ///
    /// # Errors
    /// See [`ConfigRefusal`].
    pub fn verify(&self) -> Result<(), ConfigRefusal> {
        for (setting, url) in [
            ("issuer", &self.issuer),
            ("admin_url", &self.admin_url),
            ("gateway_url", &self.gateway_url),
        ] {
            IssuerUrl::parse(url).map_err(|source| ConfigRefusal::Url { setting, source })?;
        }
        if self.import_keys.iter().any(|key| NoteVerifier::from_vkey(key).is_err()) {
            return Err(ConfigRefusal::ImportKey);
        }
        if !(1..=APPROVAL_LIFETIME_MAX_S).contains(&self.approval_lifetime_s) {
            return Err(ConfigRefusal::ApprovalLifetime);
        }
        let lifetimes = [self.token_lifetime_s, self.irreversible_token_lifetime_s];
        if lifetimes.iter().all(|s| (1..=TOKEN_LIFETIME_MAX_S).contains(s)) {
            Ok(())
        } else {
            Err(ConfigRefusal::Lifetime)
        }
    }

    /// An address below the issuer.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// The path of the issuer, empty for most.
    pub(crate) fn issuer_path(&self) -> &str {
        let rest = self.issuer.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("")
    }

    /// RFC 9728 section 3.1: where the metadata of the admin API is.
    pub(crate) fn admin_metadata_url(&self) -> String {
        format!("{}{ADMIN_METADATA_PATH}", self.admin_url)
    }

    /// The audience of operators' tokens.
    pub(crate) fn admin_resource(&self) -> String {
        format!("{}/admin", self.admin_url)
    }

    /// RFC 8707 section 2: the one resource identifier of an MCP server.
    pub(crate) fn resource_of(&self, server: &str) -> String {
        if server == crate::SERVER_NAME {
            return self.admin_resource();
        }
        format!("{}/{server}/mcp", self.gateway_url)
    }

    /// The name of the server a resource identifier belongs to; compared by code point.
    pub(crate) fn server_of<'a>(&self, resource: &'a str) -> Option<&'a str> {
        if resource == self.admin_resource() {
            return Some(crate::SERVER_NAME);
        }
        let name = resource.strip_prefix(self.gateway_url.as_str())?.strip_prefix('/')?;
        let name = name.strip_suffix("/mcp")?;
        (name != crate::SERVER_NAME).then_some(name)
    }
}

const fn default_approval_lifetime_s() -> u64 {
    APPROVAL_LIFETIME_MAX_S
}

const fn default_token_lifetime_s() -> u64 {
    120
}

const fn default_irreversible_token_lifetime_s() -> u64 {
    60
}

/// RFC 9728 section 3.1, for the resource `/admin`.
pub(crate) const ADMIN_METADATA_PATH: &str = "/.well-known/oauth-protected-resource/admin";
/// No token of ours lives longer.
const TOKEN_LIFETIME_MAX_S: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            issuer: "https://id.example/t/a".to_owned(),
            admin_url: "http://127.0.0.1:9001".to_owned(),
            gateway_url: "https://gw.example".to_owned(),
            token_lifetime_s: default_token_lifetime_s(),
            irreversible_token_lifetime_s: default_irreversible_token_lifetime_s(),
            second_owner_for_triple: false,
            import_keys: Vec::new(),
            agents_unused_days: None,
            approval_lifetime_s: default_approval_lifetime_s(),
            several_places: SeveralPlaces::default(),
            limits: Limits::default(),
            clients: None,
            login: None,
            trusted_issuers: Vec::new(),
        }
    }

    #[test]
    fn the_defaults_are_taken() {
        assert_eq!(config().verify(), Ok(()));
        assert_eq!(config().issuer_path(), "/t/a");
    }

    #[test]
    fn lifetimes_are_bounded() {
        for lifetime_s in [0, 301] {
            let refused = Config { token_lifetime_s: lifetime_s, ..config() }.verify();
            assert_eq!(refused, Err(ConfigRefusal::Lifetime));
        }
        assert_eq!(Config { token_lifetime_s: 300, ..config() }.verify(), Ok(()));
    }

    #[test]
    fn a_text_that_is_no_key_is_refused() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let with = |key: &str| Config { import_keys: vec![key.to_owned()], ..config() }.verify();
        assert_eq!(with(key), Ok(()));
        assert_eq!(with(&key.replace("c74f", "c74e")), Err(ConfigRefusal::ImportKey));
        assert_eq!(with(""), Err(ConfigRefusal::ImportKey));
    }

    #[test]
    fn ambiguous_urls_are_refused() {
        for issuer in [
            "id.example",
            "http://id.example",
            "https://id.example/",
            "https://ID.example",
            "https://id.example:443",
            "https://id.example?a",
            "https://id.example#a",
            "https://user@id.example",
        ] {
            let refused = Config { issuer: issuer.to_owned(), ..config() }.verify();
            let url = matches!(refused, Err(ConfigRefusal::Url { setting: "issuer", .. }));
            assert!(url, "{issuer}");
        }
    }

    #[test]
    fn a_resource_names_one_server() {
        let check = |resource, expected| assert_eq!(config().server_of(resource), expected);
        check("https://gw.example/crm/mcp", Some("crm"));
        check("http://127.0.0.1:9001/admin", Some("admin"));
        check("https://gw.example/crm/mcp/", None);
        check("https://gw.example/crm/mcp?x", None);
        check("https://GW.example/crm/mcp", None);
        check("https://gw.example:443/crm/mcp", None);
        check("https://gw.example/admin/mcp", None);
        check("https://gw.example.evil/crm/mcp", None);
    }

    #[test]
    fn resources_read_back() {
        for server in ["crm", "admin"] {
            assert_eq!(config().server_of(&config().resource_of(server)), Some(server));
        }
    }
}
