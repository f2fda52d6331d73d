//! The configuration file: the sum of what the edges are told, and nothing else.

mod listen;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use attorn_audit::{Kind, LineForm};
use attorn_net::Network;
use attorn_registry::is_trust_domain;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::exit::Failure;
use crate::files;

pub(crate) use self::listen::Listen;

/// `attorn.toml`. Unknown keys are refused. A process runs the roles that have a part here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of the registry, the journal and the keys. Relative to the file.
    pub(crate) state: PathBuf,
    /// Where the registry is kept; without it in `registry.db` of the folder `state`.
    pub(crate) registry: Option<attorn_store::Config>,
    /// Who issues tokens. Absent in a process that is a gateway alone.
    pub(crate) authority: Option<attorn_authority::Config>,
    /// Who enforces them. Absent in a process that is an authority alone.
    pub(crate) gateway: Option<attorn_gateway::Config>,
    /// APIs that this process stands in front of.
    #[serde(default)]
    pub(crate) guard: Vec<attorn_guard::Config>,
    /// How MCP servers that know nothing of Attorn reach their APIs.
    #[serde(default)]
    pub(crate) egress: Vec<attorn_egress::Config>,
    /// The authority that a gateway or guard without one follows.
    pub(crate) follow: Option<Follow>,
    /// The memory of used proofs that gateways and guards share. Without it each accepts only nonces of
    /// its own.
    pub(crate) shared_replays: Option<SharedReplays>,
    /// How this process writes its journal.
    #[serde(default)]
    pub(crate) journal: Journal,
    /// Systems that get the entries of this process's journal, all or of some kinds.
    #[serde(default)]
    pub(crate) ship: Vec<Ship>,
    /// Where the roles listen.
    pub(crate) listen: Listen,
    /// Certificate and key of every listener; plain HTTP is served on loopback only.
    pub(crate) tls: Option<Tls>,
    /// Proxies whose word counts for which certificate a client showed them. None by default.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// Where traces and logs go; nowhere if it is not there.
    pub(crate) otlp: Option<Otlp>,
}

/// What a gateway in a process of its own needs to know of its authority.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// Folder in which the gateway was enrolled: `attorn enroll --profile FOLDER`. It names the
    /// authority. Relative to the file.
    pub(crate) profile: PathBuf,
}

/// How a process writes its journal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    /// Size of a write-ahead segment in MiB, between 1 and 1024. It is set aside on the disk ahead.
    #[serde(default = "default_segment_mib")]
    pub(crate) segment_mib: u16,
    /// Entries older than so many days are removed, at least 1; without it none ever is. Their hashes
    /// stay. What is in the write-ahead segments is not removed yet: the latest `segment_mib`.
    pub(crate) keep_days: Option<u32>,
    /// Age recipients, `age1…`, who may read arguments and results. Without any, the journal has
    /// digests of them and nobody can read them; with some, every call of a tool writes files.
    #[serde(default)]
    pub(crate) auditors: Vec<String>,
    /// Seconds from one checkpoint that witnesses are asked to cosign to the next; at least 1. An
    /// export asks at once. Default 10.
    #[serde(default = "default_witness_every_s")]
    pub(crate) witness_every_s: u64,
    /// Who watches that this journal has one history.
    #[serde(default)]
    pub(crate) witnesses: Vec<Witness>,
}

impl Default for Journal {
    fn default() -> Self {
        let (segment_mib, witness_every_s) = (default_segment_mib(), default_witness_every_s());
        let (auditors, witnesses) = (Vec::new(), Vec::new());
        Self { segment_mib, keep_days: None, auditors, witness_every_s, witnesses }
    }
}

/// A system that gets the entries of this process's journal, in order, as lines of JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ship {
    /// Short name, `[a-z0-9-]`, at most 32. What it has accepted is remembered under it: another name
    /// begins with the first entry.
    pub(crate) name: String,
    /// Where batches are posted. Plain HTTP on loopback only.
    pub(crate) url: String,
    /// File with the value of the `Authorization` header, such as `Bearer …`, readable by its owner
    /// alone. Relative to the file.
    pub(crate) authorization_file: Option<PathBuf>,
    /// What a line is: `entry` for the entry as it was logged, `ocsf` for an event of OCSF 1.9.0. `entry`
    /// if it is not there.
    #[serde(default)]
    pub(crate) format: LineForm,
    /// Kinds of entries, such as `approval.requested`: only these are sent. All if it is not there.
    #[serde(default)]
    pub(crate) kinds: BTreeSet<Kind>,
    /// PEM file of the certificate authorities to trust instead of the public ones.
    pub(crate) roots: Option<PathBuf>,
}

