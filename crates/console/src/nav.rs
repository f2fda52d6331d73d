//! The bar of pages that need a log-in.

/// Which pages a person may open, and which one this is.
#[derive(Clone, Copy, Debug)]
pub struct Nav<'a> {
    /// Path of the issuer.
    pub base: &'a str,
    /// Who is logged in.
    pub person: &'a str,
    /// Whether they may approve calls.
    pub may_approve: bool,
    /// Whether they may read the log.
    pub may_audit: bool,
    /// The page that is shown.
    pub here: Here,
}

/// A page of the bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// Calls that wait.
    Approvals,
    /// What an application may do for the person.
    Consents,
    /// Where the person is signed in.
    Sessions,
    /// How the person signs in.
    Settings,
    /// What happened.
    Traces,
    /// None of them.
    Elsewhere,
}

impl Nav<'_> {
    fn is(&self, here: Here) -> bool {
        self.here == here
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let all = [
            (
                self.may_approve || self.is(Here::Approvals),
                "approvals",
                "Approvals",
                Here::Approvals,
            ),
            (self.may_audit || self.is(Here::Traces), "traces", "Traces", Here::Traces),
            (true, "consents", "Applications", Here::Consents),
            (true, "sessions", "Sessions", Here::Sessions),
            (true, "settings", "Sign-in settings", Here::Settings),
        ];
        let shown = all.into_iter().filter(|(is_shown, ..)| *is_shown);
        shown.map(|(_, path, title, here)| Entry { path, title, is_here: self.is(here) }).collect()
    }
}

/// One link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) path: &'static str,
    pub(crate) title: &'static str,
    pub(crate) is_here: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(may_approve: bool, may_audit: bool, here: Here) -> Vec<&'static str> {
        let nav = Nav { base: "", person: "ann", may_approve, may_audit, here };
        nav.entries().iter().map(|entry| entry.title).collect()
    }

    #[test]
    fn a_person_sees_what_their_roles_open() {
        assert_eq!(
            titles(false, false, Here::Sessions),
            ["Applications", "Sessions", "Sign-in settings"]
        );
        let all = ["Approvals", "Traces", "Applications", "Sessions", "Sign-in settings"];
        assert_eq!(titles(true, true, Here::Elsewhere), all);
        let nav = Nav {
            base: "",
            person: "a",
            may_approve: true,
            may_audit: false,
            here: Here::Approvals,
        };
        let here: Vec<_> = nav.entries().iter().map(|entry| entry.is_here).collect();
        assert_eq!(here, [true, false, false, false]);
    }
}
