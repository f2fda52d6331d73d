//! May this call be made? The list of calls that wait, and one of them.

use askama::Template;

use crate::arguments::Arguments;
use crate::nav::Nav;
use crate::page::Form;
use crate::visible::Visible;

/// What waits for a person.
#[derive(Clone, Debug, Template)]
#[template(path = "approvals.html")]
pub struct ApprovalsPage<'a> {
    /// The bar.
    pub nav: Nav<'a>,
    /// What this person can answer, newest first.
    pub for_you: Vec<ApprovalRow>,
    /// What waits and they cannot approve.
    pub for_others: Vec<ApprovalRow>,
    /// What was answered or has ended.
    pub over: Vec<ApprovalRow>,
}

/// One call in a list.
#[derive(Clone, Debug)]
pub struct ApprovalRow {
    /// The identifier of the request.
    pub id: String,
    /// The tool.
    pub tool: Visible,
    /// The server.
    pub server: String,
    /// The agent.
    pub agent: String,
    /// The person it acts for, unless it acts for itself.
    pub subject: Option<String>,
    /// Where it stands.
    pub state: &'static str,
    /// When it was asked for, and how much time is left.
    pub when: String,
    /// Why this person cannot approve it.
    pub why_not: Option<String>,
}

/// One call.
#[derive(Clone, Debug, Template)]
#[template(path = "approval.html")]
pub struct ApprovalPage<'a> {
    /// The bar.
    pub nav: Nav<'a>,
    /// What the form carries.
    pub form: Form<'a>,
    /// What went wrong just now.
    pub problem: Option<&'a str>,
    /// The identifier of the request.
    pub id: &'a str,
    /// Where it stands: `pending`, `approved`, `denied`, `used` or `expired`.
    pub state: &'static str,
    /// What is asked for.
    pub asked: AskedFor<'a>,
    /// The arguments as they will be sent.
    pub arguments: Arguments,
    /// SHA-256 of their text.
    pub arguments_sha256: &'a str,
    /// SHA-256 of everything that is shown and approved. The form brings it back.
    pub shown: &'a str,
    /// What was said so far.
    pub words: Vec<Said>,
    /// What the agent did with the tool before, newest first.
    pub earlier: Vec<EarlierCall>,
    /// What the person can do.
    pub answer: Answer<'a>,
    /// What the person wrote as their reason, when the form is shown again.
    pub reason: &'a str,
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct AskedFor<'a> {
    /// The tool.
    pub tool: Visible,
    /// Its title, in the server's words.
    pub title: Visible,
    /// Its description, in the server's words.
    pub description: Visible,
    /// What the server says of itself about it.
    pub hints: Visible,
    /// Its class, as its owner confirmed it.
    pub class: Option<&'static str>,
    /// Whether its definition is what it was when the call was made.
    pub is_unchanged: bool,
    /// The digest of the definition.
    pub definition: &'a str,
    /// The server.
    pub server: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// The name that an application of people gave itself; nobody looked at it.
    pub display_name: Visible,
    /// Who answers for it.
    pub owner: Option<&'a str>,
    /// The person it acts for; absent where it acts for itself.
    pub subject: Option<&'a str>,
    /// The chain of actors, where there is one.
    pub actors: Option<Visible>,
    /// The gateway that asked.
    pub gateway: &'a str,
    /// When it was asked for.
    pub asked: String,
    /// When it ends.
    pub expires: String,
    /// How many have to approve.
    pub needed: usize,
    /// Whose approval does not count.
    pub excluded: Vec<String>,
    /// The decision that made the call wait.
    pub decision: &'a str,
}

/// What one person said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: Visible,
}

/// An earlier decision about the same agent and tool.
#[derive(Clone, Debug)]
pub struct EarlierCall {
    /// When.
    pub at: String,
    /// `permit` or `deny`.
    pub decision: Option<&'static str>,
    /// The reason code.
    pub reason: Option<String>,
    /// The decision's identifier.
    pub decision_id: Option<String>,
}

/// What a person can do with a call.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Say yes or no.
    Either,
    /// Say no, and why not yes.
    No(&'a str),
    /// Nothing, and why.
    Nothing(&'a str),
}

impl ApprovalsPage<'_> {
    /// The page. Writing to memory does not fail; if it did, the page would be empty.
    #[must_use]
    pub fn html(&self) -> String {
        self.render().unwrap_or_default()
    }
}

impl ApprovalRow {
    fn state_word(&self) -> &'static str {
        state_word(self.state)
    }
}

