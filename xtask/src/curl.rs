//! Plain `curl` with a client certificate, as a person would type it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use attorn_testkit::wire::RawReply;

use crate::step::StepFailed;

/// One request.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Where to.
    pub url: &'a str,
    /// The certificate authorities to trust.
    pub roots: &'a str,
    /// Certificate and key to show.
    pub certificate: Option<(String, String)>,
    /// `Name: value` lines.
    pub headers: Vec<String>,
    /// What is posted.
    pub body: String,
    /// More options.
    pub options: Vec<&'a str>,
}

/// Sends a request. Status 0 is a connection that ended without a reply, such as by a TLS alert.
///
/// # Errors
/// When `curl` cannot be started.
pub fn send(request: &Request<'_>) -> Result<RawReply, StepFailed> {
    let mut command = Command::new("curl");
    // Over HTTP/2, curl 7.88 takes an answer that comes before its body has left for an error.
    command.args(["-sS", "-i", "-m", "20", "--http1.1", "--cacert", request.roots]);
    command.args(["--data-binary", "@-"]);
    if let Some((certificate, key)) = &request.certificate {
        command.args(["--cert", certificate, "--key", key]);
    }
    for header in &request.headers {
        command.args(["-H", header]);
    }
    command.args(&request.options).arg(request.url);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = |source| StepFailed::Start { command: "curl".to_owned(), source };
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut input) = child.stdin.take() {
        // A peer that refuses early does not read it all.
        let _written = input.write_all(request.body.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(text: &str) -> RawReply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let Some(status) = status else { return RawReply::default() };
    if status == 100 {
        return parse(body);
    }
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    RawReply { status, headers, body: body.as_bytes().to_vec() }
}
