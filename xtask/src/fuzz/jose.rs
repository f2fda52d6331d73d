//! Keys: an accepted key writes itself back, holds nothing private, and a set finds it by name.

use attorn_jose::PublicKey;
use attorn_json::{Limits, parse};
use attorn_oauth::jwks;
use serde_json::Value;

use super::corpus::Corpus;
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const JWK_JWKS: Target = Target {
    name: "jwk_jwks",
    oracle: "an accepted key holds no private member, writes itself back with the same thumbprint, \
             has it in any spelling, and is found by its name in a set of one, and in no set twice",
    prepare,
};

const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds = corpus.texts("jose/jwk.json", "/input")?;
    let named = |(number, key): (usize, &Vec<u8>)| {
        let mut key: Value = serde_json::from_slice(key).ok()?;
        key.as_object_mut()?.insert("kid".to_owned(), Value::from(format!("k{}", number % 3)));
        Some(key.to_string().into_bytes())
    };
    let with_names: Vec<Vec<u8>> = seeds.iter().enumerate().filter_map(named).collect();
    let sets = with_names.windows(2).map(set_of);
    seeds.extend(sets.collect::<Vec<_>>());
    seeds.extend(with_names);
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

fn set_of(keys: &[Vec<u8>]) -> Vec<u8> {
    [b"{\"keys\":[".as_slice(), &keys.join(&b','), b"]}"].concat()
}

fn check(input: &[u8]) -> Result<Seen, String> {
    if let Ok(keys) = jwks::parse(input) {
        let spelled = respelled_bytes(input, &mut Random::of(input));
        let again = jwks::parse(&spelled);
        // A key that is too long in its other spelling is passed over.
        let long = spelled.len() > Limits::JWT.bytes_max;
        ensure(again.is_ok() || long, "a set is refused in another spelling")?;
        for kid in ["k0", "k1", "k2"] {
            let found = keys.find(kid).map(PublicKey::thumbprint);
            let then = again.as_ref().ok().and_then(|keys| keys.find(kid));
            ensure(
                found == then.map(PublicKey::thumbprint) || long,
                "a set finds another key in another spelling",
            )?;
        }
        return Ok(Seen::accepted(&"set"));
    }
    let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
    let key = match PublicKey::parse_jwk(text) {
        Ok(key) => key,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let read: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    ensure(PRIVATE.iter().all(|name| read.get(name).is_none()), "a private member is accepted")?;
    let written = key.to_jwk(None);
    let again = PublicKey::parse_jwk(&written).map_err(|error| format!("{written}: {error}"))?;
    ensure(again == key && again.thumbprint() == key.thumbprint(), "written back as another key")?;
    let spelled = respelled_bytes(input, &mut Random::of(input));
    if spelled.len() <= Limits::JWT.bytes_max {
        let spelled = std::str::from_utf8(&spelled).unwrap_or_default();
        let other = PublicKey::parse_jwk(spelled).map_err(|error| format!("spelling: {error}"))?;
        ensure(other.thumbprint() == key.thumbprint(), "two thumbprints by spelling")?;
    }
    check_sets(input, &read, &key)?;
    Ok(Seen::accepted(&key.algorithm()))
}

fn check_sets(input: &[u8], read: &Value, key: &PublicKey) -> Result<(), String> {
    let kid = read.get("kid").and_then(Value::as_str);
    let fits = parse(input, &Limits { bytes_max: 32 << 10, depth_max: 6 }).is_ok();
    let (Some(kid), true) = (kid, fits) else { return Ok(()) };
    let one = jwks::parse(&set_of(&[input.to_vec()])).map_err(|error| error.to_string())?;
    let found = one.find(kid).map(PublicKey::thumbprint);
    ensure(found == Some(key.thumbprint()), "a set does not find its only key")?;
    ensure(one.find(&format!("{kid} ")).is_none(), "a set finds a key by another name")?;
    let twice = set_of(&[input.to_vec(), input.to_vec()]);
    ensure(jwks::parse(&twice).is_err(), "a set takes one name twice")
}
