//! The configuration file: the sum of what the edges are told, and nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::exit::Failure;
use crate::files;

/// `attorn.toml`. Unknown keys are refused. A process runs the roles that have a part here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of the registry, the journal and the keys. Relative to the file.
    pub(crate) state: PathBuf,
    /// Who issues tokens. Absent in a process that is a gateway alone.
    pub(crate) authority: Option<attorn_authority::Config>,
    /// Who enforces them. Absent in a process that is an authority alone.
    pub(crate) gateway: Option<attorn_gateway::Config>,
    /// The authority that a gateway without one follows.
    pub(crate) follow: Option<Follow>,
    /// Where the roles listen.
    pub(crate) listen: Listen,
    /// Certificate and key of every listener; plain HTTP is served on loopback only.
    pub(crate) tls: Option<Tls>,
}

/// Addresses of the listeners of the roles that run; port 0 lets the operating system choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// Public endpoints of the authority.
    pub(crate) authority: Option<SocketAddr>,
    /// The admin API; keep it away from agents.
    pub(crate) admin: Option<SocketAddr>,
    /// The gateway.
    pub(crate) gateway: Option<SocketAddr>,
}

/// What a gateway in a process of its own needs to know of its authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// Folder in which the gateway was enrolled: `attorn enroll --profile FOLDER`. It names the
    /// authority. Relative to the file.
    pub(crate) profile: PathBuf,
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
        config.verify()?;
        config.state = folder.join(&config.state);
        if let Some(tls) = &mut config.tls {
            tls.certificates = folder.join(&tls.certificates);
            tls.key = folder.join(&tls.key);
        }
        if let Some(follow) = &mut config.follow {
            follow.profile = folder.join(&follow.profile);
        }
        Ok(config)
    }

    /// Every role that runs has what it needs, and nothing else does.
    fn verify(&self) -> Result<(), String> {
        let Self { authority, gateway, follow, listen, .. } = self;
        let parts = [
            ("listen.authority", authority.is_some(), listen.authority.is_some()),
            ("listen.admin", authority.is_some(), listen.admin.is_some()),
            ("listen.gateway", gateway.is_some(), listen.gateway.is_some()),
            ("follow", gateway.is_some() && authority.is_none(), follow.is_some()),
        ];
        for (name, wanted, given) in parts {
            match (wanted, given) {
                (true, false) => return Err(format!("`{name}` is missing")),
                (false, true) => return Err(format!("`{name}` is for a role that is not here")),
                (true, true) | (false, false) => {}
            }
        }
        match (authority, gateway) {
            (None, None) => Err("neither `[authority]` nor `[gateway]` is there".to_owned()),
            (Some(authority), _) => {
                authority.verify().map_err(|e| e.to_string())?;
                let public_url = gateway.as_ref().map(|gateway| gateway.public_url.as_str());
                // Tokens name the gateway by this text: two spellings would make every token
                // foreign.
                if public_url.is_some_and(|url| url != authority.gateway_url) {
                    return Err(
                        "`authority.gateway_url` and `gateway.public_url` differ".to_owned()
                    );
                }
                Ok(())
            }
            (None, Some(_)) => Ok(()),
        }
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
        assert_eq!(config.authority.unwrap().token_lifetime_s, 120);
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

    const GATEWAY: &str = r#"
        state = "s"
        [gateway]
        public_url = "http://127.0.0.1:7802"
        [follow]
        profile = "p"
        [listen]
        gateway = "127.0.0.1:7803"
    "#;

    #[test]
    fn a_gateway_alone_follows_an_authority() {
        let config = check(GATEWAY).unwrap();
        assert_eq!(config.follow.unwrap().profile, Path::new("/etc/attorn/p"));
        let without = GATEWAY.replace("[follow]\n        profile = \"p\"", "");
        assert_eq!(check(&without).unwrap_err(), "`follow` is missing");
    }

    #[test]
    fn roles_have_what_they_need_and_no_more() {
        let more = GATEWAY.replace("[listen]", "[listen]\nadmin = \"127.0.0.1:0\"");
        assert!(check(&more).unwrap_err().contains("not here"));
        let both = format!("{EXAMPLE}[follow]\nprofile = \"p\"\n");
        assert!(check(&both).unwrap_err().contains("not here"));
        let silent = EXAMPLE.replace("gateway = \"127", "# gateway = \"127");
        assert_eq!(check(&silent).unwrap_err(), "`listen.gateway` is missing");
        assert!(check("state = \"s\"\n[listen]\n").unwrap_err().contains("neither"));
    }
}
