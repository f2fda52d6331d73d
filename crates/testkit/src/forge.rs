//! Tokens and proofs as a test wants them, right or wrong. Fixtures only: no key here guards
//! anything.

use attorn_jose::{SigningKey, base64url};
use aws_lc_rs::hmac;
use serde_json::Value;

use crate::weak_rsa::WeakRsa;

/// Who signs, and how.
#[derive(Debug)]
pub enum Signer<'a> {
    /// With a key, in the form JWS wants.
    Key(&'a SigningKey),
    /// HMAC-SHA-256 over a public value: the classic algorithm confusion.
    Hmac(&'a [u8]),
    /// No signature at all.
    Nothing,
    /// With an RSA key that is too weak to count.
    WeakRsa(&'a WeakRsa),
}

/// A compact JWS over any header and payload text.
///
/// # Errors
/// When the key cannot sign.
pub fn compact(
    header: &str,
    payload: &str,
    signer: &Signer<'_>,
) -> Result<String, attorn_jose::SignError> {
    let input = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
    let signature = match signer {
        Signer::Key(key) => key.sign(input.as_bytes())?,
        Signer::Hmac(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, input.as_bytes()).as_ref().to_vec()
        }
        Signer::Nothing => Vec::new(),
        Signer::WeakRsa(key) => key.sign(input.as_bytes()),
    };
    Ok(format!("{input}.{}", base64url(&signature)))
}

/// RFC 7396 merge patch, but `"@null"` sets a JSON null where null would remove the member.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            target.remove(name);
        } else if change == "@null" {
            target.insert(name.clone(), Value::Null);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_sets_removes_and_nulls() {
        let mut target = json!({"a": 1, "b": {"c": 2, "d": 3}});
        merge(&mut target, &json!({"a": null, "b": {"c": "@null"}, "e": [1]}));
        assert_eq!(target, json!({"b": {"c": null, "d": 3}, "e": [1]}));
    }
}
