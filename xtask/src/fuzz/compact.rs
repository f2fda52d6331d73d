//! Signed texts: one text has one meaning, and another library agrees about the signature.

use attorn_jose::{
    Algorithm, Compact, HeaderCache, HeaderError, JwsError, NewHeader, PublicKey, SigningKey, sign,
};
use attorn_json::Limits;
use serde_json::Value;

use super::corpus::Corpus;
use super::random::Random;
use super::spell::respelled_bytes;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const JWT_DECODE: Target = Target {
    name: "jwt_decode",
    oracle: "parts written back give the text; the header says what serde_json reads in it, says \
             the same in another spelling, and a cache changes nothing",
    prepare: decode,
};

pub(crate) const JWT_VERIFY_VS_REFERENCE: Target = Target {
    name: "jwt_verify_vs_reference",
    oracle: "what verifies here verifies with `jsonwebtoken`; what verifies there and not here is \
             refused for one of the named reasons, and never by the signature",
    prepare: reference,
};

/// A key for fixtures. Ed25519, whose signatures are the same each time.
pub(crate) fn key(byte: u8) -> Result<SigningKey, String> {
    SigningKey::from_seed(Algorithm::EdDsa, &[byte; 32]).map_err(|error| error.to_string())
}

/// Seeds for both: the vectors, and texts by a known key with every header we write.
fn seeds(corpus: &Corpus, key: &SigningKey) -> Result<Vec<Vec<u8>>, String> {
    let mut seeds = corpus.texts("jose/compact.json", "/input/jws")?;
    for (typ, kid, jwk) in
        [("at+jwt", Some("k1"), false), ("dpop+jwt", None, true), ("JWT", Some(""), true)]
    {
        let text = sign(&NewHeader { typ, kid, jwk }, br#"{"iss":"i","n":1.50,"a":[null]}"#, key);
        seeds.push(text.map_err(|error| error.to_string())?.into_bytes());
    }
    Ok(seeds)
}

fn decode(corpus: &Corpus) -> Result<Subject, String> {
    let key = key(7)?;
    let seeds = seeds(corpus, &key)?;
    let cache = HeaderCache::new(64);
    let public = key.public().clone();
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        let jws = match Compact::parse(text, &Limits::JWT) {
            Ok(jws) => jws,
            Err(refusal) => return Ok(Seen::refused(&refusal)),
        };
        check_parts(text, &jws)?;
        let header = format!("{:?}", jws.header());
        let alg = jws.header().alg;
        let verified = jws.verify(&public);
        // Only a header that verified is remembered; cold or warm, it reads the same.
        if let Ok(verified) = &verified {
            verified.remember_header(&cache);
        }
        let cached = Compact::parse_cached(text, &Limits::JWT, &cache);
        let cached = cached.map_err(|error| format!("a cache refuses it: {error}"))?;
        ensure(format!("{:?}", cached.header()) == header, "a cache changes the header")?;
        check_respelled(text, &header)?;
        Ok(Seen::accepted(&(alg, verified.is_ok())))
    };
    Ok(Subject { seeds, shape: Shape::Jws(key), check: Box::new(check) })
}

/// The text is exactly its parts, and the header is what another reader sees.
fn check_parts(text: &str, jws: &Compact<'_>) -> Result<(), String> {
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err("accepted with another number of parts than three".to_owned());
    };
    for part in [header, payload, signature] {
        let bytes = decoded(part).ok_or("a part is no base64url")?;
        ensure(encoded(&bytes) == **part, "a part has a second spelling")?;
    }
    ensure(decoded(payload).as_deref() == Some(jws.unauthenticated_payload()), "other payload")?;
    let read: Value = serde_json::from_slice(&decoded(header).unwrap_or_default())
        .map_err(|error| format!("serde_json does not read the header: {error}"))?;
    let member = |name: &str| read.get(name).and_then(Value::as_str);
    let seen = jws.header();
    ensure(member("alg").and_then(|alg| alg.parse().ok()) == Some(seen.alg), "other `alg`")?;
    ensure(member("typ") == seen.typ.as_deref(), "other `typ`")?;
    ensure(member("kid") == seen.kid.as_deref(), "other `kid`")?;
    ensure(read.get("crit").is_none() && read.get("b64").is_none(), "an extension is ignored")?;
    ensure(read.get("jwk").is_some() == seen.jwk.is_some(), "a key is dropped or made up")
}

fn check_respelled(text: &str, header: &str) -> Result<(), String> {
    let Some((first, rest)) = text.split_once('.') else { return Ok(()) };
    let bytes = decoded(first).unwrap_or_default();
    let spelled = respelled_bytes(&bytes, &mut Random::of(&bytes));
    let again = format!("{}.{rest}", encoded(&spelled));
    if again.len() > Limits::JWT.bytes_max || spelled.len() > Limits::JWT.bytes_max {
        return Ok(());
    }
    match Compact::parse(&again, &Limits::JWT) {
        Ok(jws) => ensure(format!("{:?}", jws.header()) == header, "the spelling matters"),
        Err(refusal) => Err(format!("the same header spelled otherwise is refused: {refusal}")),
    }
}

