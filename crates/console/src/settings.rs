//! How somebody signs in: their passkeys.

use askama::Template;

use crate::nav::Nav;
use crate::page::Form;

/// How somebody signs in, and what they can change about it.
#[derive(Clone, Debug, Template)]
#[template(path = "settings.html")]
pub struct SettingsPage<'a> {
    /// The bar.
    pub nav: Nav<'a>,
    /// What the forms carry.
    pub form: Form<'a>,
    /// What happened just now.
    pub done: Option<&'a str>,
    /// What went wrong just now.
    pub problem: Option<&'a str>,
    /// Why no passkey can be added here, where none can.
    pub off: Option<&'a str>,
    /// Whether they signed in so lately that they may change something.
    pub is_recent: bool,
    /// What they have, oldest first.
    pub passkeys: Vec<ShownPasskey>,
}

/// A passkey.
#[derive(Clone, Debug)]
pub struct ShownPasskey {
    /// The identifier.
    pub id: String,
    /// What the person calls it.
    pub name: String,
    /// When it was added.
    pub created: String,
    /// When it was used last, if it was.
    pub used: Option<String>,
}

impl SettingsPage<'_> {
    /// Whether it offers to add a passkey, and so needs our script.
    #[must_use]
    pub fn offers(&self) -> bool {
        self.off.is_none() && self.is_recent
    }

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
    use crate::page::assert_script;

    fn page() -> SettingsPage<'static> {
        let nav = Nav {
            base: "/t",
            person: "ann",
            may_approve: false,
            may_audit: false,
            here: Here::Settings,
        };
        SettingsPage {
            nav,
            form: Form { base: "/t", token: "tok", waiting: "" },
            done: None,
            problem: None,
            off: None,
            is_recent: true,
            passkeys: Vec::new(),
        }
    }

    fn passkey(name: &str) -> ShownPasskey {
        let (created, used) = ("then".to_owned(), Some("now".to_owned()));
        ShownPasskey { id: "pky_1".to_owned(), name: name.to_owned(), created, used }
    }

    #[test]
    fn who_signed_in_lately_adds_and_removes() {
        let one = SettingsPage { passkeys: vec![passkey("<i>a")], ..page() }.html();
        assert!(one.contains(r#"action="/t/settings/passkey""#), "{one}");
        assert!(one.contains(r#"data-challenge="/t/settings/challenge""#), "{one}");
        assert!(one.contains("&#60;i&#62;a") && !one.contains("<i>"), "{one}");
        assert!(one.contains(r#"name="passkey" value="pky_1""#), "{one}");
        assert!(!one.contains("/settings/again"), "{one}");
        assert_script(&one, 1);
        let fields = one.matches("<input id=").count();
        assert_eq!(fields, one.matches("<label for=").count(), "{one}");
    }

    #[test]
    fn who_did_not_signs_in_again_first() {
        let passkeys = vec![passkey("a")];
        let html = SettingsPage { is_recent: false, passkeys, ..page() }.html();
        assert!(html.contains(r#"href="/t/settings/again""#), "{html}");
        assert!(!html.contains("<form"), "{html}");
        assert_script(&html, 0);
    }

    #[test]
    fn where_passkeys_are_off_the_page_says_why() {
        let off = Some("The address of this site is <an address>.");
        let html = SettingsPage { off, ..page() }.html();
        assert!(html.contains("The address of this site is &#60;an address&#62;."), "{html}");
        assert!(!html.contains("<form") && !html.contains("/settings/again"), "{html}");
        assert_script(&html, 0);
        // One from before can still be removed.
        let html = SettingsPage { off, passkeys: vec![passkey("a")], ..page() }.html();
        assert!(html.contains("/settings/passkey/remove") && !html.contains("data-passkey"));
    }
}