impl Ship {
    /// Where it is remembered what the system has accepted.
    pub(crate) fn cursor(&self, state: &Path) -> PathBuf {
        state.join("ship").join(format!("{}.cursor", self.name))
    }
}

/// A witness after C2SP tlog-witness, best run by somebody else.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Witness {
    /// Its submission prefix: `/add-checkpoint` is added. Plain HTTP on loopback only.
    pub(crate) url: String,
    /// Its public key, `name+hash+base64`, as `attorn witness serve` prints it.
    pub(crate) key: String,
    /// PEM file of the certificate authorities to trust instead of the public ones.
    pub(crate) roots: Option<PathBuf>,
}

const fn default_segment_mib() -> u16 {
    32
}

const fn default_witness_every_s() -> u64 {
    10
}

/// A Redis or Valkey server that forgets nothing early: `maxmemory-policy` is `noeviction`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SharedReplays {
    /// `redis://[user@]host:port[/database]` on loopback, or `unix:///path`.
    pub(crate) url: String,
    /// File with the password, readable by its owner alone. Relative to the file.
    pub(crate) password_file: Option<PathBuf>,
}

/// A collector that takes OTLP over HTTP in JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// Its URL without a path: `/v1/traces` and `/v1/logs` are added. Plain HTTP on loopback only.
    pub(crate) endpoint: String,
    /// PEM file of the certificate authorities to trust instead of the public ones.
    pub(crate) roots: Option<PathBuf>,
}

/// PEM files. Relative to the configuration file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Certificate chain, leaf first.
    pub(crate) certificates: PathBuf,
    /// Private key.
    pub(crate) key: PathBuf,
    /// `none`, or `optional`: ask clients for a certificate and serve those without one as before.
    #[serde(default)]
    pub(crate) client_auth: ClientAuth,
    /// Authorities whose client certificates count (RFC 8705 section 2.1). Self-signed ones count by
    /// their registered thumbprint and need none.
    pub(crate) client_ca: Option<PathBuf>,
    /// Lists of revoked client certificates of `client_ca`. With them, a certificate that no list
    /// covers, and every one once its list has ended, does not count.
    pub(crate) client_revoked: Option<PathBuf>,
    /// SPIFFE trust domains whose SVIDs count.
    #[serde(default)]
    pub(crate) spiffe: Vec<TrustDomain>,
}

/// A proxy in front that ends the TLS of clients and sends their certificates in `Client-Cert`
/// (RFC 9440). It must be named by `addresses`, by `certificates`, or by both, which must then both fit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustedProxy {
    /// What the journal calls it.
    pub(crate) name: String,
    /// The listeners at which it counts: `authority`, `admin`, `gateway`.
    pub(crate) listeners: Vec<ListenerName>,
    /// Where it connects from: addresses, or blocks such as `10.1.2.0/24`. Everybody who can connect
    /// from there is trusted.
    #[serde(default)]
    pub(crate) addresses: Vec<Network>,
    /// PEM file of the certificates it shows in its own handshakes, compared whole.
    pub(crate) certificates: Option<PathBuf>,
}

/// A listener that clients with certificates come to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListenerName {
    /// Public endpoints of the authority.
    Authority,
    /// The admin API.
    Admin,
    /// The gateway.
    Gateway,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    /// Nobody is asked.
    #[default]
    None,
    /// Everybody is asked, and may have none.
    Optional,
}

/// One SPIFFE trust domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustDomain {
    /// Its name, as in `spiffe://<name>/…`.
    pub(crate) trust_domain: String,
    /// File with its trust bundle, a JWK set as a SPIFFE bundle endpoint serves it. Keep it fresh.
    pub(crate) bundle: Option<PathBuf>,
    /// URL of its bundle endpoint (SPIFFE Federation, profile `https_web`), instead of a file.
    pub(crate) bundle_endpoint: Option<String>,
    /// PEM file of the authorities that the endpoint's certificate is from, instead of the public ones.
    pub(crate) bundle_endpoint_roots: Option<PathBuf>,
    /// How long the last bundle counts while the endpoint gives none, in seconds, at most 604800.
    /// Default 86400.
    #[serde(default = "default_bundle_age_max_s")]
    pub(crate) bundle_age_max_s: u64,
}

