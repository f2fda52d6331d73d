//! The configuration as it counts: every value, and whether the file says so or a default does.

use std::path::Path;

use serde_json::Value;

use crate::config::Config;
use crate::exit::Failure;
use crate::files;
use crate::output::Output;

/// One value and where it came from.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
    from: String,
}

/// Prints every value of the configuration in `path`.
pub(super) fn show(output: Output, path: &Path) -> Result<usize, Failure> {
    let config = Config::load(path)?;
    let text = files::read_text(path)?;
    let value = serde_json::to_value(&config).map_err(|e| Failure::usage(e.to_string()))?;
    let settings = settings(&value, &text, &path.display().to_string());
    for Setting { key, value, from } in &settings {
        if output.is_machine() {
            let row = serde_json::json!({ "setting": key, "value": value, "from": from });
            output.text(&row.to_string());
        } else {
            output.say(&format!("   {key:<44} {value:<32} {from}"));
        }
    }
    Ok(settings.len())
}

fn settings(config: &Value, text: &str, file: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    flatten("", config, &mut found);
    let from = |key: &str| match line_of(text, key) {
        Some(line) => format!("{file}:{line}"),
        None => "default".to_owned(),
    };
    found.into_iter().map(|(key, value)| Setting { from: from(&key), key, value }).collect()
}

/// `a.b.c` for every value that is not a table. What is not configured is not there.
fn flatten(prefix: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, value, into);
            }
        }
        Value::Null => {}
        Value::String(text) => into.push((prefix.to_owned(), text.clone())),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
            into.push((prefix.to_owned(), value.to_string()));
        }
    }
}

/// The line of a TOML text that sets `key`, or the inline table it is in.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let mut table = String::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim().clone_into(&mut table);
        } else if let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let name = name.trim();
            let whole = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
            let inside = key.strip_prefix(&whole).is_some_and(|rest| rest.starts_with('.'));
            if whole == key || inside {
                return Some(at + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_from_its_line_or_a_default() {
        let text = "state = \"s\"\n# x = 1\n[gateway]\nrelist_s = 5\n\n[gateway.limits]\n\
                    agent = { per_s = 1, burst = 2 }\n";
        let config = serde_json::json!({
            "state": "s",
            "gateway": { "relist_s": 5, "session_idle_s": 3600, "limits": { "agent": { "per_s": 1 } } },
            "tls": null,
        });
        let found = settings(&config, text, "a.toml");
        let from = |key: &str| found.iter().find(|one| one.key == key).map(|one| one.from.as_str());
        assert_eq!(from("state"), Some("a.toml:1"));
        assert_eq!(from("gateway.relist_s"), Some("a.toml:4"));
        assert_eq!(from("gateway.session_idle_s"), Some("default"));
        assert_eq!(from("gateway.limits.agent.per_s"), Some("a.toml:7"));
        assert_eq!(from("tls"), None);
    }
}
