//! What applications may do for a person, and how they take it back.

use askama::Template;

use crate::nav::Nav;
use crate::page::Form;

/// What a person gave.
#[derive(Clone, Debug, Template)]
#[template(path = "consents.html")]
pub struct ConsentsPage<'a> {
    /// The bar.
    pub nav: Nav<'a>,
    /// What the forms carry.
    pub form: Form<'a>,
    /// What happened just now.
    pub done: Option<&'a str>,
    /// What counts now, newest first.
    pub consents: Vec<GivenConsent>,
}

/// What one application may do at one server.
#[derive(Clone, Debug)]
pub struct GivenConsent {
    /// The identifier.
    pub id: String,
    /// The application.
    pub application: String,
    /// The server.
    pub server: String,
    /// The scopes, in the words of tokens.
    pub scopes: Vec<String>,
    /// When it was given.
    pub given: String,
    /// When it ends.
    pub ends: String,
}

impl ConsentsPage<'_> {
    /// The page. Writing to memory does not fail; if it did, the page would be empty.
    #[must_use]
    pub fn html(&self) -> String {
        self.render().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nav::Here;

    #[test]
    fn each_consent_can_be_taken_back() {
        let nav = Nav {
            base: "/t",
            person: "a",
            may_approve: false,
            may_audit: false,
            here: Here::Consents,
        };
        let form = Form { base: "/t", token: "tok", waiting: "" };
        let empty = ConsentsPage { nav, form, done: None, consents: Vec::new() };
        assert!(
            empty.html().contains("Nobody") && !empty.html().contains("<form"),
            "{}",
            empty.html()
        );
        let consent = |id: &str| GivenConsent {
            id: id.to_owned(),
            application: "<i>Desk</i>".to_owned(),
            server: "invoices".to_owned(),
            scopes: vec!["read:get".to_owned()],
            given: "then".to_owned(),
            ends: "later".to_owned(),
        };
        let consents = vec![consent("con_a"), consent("con_b")];
        let html = ConsentsPage { consents, done: Some("It is taken back."), ..empty }.html();
        assert_eq!(html.matches(r#"action="/t/consents""#).count(), 2);
        assert!(html.contains(r#"name="consent" value="con_b""#), "{html}");
        assert!(html.contains(r#"role="status""#) && !html.contains("<i>"), "{html}");
    }
}
