//! A server as a public registry describes it (`server.json`), and what speaks against taking it.
//!
//! Implemented: the members of the MCP registry's schema of 2025-09-29 that say what the server is,
//! where it is reached, and which package it is; other members are passed over. *Not* implemented:
//! fetching anything, arguments and variables of packages, and `sse` remotes.
//!
//! A registry proves whose namespace a name is when somebody publishes. What leaves it carries no
//! proof of that, so a document is believed only with a signature of its own; see
//! [`ServerDocument::proof_text`].

mod likeness;

use attorn_json::Limits;
use serde::{Deserialize, Serialize};

use self::likeness::looks_like;

/// What a `server.json` says, as far as it counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDocument {
    /// `namespace/name`, the namespace a domain name turned round.
    pub name: String,
    /// The exact version.
    pub version: String,
    /// Addresses of Streamable HTTP without variables.
    pub remotes: Vec<String>,
    /// Packages to install.
    pub packages: Vec<ImportedPackage>,
    /// Whether the registry says that the server is deprecated or deleted.
    pub is_withdrawn: bool,
}

/// A package of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedPackage {
    /// Its name in its own registry, or an address.
    pub identifier: String,
    /// SHA-256 of its file in lower-case hex, if the document says it.
    pub sha256: Option<String>,
}

/// Why a text is not taken as a `server.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRefusal {
    /// Not strict JSON, or without the members that the schema requires.
    #[error("not a server.json")]
    Form,
    /// A hash that is none.
    #[error("`fileSha256` is 64 lower-case hex digits")]
    Hash,
    /// The name is not `namespace/name`.
    #[error("the name is a namespace and a name, with one slash between them")]
    Name,
    /// An identifier that is too long, or has characters that would not be seen for what they are.
    #[error("the identifier of a package is plain ASCII of at most 512 bytes")]
    PackageIdentifier,
    /// A version that can become another one.
    #[error("a version is exact: no range, and not `latest`")]
    Version,
}

/// What speaks against a server of a registry. An owner who takes it anyway names each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportFinding {
    /// Its name, or that of its package, is or almost is that of an approved server.
    LooksLikeApproved,
    /// Nobody showed that the document is by whom its namespace belongs to.
    NamespaceUnproven,
    /// The package at hand is not the one that the document describes.
    PackageHashDiffers,
    /// The document does not say which bytes its package is.
    PackageHashMissing,
    /// The package was not at hand, so nobody compared it.
    PackageNotCompared,
    /// The registry says that it is deprecated or deleted.
    Withdrawn,
}

/// An approved server, for comparison.
#[derive(Clone, Copy, Debug)]
pub struct ApprovedNames<'a> {
    /// Its name here.
    pub name: &'a str,
    /// Its name in the registry it came from.
    pub source: Option<&'a str>,
    /// The package it came from.
    pub package: Option<&'a str>,
}

/// What is known about a document beside itself.
#[derive(Clone, Debug)]
pub struct ImportFacts<'a> {
    /// The name it is to have here.
    pub name: &'a str,
    /// A key of its namespace signed it.
    pub namespace_proven: bool,
    /// The package that is to run; none where it is reached by its address.
    pub package: Option<&'a ImportedPackage>,
    /// SHA-256 of the package at hand, in hex.
    pub package_sha256: Option<&'a str>,
    /// Every server that is approved.
    pub approved: &'a [ApprovedNames<'a>],
}

impl ImportFinding {
    /// Every finding.
    pub const ALL: [Self; 6] = [
        Self::LooksLikeApproved,
        Self::NamespaceUnproven,
        Self::PackageHashDiffers,
        Self::PackageHashMissing,
        Self::PackageNotCompared,
        Self::Withdrawn,
    ];

    /// The finding as records and commands spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LooksLikeApproved => "looks_like_approved",
            Self::NamespaceUnproven => "namespace_unproven",
            Self::PackageHashDiffers => "package_hash_differs",
            Self::PackageHashMissing => "package_hash_missing",
            Self::PackageNotCompared => "package_not_compared",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// One line for a person.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::LooksLikeApproved => "its name is, or almost is, that of an approved server",
            Self::NamespaceUnproven => "nobody showed that its namespace's owner made it",
            Self::PackageHashDiffers => "the package is not the one that the document describes",
            Self::PackageHashMissing => "the document does not say which bytes its package is",
            Self::PackageNotCompared => "the package was not compared with the document's hash",
            Self::Withdrawn => "the registry says that it is deprecated or deleted",
        }
    }
}

impl ServerDocument {
    /// Reads a `server.json`, or a registry's answer that holds one as `server`.
    ///
    /// # Errors
    /// See [`DocumentRefusal`].
    pub fn parse(text: &str) -> Result<Self, DocumentRefusal> {
        let limits = Limits { bytes_max: DOCUMENT_BYTES_MAX, ..Limits::CONFIG };
        let document = attorn_json::parse(text.as_bytes(), &limits);
        let document = document.map_err(|_| DocumentRefusal::Form)?;
        let has = |member: &&str| document.value().member(member).is_some();
        let (server, status): (ServerWire, _) = if has(&"server") {
            // Two documents in one would be read one way by us and the other way by somebody else.
            if OWN_MEMBERS.iter().any(has) {
                return Err(DocumentRefusal::Form);
            }
            let answer: AnswerWire = document.to().map_err(|_| DocumentRefusal::Form)?;
            (answer.server, answer.meta.status())
        } else {
            (document.to().map_err(|_| DocumentRefusal::Form)?, None)
        };
        let ServerWire { name, version, status: own_status, remotes, packages } = server;
        let status = status.or(own_status);
        verify_name(&name)?;
        verify_version(&version)?;
        let is_plain = |remote: &RemoteWire| {
            remote.kind == "streamable-http" && !remote.url.contains(['{', '}'])
        };
        Ok(Self {
            name,
            version,
            remotes: remotes.into_iter().filter(is_plain).map(|remote| remote.url).collect(),
            packages: packages.into_iter().map(PackageWire::read).collect::<Result<_, _>>()?,
            is_withdrawn: status.is_some_and(|status| status != "active"),
        })
    }

