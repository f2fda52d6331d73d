//! The pages around a session: log-in, first password, sessions, signed out, error.

use askama::Template;

use crate::nav::Nav;

/// What each form carries: it shows that the form came from a page of ours in this browser.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Path of the issuer, empty for most; every address of a page begins with it.
    pub base: &'a str,
    /// Bound to the browser, the session and the form.
    pub token: &'a str,
    /// The request that waits for the person, where one does.
    pub waiting: &'a str,
}

/// Who are you?
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage<'a> {
    /// What the form carries.
    pub form: Form<'a>,
    /// The application that asks, where one does.
    pub application: Option<&'a str>,
    /// What people call the provider at which they can sign in, where there is one.
    pub provider: Option<&'a str>,
    /// Whether they can sign in by name and password.
    pub asks_password: bool,
    /// Whether they can sign in by a passkey. Then the page needs our script.
    pub offers_passkeys: bool,
    /// What went wrong just now.
    pub problem: Option<&'a str>,
}

/// The first password of somebody who was invited.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "invitation.html")]
pub struct InvitationPage<'a> {
    /// What the form carries.
    pub form: Form<'a>,
    /// Fewest characters of a password.
    pub password_characters_min: usize,
    /// What went wrong just now.
    pub problem: Option<&'a str>,
}

/// Something did not go on, and nobody is sent anywhere.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// Path of the issuer.
    pub base: &'a str,
    /// What happened, in one sentence.
    pub what: &'a str,
    /// What the person can do.
    pub next: &'a str,
}

/// The session has ended.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOutPage<'a> {
    /// Path of the issuer.
    pub base: &'a str,
}

/// Where somebody is signed in.
#[derive(Clone, Debug, Template)]
#[template(path = "sessions.html")]
pub struct SessionsPage<'a> {
    /// The bar, which says who is signed in.
    pub nav: Nav<'a>,
    /// What the forms carry.
    pub form: Form<'a>,
    /// The sessions, this one first.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// When it began.
    pub opened: String,
    /// When it was used last.
    pub seen: String,
    /// Whether it is the one that looks at the page.
    pub is_this: bool,
}

macro_rules! html {
    ($($page:ident),*) => {
        $(impl $page<'_> {
            /// The page. Writing to memory does not fail; if it did, the page would be empty.
            #[must_use]
            pub fn html(&self) -> String {
                self.render().unwrap_or_default()
            }
        })*
    };
}

html!(LoginPage, InvitationPage, ErrorPage, SignedOutPage, SessionsPage);

/// That a page has so many scripts of ours, and nothing else that runs.
#[cfg(test)]
pub(crate) fn assert_script(page: &str, count: usize) {
    assert_eq!(page.matches("<script").count(), count, "{page}");
    assert_eq!(page.matches("/passkeys.js\" defer></script>").count(), count, "{page}");
    for word in ["javascript:", " onclick=", " onsubmit=", " onload="] {
        assert!(!page.contains(word), "{word}: {page}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAV: Nav<'_> = Nav {
        base: "/t/a",
        person: "ann",
        may_approve: false,
        may_audit: false,
        here: crate::nav::Here::Sessions,
    };
    const FORM: Form<'_> = Form { base: "/t/a", token: "tok", waiting: "req" };
    const LOGIN: LoginPage<'_> = LoginPage {
        form: FORM,
        application: None,
        provider: None,
        asks_password: true,
        offers_passkeys: false,
        problem: None,
    };

    #[test]
    fn a_log_in_asks_for_name_and_password() {
        let page = LoginPage { application: Some("<i>Desk</i>"), ..LOGIN }.html();
        assert!(
            page.contains(r#"action="/t/a/login""#) && page.contains(r#"href="/t/a/style.css""#)
        );
        assert!(page.contains(r#"value="tok""#) && page.contains(r#"value="req""#), "{page}");
        assert!(page.contains(r#"autocomplete="current-password""#), "{page}");
        assert!(!page.contains("<i>") && page.contains("&#60;i&#62;Desk"), "{page}");
        assert!(!page.contains(r#"role="alert""#), "{page}");
        assert!(!page.contains("/login/provider"), "{page}");
        let again = LoginPage { problem: Some("no"), ..LOGIN }.html();
        assert!(again.contains(r#"role="alert""#), "{again}");
    }

    #[test]
    fn a_log_in_leads_to_the_provider_by_a_link() {
        let both = LoginPage { provider: Some("<b>Corp"), ..LOGIN }.html();
        assert!(both.contains(r#"href="/t/a/login/provider?waiting=req""#), "{both}");
        assert!(both.contains("Sign in with &#60;b&#62;Corp"), "{both}");
        assert!(both.contains("<form"), "{both}");
        let alone = LoginPage { provider: Some("Corp"), asks_password: false, ..LOGIN }.html();
        assert!(!alone.contains("<form") && !alone.contains("password"), "{alone}");
        let unasked = Form { waiting: "", ..FORM };
        let alone = LoginPage { form: unasked, provider: Some("Corp"), ..LOGIN }.html();
        assert!(alone.contains(r#"href="/t/a/login/provider""#), "{alone}");
    }

    #[test]
    fn a_log_in_by_passkey_needs_our_script_and_is_hidden_without_it() {
        let page = LoginPage { offers_passkeys: true, ..LOGIN }.html();
        let form = page.split("<form").find(|form| form.contains("data-passkey")).unwrap();
        let tag = form.split('>').next().unwrap();
        assert!(tag.ends_with(" hidden"), "{tag}");
        assert!(tag.contains(r#"data-challenge="/t/a/login/challenge""#), "{tag}");
        for name in ["credential", "client_data", "authenticator_data", "signature", "user_handle"]
        {
            assert!(form.contains(&format!(r#"type="hidden" name="{name}""#)), "{name}");
        }
        assert!(form.contains(r#"value="tok""#) && form.contains(r#"value="req""#), "{form}");
        assert!(page.contains(r#"src="/t/a/passkeys.js""#), "{page}");
        assert_script(&page, 1);
        assert_script(&LOGIN.html(), 0);
    }

    #[test]
    fn no_page_has_script_style_or_another_origin() {
        let session = Session { opened: "a".into(), seen: "b".into(), is_this: true };
        for page in [
            LOGIN.html(),
            LoginPage { provider: Some("Corp"), ..LOGIN }.html(),
            LoginPage { provider: Some("Corp"), asks_password: false, ..LOGIN }.html(),
            InvitationPage { form: FORM, password_characters_min: 12, problem: None }.html(),
            ErrorPage { base: "", what: "a", next: "b" }.html(),
            SignedOutPage { base: "" }.html(),
            SessionsPage { nav: NAV, form: FORM, sessions: vec![session] }.html(),
        ] {
            assert!(page.starts_with("<!doctype html>"), "{page}");
            for word in ["<script", "style=", "<style", "javascript:", "http://", "https://", " on"]
            {
                let found = page.contains(word) && word != " on";
                assert!(!found, "{word}: {page}");
            }
            assert_eq!(page.matches("<title>").count(), 1);
            assert_eq!(page.matches("<h1").count(), 1);
            // Each field that a person fills in has its label.
            let fields = page.matches("<input id=").count();
            assert_eq!(fields, page.matches("<label for=").count(), "{page}");
        }
    }
}
