//! Whether a form came from a page of ours, in the same browser and session.
//!
//! Three things must hold: the request says so by headers that no script can set (`Origin`, and
//! `Sec-Fetch-Site` where the browser sends it), it is a form, and it carries a token that only our
//! page had. The token is made from the browser's name, its session and the form, under a key of this
//! process: a form from before a restart is asked for again.

use attorn_jose::{base64url, from_base64url};
use attorn_net::Random;
use attorn_oauth::form::Form;
use aws_lc_rs::hmac;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, ORIGIN};

use super::browser::Browser;

/// Key of the tokens.
pub(crate) struct FormKey(hmac::Key);

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormName {
    Approval,
    Consent,
    EndSessions,
    Invite,
    Login,
    Settings,
    TakeBack,
}

/// It did not come from a page of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

impl FormKey {
    pub(crate) fn new(random: &Random) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()))
    }

    /// The token of a form for this browser and session.
    pub(crate) fn token(&self, form: FormName, browser: &Browser) -> String {
        base64url(hmac::sign(&self.0, &message(form, browser)).as_ref())
    }

    fn verify(&self, form: FormName, browser: &Browser, token: &str) -> Result<(), Forged> {
        let tag = from_base64url(token).map_err(|_| Forged)?;
        hmac::verify(&self.0, &message(form, browser), &tag).map_err(|_| Forged)
    }

    /// Reads a form, if it came from a page of ours.
    pub(crate) fn read(
        &self,
        name: FormName,
        (browser, origin): (&Browser, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Form, Forged> {
        verify_headers(headers, origin)?;
        let form = Form::of_page(body).map_err(|_| Forged)?;
        self.verify(name, browser, form.value("form").unwrap_or_default())?;
        Ok(form)
    }
}

/// The parts have fixed lengths or no zero byte, so no two triples give one message.
fn message(form: FormName, browser: &Browser) -> Vec<u8> {
    let name: &[u8] = match form {
        FormName::Approval => b"approval",
        FormName::Consent => b"consent",
        FormName::EndSessions => b"end-sessions",
        FormName::Invite => b"invite",
        FormName::Login => b"login",
        FormName::Settings => b"settings",
        FormName::TakeBack => b"take-back",
    };
    let session = browser.session_digest().unwrap_or_default();
    [name, &[0], &browser.digest(), &session].concat()
}

/// Fetch Standard, section "Origin header": a browser sends it with every POST. RFC 6454 section 7.
fn verify_headers(headers: &HeaderMap, origin: &str) -> Result<(), Forged> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        (values.next(), values.next().is_some())
    };
    let is_ours = match one(ORIGIN) {
        (Some(found), false) => found.as_bytes() == origin.as_bytes(),
        (Some(_), true) | (None, _) => false,
    };
    // Older browsers do not send it; what they do send must be right.
    let is_same_origin = match one(SEC_FETCH_SITE) {
        (None, _) => true,
        (Some(found), false) => found.as_bytes() == b"same-origin",
        (Some(_), true) => false,
    };
    let is_form = match one(CONTENT_TYPE) {
        (Some(found), false) => found.as_bytes() == b"application/x-www-form-urlencoded",
        (Some(_), true) | (None, _) => false,
    };
    if is_ours && is_same_origin && is_form { Ok(()) } else { Err(Forged) }
}

impl std::fmt::Debug for FormKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FormKey([redacted])")
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "https://id.example";

    fn key() -> FormKey {
        FormKey::new(&Random::new(|bytes| bytes.fill(7)))
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_for_one_form_browser_and_session() {
        let (key, ann) = (key(), Browser::named("a", Some("s")));
        let token = key.token(FormName::Consent, &ann);
        assert_eq!(key.verify(FormName::Consent, &ann, &token), Ok(()));
        for (form, browser) in [
            (FormName::Login, Browser::named("a", Some("s"))),
            (FormName::Consent, Browser::named("b", Some("s"))),
            (FormName::Consent, Browser::named("a", Some("t"))),
            (FormName::Consent, Browser::named("a", None)),
        ] {
            assert_eq!(key.verify(form, &browser, &token), Err(Forged));
        }
        for token in ["", "x", token.trim_end_matches(char::is_alphanumeric)] {
            assert_eq!(key.verify(FormName::Consent, &ann, token), Err(Forged));
        }
    }

    #[test]
    fn a_form_comes_from_our_own_pages() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let check = |pairs: &[(&'static str, &'static str)], expected| {
            assert_eq!(verify_headers(&headers(pairs), US), expected, "{pairs:?}");
        };
        check(&[form, ("origin", US)], Ok(()));
        check(&[form, ("origin", US), ("sec-fetch-site", "same-origin")], Ok(()));
        for site in ["cross-site", "same-site", "none", ""] {
            check(&[form, ("origin", US), ("sec-fetch-site", site)], Err(Forged));
        }
        for origin in
            ["https://evil.example", "null", "", "https://id.example:8443", "http://id.example"]
        {
            check(&[form, ("origin", origin)], Err(Forged));
        }
        check(&[form], Err(Forged));
        for media_type in ["text/plain", "multipart/form-data", "application/json"] {
            check(&[("content-type", media_type), ("origin", US)], Err(Forged));
        }
        check(&[("origin", US)], Err(Forged));
        let mut twice = headers(&[form, ("origin", US)]);
        twice.append(ORIGIN, US.parse().unwrap());
        assert_eq!(verify_headers(&twice, US), Err(Forged));
    }
}
