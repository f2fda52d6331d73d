//! The configuration as it counts: every value, and whether the file says so or a default does.
//!
//! What may let somebody in is not printed: what else is in the URL of a collector or in one with a
//! password than the host, and the arguments of a program that prints a key.

use std::path::Path;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use crate::config::Config;
use crate::exit::Failure;
use crate::files;
use crate::output::{Output, clean};

/// One value and where it came from.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
    from: String,
}

/// Prints every value of `config`, which was read from `path`.
pub(super) fn show(output: Output, path: &Path, config: &Config) -> Result<(), Failure> {
    let text = files::read_text(path)?;
    let value = serde_json::to_value(config).map_err(|e| Failure::usage(e.to_string()))?;
    for setting in settings(value, &text, &path.display().to_string())? {
        let Setting { key, value, from } = setting;
        if output.is_machine() {
            let row = serde_json::json!({ "setting": key, "value": value, "from": from });
            output.text(&row.to_string());
        } else {
            output.say(&clean(&format!("   {key:<44} {value:<32} {from}")));
        }
    }
    Ok(())
}

fn settings(mut config: Value, text: &str, file: &str) -> Result<Vec<Setting>, Failure> {
    shorten(&mut config);
    let document = DeTable::parse(text).map_err(|e| Failure::usage(e.message().to_owned()))?;
    let document = Spanned::new(0..0, DeValue::Table(document.into_inner()));
    let mut found = Found { text, file, settings: Vec::new() };
    found.add("", &config, Some(&document));
    Ok(found.settings)
}

/// The settings so far, and the file that they are looked up in.
struct Found<'f> {
    text: &'f str,
    file: &'f str,
    settings: Vec<Setting>,
}

impl Found<'_> {
    /// `a.b[0].c` for every value that is not a table. What is not configured is not there. `said`
    /// is what the file says in its place.
    fn add(&mut self, key: &str, value: &Value, said: Option<&Spanned<DeValue<'_>>>) {
        match value {
            Value::Null => {}
            Value::Object(members) => {
                for (name, value) in members {
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    self.add(&key, value, said.and_then(|said| member(said, name)));
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (at, value) in items.iter().enumerate() {
                    let said = said.and_then(|said| item(said, at));
                    self.add(&format!("{key}[{at}]"), value, said);
                }
            }
            Value::String(text) => self.put(key, without_password(text), said),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
                self.put(key, value.to_string(), said);
            }
        }
    }

    fn put(&mut self, key: &str, value: String, said: Option<&Spanned<DeValue<'_>>>) {
        let from = match said {
            Some(said) => format!("{}:{}", self.file, line_of(self.text, said.span().start)),
            None => "default".to_owned(),
        };
        self.settings.push(Setting { key: key.to_owned(), value, from });
    }
}

/// A member of a table. A text that stands for a table is where all its members are from.
fn member<'f>(said: &'f Spanned<DeValue<'f>>, name: &str) -> Option<&'f Spanned<DeValue<'f>>> {
    said.get_ref().as_table().map_or(Some(said), |table| table.get(name))
}

/// An item of a list, whether the list is written in brackets or as `[[tables]]`.
fn item<'f>(said: &'f Spanned<DeValue<'f>>, at: usize) -> Option<&'f Spanned<DeValue<'f>>> {
    said.get_ref().as_array().map_or(Some(said), |items| items.get(at))
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Takes out what the documentation of a setting does not keep secrets out of.
fn shorten(config: &mut Value) {
    for ship in config.get_mut("ship").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(url) = ship.get_mut("url")
            && let Some(shown) = url.as_str().map(host_alone)
        {
            *url = Value::String(shown);
        }
    }
    for way in config.get_mut("egress").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(command) = way.pointer_mut("/key/command")
            && let Some(shown) = program_alone(command)
        {
            *command = Value::String(shown);
        }
    }
}

/// Scheme, host and port of a URL, with a sign that there is more.
fn host_alone(text: &str) -> String {
    let Ok(url) = Url::parse(text) else { return "…".to_owned() };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let shown = format!("{}://{host}{port}", url.scheme());
    if text.trim_end_matches('/') == shown { shown } else { format!("{shown}/…") }
}

/// A URL with a password is refused when the process starts, and is in the file until then.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.password().is_some() => host_alone(text),
        Ok(_) | Err(_) => text.to_owned(),
    }
}

