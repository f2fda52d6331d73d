//! May this application do that in your name?
//!
//! Never skipped: a person sees who asks, where the answer goes and what each right unlocks, every
//! time. What cannot be undone stands apart and is never chosen beforehand.

use askama::Template;

use crate::page::Form;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage<'a> {
    /// What the form carries.
    pub form: Form<'a>,
    /// Who answers.
    pub person: &'a str,
    /// The name the application gave itself.
    pub application: &'a str,
    /// How the application is known here.
    pub origin: Origin<'a>,
    /// Where the answer is sent.
    pub destination: &'a str,
    /// Whether that is a program on the person's own machine: any program there can listen.
    pub is_loopback: bool,
    /// Whether the answer leaves to another host than the application is known by.
    pub is_elsewhere: bool,
    /// The MCP server.
    pub server: &'a str,
    /// How long it holds.
    pub days: u64,
    /// What is offered, by how much it weighs.
    pub groups: Vec<ChoiceGroup>,
    /// How many rights the application has already.
    pub given_before: usize,
    /// What went wrong just now.
    pub problem: Option<&'a str>,
}

/// How an application is known.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// By a document at a host.
    Document(&'a str),
    /// It registered itself; nobody looked at it.
    Dynamic,
    /// An operator registered it.
    Registered,
}

/// How much a right weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Nothing changes.
    Read,
    /// Something changes that can be changed back.
    Write,
    /// Something happens that nobody can undo.
    Irreversible,
}

/// The rights of one weight.
#[derive(Clone, Debug)]
pub struct ChoiceGroup {
    /// Their weight.
    pub gravity: Gravity,
    /// The rights.
    pub choices: Vec<Choice>,
}

/// One right.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its place in the offer. The form says it beside the scope, and only both together count.
    pub number: usize,
    /// The scope as it stands in a token.
    pub scope: String,
    /// What it unlocks, in the words of the approved definition.
    pub title: String,
    /// Whether the application did not have it before.
    pub is_new: bool,
    /// Whether it is chosen beforehand.
    pub is_chosen: bool,
}

impl ConsentPage<'_> {
    /// The page. Writing to memory does not fail; if it did, the page would be empty.
    #[must_use]
    pub fn html(&self) -> String {
        self.render().unwrap_or_default()
    }

    fn tool_count(&self) -> usize {
        self.groups.iter().map(|group| group.choices.len()).sum()
    }
}

impl ChoiceGroup {
    fn title(&self) -> &'static str {
        match self.gravity {
            Gravity::Read => "Read",
            Gravity::Write => "Change",
            Gravity::Irreversible => "Cannot be undone",
        }
    }

    fn text(&self) -> &'static str {
        match self.gravity {
            Gravity::Read => "Looks at things and changes nothing.",
            Gravity::Write => "Creates and changes things.",
            Gravity::Irreversible => {
                "Nobody can take back what these do. Choose only what you need."
            }
        }
    }

    fn class(&self) -> &'static str {
        match self.gravity {
            Gravity::Read => "read",
            Gravity::Write => "write",
            Gravity::Irreversible => "irreversible",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(number: usize, title: &str, is_chosen: bool) -> Choice {
        let scope = format!("read:t{number}");
        Choice { number, scope, title: title.to_owned(), is_new: number == 1, is_chosen }
    }

    fn page(origin: Origin<'_>) -> String {
        let form = Form { base: "", token: "tok", waiting: "req" };
        let group = |gravity, choices| ChoiceGroup { gravity, choices };
        ConsentPage {
            form,
            person: "ann",
            application: "<img src=x onerror=alert(1)>",
            origin,
            destination: "127.0.0.1:5",
            is_loopback: true,
            is_elsewhere: true,
            server: "invoices",
            days: 30,
            groups: vec![
                group(Gravity::Read, vec![choice(0, "Look at \"one\"", true)]),
                group(Gravity::Irreversible, vec![choice(1, "Pay <b>", false)]),
            ],
            given_before: 1,
            problem: None,
        }
        .html()
    }

    #[test]
    fn a_person_sees_who_asks_for_what_and_where_the_answer_goes() {
        let page = page(Origin::Document("client.example"));
        for text in ["client.example", "127.0.0.1:5", "invoices", "ann", "30 days", "read:t0"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(page.contains("2 tools"), "{page}");
        assert!(!page.contains("<img") && !page.contains("<b>"), "{page}");
        assert!(page.contains(r#"name="scope.0" value="read:t0" checked"#), "{page}");
        assert!(
            page.contains(r#"name="scope.1" value="read:t1">"#),
            "not chosen beforehand: {page}"
        );
        // Enter in a form presses its first button, and that one gives nothing away.
        let (deny, allow) = (page.find(r#"value="deny""#), page.find(r#"value="allow""#));
        assert!(deny.unwrap() < allow.unwrap());
    }

    #[test]
    fn where_an_application_comes_from_is_said() {
        assert!(page(Origin::Dynamic).contains("registered itself"));
        assert!(page(Origin::Registered).contains("registered by an operator"));
    }
}
