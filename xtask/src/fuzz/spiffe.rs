//! SPIFFE IDs and trust bundles: one ID has one spelling, and a bundle holds no key twice.

use attorn_oauth::spiffe_bundle::SpiffeBundle;
use attorn_registry::SpiffeId;
use url::Url;

use super::corpus::Corpus;
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const SPIFFE_ID: Target = Target {
    name: "spiffe_id",
    oracle: "an accepted ID is what a URL parser reads: its trust domain, its path, and no port, \
             user, query or fragment; every other spelling of it is refused",
    prepare: id,
};

pub(crate) const SPIFFE_BUNDLE: Target = Target {
    name: "spiffe_bundle",
    oracle: "an accepted bundle has at most as many keys as it lists, the same in any spelling, \
             and is refused when one of its names is there twice",
    prepare: bundle,
};

const WORDS: &[&str] = &[
    "spiffe://",
    "SPIFFE://",
    "/",
    "//",
    "/.",
    "/..",
    ".",
    "%2e",
    ":8080",
    "user@",
    "?",
    "#",
    "*",
    "\u{e9}",
    " ",
    "\t",
    "_",
    "-",
    "A",
    "\\",
];

fn id(_corpus: &Corpus) -> Result<Subject, String> {
    let seeds = [
        "spiffe://example.org/agent/billing",
        "spiffe://a/b",
        "spiffe://prod_1.example-x.org/ns/Default/sa/x.y_z-1",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://EXAMPLE.org/a",
        "spiffe://example.org:443/a/../b?x#y",
    ];
    let seeds = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check_id) })
}

fn check_id(input: &[u8]) -> Result<Seen, String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
    let id = match SpiffeId::parse(text) {
        Ok(id) => id,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    ensure(id.as_str() == text, "an ID is repaired")?;
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    ensure(url.as_str() == text, "a URL parser writes it otherwise")?;
    ensure(url.scheme() == "spiffe" && url.host_str() == Some(id.trust_domain()), "other domain")?;
    ensure(url.port().is_none() && url.username().is_empty(), "a port or a user")?;
    ensure(url.query().is_none() && url.fragment().is_none(), "query or fragment")?;
    ensure(url.path().len() > 1 && !url.path().ends_with('/'), "no path, or one that ends in `/`")?;
    let domain = id.trust_domain();
    let upper = text.replacen(domain, &domain.to_ascii_uppercase(), 1);
    let others = [
        if upper == text { format!("{text}/") } else { upper },
        text.replacen("spiffe:", "SPIFFE:", 1),
        text.replacen(domain, &format!("{domain}:443"), 1),
        format!("{text}/"),
        format!("{text}/."),
        format!("{text}?"),
        format!("{text}#"),
        format!("{text}%2e"),
        format!(" {text}"),
    ];
    for other in &others {
        ensure(SpiffeId::parse(other).is_err(), &format!("`{other}` is accepted as well"))?;
    }
    Ok(Seen::accepted(&url.path().matches('/').count().min(4)))
}

fn bundle(corpus: &Corpus) -> Result<Subject, String> {
    let mut keys = Vec::new();
    for (number, key) in corpus.texts("jose/jwk.json", "/input")?.iter().enumerate() {
        let Ok(mut key) = serde_json::from_slice::<serde_json::Value>(key) else { continue };
        let Some(members) = key.as_object_mut() else { continue };
        members.insert("use".to_owned(), "jwt-svid".into());
        members.insert("kid".to_owned(), format!("k{}", number % 5).into());
        keys.push(key);
    }
    keys.push(serde_json::json!({"kty": "EC", "use": "x509-svid", "x5c": ["MAA="]}));
    let mut seeds = vec![br#"{"keys":[]}"#.to_vec()];
    for some in keys.chunks(3) {
        let set = serde_json::json!({"keys": some, "spiffe_refresh_hint": 300});
        seeds.push(set.to_string().into_bytes());
    }
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check_bundle) })
}

fn check_bundle(input: &[u8]) -> Result<Seen, String> {
    let bundle = match SpiffeBundle::parse(input) {
        Ok(bundle) => bundle,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let read: serde_json::Value =
        serde_json::from_slice(input).map_err(|error| error.to_string())?;
    let listed = read.get("keys").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    ensure(bundle.jwt_keys.len() + bundle.x509_authorities.len() <= listed, "a key is made up")?;
    let spelled = respelled_bytes(input, &mut Random::of(input));
    let again = SpiffeBundle::parse(&spelled).map_err(|error| format!("spelling: {error}"))?;
    ensure(again.x509_authorities == bundle.x509_authorities, "other authorities by spelling")?;
    ensure(again.jwt_keys == bundle.jwt_keys, "other keys by spelling")?;
    if let Some(keys) = read.get("keys").and_then(serde_json::Value::as_array) {
        let twice: Vec<_> = keys.iter().chain(keys).collect();
        let twice = serde_json::json!({ "keys": twice }).to_string();
        let taken = SpiffeBundle::parse(twice.as_bytes()).is_ok();
        ensure(!taken || bundle.jwt_keys.is_empty(), "one name twice is accepted")?;
    }
    let (keys, authorities) = (bundle.jwt_keys.len(), bundle.x509_authorities.len());
    Ok(Seen::accepted(&(keys > 0, authorities > 0)))
}
