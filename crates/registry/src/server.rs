//! MCP servers and how to reach them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use attorn_jose::{CertificateThumbprint, Jkt};

use crate::{
    Class, KeyState, LifeCycle, Name, OwnerId, ReasonCode, ScopeSet, ServerId, Tool, ToolState,
};

/// Tools one server may have in the registry. Gateways report no new one beyond, and none is recorded.
pub const SERVER_TOOLS_MAX: usize = 1024;

/// A registered MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// Stable identifier.
    pub id: ServerId,
    /// Unique among servers, and part of the resource identifier.
    pub name: Name,
    /// Who answers for it.
    pub owner: Option<OwnerId>,
    /// Where it stands.
    pub state: LifeCycle,
    /// How to reach it.
    pub upstream: UpstreamSpec,
    /// The keys that stand for it, past ones included.
    pub keys: Vec<ServerKey>,
    /// Its tools by exact name, approved or not.
    pub tools: HashMap<String, Tool>,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
    /// The second in which its last stop ended, if it had one: it was resumed, or given another owner.
    /// Tokens from before do not count again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ended_s: Option<u64>,
    /// The classes for which it takes tokens that are bound to no key. None unless its owner says so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accept_bearer: BTreeSet<Class>,
}

/// The public part of a key that stands for a server: one that the gateway before it made and holds,
/// or one that the server holds itself. A certificate takes the place of the latter (RFC 8705 section
/// 2.2): its name is its thumbprint, and it signs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerKey {
    /// RFC 7638 thumbprint; of a certificate its own. No two servers share one.
    pub jkt: Jkt,
    /// The public JWK as canonical JSON. For a certificate what [`Self::text_of_certificate`] gives,
    /// which is no key.
    pub jwk: String,
    /// Where the key stands. Of each holder at most one is active.
    pub state: KeyState,
    /// Who has the private part.
    pub holder: KeyHolder,
}

impl ServerKey {
    /// What stands in the place of a JWK for a certificate: the member that names it in a token (RFC
    /// 8705 section 3.1), and nothing that a signature could be verified with.
    #[must_use]
    pub fn text_of_certificate(thumbprint: &CertificateThumbprint) -> String {
        format!("{{\"x5t#S256\":\"{thumbprint}\"}}")
    }

    /// The certificate, where it is one.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateThumbprint> {
        let thumbprint = CertificateThumbprint::from_bytes(*self.jkt.as_bytes());
        (self.jwk == Self::text_of_certificate(&thumbprint)).then_some(thumbprint)
    }
}

/// Who has the private part of a server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyHolder {
    /// The gateway that fronts the server; the server knows nothing of it.
    Gateway,
    /// The server itself.
    Server,
}

impl KeyHolder {
    /// Every holder.
    pub const ALL: [Self; 2] = [Self::Gateway, Self::Server];

    /// The holder in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Server => "server",
        }
    }
}

/// How an MCP server is reached. Every text is taken literally: nothing in it is expanded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum UpstreamSpec {
    /// Attorn's own administration API, which is no MCP server but is guarded like one.
    Builtin,
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: String,
    },
    /// A supervised child process, started without a shell.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its whole environment.
        env: BTreeMap<String, String>,
        /// SHA-256 of the program's file in lower-case hex; a file with another one is not started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
}

/// Why an MCP server cannot be registered as described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerRefusal {
    /// The program to start is empty, or a text for the process holds a NUL.
    #[error("the command, its arguments and its environment are non-empty texts without NUL")]
    Command,
    /// The program is given by a path that depends on where the gateway was started.
    #[error("the command is an absolute path, or a plain name that is looked up once")]
    CommandRelative,
    /// A variable that changes which code a program loads or runs.
    #[error("variables that change which code is loaded cannot be set")]
    Loader,
    /// The name is one of our own.
    #[error("the name is reserved")]
    NameReserved,
    /// The digest of the program is none, or there is no one file that it is of.
    #[error("`sha256` is 64 lower-case hex digits, and its command an absolute path")]
    Pin,
    /// The endpoint is not an absolute `http` or `https` URL without user information or fragment.
    #[error("the URL is http or https, without user information and fragment")]
    Url,
}

/// Without the query of a URL and the values of variables, which may be secrets.
impl fmt::Debug for UpstreamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin => f.write_str("Builtin"),
            Self::Http { url } => {
                let place = url.split('?').next().unwrap_or_default();
                f.debug_struct("Http").field("url", &place).finish_non_exhaustive()
            }
            Self::Stdio { command, args, env, sha256 } => f
                .debug_struct("Stdio")
                .field("command", command)
                .field("args", args)
                .field("env", &env.keys())
                .field("sha256", sha256)
                .finish(),
        }
    }
}

