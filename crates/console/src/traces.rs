//! What happened, from the person to the API: the search, and one chain as swim lanes.

use askama::Template;

use crate::nav::Nav;
use crate::visible::Visible;

/// Where somebody looks for what happened.
#[derive(Clone, Debug, Template)]
#[template(path = "traces.html")]
pub struct TracesPage<'a> {
    /// The bar.
    pub nav: Nav<'a>,
    /// The search.
    pub search: TraceSearch<'a>,
    /// The last decisions, newest first.
    pub decisions: Vec<DecisionRow>,
}

/// A search for a chain.
#[derive(Clone, Copy, Debug)]
pub struct TraceSearch<'a> {
    /// What was looked for.
    pub id: &'a str,
    /// By what; empty where its form says.
    pub by: &'a str,
    /// What went wrong.
    pub problem: Option<&'a str>,
}

/// A decision in a list.
#[derive(Clone, Debug)]
pub struct DecisionRow {
    /// Its identifier.
    pub id: String,
    /// When.
    pub at: String,
    /// `permit` or `deny`.
    pub decision: &'static str,
    /// The reason code of a refusal.
    pub reason: Option<String>,
    /// The agent.
    pub agent: String,
    /// What was called.
    pub call: Visible,
}

/// One chain.
#[derive(Clone, Debug, Template)]
#[template(path = "trace.html")]
pub struct TracePage<'a> {
    /// The bar.
    pub nav: Nav<'a>,
    /// The search that found it.
    pub search: TraceSearch<'a>,
    /// This page, so that a row can be sent to somebody.
    pub address: &'a str,
    /// The same as a command, without `attorn audit trace`.
    pub command: Visible,
    /// Who takes part, by lane.
    pub names: [Vec<String>; 4],
    /// Every entry, what came of another one after it.
    pub steps: Vec<TraceStep>,
    /// The log that the entries are from.
    pub log: &'a str,
    /// Entries before this one were removed.
    pub removed_before: Option<u64>,
    /// Whether there may be more.
    pub is_cut: bool,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// Its place in the log.
    pub index: u64,
    /// The kind, as it stands in the entry.
    pub kind: &'static str,
    /// When.
    pub at: String,
    /// Who began it.
    pub from: Lane,
    /// Whom it went to.
    pub to: Lane,
    /// How it was decided, or how it ended.
    pub verdict: Option<&'static str>,
    /// What the token was.
    pub chips: Vec<Chip>,
    /// What is known.
    pub facts: Vec<Fact>,
    /// What is missing.
    pub findings: Vec<String>,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A person.
    Person,
    /// The agent.
    Agent,
    /// The MCP server.
    Server,
    /// The API behind it.
    Api,
}

/// Something about a token.
#[derive(Clone, Debug)]
pub struct Chip {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub value: Visible,
    /// Whether it is as it should be.
    pub tone: Tone,
}

/// How something about a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// It says nothing by itself.
    Plain,
    /// Not as it should be.
    Bad,
}

/// One member of an entry.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: Visible,
    /// The chain that it leads to, below the issuer.
    pub leads_to: Option<String>,
}

/// What can be looked for: the value in the form, and its name.
pub const LOOKED_FOR_BY: [(&str, &str); 9] = [
    ("", "whatever it is"),
    ("decision", "a decision"),
    ("trace", "a trace"),
    ("token", "a token"),
    ("agent", "an agent"),
    ("person", "a person"),
    ("approval", "an approval"),
    ("downstream_request", "a request to an API"),
    ("exchanged", "a token got by exchange"),
];

impl TracesPage<'_> {
    /// The page. Writing to memory does not fail; if it did, the page would be empty.
    #[must_use]
    pub fn html(&self) -> String {
        self.render().unwrap_or_default()
    }
}

impl TracePage<'_> {
    /// The page. Writing to memory does not fail; if it did, the page would be empty.
    #[must_use]
    pub fn html(&self) -> String {
        self.render().unwrap_or_default()
    }

    fn lanes(&self) -> impl Iterator<Item = (&'static str, String)> {
        let lanes = [Lane::Person, Lane::Agent, Lane::Server, Lane::Api];
        lanes.into_iter().zip(&self.names).map(|(lane, names)| (lane.title(), names.join(", ")))
    }

    fn finding_count(&self) -> usize {
        self.steps.iter().map(|step| step.findings.len()).sum()
    }
}

impl TraceSearch<'_> {
    fn choices(&self) -> Vec<Choice> {
        let choice = |(value, title)| Choice { value, title, is_chosen: value == self.by };
        LOOKED_FOR_BY.into_iter().map(choice).collect()
    }
}

