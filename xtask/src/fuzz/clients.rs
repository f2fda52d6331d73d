//! Clients of people: the addresses they come back to, and the documents they are.

use attorn_oauth::client_metadata::ClientMetadata;
use attorn_oauth::redirect_uri::RedirectUri;
use serde_json::Value;
use url::Url;

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const REDIRECT_COMPARE: Target = Target {
    name: "redirect_compare",
    oracle: "an accepted address leads, as a URL parser reads it, where the registered one does: \
             scheme, host, path and query are equal, and the port but on loopback",
    prepare: prepare_redirects,
};

pub(crate) const CIMD_DOCUMENT: Target = Target {
    name: "cimd_document",
    oracle: "an accepted document names its own URL, no secret and no other way than none, as \
             serde_json reads it, and every address in it can be registered",
    prepare: prepare_documents,
};

const WORDS: &[&str] = &[
    "\n",
    ":1",
    ":443",
    "@",
    "/..",
    "/%2e%2e",
    "..;",
    "#",
    "?",
    "127.0.0.1",
    "[::1]",
    "localhost",
    "http://",
    "https://",
    ".evil.example",
    "//",
    "\\",
    "com.example.app:",
];

fn prepare_redirects(_corpus: &Corpus) -> Result<Subject, String> {
    let seeds = [
        "https://client.example/cb\nhttps://client.example/cb",
        "https://client.example/cb?a=b\nhttps://client.example/cb?a=c",
        "http://127.0.0.1/cb\nhttp://127.0.0.1:49152/cb",
        "http://[::1]:1/cb\nhttp://[::1]:2/cb",
        "http://localhost:3000/cb\nhttp://localhost:3001/cb",
        "com.example.app:/cb\ncom.example.app:/cb",
    ];
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check_redirects) })
}

fn check_redirects(input: &[u8]) -> Result<Seen, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"no text")) };
    let (registered, presented) = text.split_once('\n').unwrap_or((text, text));
    let address = match RedirectUri::parse(registered) {
        Ok(address) => address,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    if !address.accepts(presented) {
        return Ok(Seen::refused(&"another address"));
    }
    let one = Url::parse(registered).map_err(|error| format!("registered: {error}"))?;
    let other = Url::parse(presented).map_err(|error| format!("presented: {error}"))?;
    ensure(one.scheme() == other.scheme(), "another scheme")?;
    ensure(one.host_str() == other.host_str(), "another host")?;
    ensure(one.path() == other.path() && one.query() == other.query(), "another path or query")?;
    ensure(other.username().is_empty() && other.password().is_none(), "user information")?;
    ensure(other.fragment().is_none(), "a fragment")?;
    let is_loopback = one.scheme() == "http";
    ensure(is_loopback || one.port() == other.port(), "another port")?;
    Ok(Seen::accepted(&(one.scheme(), is_loopback)))
}

const URL: &str = "https://client.example/app.json";

fn prepare_documents(_corpus: &Corpus) -> Result<Subject, String> {
    let plain = format!(r#"{{"client_id":"{URL}","redirect_uris":["http://127.0.0.1/cb"]}}"#);
    let whole = format!(
        r#"{{"client_id":"{URL}","client_name":"Desk","client_uri":"https://client.example/",
        "grant_types":["authorization_code","refresh_token"],"response_types":["code"],
        "redirect_uris":["https://client.example/cb","com.example.app:/cb"],
        "token_endpoint_auth_method":"none"}}"#
    );
    let seeds = vec![plain.into_bytes(), whole.into_bytes()];
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_document) })
}

fn check_document(input: &[u8]) -> Result<Seen, String> {
    let metadata = match ClientMetadata::of_document(input, URL) {
        Ok(metadata) => metadata,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let read: Value = serde_json::from_slice(input).map_err(|error| error.to_string())?;
    ensure(read.get("client_id").is_some_and(|id| id == URL), "another client")?;
    ensure(read.get("client_secret").is_none_or(Value::is_null), "a secret")?;
    let method = read.get("token_endpoint_auth_method");
    ensure(method.is_none_or(|method| method == "none"), "another authentication")?;
    let addresses = read.get("redirect_uris").and_then(Value::as_array);
    let addresses = addresses.map(Vec::as_slice).unwrap_or_default();
    ensure(addresses.len() == metadata.redirect_uris.len(), "other addresses")?;
    for (read, kept) in addresses.iter().zip(&metadata.redirect_uris) {
        ensure(read == kept.as_str(), "another address")?;
        ensure(RedirectUri::parse(kept.as_str()).is_ok(), "an address that cannot be registered")?;
    }
    Ok(Seen::accepted(&(metadata.client_name.is_some(), metadata.redirect_uris.len())))
}
