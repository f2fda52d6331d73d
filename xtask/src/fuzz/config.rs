//! The configuration: what is accepted keeps its limits, and no key is passed over.
//!
//! `[authority]` and `[gateway]` are read as the command reads them. Everything else of the file is not
//! judged here: the command's own reading of the whole is private to it.

use attorn_oauth::resource::IssuerUrl;
use serde::Deserialize;
use url::{Host, Url};

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const CONFIG_LOAD: Target = Target {
    name: "config_load",
    oracle: "accepted: tokens live 1 to 300 s, URLs are canonical and https or loopback, bodies \
             are bounded; a key nobody knows refuses it; written anew it is read the same",
    prepare,
};

/// The parts that edges define, as they stand in `attorn.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    authority: Option<attorn_authority::Config>,
    gateway: Option<attorn_gateway::Config>,
}

const WORDS: &[&str] = &[
    "[authority]\n",
    "[gateway]\n",
    "issuer = ",
    "\"",
    "'''",
    "\"\"\"",
    " = ",
    "#",
    "\n",
    "true",
    "0x10",
    "1_000",
    "inf",
    "-1",
    "[]",
    "{}",
    "\\u0000",
    "hosts = [\"a\"]\n",
    "relist_s = 0\n",
    "body_bytes_max = 4194305\n",
    "token_lifetime_s = 301\n",
    "\"gateway\".",
    "authority.x = 1\n",
];

const BOTH: &str = r#"[authority]
issuer = "http://127.0.0.1:7800"
admin_url = "http://127.0.0.1:7801"
gateway_url = "http://127.0.0.1:7802"
token_lifetime_s = 120
irreversible_token_lifetime_s = 60

[gateway]
public_url = "http://127.0.0.1:7802"
hosts = ["gw.example"]
origins = ["https://app.example"]
body_bytes_max = 65536
relist_s = 60
"#;

const GATEWAY: &str = "[gateway]\npublic_url = \"https://mcp.example.com\"\n";
const AUTHORITY: &str = "authority = { issuer = \"https://id.example/t/a\", admin_url = \
                         \"https://admin.example\", gateway_url = \"https://gw.example:8443\" }\n";

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let seeds = [BOTH, GATEWAY, AUTHORITY].map(|text| text.as_bytes().to_vec()).into();
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn load(text: &str) -> Result<Parts, String> {
    let parts: Parts = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(authority) = &parts.authority {
        authority.verify().map_err(|error| error.to_string())?;
    }
    Ok(parts)
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
    let parts = match load(text) {
        Ok(parts) => parts,
        Err(refusal) => {
            let line = refusal.lines().last().unwrap_or_default().to_owned();
            return Ok(Seen::refused(&line));
        }
    };
    if let Some(authority) = &parts.authority {
        let lifetimes = [authority.token_lifetime_s, authority.irreversible_token_lifetime_s];
        ensure(lifetimes.iter().all(|s| (1..=300).contains(s)), "a token lives too long")?;
        for url in [&authority.issuer, &authority.admin_url, &authority.gateway_url] {
            ensure(IssuerUrl::parse(url).is_ok(), "a URL that is compared is not canonical")?;
            ensure(is_private(url), "plain http off loopback")?;
        }
    }
    if let Some(gateway) = &parts.gateway {
        ensure((1..=4 << 20).contains(&gateway.body_bytes_max.get()), "a body without bound")?;
        ensure(is_private(gateway.public_url.as_str()), "plain http off loopback")?;
    }
    // Written anew by the TOML library, it is read the same.
    let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let written = toml::to_string(&table).map_err(|error| error.to_string())?;
    let again = load(&written).map_err(|error| format!("refused when written anew: {error}"))?;
    ensure(format!("{again:?}") == format!("{parts:?}"), "read differently when written anew")?;
    for part in ["authority", "gateway"] {
        let mut more = table.clone();
        if let Some(members) = more.get_mut(part).and_then(toml::Value::as_table_mut) {
            members.insert("public_ur1".to_owned(), toml::Value::from("x"));
            let more = toml::to_string(&more).map_err(|error| error.to_string())?;
            ensure(load(&more).is_err(), "a key nobody knows is passed over")?;
        }
    }
    Ok(Seen::accepted(&(parts.authority.is_some(), parts.gateway.is_some())))
}

fn is_private(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || loopback
}
