//! What an agent, a server or an application sends to the token endpoint, as bytes.

use attorn_jose::NewHeader;
use attorn_testkit::wire::RawRequest;
use serde_json::json;

use super::{Agent, now_s, unique};
use crate::step::StepFailed;

/// A code as it came back, and what has to be said with it.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// RFC 7636: what its challenge was made from.
    pub verifier: &'a str,
    /// Where it came back.
    pub redirect_uri: &'a str,
}

impl Agent {
    /// The bytes of one token request with this nonce.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn token_request_with(
        &self,
        server: &str,
        scope: Option<&str>,
        nonce: &str,
    ) -> Result<RawRequest, StepFailed> {
        let (assertion, resource) = (self.assertion(None)?, self.addresses.resource(server));
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("resource", resource.as_str()),
        ];
        form.extend(scope.map(|scope| ("scope", scope)));
        self.at_token_endpoint(&form, nonce)
    }

    /// The proof that comes with a call of a server. Without a nonce: who gets it as evidence does not
    /// look at that.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn call_proof(&self, token: &str, server: &str) -> Result<String, StepFailed> {
        self.proof(("POST", &self.addresses.resource(server)), Some(token), "")
    }

    /// The bytes of one exchange (RFC 8693 section 2.1): this is a server with a key of its own, which was
    /// called with a token and a proof.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn exchange_request(
        &self,
        (token, proof): (&str, &str),
        api: &str,
        nonce: &str,
    ) -> Result<RawRequest, StepFailed> {
        // The gateway's key stands for the server too, so it has to say which one it is.
        let key = self.key.public().thumbprint().to_string();
        let assertion = self.assertion(Some(&key))?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_proof", proof),
            ("resource", api),
        ];
        self.at_token_endpoint(&form, nonce)
    }

    /// The bytes of one redemption of a code (RFC 6749 section 4.1.3) by an application without a secret.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn code_request(
        &self,
        given: &Redemption<'_>,
        nonce: &str,
    ) -> Result<RawRequest, StepFailed> {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("code", given.code),
            ("code_verifier", given.verifier),
            ("redirect_uri", given.redirect_uri),
        ];
        self.at_token_endpoint(&form, nonce)
    }

    /// RFC 7523 section 2.2.
    fn assertion(&self, kid: Option<&str>) -> Result<String, StepFailed> {
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": self.addresses.issuer,
            "iat": now_s(), "exp": now_s() + 50, "jti": unique()
        });
        self.jwt(&NewHeader { typ: "client-authentication+jwt", kid, jwk: false }, &claims)
    }

    fn at_token_endpoint(
        &self,
        form: &[(&str, &str)],
        nonce: &str,
    ) -> Result<RawRequest, StepFailed> {
        let url = format!("{}/token", self.addresses.issuer);
        let proof = self.proof(("POST", &url), None, nonce)?;
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        Ok(RawRequest {
            method: "POST".to_owned(),
            target: "/token".to_owned(),
            headers: vec![
                ("Host".to_owned(), self.addresses.authority.to_string().into_bytes()),
                ("Content-Type".to_owned(), b"application/x-www-form-urlencoded".to_vec()),
                ("DPoP".to_owned(), proof.into_bytes()),
            ],
            body: body.into_bytes(),
            verbatim: None,
        })
    }
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
