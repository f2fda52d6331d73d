//! Where a rule stands in a text of policies: what an explanation points at.

/// A rule in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'t> {
    /// Line on which its `permit` or `forbid` stands, from 1.
    pub line: usize,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// That line.
    pub text: &'t str,
}

/// Finds a rule by its `@id`, or, for `policyN`, by its number among all.
#[must_use]
pub fn place_of<'t>(text: &'t str, rule: &str) -> Option<Place<'t>> {
    let statements = statements(text);
    let named = statements.iter().find(|one| one.id.as_deref() == Some(rule));
    let found = named.or_else(|| {
        let number: usize = rule.strip_prefix("policy")?.parse().ok()?;
        statements.get(number).filter(|one| one.id.is_none())
    })?;
    let (line, text) =
        text.lines().enumerate().nth(found.line).map(|(at, text)| (at + 1, text.trim()))?;
    Some(Place { line, effect: found.effect, text })
}

/// One policy as far as finding it needs.
struct Statement {
    id: Option<String>,
    effect: &'static str,
    /// From 0.
    line: usize,
}

/// The policies of a text, in order. Comments and strings are skipped, so that nothing in them looks
/// like a policy.
fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let (mut id, mut begun) = (None, None);
    let mut words = Words { text, at: 0 };
    while let Some(word) = words.next() {
        match word {
            Word::Name("id", _) if begun.is_none() => {
                // `@id("…")`: the string is the second word from here.
                if let (Some(Word::Sign('(')), Some(Word::Text(name))) =
                    (words.next(), words.next())
                {
                    id = Some(name.to_owned());
                }
            }
            Word::Name(name @ ("permit" | "forbid"), at) if begun.is_none() => {
                let effect = if name == "permit" { "permit" } else { "forbid" };
                let before = text.get(..at).unwrap_or_default();
                begun = Some((effect, before.matches('\n').count()));
            }
            Word::Sign(';') => {
                if let Some((effect, line)) = begun.take() {
                    found.push(Statement { id: id.take(), effect, line });
                }
            }
            Word::Name(..) | Word::Sign(_) | Word::Text(_) => {}
        }
    }
    found
}

enum Word<'t> {
    /// A name, and where it begins.
    Name(&'t str, usize),
    Sign(char),
    /// What stands between quotation marks, as written.
    Text(&'t str),
}

struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<Word<'t>> {
        loop {
            let rest = self.text.get(self.at..)?;
            let first = rest.chars().next()?;
            if first.is_whitespace() {
                self.at += first.len_utf8();
            } else if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if first == '"' {
                let inner = rest.get(1..)?;
                let end = closing(inner);
                self.at += 1 + end + usize::from(end < inner.len());
                return inner.get(..end).map(Word::Text);
            } else if first.is_alphanumeric() || first == '_' {
                let named = |c: char| c.is_alphanumeric() || c == '_';
                let end = rest.find(|c| !named(c)).unwrap_or(rest.len());
                let begin = self.at;
                self.at += end;
                return rest.get(..end).map(|name| Word::Name(name, begin));
            } else {
                self.at += first.len_utf8();
                return Some(Word::Sign(first));
            }
        }
    }
}

/// Where a string ends: at a quotation mark that is not escaped, or with the text.
fn closing(inner: &str) -> usize {
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    inner.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"// permit everything; "not really"
permit(principal, action, resource);

@id("no bulk export")
// forbid(;
forbid(principal, action, resource)
when { context.note == "permit(a); \" ; forbid" };

permit(principal, action, resource); @id("two")  permit (principal, action, resource);
"#;

    fn check(rule: &str, expected: Option<(usize, &str)>) {
        assert_eq!(
            place_of(TEXT, rule).map(|place| (place.line, place.effect)),
            expected,
            "{rule}"
        );
    }

    #[test]
    fn a_rule_is_found_by_name_or_number() {
        check("policy0", Some((2, "permit")));
        check("no bulk export", Some((6, "forbid")));
        check("policy2", Some((9, "permit")));
        check("two", Some((9, "permit")));
        // It has a name, and is not called by its number.
        check("policy1", None);
        check("policy9", None);
        check("permit", None);
        let place = place_of(TEXT, "no bulk export").unwrap();
        assert_eq!(place.text, "forbid(principal, action, resource)");
    }

    #[test]
    fn odd_texts_end() {
        for text in ["", "\"", "@id(\"a", "permit", "// x", "@id;permit(;"] {
            assert_eq!(place_of(text, "a"), None, "{text}");
        }
    }
}
