//! JWTs of other issuers as authorization grants: RFC 7523 sections 2.1 and 3, RFC 7521 section 4.1.
//!
//! Two kinds, told apart by their media type (RFC 8725 section 3.11): what a platform gives its
//! workloads ([`crate::workload_grant`]), and what an identity provider says of a person
//! ([`crate::id_jag`]). An issuer is trusted for one of them, and its keys verify nothing else.
//!
//! Implemented: `iss`, `sub`, `aud`, `exp`, `nbf`, `iat`, `jti`; one audience; a bounded life. What is
//! used up is named by issuer and `jti`, or by what was signed where there is no `jti`.
//! Not implemented: assertions about clients (see [`crate::client_assertion`]), SAML, encryption.

use attorn_jose::{Compact, Header, Verified, sha256};
use attorn_json::Limits;
use attorn_registry::ReasonCode;
use serde::{Deserialize, Serialize};

use crate::claim::{CLOCK_AHEAD_S, Text, present};
use crate::claim_rules::Unmapped;

/// The `grant_type`: RFC 7523 section 2.1.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The media type of an ID-JAG: draft-ietf-oauth-identity-assertion-authz-grant-04 section 3.1.
pub const ID_JAG_TYPE: &str = "oauth-id-jag+jwt";
/// Platforms put much about a run into their JWTs.
pub(crate) const LIMITS: Limits = Limits { bytes_max: 16 << 10, depth_max: 16 };

/// What an issuer is trusted for. One thing alone: what it signs for the other is nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantUse {
    /// What a person may have done for them: an identity provider.
    IdJag,
    /// Which workload asks: a platform.
    Workload,
}

/// Why an assertion gives nothing. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JwtGrantRefusal {
    /// It speaks of another actor than the client.
    #[error("the assertion names another actor")]
    Actor,
    /// For another server, for several, or for none.
    #[error("the assertion is for another audience")]
    Audience,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the assertion is missing or has the wrong type")]
    Claims,
    /// For another client than the one that asks.
    #[error("the assertion is for another client")]
    ClientMismatch,
    /// Past its end, not begun, or valid for too long.
    #[error("the times of the assertion do not fit")]
    Clock,
    /// No issuer of this name is trusted for this kind of assertion.
    #[error("the issuer of the assertion is not trusted for it")]
    Issuer,
    /// Without an identifier that can be used up.
    #[error("the assertion has no usable `jti`")]
    Jti,
    /// The issuer has no such key, or the assertion names none.
    #[error("the issuer has no such key")]
    KeyUnknown,
    /// The keys of the issuer cannot be had. No fault of the client.
    #[error("the keys of the issuer cannot be had at the moment")]
    KeysUnavailable,
    /// Not a compact JWS, or with a key of its own.
    #[error("the assertion is malformed")]
    Malformed,
    /// Bound to another key than the one that was proven, or to one and none was.
    #[error("the assertion is bound to another key")]
    Possession,
    /// Used before.
    #[error("the assertion was used before")]
    Replayed,
    /// By no key of its issuer.
    #[error("the signature of the assertion does not hold")]
    Signature,
    /// The registry does not stand by what it names.
    #[error("the assertion names what does not stand: {0}")]
    Standing(ReasonCode),
    /// For another tenant of its issuer.
    #[error("the assertion is of another tenant")]
    Tenant,
    /// Its claims name no agent, or several.
    #[error("the claims of the assertion name no agent, or several")]
    Unmapped,
}

impl JwtGrantRefusal {
    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Actor | Self::Claims | Self::Jti | Self::Malformed => {
                ReasonCode::AssertionMalformed
            }
            Self::Audience => ReasonCode::AssertionAudience,
            Self::ClientMismatch => ReasonCode::AssertionClient,
            Self::Clock => ReasonCode::AssertionExpired,
            Self::Issuer | Self::Tenant => ReasonCode::AssertionIssuer,
            Self::KeyUnknown | Self::Signature => ReasonCode::AssertionSignature,
            Self::KeysUnavailable => ReasonCode::IssuerUnreachable,
            Self::Possession => ReasonCode::PossessionKeyMismatch,
            Self::Replayed => ReasonCode::AssertionReplayed,
            Self::Standing(reason) => reason,
            Self::Unmapped => ReasonCode::AssertionUnmapped,
        }
    }
}