    /// Whose name it is: what stands before the slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.name.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name without its namespace.
    #[must_use]
    pub fn last_name(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, name)| name)
    }

    /// What the key of a namespace signs: this name, and this digest of the text as it came.
    #[must_use]
    pub fn proof_text(&self, sha256: &str) -> String {
        format!("attorn/server-json/v1\n{}\n{sha256}\n", self.name)
    }

    /// What speaks against it.
    #[must_use]
    pub fn findings(&self, facts: &ImportFacts<'_>) -> Vec<ImportFinding> {
        let mut findings = Vec::new();
        if self.resembles(facts) {
            findings.push(ImportFinding::LooksLikeApproved);
        }
        if !facts.namespace_proven {
            findings.push(ImportFinding::NamespaceUnproven);
        }
        if let Some(package) = facts.package {
            findings.extend(match (&package.sha256, facts.package_sha256) {
                (None, _) => Some(ImportFinding::PackageHashMissing),
                (Some(_), None) => Some(ImportFinding::PackageNotCompared),
                (Some(told), Some(found)) if told == found => None,
                (Some(_), Some(_)) => Some(ImportFinding::PackageHashDiffers),
            });
        }
        if self.is_withdrawn {
            findings.push(ImportFinding::Withdrawn);
        }
        findings
    }

    /// Whether any of its names could be taken for one of an approved server of another source.
    fn resembles(&self, facts: &ImportFacts<'_>) -> bool {
        let package = facts.package.map(|package| package.identifier.as_str());
        let own = [Some(facts.name), Some(self.name.as_str()), Some(self.last_name()), package];
        // Whoever copies a server claims its name too, so the name alone says nothing.
        let is_same_source = |one: &&ApprovedNames<'_>| {
            facts.namespace_proven && one.source == Some(self.name.as_str())
        };
        let others = facts.approved.iter().filter(|one| !is_same_source(one));
        others
            .flat_map(|one| [Some(one.name), one.source, one.package])
            .flatten()
            .any(|other| own.iter().flatten().any(|own| looks_like(own, other)))
    }
}

#[derive(Deserialize)]
struct AnswerWire {
    server: ServerWire,
    #[serde(default, rename = "_meta")]
    meta: MetaWire,
}

#[derive(Default, Deserialize)]
struct MetaWire {
    status: Option<String>,
    #[serde(rename = "io.modelcontextprotocol.registry/official")]
    official: Option<OfficialWire>,
}

#[derive(Deserialize)]
struct OfficialWire {
    status: Option<String>,
}

#[derive(Deserialize)]
struct ServerWire {
    name: String,
    version: String,
    status: Option<String>,
    #[serde(default)]
    remotes: Vec<RemoteWire>,
    #[serde(default)]
    packages: Vec<PackageWire>,
}

#[derive(Deserialize)]
struct RemoteWire {
    #[serde(rename = "type")]
    kind: String,
    url: String,
}

#[derive(Deserialize)]
struct PackageWire {
    identifier: String,
    version: String,
    #[serde(rename = "fileSha256")]
    sha256: Option<String>,
}

impl MetaWire {
    fn status(self) -> Option<String> {
        self.official.and_then(|official| official.status).or(self.status)
    }
}

impl PackageWire {
    fn read(self) -> Result<ImportedPackage, DocumentRefusal> {
        verify_version(&self.version)?;
        let is_long = self.identifier.len() > IDENTIFIER_BYTES_MAX;
        let is_plain = self.identifier.bytes().all(|b| b.is_ascii_graphic());
        if self.identifier.is_empty() || is_long || !is_plain {
            return Err(DocumentRefusal::PackageIdentifier);
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_hash = |text: &String| text.len() == 64 && text.bytes().all(is_hex);
        if self.sha256.as_ref().is_some_and(|text| !is_hash(text)) {
            return Err(DocumentRefusal::Hash);
        }
        Ok(ImportedPackage { identifier: self.identifier, sha256: self.sha256 })
    }
}

/// As the schema's pattern and lengths have it.
fn verify_name(name: &str) -> Result<(), DocumentRefusal> {
    let (namespace, last) = name.split_once('/').ok_or(DocumentRefusal::Name)?;
    let of_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let of_name = |byte: u8| of_domain(byte) || byte == b'_';
    let is_named = !namespace.is_empty() && !last.is_empty() && name.len() <= 200;
    if is_named && namespace.bytes().all(of_domain) && last.bytes().all(of_name) {
        Ok(())
    } else {
        Err(DocumentRefusal::Name)
    }
}

fn verify_version(version: &str) -> Result<(), DocumentRefusal> {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_');
    let is_open = version.split('.').any(|part| matches!(part, "x" | "X" | ""));
    if version == "latest" || version.len() > 255 || is_open || !version.bytes().all(is_plain) {
        return Err(DocumentRefusal::Version);
    }
    Ok(())
}

/// The members of a document itself, which an answer around it does not have.
const OWN_MEMBERS: [&str; 5] = ["name", "packages", "remotes", "status", "version"];
/// Identifiers are names or addresses. Each is compared with those of every approved server.
const IDENTIFIER_BYTES_MAX: usize = 512;
/// A document is some kilobytes.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests;