/// The program of a command, with a sign that there are arguments.
fn program_alone(command: &Value) -> Option<String> {
    let (program, arguments) = command.as_array()?.split_first()?;
    let program = program.as_str()?;
    Some(if arguments.is_empty() { program.to_owned() } else { format!("{program} …") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is printed for a key, and where it is from.
    #[track_caller]
    fn check(found: &[Setting], key: &str, value: &str, from: &str) {
        let setting = found.iter().find(|one| one.key == key);
        let setting = setting.unwrap_or_else(|| panic!("no {key}: {found:?}"));
        assert_eq!((setting.value.as_str(), setting.from.as_str()), (value, from), "{key}");
    }

    #[test]
    fn a_value_is_from_its_line_or_a_default() {
        let text = "state = \"s\"\n# x = 1\n[gateway]\nrelist_s = 5\n\n[gateway.limits]\n\
                    agent = { per_s = 1, burst = 2 }\n";
        let config = json!({
            "state": "s",
            "gateway": { "relist_s": 5, "session_idle_s": 3600, "limits": { "agent": { "per_s": 1 } } },
            "tls": null,
        });
        let found = settings(config, text, "a.toml").unwrap();
        check(&found, "state", "s", "a.toml:1");
        check(&found, "gateway.relist_s", "5", "a.toml:4");
        check(&found, "gateway.session_idle_s", "3600", "default");
        check(&found, "gateway.limits.agent.per_s", "1", "a.toml:7");
        assert!(!found.iter().any(|one| one.key == "tls"), "{found:?}");
    }

    const LISTS: &str = r#"state = "s"
trusted_proxies = [
  { name = "edge", listeners = ["gateway"] }, # not [[ship]]
]
[gateway]
public_url = "http://127.0.0.1:7802"
[listen]
[[guard]]
public_url = "https://api.example/billing"
listen = "127.0.0.1:7810"
upstream = "http://127.0.0.1:9000"
[[guard]]   # another one
public_url = "https://api.example/files"
listen = "127.0.0.1:7811"
upstream = "http://127.0.0.1:9001"
hosts = ["files.internal"]
[[egress]]
server = "crm"
resource = "https://api.example/billing"
key = { command = ["vault", "read", "t0psecret"] }
[[ship]]
name = "siem"
url = "https://siem.example:8443/in/t0psecret?token=t0psecret"
[[ship]]
name = "archive"
url = "https://archive.example"
"#;

    #[test]
    fn items_of_lists_are_from_their_lines() {
        let config: Config = toml::from_str(LISTS).unwrap();
        let found = settings(serde_json::to_value(config).unwrap(), LISTS, "a.toml").unwrap();
        check(&found, "trusted_proxies[0].name", "edge", "a.toml:3");
        check(&found, "trusted_proxies[0].listeners", "[\"gateway\"]", "a.toml:3");
        check(&found, "trusted_proxies[0].addresses", "[]", "default");
        check(&found, "guard[0].public_url", "https://api.example/billing", "a.toml:9");
        check(&found, "guard[0].hosts", "[]", "default");
        check(&found, "guard[1].public_url", "https://api.example/files", "a.toml:13");
        check(&found, "guard[1].hosts", "[\"files.internal\"]", "a.toml:16");
        check(&found, "guard[1].answer_s", "60", "default");
        check(&found, "egress[0].server", "crm", "a.toml:18");
        check(&found, "egress[0].key.header", "Authorization", "default");
        check(&found, "ship[1].name", "archive", "a.toml:25");
    }

    #[test]
    fn tables_in_tables_of_a_list_are_told_apart() {
        let text = "[[authority.trusted_issuers]]\nissuer = \"a\"\n\
                    [[authority.trusted_issuers]]\nissuer = \"b\"\n\
                    [[authority.trusted_issuers.agents]]\nagent = \"robot\"\n\
                    [authority.trusted_issuers.agents.claims]\nsub = \"job\"\n";
        let agents = json!([{ "agent": "robot", "claims": { "sub": "job" } }]);
        let issuers = json!([{ "issuer": "a" }, { "issuer": "b", "agents": agents }]);
        let config = json!({ "authority": { "trusted_issuers": issuers } });
        let found = settings(config, text, "a.toml").unwrap();
        check(&found, "authority.trusted_issuers[0].issuer", "a", "a.toml:2");
        check(&found, "authority.trusted_issuers[1].issuer", "b", "a.toml:4");
        check(&found, "authority.trusted_issuers[1].agents[0].claims.sub", "job", "a.toml:8");
    }

    #[test]
    fn what_may_let_somebody_in_is_not_printed() {
        let config: Config = toml::from_str(LISTS).unwrap();
        let found = settings(serde_json::to_value(config).unwrap(), LISTS, "a.toml").unwrap();
        check(&found, "egress[0].key.command", "vault …", "a.toml:20");
        check(&found, "ship[0].url", "https://siem.example:8443/…", "a.toml:23");
        check(&found, "ship[1].url", "https://archive.example", "a.toml:26");
        assert!(!found.iter().any(|one| one.value.contains("t0psecret")), "{found:?}");
        assert_eq!(without_password("postgres://a:b@db:5432/attorn"), "postgres://db:5432/…");
        assert_eq!(without_password("postgres://a@db/attorn"), "postgres://a@db/attorn");
        assert_eq!(program_alone(&json!(["/bin/key"])).as_deref(), Some("/bin/key"));
    }
}