impl UpstreamSpec {
    /// Checks the description against the name it is registered under.
    ///
    /// Where the URL leads is judged when it is used, by address and not by text.
    ///
    /// # Errors
    /// See [`ServerRefusal`].
    pub fn verify_for(&self, name: &Name) -> Result<(), ServerRefusal> {
        match self {
            Self::Builtin => Ok(()),
            Self::Http { .. } | Self::Stdio { .. } if name.is_reserved() => {
                Err(ServerRefusal::NameReserved)
            }
            Self::Http { url } => plain_url(url),
            Self::Stdio { command, args, env, sha256 } => {
                let texts = args.iter().chain(env.keys()).chain(env.values());
                let clean = std::iter::once(command).chain(texts).all(|text| !text.contains('\0'));
                let named = env.keys().all(|key| !key.is_empty() && !key.contains('='));
                if !clean || !named || command.is_empty() {
                    return Err(ServerRefusal::Command);
                }
                if command.contains('/') && !command.starts_with('/') {
                    return Err(ServerRefusal::CommandRelative);
                }
                if env.iter().any(|(name, value)| is_loader(name, value)) {
                    return Err(ServerRefusal::Loader);
                }
                let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                let is_digest = |text: &String| text.len() == 64 && text.bytes().all(is_hex);
                // What a plain name means is found by the gateway, and is no one file.
                if sha256.as_ref().is_some_and(|it| !is_digest(it) || !command.starts_with('/')) {
                    return Err(ServerRefusal::Pin);
                }
                Ok(())
            }
        }
    }
}

/// Whether a variable makes a program load or run other code than that of its own path.
fn is_loader(name: &str, value: &str) -> bool {
    // Names of variables are compared without case: some systems do.
    let name = name.to_ascii_uppercase();
    if name == "PATH" {
        return value.split(':').any(|folder| !folder.starts_with('/'));
    }
    LOADERS.contains(&name.as_str()) || LOADER_PREFIXES.iter().any(|one| name.starts_with(one))
}

const LOADER_PREFIXES: [&str; 4] = ["LD_", "DYLD_", "BASH_FUNC_", "NPM_CONFIG_"];
const LOADERS: [&str; 29] = [
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GIT_SSH_COMMAND",
    "GLIBC_TUNABLES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "_JAVA_OPTIONS",
];

fn plain_url(url: &str) -> Result<(), ServerRefusal> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or(ServerRefusal::Url)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    // Texts that a URL parser would silently repair are refused here.
    let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '#' | '"' | '<' | '>' | '`');
    if authority.is_empty() || authority.contains('@') || url.chars().any(odd) {
        return Err(ServerRefusal::Url);
    }
    Ok(())
}

impl McpServer {
    /// Whether it takes a token that is bound to no key and unlocks this: every class of it is one
    /// for which it does. What unlocks nothing needs no such exception.
    #[must_use]
    pub fn accepts_bearer(&self, scope: &ScopeSet) -> bool {
        !scope.is_empty() && scope.iter().all(|one| self.accept_bearer.contains(&one.class))
    }