fn reference(corpus: &Corpus) -> Result<Subject, String> {
    let signer = key(7)?;
    let seeds = seeds(corpus, &signer)?;
    let mut keys = Vec::new();
    let jwks = corpus.texts("jose/compact.json", "/input/jwk")?;
    let own = signer.public().to_jwk(None).into_bytes();
    for jwk in jwks.into_iter().chain([own]) {
        let text = String::from_utf8(jwk).map_err(|error| error.to_string())?;
        let Ok(ours) = PublicKey::parse_jwk(&text) else { continue };
        if keys.iter().any(|(known, _): &(PublicKey, _)| *known == ours) {
            continue;
        }
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_str(&ours.to_jwk(Some("k"))).map_err(|error| error.to_string())?;
        let theirs = jsonwebtoken::DecodingKey::from_jwk(&jwk);
        keys.push((ours, theirs.map_err(|error| error.to_string())?));
    }
    let check = move |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(Seen::refused(&"encoding")) };
        let mut seen = Seen::refused(&"by every key");
        for (ours, theirs) in &keys {
            let agreed = compare(text, ours, theirs)?;
            if agreed.accepted || !seen.accepted {
                seen = agreed;
            }
        }
        Ok(seen)
    };
    Ok(Subject { seeds, shape: Shape::Jws(signer), check: Box::new(check) })
}

fn compare(
    text: &str,
    ours: &PublicKey,
    theirs: &jsonwebtoken::DecodingKey,
) -> Result<Seen, String> {
    let they_accept = reference_accepts(text, ours.algorithm(), theirs);
    let jws = match Compact::parse(text, &Limits::JWT) {
        Ok(jws) => jws,
        Err(refusal) if they_accept => {
            return if is_known_difference(&refusal) {
                Ok(Seen::refused(&("stricter", refusal)))
            } else {
                Err(format!("the reference accepts what is refused here: {refusal}"))
            };
        }
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    // RFC 9864 section 2.2: the newer name of the same algorithm, which the reference lacks.
    let newer_name = member(text, "alg").is_some_and(|alg| alg == "Ed25519");
    match jws.verify(ours) {
        Ok(_) if they_accept || newer_name || !reads_header(text) => {
            Ok(Seen::accepted(&ours.algorithm()))
        }
        Ok(_) => Err("verifies here and not with the reference".to_owned()),
        Err(refusal) if they_accept => {
            Err(format!("verifies with the reference and not here: {refusal}"))
        }
        Err(refusal) => Ok(Seen::refused(&refusal)),
    }
}

/// Texts we refuse and `jsonwebtoken` takes: it keeps the last of two members of one name, takes
/// `null` for absent, knows no limit of length, ignores `crit` and `b64`, and does not judge `jwk`.
fn is_known_difference(refusal: &JwsError) -> bool {
    match refusal {
        JwsError::TooLong { .. } => true,
        JwsError::Header(
            HeaderError::CriticalExtension
            | HeaderError::Json(_)
            | HeaderError::Jwk(_)
            | HeaderError::Shape
            | HeaderError::UnencodedPayload,
        ) => true,
        JwsError::Header(HeaderError::Algorithm) | JwsError::Encoding | JwsError::PartCount => {
            false
        }
    }
}

fn reference_accepts(text: &str, ours: Algorithm, key: &jsonwebtoken::DecodingKey) -> bool {
    let algorithm = match ours {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    };
    let Ok(header) = jsonwebtoken::decode_header(text) else { return false };
    let Some((input, signature)) = text.rsplit_once('.') else { return false };
    // It verifies a signature over any text; that the text is a JWS is checked by its `decode`.
    let whole = text.split('.').count() == 3 && text.split('.').all(|part| decoded(part).is_some());
    let verified = jsonwebtoken::crypto::verify(signature, input.as_bytes(), key, algorithm);
    whole && header.alg == algorithm && verified.unwrap_or(false)
}

/// The reference reads members that mean nothing here, and refuses them when it cannot.
fn reads_header(text: &str) -> bool {
    jsonwebtoken::decode_header(text).is_ok()
}

fn member(text: &str, name: &str) -> Option<String> {
    let header = decoded(text.split('.').next()?)?;
    let value: Value = serde_json::from_slice(&header).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// base64url without padding, written from RFC 4648 section 5 alone, to check the library by.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut push = |index: u32| {
        let letter = usize::try_from(index & 63).ok().and_then(|at| ALPHABET.get(at));
        out.push(char::from(letter.copied().unwrap_or(b'?')));
    };
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 6 {
            held -= 6;
            push(bits >> held);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        push(bits << (6 - held));
    }
    out
}

/// The bytes that [`encoded`] writes so.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in text.bytes() {
        let index = ALPHABET.iter().position(|known| *known == letter)?;
        bits = (bits << 6) | u32::try_from(index).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0 && held < 6).then_some(out)
}