impl From<Unmapped> for JwtGrantRefusal {
    fn from(_: Unmapped) -> Self {
        Self::Unmapped
    }
}

/// An assertion whose form is right, and whose signature nobody has looked at yet.
#[derive(Debug)]
pub struct Assertion<'a> {
    jws: Compact<'a>,
    issuer: String,
}

#[derive(Deserialize)]
struct ClaimedIssuer<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
}

impl<'a> Assertion<'a> {
    /// Parses the form, and whom it claims to be from. Nothing but the choice of keys and rules rests
    /// on that; it is read again from what was verified.
    ///
    /// # Errors
    /// [`JwtGrantRefusal::Malformed`] or [`JwtGrantRefusal::Claims`].
    pub fn parse(text: &'a str) -> Result<Self, JwtGrantRefusal> {
        let jws =
            Compact::parse_of_issuer(text, &LIMITS).map_err(|_| JwtGrantRefusal::Malformed)?;
        // RFC 8725 section 3.10: the key is the issuer's own, never one that came along.
        if jws.header().jwk.is_some() {
            return Err(JwtGrantRefusal::Malformed);
        }
        let issuer = {
            let document = attorn_json::parse(jws.unauthenticated_payload(), &LIMITS);
            let document = document.map_err(|_| JwtGrantRefusal::Claims)?;
            let claimed: ClaimedIssuer<'_> = document.to().map_err(|_| JwtGrantRefusal::Claims)?;
            claimed.iss.0.into_owned()
        };
        Ok(Self { jws, issuer })
    }

    /// Whom it claims to be from.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What it is by its media type; whether its issuer is trusted for it is another question.
    ///
    /// # Errors
    /// [`JwtGrantRefusal::Issuer`]: another kind of JWT, which nobody is trusted for.
    pub fn kind(&self) -> Result<GrantUse, JwtGrantRefusal> {
        kind_of(self.jws.header())
    }

    /// What is signed, to be verified under a key of the issuer: RFC 7523 section 3, item 9.
    #[must_use]
    pub fn into_jws(self) -> Compact<'a> {
        self.jws
    }
}

/// The kind of a JWT. What was verified is asked again, so that no kind is taken for the other.
pub(crate) fn kind_of(header: &Header) -> Result<GrantUse, JwtGrantRefusal> {
    match header.typ.as_deref() {
        Some(ID_JAG_TYPE) => Ok(GrantUse::IdJag),
        // Kubernetes writes no type, others write this one. A token or a proof of ours, and `at+jwt`
        // of another server, have types of their own.
        Some("JWT") | None => Ok(GrantUse::Workload),
        Some(_) => Err(JwtGrantRefusal::Issuer),
    }
}

/// What is used up when an assertion is: its identifier, which is unique within its issuer (RFC 7519
/// section 4.1.7), or else what was signed.
pub(crate) fn single_use(verified: &Verified<'_>, issuer: &str, jti: Option<&str>) -> [u8; 32] {
    let (kind, name) = match jti {
        Some(jti) => ("jti", jti),
        None => ("jws", verified.signing_input()),
    };
    sha256([kind, issuer, name].join("\n").as_bytes())
}

/// RFC 7523 section 3, items 4 to 6.
#[derive(Deserialize)]
pub(crate) struct Times {
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    #[serde(default, deserialize_with = "present")]
    pub(crate) nbf: Option<u64>,
}