const fn default_bundle_age_max_s() -> u64 {
    86_400
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
            tls.verify()?;
            for path in [&mut tls.client_ca, &mut tls.client_revoked].into_iter().flatten() {
                *path = folder.join(&path);
            }
            let of = |domain: &'_ mut TrustDomain| {
                for path in [&mut domain.bundle, &mut domain.bundle_endpoint_roots] {
                    *path = path.take().map(|path| folder.join(path));
                }
            };
            tls.spiffe.iter_mut().for_each(of);
        }
        config.registry.iter_mut().for_each(|registry| registry.resolve_paths(folder));
        let clients = config.authority.as_mut().and_then(|authority| authority.clients.as_mut());
        if let Some(roots) = clients.and_then(|clients| clients.metadata_roots.as_mut()) {
            *roots = folder.join(&roots);
        }
        let login = config.authority.as_mut().and_then(|authority| authority.login.as_mut());
        if let Some(login) = login {
            let files =
                [&mut login.client_key, &mut login.client_secret, &mut login.provider_roots];
            files.into_iter().flatten().for_each(|path| *path = folder.join(&*path));
        }
        let issuers = config.authority.iter_mut().flat_map(|own| &mut own.trusted_issuers);
        issuers.for_each(|issuer| issuer.resolve_paths(folder));
        for certificates in config.trusted_proxies.iter_mut().flat_map(|p| &mut p.certificates) {
            *certificates = folder.join(&*certificates);
        }
        if let Some(follow) = &mut config.follow {
            follow.profile = folder.join(&follow.profile);
        }
        let roots = config.journal.witnesses.iter_mut().filter_map(|one| one.roots.as_mut());
        roots.for_each(|roots| *roots = folder.join(&roots));
        let shared = config.shared_replays.as_mut();
        if let Some(password) = shared.and_then(|shared| shared.password_file.as_mut()) {
            *password = folder.join(&password);
        }
        for ship in &mut config.ship {
            for path in [&mut ship.authorization_file, &mut ship.roots].into_iter().flatten() {
                *path = folder.join(&path);
            }
        }
        for egress in &mut config.egress {
            let file = egress.key.as_mut().and_then(|key| key.file.as_mut());
            let files = file.into_iter().chain(&mut egress.roots);
            files.for_each(|path| *path = folder.join(&path));
        }
        if let Some(roots) = config.otlp.as_mut().and_then(|otlp| otlp.roots.as_mut()) {
            *roots = folder.join(&roots);
        }
        Ok(config)
    }

    /// One guard alone, which follows an authority elsewhere.
    pub(crate) fn of_guard(state: PathBuf, profile: PathBuf, guard: attorn_guard::Config) -> Self {
        Self {
            state,
            registry: None,
            authority: None,
            gateway: None,
            guard: vec![guard],
            egress: Vec::new(),
            follow: Some(Follow { profile }),
            shared_replays: None,
            journal: Journal::default(),
            ship: Vec::new(),
            listen: Listen::default(),
            tls: None,
            trusted_proxies: Vec::new(),
            otlp: None,
        }
    }

    /// Every role that runs has what it needs, and nothing else does.
    fn verify(&self) -> Result<(), String> {
        let Self { authority, gateway, guard, follow, listen, .. } = self;
        if !(1..=1024).contains(&self.journal.segment_mib) {
            return Err("`journal.segment_mib` is not between 1 and 1024".to_owned());
        }
        let names: BTreeSet<_> = self.ship.iter().map(|ship| ship.name.as_str()).collect();
        if names.len() < self.ship.len() || !names.iter().all(|name| is_short_name(name)) {
            return Err("each `ship.name` is its own, 1 to 32 of `a-z`, `0-9` and `-`".to_owned());
        }
        if self.journal.keep_days == Some(0) {
            return Err("`journal.keep_days` is at least 1; leave it out to keep all".to_owned());
        }
        if self.journal.witness_every_s == 0 {
            return Err("`journal.witness_every_s` is 0".to_owned());
        }
        let enforces = gateway.is_some() || !guard.is_empty();
        if self.shared_replays.is_some() && !enforces {
            return Err("`shared_replays` is for a gateway, which is not here".to_owned());
        }
        if self.registry.is_some() && authority.is_none() {
            return Err("`registry` is for an authority, which is not here".to_owned());
        }
        let apis: BTreeSet<_> = guard.iter().map(|guard| guard.public_url.as_str()).collect();
        if apis.len() < guard.len() {
            return Err("two of `[[guard]]` have one `public_url`".to_owned());
        }
        if !self.egress.is_empty() && (authority.is_none() || gateway.is_none()) {
            let what = "`[[egress]]` needs the keys of servers, which are where `[authority]` and \
                        `[gateway]` share a process";
            return Err(what.to_owned());
        }
        self.verify_proxies()?;
        let parts = [
            ("listen.authority", authority.is_some(), listen.authority.is_some()),
            ("listen.admin", authority.is_some(), listen.admin.is_some()),
            ("listen.gateway", gateway.is_some(), listen.gateway.is_some()),
            ("follow", enforces && authority.is_none(), follow.is_some()),
        ];
        for (name, wanted, given) in parts {
            match (wanted, given) {
                (true, false) => return Err(format!("`{name}` is missing")),
                (false, true) => return Err(format!("`{name}` is for a role that is not here")),
                (true, true) | (false, false) => {}
            }
        }
        match (authority, gateway) {
            (None, None) if guard.is_empty() => {
                Err("neither `[authority]` nor `[gateway]` nor `[[guard]]` is there".to_owned())
            }
            (None, None) => Ok(()),
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
    /// A listed proxy is known by something, and is heard only where certificates count.
    fn verify_proxies(&self) -> Result<(), String> {
        for proxy in &self.trusted_proxies {
            let name = &proxy.name;
            if proxy.addresses.is_empty() && proxy.certificates.is_none() {
                return Err(format!(
                    "the trusted proxy `{name}` has no addresses and no certificates"
                ));
            }
            if proxy.listeners.is_empty() {
                return Err(format!("the trusted proxy `{name}` has no listeners"));
            }
            // RFC 9440 section 4: between proxy and origin the header needs integrity as well.
            if self.tls.as_ref().is_none_or(|tls| tls.client_auth != ClientAuth::Optional) {
                return Err(
                    "`trusted_proxies` need [tls] with `client_auth = \"optional\"`".to_owned()
                );
            }
        }
        Ok(())
    }
}

fn is_short_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

impl Tls {
    /// Refuses trust that nothing would be judged by, or by a name nobody has.
    fn verify(&self) -> Result<(), String> {
        if self.client_auth == ClientAuth::None && self.client_ca.is_some() {
            return Err("`tls.client_ca` needs `tls.client_auth = \"optional\"`".to_owned());
        }
        if self.client_ca.is_none() && self.client_revoked.is_some() {
            return Err("`tls.client_revoked` needs `tls.client_ca`".to_owned());
        }
        self.spiffe.iter().try_for_each(TrustDomain::verify)
    }
}

impl TrustDomain {
    fn verify(&self) -> Result<(), String> {
        let name = &self.trust_domain;
        if !is_trust_domain(name) {
            return Err(format!("`{name}` is no SPIFFE trust domain"));
        }
        if !(1..=604_800).contains(&self.bundle_age_max_s) {
            return Err(format!("{name}: `bundle_age_max_s` is between 1 and 604800"));
        }
        match (&self.bundle, &self.bundle_endpoint) {
            (Some(_), None) if self.bundle_endpoint_roots.is_none() => Ok(()),
            // SPIFFE Federation section 5.2.1.1: `https`, and nobody's name before the host.
            (None, Some(url)) => match Url::parse(url) {
                Ok(url) if url.scheme() == "https" && url.username().is_empty() => Ok(()),
                Ok(_) | Err(_) => Err(format!("{name}: `bundle_endpoint` is no https URL")),
            },
            (Some(_) | None, Some(_) | None) => {
                Err(format!("{name} needs either `bundle` or `bundle_endpoint`"))
            }
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
metrics = "127.0.0.1:7803"               # /metrics, /healthz and /readyz
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
    fn trust_in_clients_is_asked_for_and_named() {
        let tls = |more: &str| {
            check(&format!("{EXAMPLE}\n[tls]\ncertificates = \"c\"\nkey = \"k\"\n{more}"))
        };
        let config = tls("client_auth = \"optional\"\nclient_ca = \"ca.pem\"").unwrap();
        let tls_of = config.tls.unwrap();
        assert_eq!(tls_of.client_ca.as_deref(), Some(Path::new("/etc/attorn/ca.pem")));
        assert!(tls("client_ca = \"ca.pem\"").is_err());
        assert!(tls("client_auth = \"optional\"\nclient_revoked = \"crl.pem\"").is_err());
        assert!(tls("client_auth = \"required\"").is_err());
        let domain = |name: &str| {
            tls(&format!("[[tls.spiffe]]\ntrust_domain = \"{name}\"\nbundle = \"b.json\""))
        };
        assert!(domain("example.org").is_ok());
        let bundle =
            |more: &str| tls(&format!("[[tls.spiffe]]\ntrust_domain = \"example.org\"\n{more}"));
        let endpoint = "bundle_endpoint = \"https://spire.example.org/\"\n";
        assert!(bundle(endpoint).is_ok());
        assert!(bundle(&format!("{endpoint}bundle_endpoint_roots = \"r\"")).is_ok());
        assert!(bundle("").unwrap_err().contains("needs either"));
        assert!(bundle(&format!("{endpoint}bundle = \"b\"")).is_err());
        assert!(bundle("bundle = \"b\"\nbundle_endpoint_roots = \"r\"").is_err());
        assert!(bundle(&endpoint.replace("https", "http")).unwrap_err().contains("https"));
        assert!(bundle(&format!("{endpoint}bundle_age_max_s = 0")).is_err());
        assert!(domain("spiffe://example.org").is_err());
    }

    #[test]
    fn a_trusted_proxy_is_named_and_has_tls() {
        let tls = "[tls]\ncertificates = \"c\"\nkey = \"k\"\nclient_auth = \"optional\"\n";
        let with = |tls: &str, more: &str| {
            let listed = format!("[[trusted_proxies]]\nname = \"edge\"\n{more}\n");
            check(&format!("{EXAMPLE}\n{tls}\n{listed}"))
        };
        let at = "listeners = [\"gateway\"]\n";
        let config = with(tls, &format!("{at}certificates = \"edge.pem\"")).unwrap();
        let certificates = config.trusted_proxies[0].certificates.as_deref();
        assert_eq!(certificates, Some(Path::new("/etc/attorn/edge.pem")));
        let by_address = format!("{at}addresses = [\"10.1.2.0/24\", \"2001:db8::1\"]");
        assert!(with(tls, &by_address).is_ok());
        assert!(with("", &by_address).unwrap_err().contains("client_auth"));
        assert!(with(tls, at).unwrap_err().contains("no addresses"));
        assert!(with(tls, "listeners = []\naddresses = [\"10.1.2.3\"]").is_err());
        assert!(with(tls, &format!("{at}addresses = [\"0.0.0.0/0\"]")).is_err());
        assert!(with(tls, "listeners = [\"metrics\"]\naddresses = [\"10.1.2.3\"]").is_err());
        // Nobody is listed by default.
        assert!(check(EXAMPLE).unwrap().trusted_proxies.is_empty());
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

    #[test]
    fn what_gateways_share_and_how_journals_are_cut_is_checked() {
        let shared = "[shared_replays]\nurl = \"redis://127.0.0.1:6379\"\npassword_file = \"p\"\n";
        let config = check(&format!("{EXAMPLE}{shared}")).unwrap();
        let password = config.shared_replays.unwrap().password_file;
        assert_eq!(password.as_deref(), Some(Path::new("/etc/attorn/p")));
        let alone = EXAMPLE.replace("gateway = \"127", "# gateway = \"127");
        let alone = alone.replace("[gateway]\npublic_url", "# public_url");
        assert!(check(&alone).is_ok());
        assert!(check(&format!("{alone}{shared}")).unwrap_err().contains("shared_replays"));
        let cut = |mib: u16| check(&format!("{EXAMPLE}[journal]\nsegment_mib = {mib}\n"));
        assert_eq!(cut(1).unwrap().journal.segment_mib, 1);
        assert!(cut(0).is_err() && cut(1025).is_err());
        let keep = |days: u32| check(&format!("{EXAMPLE}[journal]\nkeep_days = {days}\n"));
        assert_eq!(keep(1).unwrap().journal.keep_days, Some(1));
        assert_eq!(keep(1).unwrap().journal.segment_mib, 32);
        assert!(keep(0).is_err());
    }

    #[test]
    fn ships_have_names_of_their_own() {
        let ship = |name: &str| format!("[[ship]]\nname = \"{name}\"\nurl = \"http://[::1]:1/\"\n");
        let with = |more: String| check(&format!("{EXAMPLE}{more}"));
        let file = "authorization_file = \"t\"\n";
        let config = with(ship("siem") + file + &ship("siem-2")).unwrap();
        let first = config.ship.first().unwrap();
        assert_eq!(first.authorization_file.as_deref(), Some(Path::new("/etc/attorn/t")));
        assert_eq!(first.cursor(Path::new("/s")), Path::new("/s/ship/siem.cursor"));
        assert_eq!(first.format, LineForm::Entry);
        let with_format = |format: &str| with(ship("siem") + &format!("format = \"{format}\"\n"));
        assert_eq!(with_format("ocsf").unwrap().ship[0].format, LineForm::Ocsf);
        assert!(with_format("cef").is_err());
        assert!(with(ship("siem") + &ship("siem")).is_err());
        for name in ["", "../x", "Siem", &"s".repeat(33)] {
            assert!(with(ship(name)).is_err(), "{name}");
        }
        let witness =
            "[[journal.witnesses]]\nurl = \"http://127.0.0.1:1\"\nkey = \"w\"\nroots = \"r\"";
        let config = check(&format!("{EXAMPLE}{witness}\n")).unwrap();
        let roots = config.journal.witnesses[0].roots.as_deref();
        assert_eq!(roots, Some(Path::new("/etc/attorn/r")));
        assert_eq!((config.journal.segment_mib, config.journal.witness_every_s), (32, 10));
        assert!(check(&format!("{EXAMPLE}[journal]\nwitness_every_s = 0\n")).is_err());
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
    fn a_guard_stands_beside_an_authority_or_follows_one() {
        let guard = "[[guard]]\npublic_url = \"https://api.example/billing\"\n\
                     listen = \"127.0.0.1:7810\"\nupstream = \"http://127.0.0.1:9000\"\n";
        assert_eq!(check(&format!("{EXAMPLE}{guard}")).unwrap().guard.len(), 1);
        assert!(check(&format!("{EXAMPLE}{guard}{guard}")).unwrap_err().contains("public_url"));
        let wrong = guard.replace("https://api", "http://api");
        assert!(check(&format!("{EXAMPLE}{wrong}")).unwrap_err().contains("canonical"));
        let alone = format!("state = \"s\"\n[listen]\n{guard}");
        assert_eq!(check(&alone).unwrap_err(), "`follow` is missing");
        assert!(check(&format!("{alone}[follow]\nprofile = \"p\"\n")).is_ok());
        let shared = "[shared_replays]\nurl = \"redis://127.0.0.1:6379\"\n";
        assert!(check(&format!("{alone}[follow]\nprofile = \"p\"\n{shared}")).is_ok());
    }

    #[test]
    fn roles_have_what_they_need_and_no_more() {
        let registry = "registry.url = \"postgres://a@b/c\"\nregistry.password_file = \"p\"\n";
        let password =
            check(&format!("{registry}{EXAMPLE}")).unwrap().registry.unwrap().password_file;
        assert_eq!(password.as_deref(), Some(Path::new("/etc/attorn/p")));
        assert!(check(&format!("{registry}{GATEWAY}")).unwrap_err().contains("not here"));
        let more = GATEWAY.replace("[listen]", "[listen]\nadmin = \"127.0.0.1:0\"");
        assert!(check(&more).unwrap_err().contains("not here"));
        let both = format!("{EXAMPLE}[follow]\nprofile = \"p\"\n");
        assert!(check(&both).unwrap_err().contains("not here"));
        let silent = EXAMPLE.replace("gateway = \"127", "# gateway = \"127");
        assert_eq!(check(&silent).unwrap_err(), "`listen.gateway` is missing");
        assert!(check("state = \"s\"\n[listen]\n").unwrap_err().contains("neither"));
    }
}
