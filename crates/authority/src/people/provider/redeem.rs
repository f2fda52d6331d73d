//! A code becomes an ID token, from server to server: OpenID Connect Core 1.0 section 3.1.3.

use attorn_jose::Compact;
use attorn_json::{Limits, Value};
use attorn_net::Random;
use attorn_oauth::client_assertion::{ASSERTION_TYPE, NewAssertion, new_assertion_elsewhere};
use attorn_oauth::id_token::{Expected, ID_TOKEN_LIMITS, IdToken};
use attorn_oauth::provider_metadata::ProviderMetadata;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::begin::CALLBACK_PATH;
use super::{Credential, Provider, Refused, Started};
use crate::issuer_keys::SignatureRefusal;
use crate::shared::Shared;

/// What the token endpoint gave. Neither leaves this module, nor the process.
struct Tokens {
    access_token: Zeroizing<String>,
    id_token: Zeroizing<String>,
}

impl Provider {
    /// Redeems a code, and verifies who it is about.
    pub(super) async fn redeem(
        &self,
        (shared, metadata): (&Shared, &ProviderMetadata),
        code: &str,
        started: &Started,
        now_s: u64,
    ) -> Result<IdToken, Refused> {
        let redirect_uri = shared.config.endpoint(CALLBACK_PATH);
        let form = (code, redirect_uri.as_str(), started.verifier.as_str());
        let request = self.request(&metadata.token_endpoint, form, &shared.random, now_s)?;
        let answer = self.client.exchange(request, TOKENS_BYTES_MAX).await;
        let (status, body) = answer.map_err(|error| {
            tracing::warn!(%error, "the provider does not redeem codes");
            Refused::Unavailable
        })?;
        let tokens = read(status, &body)?;
        let token = Compact::parse_of_issuer(&tokens.id_token, &ID_TOKEN_LIMITS);
        let token = token.map_err(|_| Refused::Token("form"))?;
        let verified = self.keys.verify(&metadata.jwks_uri, token, now_s).await;
        let verified = verified.map_err(|refusal| match refusal {
            SignatureRefusal::Key(_) => Refused::Token("key"),
            SignatureRefusal::Signature => Refused::Token("signature"),
            SignatureRefusal::Unavailable => Refused::Unavailable,
        })?;
        let expected = Expected {
            issuer: self.issuer.as_str(),
            client_id: &self.config.client_id,
            nonce: &started.nonce,
            access_token: &tokens.access_token,
            asked_s: started.asked_s,
            groups_claim: Some(&self.config.groups_claim),
        };
        Ok(IdToken::read(&verified, &expected, now_s)?)
    }

    fn request(
        &self,
        endpoint: &str,
        (code, redirect_uri, verifier): (&str, &str, &str),
        random: &Random,
        now_s: u64,
    ) -> Result<Request<Bytes>, Refused> {
        let client_id = &self.config.client_id;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ]);
        let mut request = Request::post(endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match &self.credential {
            Credential::Key(key) => {
                let jti = attorn_jose::base64url(&random.bytes::<16>());
                let issuer = self.issuer.as_str();
                let claims = NewAssertion { client_id, issuer, now_s, jti: &jti };
                let kid = self.config.client_key_id.as_deref();
                let assertion = new_assertion_elsewhere(key, kid, &claims);
                let assertion = assertion.map_err(|_| Refused::Failed)?;
                form.append_pair("client_id", client_id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                form.append_pair("client_assertion", &assertion);
            }
            // RFC 6749 section 3.2.1: a public client names itself.
            Credential::None => {
                form.append_pair("client_id", client_id);
            }
            Credential::Secret(secret) => {
                // RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
                let encoded = |text: &str| {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                let both = format!("{}:{}", encoded(client_id), encoded(secret));
                let both = format!("Basic {}", STANDARD.encode(both));
                request = request.header(AUTHORIZATION, both);
            }
        }
        request.body(form.finish().into()).map_err(|_| Refused::Unavailable)
    }
}

/// Section 3.1.3.3. An error says that the code is not ours, was used, or that we are not known.
fn read(status: StatusCode, body: &[u8]) -> Result<Tokens, Refused> {
    let document = attorn_json::parse(body, &TOKENS_LIMITS).map_err(|_| Refused::Code)?;
    let value = document.value();
    let text = |name| {
        let found = value.member(name).and_then(Value::string);
        found.map(|text| Zeroizing::new(text.into_owned()))
    };
    if status != StatusCode::OK {
        let error = text("error").map(|error| error.to_string());
        tracing::warn!(%status, ?error, "the provider does not take a code");
        return Err(Refused::Code);
    }
    match (text("access_token"), text("id_token")) {
        (Some(access_token), Some(id_token)) => Ok(Tokens { access_token, id_token }),
        _ => Err(Refused::Code),
    }
}

const TOKENS_BYTES_MAX: usize = 128 << 10;
const TOKENS_LIMITS: Limits = Limits { bytes_max: TOKENS_BYTES_MAX, depth_max: 16 };
