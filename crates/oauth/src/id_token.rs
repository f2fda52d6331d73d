//! The ID token of a provider that people log in at: OpenID Connect Core 1.0 section 3.1.3.7.
//!
//! Implemented: every claim of that list but `acr`. Narrower than the text: one audience, which is us
//! (item 3 lets a client trust no other), and a token that was just made. The signature (item 6) is
//! verified before, under a key of the issuer and an algorithm that the operator allowed; a
//! [`Verified`] token is what this takes. Not implemented: encrypted tokens, `UserInfo`, `acr`,
//! distributed claims: where the groups are elsewhere, there are none here.

use attorn_jose::{Algorithm, Verified, base64url, sha256};
use attorn_json::{Document, Limits, Value};
use aws_lc_rs::digest::{SHA512, digest};
use serde::Deserialize;

use crate::claim::{Text, present};

/// Size of an ID token: groups make it long.
pub const ID_TOKEN_LIMITS: Limits = Limits { bytes_max: 64 << 10, depth_max: 16 };

/// What an ID token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Who we are there.
    pub client_id: &'a str,
    /// What we gave with the request.
    pub nonce: &'a str,
    /// The access token that came with it.
    pub access_token: &'a str,
    /// Where the person had to show who they are anew: when we asked, in seconds.
    pub asked_s: Option<u64>,
    /// The claim that holds the groups.
    pub groups_claim: Option<&'a str>,
}

/// Who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdToken {
    /// Unique at the provider, and never given to somebody else: section 2.
    pub subject: String,
    /// The groups that it names, as the provider calls them.
    pub groups: Vec<String>,
    /// What the person is called there. Section 5.7: it names nobody.
    pub preferred_username: Option<String>,
    /// What people call them.
    pub name: Option<String>,
}

/// Why an ID token shows nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IdTokenRefusal {
    /// It came with another access token.
    #[error("`at_hash` is of another access token")]
    AccessTokenHash,
    /// For another client, or for others as well.
    #[error("`aud` is not this client alone")]
    Audience,
    /// The person did not show anew who they are, or the provider does not say when.
    #[error("`auth_time` is missing, or from before the request")]
    AuthTime,
    /// Made for another client.
    #[error("`azp` is another client")]
    AuthorizedParty,
    /// A claim is missing or has the wrong type.
    #[error("a claim is missing or has the wrong type")]
    Claims,
    /// Past its end.
    #[error("`exp` is past")]
    Expired,
    /// The groups are no list of texts.
    #[error("the claim of the groups is no list of texts")]
    Groups,
    /// Not made just now.
    #[error("`iat` is not of now")]
    IssuedAt,
    /// Of another issuer.
    #[error("`iss` is another issuer")]
    Issuer,
    /// For another request.
    #[error("`nonce` is not the one of the request")]
    Nonce,
    /// Not valid yet.
    #[error("`nbf` is in the future")]
    NotYet,
    /// No text that names somebody.
    #[error("`sub` is no identifier")]
    Subject,
    /// Another kind of JWT.
    #[error("the token has another type")]
    Type,
}

impl IdTokenRefusal {
    /// The claim that does not hold, for the journal.
    #[must_use]
    pub const fn check(self) -> &'static str {
        match self {
            Self::AccessTokenHash => "at_hash",
            Self::Audience => "aud",
            Self::AuthTime => "auth_time",
            Self::AuthorizedParty => "azp",
            Self::Claims => "claims",
            Self::Expired => "exp",
            Self::Groups => "groups",
            Self::IssuedAt => "iat",
            Self::Issuer => "iss",
            Self::Nonce => "nonce",
            Self::NotYet => "nbf",
            Self::Subject => "sub",
            Self::Type => "typ",
        }
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    iss: Text<'a>,
    #[serde(borrow)]
    sub: Text<'a>,
    #[serde(borrow)]
    aud: AudienceClaim<'a>,
    exp: u64,
    iat: u64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<u64>,
    #[serde(borrow, default, deserialize_with = "present")]
    nonce: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    azp: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    at_hash: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    auth_time: Option<u64>,
}

