//! The form of a page, filled in by a person who says yes to everything.
//!
//! Enough of HTML for the pages that the bench opens: attributes in double quotes, one form a page.

/// Who fills it in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    /// The name to log in with.
    pub(super) name: &'static str,
    /// The password; a fixture.
    pub(super) password: &'static str,
}

/// What is sent when the form is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilledForm {
    /// Where to.
    pub(super) action: String,
    fields: Vec<(String, String)>,
}

impl FilledForm {
    /// The first form of a page.
    pub(super) fn of_page(page: &str, person: Person) -> Option<Self> {
        let (tag, rest) = page.split_once("<form ")?.1.split_once('>')?;
        let (inside, _) = rest.split_once("</form>")?;
        let tags = inside.split('<').filter_map(|part| part.split_once('>')).map(|(tag, _)| tag);
        let controls = tags.filter(|tag| tag.starts_with("input ") || tag.starts_with("button "));
        let fields = controls.filter_map(|tag| filled(tag, person)).collect();
        Some(Self { action: attribute(tag, "action")?, fields })
    }

    /// Writes something else into a field.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        for (known, content) in &mut self.fields {
            if known == name {
                value.clone_into(content);
            }
        }
    }

    /// As a body.
    pub(super) fn encoded(&self) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&self.fields).finish()
    }
}

/// Name and content of a field, or nothing where it is not sent.
fn filled(tag: &str, person: Person) -> Option<(String, String)> {
    let (name, value) = (attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default());
    let content = match attribute(tag, "type")?.as_str() {
        // Every right that is offered is given.
        "hidden" | "checkbox" => value,
        "text" => person.name.to_owned(),
        "password" => person.password.to_owned(),
        // Of several buttons a person presses one.
        "submit" if value == "allow" => value,
        _ => return None,
    };
    Some((name, content))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&quot;", "\"").replace("&#34;", "\"").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Person = Person { name: "ann", password: "p w" };

    #[test]
    fn what_is_offered_is_allowed_and_nothing_is_denied() {
        let page = r#"<p class="form ">x</p><form method="post" action="/a?b=1&amp;c=2">
            <input type="hidden" name="form" value="tok">
            <input type="checkbox" id="scope-0" name="scope.0" value="read:a" checked>
            <input type="checkbox" id="scope-1" name="scope.1" value="read:b">
            <button type="submit" name="decision" value="deny">Deny</button>
            <button type="submit" name="decision" value="allow">Allow</button>
            </form><input type="hidden" name="outside" value="x">"#;
        let form = FilledForm::of_page(page, ANN).unwrap();
        assert_eq!(form.action, "/a?b=1&c=2");
        let expected = "form=tok&scope.0=read%3Aa&scope.1=read%3Ab&decision=allow";
        assert_eq!(form.encoded(), expected);
    }

    #[test]
    fn name_and_password_are_written_and_can_be_changed() {
        let page = r#"<form autocomplete="off" action="http://h/i" method="post">
            <input type="hidden" name="prompt" value="login"/>
            <input required type="text" name="login" placeholder="name" autofocus="on">
            <input id="name" type="password" name="password">
            <button type="submit" class="login">Sign-in</button></form>"#;
        let mut form = FilledForm::of_page(page, ANN).unwrap();
        assert_eq!(form.encoded(), "prompt=login&login=ann&password=p+w");
        form.set("login", "bob");
        form.set("absent", "x");
        assert_eq!(form.encoded(), "prompt=login&login=bob&password=p+w");
    }

    #[test]
    fn a_page_without_a_whole_form_has_none() {
        for page in
            ["", "<p>no</p>", "<form action=\"/a\"><input>", "<form method=\"post\"></form>"]
        {
            assert_eq!(FilledForm::of_page(page, ANN), None, "{page}");
        }
    }
}