    /// Whether this is Attorn's own administration API.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        matches!(self.upstream, UpstreamSpec::Builtin)
    }

    /// The key that its gateway holds for it now, once it made one.
    #[must_use]
    pub fn active_key(&self) -> Option<&ServerKey> {
        self.accepted_keys().find(|key| key.holder == KeyHolder::Gateway)
    }

    /// The keys that stand for the server now.
    pub fn accepted_keys(&self) -> impl Iterator<Item = &ServerKey> {
        self.keys.iter().filter(|key| key.state == KeyState::Active)
    }

    /// The tool of this exact name, if it may be called.
    ///
    /// # Errors
    /// The tool is unknown, was never approved, or changed since.
    pub fn approved_tool(&self, name: &str) -> Result<&Tool, ReasonCode> {
        let tool = self.tools.get(name).ok_or(ReasonCode::ToolUnknown)?;
        match tool.state() {
            ToolState::Approved(_) => Ok(tool),
            ToolState::Changed => Err(ReasonCode::ToolDefinitionChanged),
            ToolState::Unconfirmed => Err(ReasonCode::ToolUnconfirmed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;
    use crate::fixtures::{name, server, tool};

    fn http(url: &str) -> UpstreamSpec {
        UpstreamSpec::Http { url: url.to_owned() }
    }

    #[test]
    fn secrets_of_an_upstream_stay_out_of_debug_output() {
        let env = BTreeMap::from([("KEY".to_owned(), "s3cret".to_owned())]);
        let (command, args) = ("run".into(), vec!["-x".into()]);
        let stdio = UpstreamSpec::Stdio { command, args, env, sha256: None };
        let http = UpstreamSpec::Http { url: "http://127.0.0.1:9/mcp?key=s3cret".into() };
        for (upstream, told) in [(stdio, "KEY"), (http, "http://127.0.0.1:9/mcp")] {
            let shown = format!("{upstream:?}");
            assert!(shown.contains(told) && !shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn plain_urls_are_taken() {
        for url in ["https://crm.example/mcp", "http://127.0.0.1:9000/mcp?x=1", "https://[::1]/"] {
            assert_eq!(http(url).verify_for(&name("crm")), Ok(()), "{url}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        for url in [
            "",
            "crm.example",
            "file:///etc/passwd",
            "unix:/x",
            "https://",
            "https:///x",
            "https://user@host/",
            "https://host/#f",
            "https://ho\tst/",
            "https:\\\\host",
            "HTTPS://host/",
            " https://host/",
            "https://hőst/",
        ] {
            assert_eq!(http(url).verify_for(&name("crm")), Err(ServerRefusal::Url), "{url:?}");
        }
    }

    fn stdio(command: &str, argument: &str, variable: &str) -> UpstreamSpec {
        UpstreamSpec::Stdio {
            command: command.to_owned(),
            args: vec![argument.to_owned()],
            env: BTreeMap::from([(variable.to_owned(), "$HOME".to_owned())]),
            sha256: None,
        }
    }

    #[test]
    fn a_pin_is_a_digest_of_one_file() {
        let pinned = |command: &str, digest: &str| {
            let (command, sha256) = (command.to_owned(), Some(digest.to_owned()));
            UpstreamSpec::Stdio { command, args: Vec::new(), env: BTreeMap::new(), sha256 }
                .verify_for(&name("crm"))
        };
        assert_eq!(pinned("/usr/bin/npx", &"0a".repeat(32)), Ok(()));
        let bad =
            [("/npx", ""), ("/npx", "0a"), ("npx", &"0a".repeat(32)), ("/npx", &"0A".repeat(32))];
        for (command, digest) in bad {
            assert_eq!(pinned(command, digest), Err(ServerRefusal::Pin), "{command} {digest}");
        }
    }

    #[test]
    fn a_command_is_literal_text() {
        assert_eq!(stdio("npx", "$(id)", "A").verify_for(&name("crm")), Ok(()));
        for bad in [stdio("", "a", "A"), stdio("n\0", "a", "A"), stdio("n", "a\0", "A")] {
            assert_eq!(bad.verify_for(&name("crm")), Err(ServerRefusal::Command));
        }
        for bad in ["", "A=B"] {
            let refused = stdio("npx", "a", bad).verify_for(&name("crm"));
            assert_eq!(refused, Err(ServerRefusal::Command));
        }
    }

    #[test]
    fn a_command_does_not_depend_on_where_the_gateway_was_started() {
        for good in ["/usr/bin/npx", "npx"] {
            assert_eq!(stdio(good, "a", "A").verify_for(&name("crm")), Ok(()));
        }
        for bad in ["./npx", "bin/npx", "../npx"] {
            let refused = stdio(bad, "a", "A").verify_for(&name("crm"));
            assert_eq!(refused, Err(ServerRefusal::CommandRelative));
        }
    }

    #[test]
    fn variables_that_load_code_are_refused() {
        for good in ["TOKEN", "LANG", "PYTHONUNBUFFERED", "NODE_ENV", "MY_LD_PRELOAD"] {
            assert_eq!(stdio("npx", "a", good).verify_for(&name("crm")), Ok(()), "{good}");
        }
        for bad in [
            "LD_PRELOAD",
            "ld_library_path",
            "DYLD_INSERT_LIBRARIES",
            "NODE_OPTIONS",
            "PYTHONPATH",
            "BASH_ENV",
            "BASH_FUNC_ls%%",
            "PATH",
        ] {
            let refused = stdio("npx", "a", bad).verify_for(&name("crm"));
            assert_eq!(refused, Err(ServerRefusal::Loader), "{bad}");
        }
        assert!(!is_loader("PATH", "/usr/bin:/bin"));
        assert!(is_loader("PATH", "/usr/bin:."));
        assert!(is_loader("PATH", "/usr/bin:"));
    }

    #[test]
    fn only_our_own_api_takes_a_reserved_name() {
        assert_eq!(UpstreamSpec::Builtin.verify_for(&name("admin")), Ok(()));
        let refused = http("https://crm.example/").verify_for(&name("admin"));
        assert_eq!(refused, Err(ServerRefusal::NameReserved));
    }

    #[test]
    fn a_tool_is_found_by_its_exact_name() {
        let server = server("crm", vec![tool("read_file", Some(Class::Read)), tool("new", None)]);
        assert!(server.approved_tool("read_file").is_ok());
        assert_eq!(server.approved_tool("new"), Err(ReasonCode::ToolUnconfirmed));
        for twin in ["Read_File", " read_file", "read_file\u{200b}", "read_file.", "read_file%00"] {
            assert_eq!(server.approved_tool(twin), Err(ReasonCode::ToolUnknown), "{twin:?}");
        }
    }
}