/// RFC 7519 section 4.1.3 has both forms.
#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim<'a> {
    One(#[serde(borrow)] Text<'a>),
    Several(#[serde(borrow)] Vec<Text<'a>>),
}

impl IdToken {
    /// Reads a token whose signature holds.
    ///
    /// # Errors
    /// [`IdTokenRefusal`], the first that applies.
    pub fn read(
        token: &Verified<'_>,
        expected: &Expected<'_>,
        now_s: u64,
    ) -> Result<Self, IdTokenRefusal> {
        // RFC 8725 section 3.11: a provider signs other kinds of JWT with the same keys.
        match token.header().typ.as_deref() {
            Some(typ) if !typ.eq_ignore_ascii_case("JWT") => return Err(IdTokenRefusal::Type),
            Some(_) | None => {}
        }
        let claims = token.claims(&ID_TOKEN_LIMITS).map_err(|_| IdTokenRefusal::Claims)?;
        let wire: Wire<'_> = claims.to().map_err(|_| IdTokenRefusal::Claims)?;
        verify_parties(&wire, expected)?;
        verify_times(&wire, expected, now_s)?;
        verify_request(&wire, expected, token.header().alg)?;
        // Section 2: at most 255 ASCII characters, compared as they are.
        let is_subject = |text: &str| {
            (1..=SUBJECT_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        };
        if !is_subject(&wire.sub.0) {
            return Err(IdTokenRefusal::Subject);
        }
        let text = |name| {
            let found = claims.value().member(name).and_then(Value::string);
            found.map(std::borrow::Cow::into_owned)
        };
        Ok(Self {
            subject: wire.sub.0.to_string(),
            groups: groups(&claims, expected.groups_claim)?,
            preferred_username: text("preferred_username"),
            name: text("name"),
        })
    }
}

fn verify_parties(wire: &Wire<'_>, expected: &Expected<'_>) -> Result<(), IdTokenRefusal> {
    // Item 2.
    if !wire.iss.is(expected.issuer) {
        return Err(IdTokenRefusal::Issuer);
    }
    // Item 3: us, and nobody whom we do not trust. We trust nobody else with a log-in here.
    let is_ours = match &wire.aud {
        AudienceClaim::One(audience) => audience.is(expected.client_id),
        AudienceClaim::Several(audiences) => {
            matches!(audiences.as_slice(), [only] if only.is(expected.client_id))
        }
    };
    if !is_ours {
        return Err(IdTokenRefusal::Audience);
    }
    // Items 4 and 5.
    if wire.azp.as_ref().is_some_and(|azp| !azp.is(expected.client_id)) {
        return Err(IdTokenRefusal::AuthorizedParty);
    }
    Ok(())
}

fn verify_times(
    wire: &Wire<'_>,
    expected: &Expected<'_>,
    now_s: u64,
) -> Result<(), IdTokenRefusal> {
    // Item 9.
    if wire.exp <= now_s {
        return Err(IdTokenRefusal::Expired);
    }
    let latest_s = now_s.saturating_add(LEEWAY_S);
    if wire.nbf.is_some_and(|nbf| nbf > latest_s) {
        return Err(IdTokenRefusal::NotYet);
    }
    // Item 10: it was made for the code that we redeemed just now.
    if !(now_s.saturating_sub(AGE_MAX_S)..=latest_s).contains(&wire.iat) {
        return Err(IdTokenRefusal::IssuedAt);
    }
    // Item 13: required where it was asked for.
    let Some(asked_s) = expected.asked_s else { return Ok(()) };
    match wire.auth_time {
        Some(auth_s) if (asked_s.saturating_sub(LEEWAY_S)..=latest_s).contains(&auth_s) => Ok(()),
        Some(_) | None => Err(IdTokenRefusal::AuthTime),
    }
}

fn verify_request(
    wire: &Wire<'_>,
    expected: &Expected<'_>,
    algorithm: Algorithm,
) -> Result<(), IdTokenRefusal> {
    // Item 11: the token is for this request and no other.
    if !wire.nonce.as_ref().is_some_and(|nonce| nonce.is(expected.nonce)) {
        return Err(IdTokenRefusal::Nonce);
    }
    // Section 3.1.3.8: the access token was issued with it.
    let hash = access_token_hash(expected.access_token, algorithm);
    if wire.at_hash.as_ref().is_some_and(|found| !found.is(&hash)) {
        return Err(IdTokenRefusal::AccessTokenHash);
    }
    Ok(())
}

/// Section 3.1.3.6: the left half of the hash that the algorithm has, which for Ed25519 is SHA-512.
fn access_token_hash(access_token: &str, algorithm: Algorithm) -> String {
    let hash = match algorithm {
        Algorithm::EdDsa => digest(&SHA512, access_token.as_bytes()).as_ref().to_vec(),
        Algorithm::Es256 | Algorithm::Ps256 | Algorithm::Rs256 => {
            sha256(access_token.as_bytes()).to_vec()
        }
    };
    let (left, _) = hash.split_at(hash.len() / 2);
    base64url(left)
}

/// The groups, as one text or a list of texts. Without the claim there are none.
fn groups(claims: &Document<'_>, claim: Option<&str>) -> Result<Vec<String>, IdTokenRefusal> {
    let Some(value) = claim.and_then(|claim| claims.value().member(claim)) else {
        return Ok(Vec::new());
    };
    if let Some(one) = value.string() {
        return Ok(vec![one.into_owned()]);
    }
    let items = value.items().ok_or(IdTokenRefusal::Groups)?;
    let names = items.map(|item| item.string().map(std::borrow::Cow::into_owned));
    let names: Option<Vec<_>> = names.take(GROUPS_MAX + 1).collect();
    names.filter(|names| names.len() <= GROUPS_MAX).ok_or(IdTokenRefusal::Groups)
}

const SUBJECT_BYTES_MAX: usize = 255;
/// More groups than a token of that size is sent with.
const GROUPS_MAX: usize = 2000;
/// How far the clock of a provider may be from ours.
const LEEWAY_S: u64 = 60;
/// A code is redeemed within a minute or two.
const AGE_MAX_S: u64 = 600;

#[cfg(test)]
mod tests {
    use attorn_jose::{Compact, NewHeader, SigningKey, sign};
    use serde_json::{Value as Json, json};

    use super::*;

    const NOW_S: u64 = 10_000;

    fn expected() -> Expected<'static> {
        Expected {
            issuer: "https://id.example",
            client_id: "attorn",
            nonce: "n-1",
            access_token: "at-1",
            asked_s: None,
            groups_claim: Some("groups"),
        }
    }

    fn good() -> Json {
        json!({
            "iss": "https://id.example", "sub": "a|1", "aud": "attorn", "exp": NOW_S + 300,
            "iat": NOW_S, "nonce": "n-1", "groups": ["all", "sales"], "name": "Ann",
            "preferred_username": "ann",
        })
    }

    #[expect(clippy::unwrap_in_result, reason = "a helper fails its test by panicking")]
    fn read_with(
        claims: &Json,
        typ: &str,
        expected: &Expected<'_>,
        algorithm: Algorithm,
    ) -> Result<IdToken, IdTokenRefusal> {
        let key = SigningKey::from_seed(algorithm, &[7; 32]).unwrap();
        let header = NewHeader { typ, kid: None, jwk: false };
        let text = sign(&header, claims.to_string().as_bytes(), &key).unwrap();
        let token = Compact::parse_of_issuer(&text, &ID_TOKEN_LIMITS).unwrap();
        IdToken::read(&token.verify(key.public()).unwrap(), expected, NOW_S)
    }

    fn read(claims: &Json) -> Result<IdToken, IdTokenRefusal> {
        read_with(claims, "JWT", &expected(), Algorithm::Es256)
    }

    /// The good claims with one replaced, or taken away by `null`.
    fn with(name: &str, value: Json) -> Json {
        let mut claims = good();
        let members = claims.as_object_mut().unwrap();
        if value == Json::Null {
            members.remove(name)
        } else {
            members.insert(name.into(), value)
        };
        claims
    }

    #[test]
    fn a_good_token_says_who() {
        let token = read(&good()).unwrap();
        assert_eq!((token.subject.as_str(), token.groups.len()), ("a|1", 2));
        assert_eq!(token.preferred_username.as_deref(), Some("ann"));
        for (name, value) in [
            ("aud", json!(["attorn"])),
            ("azp", json!("attorn")),
            ("nbf", json!(NOW_S + 60)),
            ("iat", json!(NOW_S + 60)),
            ("iat", json!(NOW_S - 600)),
            ("exp", json!(NOW_S + 1)),
            ("name", json!(1)),
            ("preferred_username", Json::Null),
        ] {
            assert!(read(&with(name, value.clone())).is_ok(), "{name} {value}");
        }
    }

    #[test]
    fn each_claim_holds_or_nobody_is_logged_in() {
        use IdTokenRefusal as R;
        for (name, value, refusal) in [
            ("iss", json!("https://id.example/"), R::Issuer),
            ("iss", json!("https://ID.example"), R::Issuer),
            ("iss", Json::Null, R::Claims),
            ("iss", json!(["https://id.example"]), R::Claims),
            ("aud", json!("other"), R::Audience),
            ("aud", json!(["attorn", "other"]), R::Audience),
            ("aud", json!([]), R::Audience),
            ("aud", json!({}), R::Claims),
            ("aud", Json::Null, R::Claims),
            ("azp", json!("other"), R::AuthorizedParty),
            ("azp", json!(["attorn"]), R::Claims),
            ("exp", json!(NOW_S), R::Expired),
            ("exp", Json::Null, R::Claims),
            ("exp", json!("10300"), R::Claims),
            ("exp", json!(10_300.5), R::Claims),
            ("exp", json!(-1), R::Claims),
            ("nbf", json!(NOW_S + 61), R::NotYet),
            ("iat", json!(NOW_S + 61), R::IssuedAt),
            ("iat", json!(NOW_S - 601), R::IssuedAt),
            ("iat", Json::Null, R::Claims),
            ("nonce", json!("n-2"), R::Nonce),
            ("nonce", json!(""), R::Nonce),
            ("nonce", Json::Null, R::Nonce),
            ("sub", json!(""), R::Subject),
            ("sub", json!("a".repeat(256)), R::Subject),
            ("sub", json!("a\nb"), R::Subject),
            ("sub", json!("a\u{202e}b"), R::Subject),
            ("sub", json!(1), R::Claims),
            ("sub", Json::Null, R::Claims),
            ("at_hash", json!("AAAA"), R::AccessTokenHash),
            ("groups", json!({}), R::Groups),
            ("groups", json!(["a", 1]), R::Groups),
            ("groups", Json::from(vec!["a"; 2001]), R::Groups),
        ] {
            assert_eq!(read(&with(name, value.clone())), Err(refusal), "{name} {value:.40}");
        }
    }

    #[test]
    fn another_kind_of_jwt_is_none() {
        let with_type = |typ| read_with(&good(), typ, &expected(), Algorithm::Es256);
        assert!(with_type("jwt").is_ok());
        for typ in ["at+jwt", "logout+jwt", "dpop+jwt", "application/jwt", ""] {
            assert_eq!(with_type(typ), Err(IdTokenRefusal::Type), "{typ}");
        }
    }

    #[test]
    fn the_hash_is_of_the_access_token_by_the_hash_of_the_algorithm() {
        let half = |hash: &[u8]| base64url(&hash[..hash.len() / 2]);
        let short = half(&sha256(b"at-1"));
        let long = half(digest(&SHA512, b"at-1").as_ref());
        let check = |hash: &str, algorithm, expected_result| {
            let found = read_with(&with("at_hash", json!(hash)), "JWT", &expected(), algorithm);
            assert_eq!(found.map(drop), expected_result);
        };
        check(&short, Algorithm::Es256, Ok(()));
        check(&long, Algorithm::EdDsa, Ok(()));
        check(&long, Algorithm::Es256, Err(IdTokenRefusal::AccessTokenHash));
        check(&short, Algorithm::EdDsa, Err(IdTokenRefusal::AccessTokenHash));
        let other = Expected { access_token: "at-2", ..expected() };
        let found = read_with(&with("at_hash", json!(short)), "JWT", &other, Algorithm::Es256);
        assert_eq!(found, Err(IdTokenRefusal::AccessTokenHash));
    }

    #[test]
    fn who_has_to_show_it_anew_did_so_after_the_question() {
        let asked = Expected { asked_s: Some(NOW_S - 100), ..expected() };
        let check = |auth_time: Json, is_ok: bool| {
            let found = read_with(&with("auth_time", auth_time), "JWT", &asked, Algorithm::Es256);
            assert_eq!(found.is_ok(), is_ok, "{found:?}");
        };
        check(json!(NOW_S), true);
        check(json!(NOW_S - 160), true);
        check(json!(NOW_S - 161), false);
        check(json!(NOW_S + 61), false);
        check(Json::Null, false);
        check(json!("10000"), false);
        // Who was not asked to need not say.
        assert!(read(&with("auth_time", json!(1))).is_ok());
    }

    #[test]
    fn groups_are_where_the_operator_says() {
        let groups = |value: Json| read(&with("groups", value)).unwrap().groups;
        assert_eq!(groups(json!("one")), ["one"]);
        assert!(groups(Json::Null).is_empty() && groups(json!([])).is_empty());
        let elsewhere = Expected { groups_claim: Some("roles"), ..expected() };
        let found = read_with(&good(), "JWT", &elsewhere, Algorithm::Es256).unwrap();
        assert!(found.groups.is_empty());
        let nowhere = Expected { groups_claim: None, ..expected() };
        assert!(read_with(&good(), "JWT", &nowhere, Algorithm::Es256).unwrap().groups.is_empty());
    }
}
