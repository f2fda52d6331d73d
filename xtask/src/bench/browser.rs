//! A browser as small as it can be: one connection that is kept, cookies by their path, and a count of
//! what it sent.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use attorn_testkit::wire::{RawReply, RawRequest, read_reply};

use super::page::FilledForm;
use crate::step::StepFailed;

/// A browser that talks to one site.
#[derive(Debug)]
pub(super) struct Browser {
    peer: SocketAddr,
    stream: Option<TcpStream>,
    cookies: Vec<Cookie>,
    /// How many requests were sent.
    pub(super) requests: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Cookie {
    name: String,
    path: String,
    value: String,
}

impl Browser {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self { peer, stream: None, cookies: Vec::new(), requests: 0 }
    }

    /// The site, as a page of it is called from.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.peer)
    }

    pub(super) fn open(&mut self, target: &str) -> Result<RawReply, StepFailed> {
        self.browse(("GET", target), Vec::new(), Vec::new())
    }

    /// Sends a form as the page it stands on does.
    pub(super) fn submit(&mut self, form: &FilledForm) -> Result<RawReply, StepFailed> {
        let origin = self.origin();
        let target = form.action.strip_prefix(&origin).unwrap_or(&form.action).to_owned();
        let headers = vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("Origin", origin),
            ("Sec-Fetch-Site", "same-origin".to_owned()),
        ];
        self.browse(("POST", &target), headers, form.encoded().into_bytes())
    }

    /// Sends any request, without cookies.
    pub(super) fn send(&mut self, request: &RawRequest) -> Result<RawReply, StepFailed> {
        self.requests += 1;
        let failed = |error| StepFailed::Check(format!("{}: {error}", self.peer));
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.peer).map_err(failed)?,
        };
        stream.set_nodelay(true).map_err(failed)?;
        stream.write_all(&request.to_bytes()).map_err(failed)?;
        let reply = read_reply(&mut stream).map_err(failed)?;
        if reply.status == 0 {
            return Err(StepFailed::Check(format!("{}: closed without a reply", self.peer)));
        }
        // A connection that failed is not kept.
        self.stream = Some(stream);
        Ok(reply)
    }

    /// Forgets what holds for one flow alone.
    pub(super) fn start_anew(&mut self) {
        self.cookies.retain(|cookie| cookie.path == "/");
    }

    fn browse(
        &mut self,
        (method, target): (&str, &str),
        more: Vec<(&str, String)>,
        body: Vec<u8>,
    ) -> Result<RawReply, StepFailed> {
        let mut headers = vec![("Host", self.peer.to_string()), ("Accept", "text/html".to_owned())];
        let cookies = self.cookies_for(target);
        if !cookies.is_empty() {
            headers.push(("Cookie", cookies));
        }
        headers.extend(more);
        let headers =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let request = RawRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body,
            verbatim: None,
        };
        let reply = self.send(&request)?;
        for (name, value) in &reply.headers {
            if name.eq_ignore_ascii_case("set-cookie") {
                self.keep(value);
            }
        }
        Ok(reply)
    }

    /// RFC 6265 section 5.3; a cookie without a value is one that was taken away.
    fn keep(&mut self, text: &str) {
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let path = parts.filter_map(|part| part.split_once('='));
        let path = path.filter(|(name, _)| name.eq_ignore_ascii_case("path"));
        let path = path.map(|(_, path)| path).next().unwrap_or("/");
        self.cookies.retain(|cookie| cookie.name != name || cookie.path != path);
        if !value.is_empty() {
            let [name, path, value] = [name, path, value].map(str::to_owned);
            self.cookies.push(Cookie { name, path, value });
        }
    }

    /// RFC 6265 section 5.1.4.
    fn cookies_for(&self, target: &str) -> String {
        let path = target.split('?').next().unwrap_or_default();
        let is_for = |cookie: &&Cookie| {
            let below = path.strip_prefix(cookie.path.as_str());
            below.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || cookie.path.ends_with('/')
            })
        };
        let pairs = self.cookies.iter().filter(is_for);
        let pairs: Vec<_> =
            pairs.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        pairs.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_cookie_goes_where_it_belongs_until_it_is_taken_away() {
        let mut browser = Browser::new("127.0.0.1:9".parse().unwrap());
        for text in
            ["a=1; Path=/; HttpOnly", "b=2; path=/auth/x; expires=Fri", "a=3; Path=/", "c=4"]
        {
            browser.keep(text);
        }
        assert_eq!(browser.cookies_for("/auth/x?y=z"), "b=2; a=3; c=4");
        assert_eq!(browser.cookies_for("/auth/xy"), "a=3; c=4");
        browser.keep("a=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT");
        browser.start_anew();
        assert_eq!(browser.cookies_for("/auth/x"), "c=4");
    }

    #[test]
    fn each_request_counts_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut browser = Browser::new(listener.local_addr().unwrap());
        let site = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = String::new();
            for answer in ["303 See Other\r\nSet-Cookie: s=1; Path=/\r\n", "200 OK\r\n"] {
                let mut bytes = [0; 4096];
                let read = stream.read(&mut bytes).unwrap();
                seen += &String::from_utf8_lossy(&bytes[..read]);
                write!(stream, "HTTP/1.1 {answer}Content-Length: 0\r\n\r\n").unwrap();
            }
            seen
        });
        assert_eq!(browser.open("/a").unwrap().status, 303);
        assert_eq!(browser.open("/b").unwrap().status, 200);
        assert!(browser.open("/c").is_err());
        assert_eq!(browser.requests, 3);
        let seen = site.join().unwrap();
        assert!(seen.contains("GET /b HTTP/1.1\r\n") && seen.contains("Cookie: s=1\r\n"), "{seen}");
    }
}
