//! Plain `curl` with a client certificate, as a person would type it; and the same request over HTTP/2.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use attorn_testkit::http2::{Http2Request, exchange_over};
use attorn_testkit::tls::{self, Shown};
use attorn_testkit::wire::RawReply;
use url::Url;

use crate::step::StepFailed;

/// One request.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Where to.
    pub url: &'a str,
    /// Who is asked instead of the address of the URL.
    pub at: Option<SocketAddr>,
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
    if let Some(at) = request.at {
        command.args(["--connect-to", &format!("::{at}")]);
    }
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

/// The same over HTTP/2, where curl takes an answer that comes before its body has left for an error.
/// Of its options only the PROXY protocol has a meaning here.
///
/// # Errors
/// When a file cannot be read or nobody is there.
pub fn send_http2(request: &Request<'_>) -> Result<RawReply, StepFailed> {
    let failed = |what: String| StepFailed::Check(format!("{}: {what}", request.url));
    let read = |path: &str| std::fs::read(path).map_err(|error| failed(format!("{path}: {error}")));
    let url = Url::parse(request.url).map_err(|error| failed(error.to_string()))?;
    let local = SocketAddr::from(([127, 0, 0, 1], url.port_or_known_default().unwrap_or_default()));
    let own = request.certificate.as_ref().map(|(certificate, key)| {
        read(certificate).and_then(|certificate| Ok((certificate, read(key)?)))
    });
    let proxied = request.options.contains(&HAPROXY_PROTOCOL);
    let before =
        if proxied { b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n".to_vec() } else { Vec::new() };
    let shown = Shown { roots: read(request.roots)?, own: own.transpose()?, before };
    let stream = tls::connect(request.at.unwrap_or(local), &shown)
        .map_err(|error| failed(error.to_string()))?;
    let authority = url.authority().to_owned();
    let mut fields: Vec<(String, String)> = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", url.path()),
        (":authority", &authority),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let lines = request.headers.iter().filter_map(|line| line.split_once(':'));
    fields.extend(lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())));
    let has_type = fields.iter().any(|(name, _)| name == "content-type");
    // As curl does where nothing else is said.
    let form = ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
    fields.extend((!has_type).then_some(form));
    let fields = fields.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes()));
    let body = request.body.clone().into_bytes();
    let frames = Http2Request { fields: fields.collect(), body, ..Http2Request::default() };
    // As of curl: a connection that ends by a TLS alert is a status of 0.
    Ok(exchange_over(stream, &frames).unwrap_or_default())
}

const HAPROXY_PROTOCOL: &str = "--haproxy-protocol";

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
