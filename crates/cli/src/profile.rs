//! The folder of an operator or agent: where the authority is, who we are there, and our key.
//!
//! ```text
//! <folder>/operator/identity.toml       address and client id
//! <folder>/operator/key.pem             private key, 0600, never leaves this folder
//! <folder>/gateway/…                    the same for a gateway in a process of its own
//! <folder>/agents/<name>/identity.toml
//! <folder>/agents/<name>/key.pem
//! <folder>/…/certificate.pem            only for who is known by a certificate
//! ```

use std::path::{Path, PathBuf};

use attorn_connect::token::Credential;
use attorn_connect::{World, key_file};
use attorn_jose::{CertificateThumbprint, SigningKey};
use attorn_net::{ClientIdentity, certificates_of_pem};
use attorn_registry::Name;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::files;
use crate::outside::{causes, connect_world_as};

/// Who we are to one authority.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The issuer identifier.
    pub(crate) issuer: String,
    /// Our `client_id`.
    pub(crate) client_id: String,
    /// Our name in the registry.
    pub(crate) name: String,
    /// Where the admin API is; operators and gateways only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_url: Option<String>,
    /// Where servers are found that were granted after the enrolment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_url: Option<String>,
    /// PEM file of the certificate authorities to trust instead of the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<PathBuf>,
    /// The chain to show in handshakes, leaf first; then `key.pem` is its key and signs nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// Servers and their addresses, as known at enrolment.
    #[serde(default)]
    pub(crate) servers: Vec<KnownServer>,
}

/// An MCP server by the name people type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownServer {
    pub(crate) name: String,
    pub(crate) resource: String,
}

/// An identity and what proves it.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) identity: Identity,
    pub(crate) proof: Proof,
    /// The folder it was read from; nothing for one that is new.
    place: Option<PathBuf>,
}

/// What proves an identity.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A certificate and its key, for the handshake.
    Certificate(ClientIdentity),
    /// A key that signs.
    Key(SigningKey),
}

impl Proof {
    fn read(place: &Path, identity: &Identity) -> Result<Self, Failure> {
        let Some(certificate) = &identity.certificate else {
            let key = key_file::load(place, KEY).map_err(|e| Failure::usage(causes(&e)))?;
            return Ok(Self::Key(key));
        };
        Ok(Self::Certificate(ClientIdentity {
            certificates_pem: files::read_text(&place.join(certificate))?,
            key_pem: Zeroizing::new(files::read_private(&key_file::path(place, KEY))?),
        }))
    }

    pub(crate) fn credential(&self) -> Credential {
        match self {
            Self::Certificate(_) => Credential::Certificate,
            Self::Key(key) => Credential::Key(key.clone()),
        }
    }

    /// The thumbprint of the key, or of the certificate.
    pub(crate) fn thumbprint(&self) -> Result<String, Failure> {
        match self {
            Self::Key(key) => Ok(key.public().thumbprint().to_string()),
            Self::Certificate(identity) => thumbprint_of(identity.certificates_pem.as_bytes()),
        }
    }
}

/// `x5t#S256` of the first certificate of a PEM text: RFC 8705 section 3.1.
pub(crate) fn thumbprint_of(pem: &[u8]) -> Result<String, Failure> {
    let chain = certificates_of_pem(pem).map_err(|e| Failure::usage(causes(&e)))?;
    let leaf = chain.first().ok_or_else(|| Failure::usage("there is no certificate"))?;
    Ok(CertificateThumbprint::of_der(leaf).to_string())
}

/// Where a profile stands in the folder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who<'a> {
    Agent(&'a str),
    Gateway,
    Operator,
}

impl Profile {
    pub(crate) fn load(folder: &Path, who: Who<'_>) -> Result<Self, Failure> {
        let place = place(folder, who)?;
        let path = place.join(IDENTITY);
        if !path.exists() {
            return Err(not_enrolled(folder, who));
        }
        let identity = toml::from_str(&files::read_text(&path)?)
            .map_err(|e| Failure::usage(format!("`{}`: {}", path.display(), e.message())))?;
        let identity: Identity = identity;
        let proof = Proof::read(&place, &identity)?;
        Ok(Self { identity, proof, place: Some(place) })
    }