impl ApprovalPage<'_> {
    /// The page. Writing to memory does not fail; if it did, the page would be empty.
    #[must_use]
    pub fn html(&self) -> String {
        self.render().unwrap_or_default()
    }

    fn state_word(&self) -> &'static str {
        state_word(self.state)
    }

    fn may_say_yes(&self) -> bool {
        matches!(self.answer, Answer::Either)
    }

    fn why_not(&self) -> Option<&str> {
        match self.answer {
            Answer::Either => None,
            Answer::No(why) | Answer::Nothing(why) => Some(why),
        }
    }

    fn may_say_no(&self) -> bool {
        matches!(self.answer, Answer::Either | Answer::No(_))
    }

    fn is_irreversible(&self) -> bool {
        self.asked.class == Some("irreversible")
    }

    fn hides(&self) -> bool {
        let asked = &self.asked;
        [&asked.tool, &asked.title, &asked.description, &asked.hints]
            .iter()
            .any(|text| text.hides())
    }
}

/// A state as a word for people.
fn state_word(state: &'static str) -> &'static str {
    match state {
        "pending" => "waits",
        "used" => "approved and made",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nav::Here;

    const EVIL: &str = "<img src=x onerror=alert(1)>\u{202e}";

    fn seen(text: &str) -> Visible {
        Visible::of(text, |c| c == '\u{202e}')
    }

    fn nav() -> Nav<'static> {
        Nav {
            base: "/t/a",
            person: "ann",
            may_approve: true,
            may_audit: true,
            here: Here::Approvals,
        }
    }

    pub(crate) fn page<'a>(answer: Answer<'a>, state: &'static str) -> ApprovalPage<'a> {
        ApprovalPage {
            nav: nav(),
            form: Form { base: "/t/a", token: "tok", waiting: "" },
            problem: None,
            id: "apr_a",
            state,
            asked: AskedFor {
                tool: seen("pay"),
                title: seen("Pay <b>"),
                description: seen(EVIL),
                hints: seen("{}"),
                class: Some("irreversible"),
                is_unchanged: true,
                definition: "00",
                server: "invoices",
                agent: "payer",
                display_name: seen("<i>Desk"),
                owner: Some("finance"),
                subject: Some("ann"),
                actors: None,
                gateway: "gateway",
                asked: "a".into(),
                expires: "b".into(),
                needed: 2,
                excluded: vec!["payer".into()],
                decision: "dec_a",
            },
            arguments: Arguments::of("{\"to\":\"<script>\u{202e}\"}", |c| c == '\u{202e}'),
            arguments_sha256: "ff",
            shown: "digest",
            words: vec![Said { by: "bob".into(), at: "c".into(), reason: seen(EVIL) }],
            earlier: Vec::new(),
            answer,
            reason: "",
        }
    }

    #[test]
    fn what_a_server_or_an_agent_writes_is_text() {
        let html = page(Answer::Either, "pending").html();
        assert!(
            !html.contains("<img") && !html.contains("<script") && !html.contains("<b>"),
            "{html}"
        );
        assert!(!html.contains('\u{202e}') && html.contains("\\u{202e}"), "{html}");
        assert!(html.contains("cannot be seen"), "{html}");
        for text in ["invoices", "payer", "finance", "ann", "dec_a", "apr_a", "attorn request show"]
        {
            assert!(html.contains(text), "{text}: {html}");
        }
    }

    #[test]
    fn the_form_brings_back_what_was_shown() {
        let html = page(Answer::Either, "pending").html();
        assert!(html.contains(r#"action="/t/a/approvals/apr_a""#), "{html}");
        assert!(html.contains(r#"name="shown" value="digest""#), "{html}");
        // The first button is what a press of Enter would choose.
        let (deny, approve) = (html.find(r#"value="deny""#), html.find(r#"value="approve""#));
        assert!(deny.unwrap() < approve.unwrap());
    }

    #[test]
    fn who_cannot_approve_is_told_why() {
        let html = page(Answer::No("nobody approves their own request"), "pending").html();
        assert!(html.contains("nobody approves their own request"), "{html}");
        assert!(html.contains(r#"value="deny""#) && !html.contains(r#"value="approve""#), "{html}");
        let html = page(Answer::Nothing("it was used"), "used").html();
        assert!(!html.contains("<form") && html.contains("it was used"), "{html}");
    }

    #[test]
    fn an_empty_list_says_what_would_fill_it() {
        let empty = ApprovalsPage {
            nav: nav(),
            for_you: Vec::new(),
            for_others: Vec::new(),
            over: Vec::new(),
        };
        let html = empty.html();
        assert!(html.contains("attorn grant create") && html.contains("irreversible:"), "{html}");
        let row = ApprovalRow {
            id: "apr_a".into(),
            tool: seen(EVIL),
            server: "invoices".into(),
            agent: "payer".into(),
            subject: None,
            state: "pending",
            when: "now".into(),
            why_not: None,
        };
        let html = ApprovalsPage { for_you: vec![row], ..empty }.html();
        assert!(html.contains(r#"href="/t/a/approvals/apr_a""#), "{html}");
        assert!(!html.contains("<img") && html.contains("attorn request show apr_a"), "{html}");
    }
}