/// One way to look.
#[derive(Clone, Copy, Debug)]
struct Choice {
    value: &'static str,
    title: &'static str,
    is_chosen: bool,
}

impl TraceStep {
    /// The columns that it takes.
    fn columns(&self) -> &'static str {
        use Lane::{Agent, Api, Person, Server};
        match (self.from.min(self.to), self.from.max(self.to)) {
            (Person, Person) => "lanes-1-1",
            (Person, Agent) => "lanes-1-2",
            (Person, Server) => "lanes-1-3",
            (Person, Api) => "lanes-1-4",
            (Agent, Agent) => "lanes-2-2",
            (Agent, Server) => "lanes-2-3",
            (Agent, Api) => "lanes-2-4",
            (Server, Server) => "lanes-3-3",
            (Server, Api) => "lanes-3-4",
            (Api, _) | (_, Person) | (Server, Agent) => "lanes-4-4",
        }
    }

    fn way(&self) -> String {
        if self.from == self.to {
            return self.from.title().to_owned();
        }
        format!("{} to {}", self.from.title(), self.to.title())
    }

    fn is_refused(&self) -> bool {
        matches!(self.verdict, Some("deny" | "error" | "failed" | "refused"))
    }
}

impl Lane {
    const fn title(self) -> &'static str {
        match self {
            Self::Person => "Person",
            Self::Agent => "Agent",
            Self::Server => "Server",
            Self::Api => "API",
        }
    }
}

impl Chip {
    fn class(&self) -> &'static str {
        match self.tone {
            Tone::Good => "good",
            Tone::Plain => "plain",
            Tone::Bad => "bad",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nav::Here;

    fn seen(text: &str) -> Visible {
        Visible::of(text, |c| c == '\u{202e}')
    }

    fn nav() -> Nav<'static> {
        Nav { base: "", person: "eve", may_approve: false, may_audit: true, here: Here::Traces }
    }

    fn step(from: Lane, to: Lane) -> TraceStep {
        let key = Chip { name: "key", value: seen("another one"), tone: Tone::Bad };
        TraceStep {
            index: 42,
            kind: "call.decided",
            at: "then".into(),
            from,
            to,
            verdict: Some("deny"),
            chips: vec![key],
            facts: vec![Fact {
                name: "tool",
                value: seen("<b>\u{202e}"),
                leads_to: Some("/traces/dec_a".into()),
            }],
            findings: vec!["allowed, and no outcome is here".into()],
        }
    }

    fn page(steps: Vec<TraceStep>) -> String {
        TracePage {
            nav: nav(),
            search: TraceSearch { id: "dec_a", by: "decision", problem: None },
            address: "/traces/dec_a",
            command: seen("dec_a"),
            names: [vec!["ann".into()], vec!["payer".into()], Vec::new(), Vec::new()],
            steps,
            log: "example/authority",
            removed_before: Some(7),
            is_cut: false,
        }
        .html()
    }

    #[test]
    fn each_row_has_a_permalink_a_command_and_its_findings() {
        let html = page(vec![step(Lane::Agent, Lane::Server)]);
        for text in [
            r#"id="entry-42""#,
            r#"href="/traces/dec_a#entry-42""#,
            "attorn audit show 42",
            "attorn audit trace dec_a",
            "no outcome is here",
            "lanes-2-3",
            "Agent to Server",
            "another one",
            "payer",
            "before #7",
        ] {
            assert!(html.contains(text), "{text}: {html}");
        }
        assert!(!html.contains("<b>") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains(r#"<option value="decision" selected>"#), "{html}");
    }

    #[test]
    fn every_way_has_its_columns() {
        let all = [Lane::Person, Lane::Agent, Lane::Server, Lane::Api];
        for (one, from) in all.into_iter().enumerate() {
            for (other, to) in all.into_iter().enumerate() {
                let expected = format!("lanes-{}-{}", one.min(other) + 1, one.max(other) + 1);
                assert_eq!(step(from, to).columns(), expected);
            }
        }
    }

    #[test]
    fn an_empty_search_says_what_to_look_for() {
        let search = TraceSearch { id: "\"><script>", by: "", problem: Some("nothing") };
        let html = TracesPage { nav: nav(), search, decisions: Vec::new() }.html();
        assert!(html.contains("attorn audit search") && !html.contains("<script"), "{html}");
        assert!(html.contains(r#"role="alert""#), "{html}");
    }
}