    /// One that was not kept yet.
    pub(crate) const fn new(identity: Identity, proof: Proof) -> Self {
        Self { identity, proof, place: None }
    }

    /// Whether it is known by a certificate.
    pub(crate) const fn is_certified(&self) -> bool {
        matches!(self.proof, Proof::Certificate(_))
    }

    /// The same, with what proves it as it stands in its folder now: certificates are replaced there
    /// before they end. Whose it is stays.
    pub(crate) fn renewed(&self) -> Result<Self, Failure> {
        let mut renewed = self.clone();
        if let Some(place) = &self.place {
            renewed.proof = Proof::read(place, &self.identity)?;
        }
        Ok(renewed)
    }

    /// What to reach authority and servers with.
    pub(crate) fn world(&self) -> Result<World, Failure> {
        let identity = match &self.proof {
            Proof::Certificate(identity) => Some(identity.clone()),
            Proof::Key(_) => None,
        };
        connect_world_as(self.identity.roots.as_deref(), identity)
    }

    /// Writes the key before the identity: an identity without its key would be useless.
    pub(crate) fn save(&self, folder: &Path, who: Who<'_>) -> Result<PathBuf, Failure> {
        let place = place(folder, who)?;
        files::make_private_folder(&place)?;
        let pem = match &self.proof {
            Proof::Key(key) => key.to_pkcs8_pem().map_err(|e| Failure::usage(e.to_string()))?,
            Proof::Certificate(ClientIdentity { certificates_pem, key_pem }) => {
                files::write_private(&place.join(CERTIFICATE), certificates_pem.as_bytes())?;
                key_pem.clone()
            }
        };
        files::write_private(&key_file::path(&place, KEY), pem.as_bytes())?;
        let identity =
            toml::to_string(&self.identity).map_err(|e| Failure::usage(e.to_string()))?;
        files::write_private(&place.join(IDENTITY), identity.as_bytes())?;
        Ok(place)
    }
}

/// `$XDG_CONFIG_HOME/attorn`, or `~/.config/attorn`.
pub(crate) fn default_folder() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|base| base.join("attorn"))
        .ok_or_else(|| Failure::usage("no home folder is known").next("attorn --profile DIR …"))
}

/// Names of the agents enrolled in this folder, sorted.
pub(crate) fn agents(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("agents")) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn place(folder: &Path, who: Who<'_>) -> Result<PathBuf, Failure> {
    match who {
        Who::Gateway => Ok(folder.join("gateway")),
        Who::Operator => Ok(folder.join("operator")),
        // The form of names leaves no way out of the folder.
        Who::Agent(name) => match Name::parse(name) {
            Ok(name) => Ok(folder.join("agents").join(name.to_string())),
            Err(e) => Err(Failure::usage(format!("`{name}`: {e}"))),
        },
    }
}

fn not_enrolled(folder: &Path, who: Who<'_>) -> Failure {
    match who {
        Who::Gateway => Failure::usage(format!("no gateway is enrolled in `{}`", folder.display()))
            .next("attorn enroll --url ISSUER --code @FILE --profile DIR"),
        Who::Operator => {
            Failure::usage(format!("no operator is enrolled in `{}`", folder.display())).next(
                "attorn enroll --url ISSUER --code @FILE   (or name the folder with --profile DIR)",
            )
        }
        Who::Agent(name) => {
            Failure::usage(format!("agent `{name}` is not enrolled in `{}`", folder.display()))
                .next("attorn agent enroll --url ISSUER --code @FILE")
        }
    }
}

const IDENTITY: &str = "identity.toml";
const KEY: &str = "key";
/// Beside the key, so that both are replaced in one place.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