impl Times {
    /// Whether it counts now, and was not made for longer than its issuer may.
    pub(crate) fn verify(&self, lifetime_max_s: u64, now_s: u64) -> Result<(), JwtGrantRefusal> {
        let newest_s = now_s.saturating_add(CLOCK_AHEAD_S);
        let has_begun = self.iat <= newest_s && self.nbf.is_none_or(|nbf| nbf <= newest_s);
        let lifetime_s = self.exp.checked_sub(self.iat);
        let is_bounded = lifetime_s.is_some_and(|s| (1..=lifetime_max_s).contains(&s));
        if now_s < self.exp && has_begun && is_bounded {
            Ok(())
        } else {
            Err(JwtGrantRefusal::Clock)
        }
    }
}

/// RFC 7519 section 4.1.3: one text, or a list. A list of several would be good elsewhere too.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum AudienceClaim<'a> {
    One(#[serde(borrow)] Text<'a>),
    Several(#[serde(borrow)] Vec<Text<'a>>),
}

impl AudienceClaim<'_> {
    /// RFC 7523 section 3, item 3, compared byte by byte.
    pub(crate) fn verify(&self, accepted: &[&str]) -> Result<(), JwtGrantRefusal> {
        let is_accepted = |audience: &Text<'_>| accepted.iter().any(|one| audience.is(one));
        let fits = match self {
            Self::One(audience) => is_accepted(audience),
            Self::Several(audiences) => {
                matches!(audiences.as_slice(), [only] if is_accepted(only))
            }
        };
        if fits { Ok(()) } else { Err(JwtGrantRefusal::Audience) }
    }
}

/// A name of somebody at an issuer: compared byte by byte, and written into the log.
pub(crate) fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// As much as the registry keeps of a subject of an identity provider.
const SUBJECT_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_bounded_on_both_sides() {
        let check = |iat, exp, nbf, expected: bool| {
            let times = Times { exp, iat, nbf };
            assert_eq!(times.verify(300, 1000).is_ok(), expected, "{iat} {exp} {nbf:?}");
        };
        check(1000, 1300, None, true);
        check(1005, 1305, Some(1005), true);
        check(701, 1001, None, true);
        check(700, 1000, None, false);
        check(1000, 1301, None, false);
        check(1006, 1300, None, false);
        check(1000, 1300, Some(1006), false);
        check(1000, 1000, None, false);
        check(1200, 1100, None, false);
        check(0, u64::MAX, None, false);
    }

    #[test]
    fn one_audience_counts() {
        let check = |text: &str, expected: bool| {
            let claim: AudienceClaim<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(claim.verify(&["https://a", "https://a/token"]).is_ok(), expected, "{text}");
        };
        check(r#""https://a""#, true);
        check(r#""https://a/token""#, true);
        check(r#"["https://a"]"#, true);
        check(r#"["https://a","https://a/token"]"#, false);
        check(r#"["https://a","https://b"]"#, false);
        check(r#""https://a/""#, false);
        check(r#""HTTPS://a""#, false);
        check("[]", false);
        assert!(serde_json::from_str::<AudienceClaim<'_>>("1").is_err());
        assert!(serde_json::from_str::<AudienceClaim<'_>>(r#"{"a":1}"#).is_err());
    }

    #[test]
    fn no_other_algorithm_is_read() {
        let claims = attorn_jose::base64url(br#"{"iss":"https://a"}"#);
        let read = |alg: &str| {
            let header = attorn_jose::base64url(format!(r#"{{"alg":"{alg}"}}"#).as_bytes());
            Assertion::parse(&format!("{header}.{claims}.AAAA")).map(drop)
        };
        for alg in ["RS256", "PS256", "ES256", "EdDSA"] {
            assert_eq!(read(alg), Ok(()), "{alg}");
        }
        for alg in ["none", "HS256", "RS384", "ES384", "rs256", ""] {
            assert_eq!(read(alg), Err(JwtGrantRefusal::Malformed), "{alg}");
        }
    }

    #[test]
    fn what_is_no_assertion_is_refused() {
        for text in ["", "a.b.c", "e30.e30.e30", "e30.e30"] {
            assert_eq!(Assertion::parse(text).err(), Some(JwtGrantRefusal::Malformed), "{text}");
        }
    }
}
