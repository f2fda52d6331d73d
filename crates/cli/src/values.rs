//! Values people type: `SERVER/TOOL`, `30d`, `@file`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::str::FromStr;

use crate::exit::Failure;
use crate::files;

/// A tool of a server, written `SERVER/TOOL`. The tool's name may itself hold slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolRef {
    pub(crate) server: String,
    pub(crate) tool: String,
}

impl FromStr for ToolRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((server, tool)) if !server.is_empty() && !tool.is_empty() => {
                Ok(Self { server: server.to_owned(), tool: tool.to_owned() })
            }
            Some(_) | None => Err("expected SERVER/TOOL, for example `crm/get_invoice`".to_owned()),
        }
    }
}

/// A server, or one of its tools: `SERVER` or `SERVER/TOOL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerOrTool {
    pub(crate) server: String,
    pub(crate) tool: Option<String>,
}

impl FromStr for ServerOrTool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            let ToolRef { server, tool } = text.parse()?;
            return Ok(Self { server, tool: Some(tool) });
        }
        if text.is_empty() {
            return Err("expected SERVER or SERVER/TOOL".to_owned());
        }
        Ok(Self { server: text.to_owned(), tool: None })
    }
}

/// A length of time such as `90s`, `15m`, `8h`, `30d`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number with s, m, h or d, for example `30d`".to_owned();
        let unit = text.chars().last().ok_or_else(wrong)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 =
            text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

/// A secret or a document that must not stand in the arguments: `@FILE` or `-` (standard input).
///
/// Arguments are visible to every user of the machine, so the text itself is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some(path) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            None if text == "-" => Ok(Self::Stdin),
            Some(_) | None => {
                Err("expected `@FILE` or `-` for standard input; arguments are visible to others"
                    .to_owned())
            }
        }
    }
}

impl Source {
    /// The text, without the line end an editor or `echo` adds.
    pub(crate) fn read(&self) -> Result<String, Failure> {
        let text = match self {
            Self::File(path) => files::read_text(path)?,
            Self::Stdin if std::io::stdin().is_terminal() => {
                crate::output::write_error("paste it here and press Enter:");
                let mut text = String::new();
                let read = std::io::stdin().read_line(&mut text);
                read.map_err(|e| Failure::usage(format!("cannot read the terminal: {e}")))?;
                text
            }
            Self::Stdin => {
                let mut text = String::new();
                let input = std::io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text);
                input.map_err(|e| Failure::usage(format!("cannot read standard input: {e}")))?;
                text
            }
        };
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Nothing that comes this way is larger: a code, a token, one call's arguments.
const BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_refs() {
        let tool: ToolRef = "crm/get/invoice".parse().unwrap();
        assert_eq!((tool.server.as_str(), tool.tool.as_str()), ("crm", "get/invoice"));
        for wrong in ["crm", "/x", "crm/", ""] {
            assert!(wrong.parse::<ToolRef>().is_err(), "{wrong}");
        }
        assert_eq!("crm".parse::<ServerOrTool>().unwrap().tool, None);
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!("90s".parse(), Ok(Seconds(90)));
        assert_eq!("30d".parse(), Ok(Seconds(2_592_000)));
        for wrong in ["", "30", "d", "1w", "-1d", "99999999999999999999d", "1dd"] {
            assert!(wrong.parse::<Seconds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_in_the_arguments_is_refused() {
        assert!("one-time-code".parse::<Source>().is_err());
        assert_eq!("-".parse(), Ok(Source::Stdin));
        assert_eq!("@code.txt".parse(), Ok(Source::File(PathBuf::from("code.txt"))));
    }
}
