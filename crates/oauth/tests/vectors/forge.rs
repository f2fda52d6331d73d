//! Makes tokens and proofs, right or wrong, out of what a row says.

use attorn_jose::{Algorithm, SigningKey, base64url, from_base64url};
use aws_lc_rs::hmac;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What differs from a good JWT. `null` in a patch removes a member, `"@null"` sets a null.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Changes {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) header_text: Option<String>,
    pub(crate) claims_text: Option<String>,
    /// The whole text, in place of everything else.
    pub(crate) text: Option<String>,
    /// The name of the signing key, `nothing` or `hmac`.
    pub(crate) sign: Option<String>,
    pub(crate) now: Option<u64>,
    pub(crate) htm: Option<String>,
    pub(crate) htu: Option<String>,
    /// The access token; empty for none.
    pub(crate) token: Option<String>,
    /// The thumbprint the token is bound to, or the name of its key.
    pub(crate) jkt: Option<String>,
    pub(crate) bound: Option<String>,
    /// `required` or `off`.
    pub(crate) nonce: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) times: Option<usize>,
}

/// The keys of the rows, by name.
pub(crate) fn key(name: &str) -> SigningKey {
    let (algorithm, seed) = match name {
        // RFC 8037 appendix A.1, so that its thumbprint is in an RFC.
        "agent" => {
            let seed = from_base64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
            (Algorithm::EdDsa, seed.try_into().unwrap())
        }
        "agent-es256" => (Algorithm::Es256, [3; 32]),
        "attacker" => (Algorithm::EdDsa, [9; 32]),
        "attacker-es256" => (Algorithm::Es256, [9; 32]),
        "issuer" => (Algorithm::Es256, [1; 32]),
        "issuer-2" => (Algorithm::Es256, [2; 32]),
        "other-agent" => (Algorithm::EdDsa, [5; 32]),
        _ => panic!("no key `{name}`"),
    };
    SigningKey::from_seed(algorithm, &seed).unwrap()
}

impl Changes {
    /// The JWT of this row. `fill` replaces placeholders in the claims.
    pub(crate) fn jwt(
        &self,
        header: &Value,
        claims: &Value,
        signer: &str,
        fill: impl Fn(&str) -> Option<String>,
    ) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut header = merged(header, &self.header);
        if let Value::Object(members) = &mut header {
            name_keys(members);
        }
        let header = self.header_text.clone().unwrap_or_else(|| header.to_string());
        let claims = match &self.claims_text {
            Some(text) => filled_text(text, &fill),
            None => filled(merged(claims, &self.claims), &fill).to_string(),
        };
        let input = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = match self.sign.as_deref().unwrap_or(signer) {
            "nothing" => Vec::new(),
            // RFC 8725 section 2.1: the public key as everybody's shared secret.
            "hmac" => {
                let public = key(signer).public().to_jwk(None);
                let secret = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
                hmac::sign(&secret, input.as_bytes()).as_ref().to_vec()
            }
            name => key(name).sign(input.as_bytes()).unwrap(),
        };
        format!("{input}.{}", base64url(&signature))
    }
}

/// `"@name"` in `jwk` stands for a public key, in `kid` for its thumbprint.
fn name_keys(header: &mut Map<String, Value>) {
    if let Some(name) = header.get("jwk").and_then(Value::as_str).and_then(named) {
        let jwk = serde_json::from_str(&key(name).public().to_jwk(None)).unwrap();
        header.insert("jwk".to_owned(), jwk);
    }
    if let Some(name) = header.get("kid").and_then(Value::as_str).and_then(named) {
        let jkt = key(name).public().thumbprint().to_string();
        header.insert("kid".to_owned(), Value::String(jkt));
    }
}

fn named(text: &str) -> Option<&str> {
    text.strip_prefix('@')
}

/// RFC 7396, with a word for null.
fn merged(base: &Value, patch: &Value) -> Value {
    match patch {
        Value::Null => base.clone(),
        Value::Object(patch) => {
            let mut members = base.as_object().cloned().unwrap_or_default();
            for (name, change) in patch {
                let earlier = members.remove(name).unwrap_or_default();
                if change != "@remove" && !change.is_null() {
                    members.insert(name.clone(), merged(&earlier, change));
                }
            }
            Value::Object(members)
        }
        Value::String(text) if text == "@null" => Value::Null,
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => patch.clone(),
    }
}

fn filled(mut claims: Value, fill: &impl Fn(&str) -> Option<String>) -> Value {
    if let Value::Object(members) = &mut claims {
        for value in members.values_mut() {
            if let Some(text) = value.as_str().and_then(named).and_then(fill) {
                *value = Value::String(text);
            }
        }
    }
    claims
}

/// The same for claims that are given as text, where a placeholder is a quoted word.
fn filled_text(text: &str, fill: &impl Fn(&str) -> Option<String>) -> String {
    ["ath", "nonce", "code"].into_iter().fold(text.to_owned(), |text, name| match fill(name) {
        Some(value) => text.replace(&format!("\"@{name}\""), &format!("\"{value}\"")),
        None => text,
    })
}
