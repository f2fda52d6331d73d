//! URLs that are compared byte by byte: one URL has one accepted spelling.

use attorn_gateway::PublicUrl;
use attorn_oauth::resource::{IssuerUrl, ResourceIndicator};
use url::{Host, Url};

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const URI_CANONICAL: Target = Target {
    name: "uri_canonical",
    oracle: "an accepted URL is what a URL parser writes, https or loopback, without user, query \
             and fragment; every other spelling of it is refused; its metadata has its origin",
    prepare,
};

const WORDS: &[&str] = &[
    "https://",
    "http://",
    "127.0.0.1",
    "[::1]",
    "localhost",
    "@",
    ":443",
    ":80",
    "/",
    "//",
    "/..",
    "/.",
    "?",
    "#",
    "%2e",
    "%2F",
    "\\",
    "xn--",
    "\u{e9}",
    "0x7f.1",
    ".",
    ":",
    "\t",
    "\n",
    " ",
];

const SEEDS: &[&str] = &[
    "https://gateway.example/billing/mcp",
    "https://gateway.example:8443/billing/mcp",
    "https://gateway.example/",
    "https://auth.example",
    "https://auth.example/t/a",
    "http://127.0.0.1:8080/billing/mcp",
    "http://127.0.0.1:8080",
    "http://[::1]:8080/billing/mcp",
    "http://localhost/billing/mcp",
    "https://xn--mgbh0fb.example/%C3%A9",
    "https://GATEWAY.example/mcp",
    "https://gateway.example:443/mcp",
    "https://user:secret@gateway.example/mcp",
    "https://gateway.example/a/../mcp?x#y",
    "http://2130706433/mcp",
    "spiffe://example.org/agent/billing",
    "urn:example:mcp",
];

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds: Vec<Vec<u8>> = SEEDS.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.extend(corpus.texts("mcp/definitions.json", "/name")?);
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
    let resource = ResourceIndicator::parse(text);
    let issuer = IssuerUrl::parse(text);
    let public = PublicUrl::parse(text);
    let metadata = [
        resource.as_ref().ok().map(ResourceIndicator::metadata_url),
        issuer.as_ref().ok().map(IssuerUrl::metadata_url),
    ];
    if let Ok(public) = &public {
        check_accepted(public.as_str())?;
        ensure(public.authority().len() < public.as_str().len(), "an authority without a scheme")?;
    }
    let (Err(refusal), Err(_)) = (&resource, &issuer) else {
        check_accepted(text)?;
        let own = Url::parse(text).map_err(|error| error.to_string())?;
        for metadata in metadata.iter().flatten() {
            let url = Url::parse(metadata).map_err(|error| format!("{metadata}: {error}"))?;
            ensure(url.as_str() == metadata, "metadata at a URL that is not canonical")?;
            ensure(url.origin() == own.origin(), "metadata at another origin")?;
        }
        return Ok(Seen::accepted(&(resource.is_ok(), issuer.is_ok(), public.is_ok())));
    };
    Ok(Seen::refused(&(refusal, public.err())))
}

fn check_accepted(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let bare = url.as_str().strip_suffix('/');
    ensure(url.as_str() == text || bare == Some(text), "a parser writes it otherwise")?;
    ensure(url.username().is_empty() && url.password().is_none(), "user information")?;
    ensure(url.query().is_none() && url.fragment().is_none(), "query or fragment")?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    ensure(url.scheme() == "https" || loopback, "plain http off loopback")?;
    let host = url.host_str().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").ok_or("an accepted url without a scheme")?;
    let others = [
        format!("{scheme}://{}", rest.replacen(host, &host.to_ascii_uppercase(), 1)),
        format!("{}://{rest}", scheme.to_ascii_uppercase()),
        format!("{scheme}:/{rest}"),
        format!("{text}?"),
        format!("{text}#"),
        format!("{text}/."),
        format!(" {text}"),
        format!("{text}\n"),
    ];
    for other in others.iter().filter(|other| *other != text) {
        let taken = ResourceIndicator::parse(other).is_ok() || IssuerUrl::parse(other).is_ok();
        ensure(!taken, &format!("`{other}` is accepted as well"))?;
    }
    Ok(())
}
