//! Who people are in the demonstration: a key in the place of a company's identity provider. It says for
//! whom an agent may act, by ID-JAG (draft-ietf-oauth-identity-assertion-authz-grant-04 section 3).

use std::path::{Path, PathBuf};

use attorn_connect::key_file::{self, KeyFileError};
use attorn_jose::{Algorithm, NewHeader, SigningKey, base64url, sign};
use serde_json::json;

use crate::clock;
use crate::exit::Failure;
use crate::files;
use crate::outside::{causes, system_random};

/// The provider.
#[derive(Debug)]
pub(super) struct Provider {
    key: SigningKey,
    folder: PathBuf,
}

impl Provider {
    /// The one of this folder, made with the key set that the authority reads.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let own = folder.join("provider");
        let failed = |e: &KeyFileError| Failure::usage(causes(e));
        let key = match key_file::create(&own, KEY, Algorithm::EdDsa, &system_random()) {
            Err(KeyFileError::Exists { .. }) => {
                key_file::load(&own, KEY).map_err(|e| failed(&e))?
            }
            made => made.map_err(|e| failed(&e))?,
        };
        let set = format!(r#"{{"keys":[{}]}}"#, key.public().to_jwk(Some(KEY)));
        files::write_private(&folder.join(KEY_SET), set.as_bytes())?;
        Ok(Self { key, folder: own })
    }

    /// Its word that `client_id` may act for `subject` at `resource`, in a file. Good once, for a minute.
    pub(super) fn word(
        &self,
        subject: &str,
        (audience, client_id, resource): (&str, &str, &str),
    ) -> Result<PathBuf, Failure> {
        let now_s = clock::now_s();
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": audience, "client_id": client_id,
            "resource": resource, "jti": base64url(&clock::random::<16>()), "iat": now_s,
            "exp": now_s + 60,
        });
        let header = NewHeader { typ: "oauth-id-jag+jwt", kid: Some(KEY), jwk: false };
        let signed = sign(&header, claims.to_string().as_bytes(), &self.key);
        let signed = signed.map_err(|e| Failure::no(e.to_string()))?;
        let path = self.folder.join("word.jwt");
        files::write_private(&path, signed.as_bytes())?;
        Ok(path)
    }
}

/// Its part of the configuration.
pub(super) fn config_text() -> String {
    format!(
        r#"
[[authority.trusted_issuers]]
issuer = "{ISSUER}"
kind = "id_jag"
jwks_file = "{KEY_SET}"
consent = "issuer"
"#
    )
}

/// A name that nobody has: RFC 2606 section 2.
pub(super) const ISSUER: &str = "https://login.example";
const KEY: &str = "people";
const KEY_SET: &str = "people.jwks";
