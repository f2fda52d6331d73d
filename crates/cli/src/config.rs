//! The configuration file: the sum of what the edges are told, and nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::exit::Failure;
use crate::files;

/// `attorn.toml`. Unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of the registry, the journal and the keys. Relative to the file.
    pub(crate) state: PathBuf,
    /// Who issues tokens.
    pub(crate) authority: attorn_authority::Config,
    /// Who enforces them.
    pub(crate) gateway: attorn_gateway::Config,
    /// Where the roles listen.
    pub(crate) listen: Listen,
    /// Certificate and key of every listener; plain HTTP is served on loopback only.
    pub(crate) tls: Option<Tls>,
}

/// Addresses of the listeners; port 0 lets the operating system choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// Public endpoints of the authority.
    pub(crate) authority: SocketAddr,
    /// The admin API; keep it away from agents.
    pub(crate) admin: SocketAddr,
    /// The gateway.
    pub(crate) gateway: SocketAddr,
}

/// PEM files. Relative to the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Certificate chain, leaf first.
    pub(crate) certificates: PathBuf,
    /// Private key.
    pub(crate) key: PathBuf,
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            return Err(
                Failure::usage(format!("there is no `{}`", path.display())).next("attorn init")
            );
        }
        let text = files::read_text(path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(&text, folder).map_err(|e| {
            Failure::usage(format!("`{}`: {e}", path.display()))
                .next("attorn init --dir DIR, for an example to compare with")
        })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.authority.verify().map_err(|e| e.to_string())?;
        // Tokens name the gateway by this text: two spellings would make every token foreign.
        if config.authority.gateway_url != config.gateway.public_url.as_str() {
            return Err("`authority.gateway_url` and `gateway.public_url` differ".to_owned());
        }
        config.state = folder.join(&config.state);
        if let Some(tls) = &mut config.tls {
            tls.certificates = folder.join(&tls.certificates);
            tls.key = folder.join(&tls.key);
        }
        Ok(config)
    }
}

/// What `attorn init` writes.
pub(crate) const EXAMPLE: &str = r#"# Attorn. Unknown keys are refused. Next: `attorn serve`, then enroll as administrator.
state = "attorn-state"                   # registry, journal and keys: back it up, keep it private

[authority]
issuer = "http://127.0.0.1:7800"         # the name in every token; https unless on loopback
admin_url = "http://127.0.0.1:7801"      # the admin API, for `attorn` commands
gateway_url = "http://127.0.0.1:7802"    # the same as gateway.public_url
token_lifetime_s = 120                   # at most 300

[gateway]
public_url = "http://127.0.0.1:7802"     # servers are at <public_url>/<server>/mcp

[listen]                                 # off loopback, add [tls] certificates = "…", key = "…"
authority = "127.0.0.1:7800"
admin = "127.0.0.1:7801"
gateway = "127.0.0.1:7802"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/attorn"))
    }

    #[test]
    fn the_example_is_valid() {
        let config = check(EXAMPLE).unwrap();
        assert_eq!(config.state, Path::new("/etc/attorn/attorn-state"));
        assert_eq!(config.authority.token_lifetime_s, 120);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(check(&EXAMPLE.replace("state =", "stat =")).is_err());
        assert!(check(&format!("{EXAMPLE}more = 1\n")).is_err());
        assert!(check(&EXAMPLE.replace("token_lifetime_s", "token_life")).is_err());
    }

    #[test]
    fn long_tokens_and_two_gateways_are_refused() {
        assert!(check(&EXAMPLE.replace("= 120", "= 301")).is_err());
        let other = EXAMPLE.replace(
            "gateway_url = \"http://127.0.0.1:7802",
            "gateway_url = \"http://127.0.0.1:7803",
        );
        assert!(check(&other).unwrap_err().contains("differ"));
    }
}
