//! What a command prints: a table for people, JSON or NDJSON for programs.
//!
//! Remarks for people go to standard output with `table` and to standard error otherwise, so that
//! a program reading standard output sees data only. Text that came from another party is cleaned
//! of control characters before a terminal sees it.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Form of the data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people
    Table,
    /// One JSON document
    Json,
    /// One JSON document a line
    Ndjson,
}

/// Writes results and remarks in the asked form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// True when the reader is a program.
    pub(crate) fn is_machine(self) -> bool {
        self.format != Format::Table
    }

    /// A list of objects; `columns` are the members a table shows, in order.
    pub(crate) fn list(self, rows: &[Value], columns: &[&str]) {
        match self.format {
            Format::Json => write_out(&pretty(&Value::Array(rows.to_vec()))),
            Format::Ndjson => rows.iter().for_each(|row| write_out(&row.to_string())),
            Format::Table if rows.is_empty() => write_out("nothing here yet"),
            Format::Table => write_out(&table(rows, columns)),
        }
    }

    /// One object, all its members.
    pub(crate) fn object(self, object: &Value) {
        match self.format {
            Format::Json => write_out(&pretty(object)),
            Format::Ndjson => write_out(&object.to_string()),
            Format::Table => write_out(&members(object)),
        }
    }

    /// A sentence for people.
    pub(crate) fn say(self, line: &str) {
        if self.is_machine() { write_error(line) } else { write_out(line) }
    }

    /// A sentence about the result, which is not part of it.
    pub(crate) fn remark(self, line: &str) {
        write_error(line);
    }

    /// Text that is itself the result, such as a policy file.
    pub(crate) fn text(self, text: &str) {
        write_out(text);
    }
}

/// Writes a line to standard output. A closed pipe is the reader's decision, not an error.
fn write_out(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}

/// Writes a line to standard error.
pub(crate) fn write_error(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A pipe gets whole cells; a terminal gets cells that fit.
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

fn table(rows: &[Value], columns: &[&str]) -> String {
    let mut table = new_table();
    table.set_header(columns.iter().map(|column| label(column).to_uppercase()));
    for row in rows {
        let cells = columns.iter().map(|name| named(name, row.get(name).unwrap_or(&Value::Null)));
        table.add_row(cells.map(|text| text.replace('\n', " ")));
    }
    table.trim_fmt()
}

fn members(object: &Value) -> String {
    let Value::Object(map) = object else { return cell(object) };
    let mut table = new_table();
    for (name, value) in map {
        if !value.is_null() {
            table.add_row([label(name), named(name, value)]);
        }
    }
    table.trim_fmt()
}

/// `expires_s` is `expires` to a reader who sees a date below it.
fn label(name: &str) -> String {
    let name = name.strip_suffix("_s").or_else(|| name.strip_suffix("_ms")).unwrap_or(name);
    name.replace('_', " ")
}

/// A member as text; moments are told as dates, texts of several lines keep them.
pub(crate) fn named(name: &str, value: &Value) -> String {
    match (value.as_u64(), value.as_str()) {
        (Some(time_s), _) if name.ends_with("_s") => date_time(time_s.saturating_mul(1000)),
        (Some(time_ms), _) if name.ends_with("_ms") => date_time(time_ms),
        (_, Some(text)) => text.lines().map(clean).collect::<Vec<_>>().join("\n"),
        (_, _) => cell(value),
    }
}

/// One value as text for a terminal.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(_) => clean(&value.to_string()),
    }
}

/// Replaces what could move a terminal's cursor or hide text: control and bidi characters.
pub(crate) fn clean(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect()
}

/// A word of a command line that a POSIX shell takes as it is.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `2026-10-02 09:14:07Z` of a time in milliseconds since 1970.
pub(crate) fn date_time(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day number since 1970-01-01 (Gregorian, eras of 400 years).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_time(0), "1970-01-01 00:00:00Z");
        assert_eq!(date_time(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(date_time(1_790_932_447_000), "2026-10-02 09:14:07Z");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(clean("plain text"), "plain text");
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(named("created_s", &json!(1_790_932_447)), "2026-10-02 09:14:07Z");
        assert_eq!(named("entries", &json!(7)), "7");
        assert_eq!(named("note", &json!("a\nb\u{1b}")), "a\nb\u{fffd}");
        assert_eq!(label("expires_s"), "expires");
    }

    #[test]
    fn table_has_the_asked_columns() {
        let rows = [json!({"name": "a", "state": "active", "other": 1}), json!({"name": "b"})];
        let text = table(&rows, &["name", "state"]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("NAME") && text.contains("active") && !text.contains('1'));
    }
}
