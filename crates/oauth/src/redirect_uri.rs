//! Where a code may be sent: RFC 6749 section 3.1.2.
//!
//! Implemented: what may be registered, and comparison byte by byte (RFC 9700 section 4.1.3), with
//! the one exception of RFC 8252 section 7.3: the port of a loopback address is free, since a native
//! client gets it from its operating system when it starts to listen.
//!
//! `http://localhost` is taken as the two literals are. RFC 8252 section 8.3 would rather not have
//! it, because a resolver could send it elsewhere; the MCP clients that people have register it
//! (MCP 2026-07-28, Authorization, Communication Security allows it), and what arrives elsewhere is
//! a code that needs the verifier and the key of its client.
//!
//! Not implemented: wildcards, patterns, comparison after normalization, private-use schemes without
//! a dot (RFC 8252 section 7.1 asks for a domain name in reverse).

use url::{Host, Url};

/// Longer than any address a client registers.
const BYTES_MAX: usize = 1024;
/// RFC 8252 section 7.3, and the name for them.
const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// An address that a client registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedirectUri(String);

/// Why an address cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RedirectRefusal {
    /// RFC 6749 section 3.1.2: must not include a fragment.
    #[error("the redirect address has a fragment")]
    Fragment,
    /// No absolute URL, or one that another reader would spell differently.
    #[error("the redirect address is not absolute and canonical")]
    Malformed,
    /// Neither `https`, nor `http` on loopback, nor a private-use scheme with a dot.
    #[error("the scheme of the redirect address is not allowed")]
    Scheme,
    /// Longer than 1 KiB.
    #[error("the redirect address is too long")]
    TooLong,
    /// User name or password.
    #[error("the redirect address has user information")]
    UserInformation,
    /// A star.
    #[error("the redirect address has a wildcard")]
    Wildcard,
}

impl RedirectUri {
    /// Accepts an address for registration, and keeps it as it is.
    ///
    /// # Errors
    /// [`RedirectRefusal`]; on the wire `invalid_redirect_uri` (RFC 7591 section 3.2.2).
    pub fn parse(text: &str) -> Result<Self, RedirectRefusal> {
        if text.len() > BYTES_MAX {
            return Err(RedirectRefusal::TooLong);
        }
        // A star is legal in a path, but whoever writes one expects a pattern.
        if text.contains('*') {
            return Err(RedirectRefusal::Wildcard);
        }
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let url = Url::parse(text).ok().filter(|_| is_visible).ok_or(RedirectRefusal::Malformed)?;
        if url.fragment().is_some() {
            return Err(RedirectRefusal::Fragment);
        }
        if !url.username().is_empty() || url.password().is_some() || authority_has_at(text) {
            return Err(RedirectRefusal::UserInformation);
        }
        match url.scheme() {
            "https" if url.host().is_some() => {}
            "http" if is_loopback(&url) => {}
            // RFC 8252 section 7.1: a domain name in reverse, so `javascript` and `data` are none.
            scheme if scheme.contains('.') => {}
            _ => return Err(RedirectRefusal::Scheme),
        }
        // Two spellings of one address would be two addresses here and one in the browser.
        let canonical = url.as_str();
        let is_canonical = canonical == text || canonical.strip_suffix('/') == Some(text);
        if is_canonical { Ok(Self(text.to_owned())) } else { Err(RedirectRefusal::Malformed) }
    }

    /// Whether the address of a request is this one: RFC 9700 section 4.1.3, RFC 8252 section 7.3.
    #[must_use]
    pub fn accepts(&self, presented: &str) -> bool {
        if self.0 == presented {
            return true;
        }
        match (without_loopback_port(&self.0), without_loopback_port(presented)) {
            (Some(registered), Some(presented)) => registered == presented,
            (Some(_), None) | (None, _) => false,
        }
    }

    /// The text as registered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a code that is sent there reaches whatever program listens on the person's own machine.
#[must_use]
pub fn is_loopback_address(text: &str) -> bool {
    without_loopback_port(text).is_some()
}

/// What a person is shown of an address, and what a page must name to be left for it: its host with
/// the port, or its scheme where that is a program's.
#[must_use]
pub fn destination(text: &str) -> &str {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.split(':').next().unwrap_or_default();
    };
    if !matches!(scheme, "https" | "http") {
        return scheme;
    }
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Content Security Policy Level 3, `form-action`: the source expression of an address. Chromium
/// follows a redirect after a form only to a source that is named. An IPv6 literal is none.
#[must_use]
pub fn form_action_source(text: &str) -> String {
    match text.split_once("://") {
        Some(("https", _)) => format!("https://{}", destination(text)),
        Some(("http", rest)) if !rest.starts_with('[') => format!("http://{}", destination(text)),
        Some(("http", _)) => "http:".to_owned(),
        Some(_) | None => format!("{}:", destination(text)),
    }
}

/// The host and what follows the port, of an address on loopback. Read as text: a URL parser would
/// repair what must not match.
fn without_loopback_port(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let host = LOOPBACK_HOSTS.into_iter().find(|host| rest.starts_with(host))?;
    let rest = rest.strip_prefix(host)?;
    let rest = match rest.strip_prefix(':') {
        None => rest,
        Some(after) => {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (port, rest) = after.split_at_checked(end)?;
            let is_port = !port.starts_with('0') && port.parse::<u16>().is_ok();
            is_port.then_some(rest)?
        }
    };
    let is_end = rest.is_empty() || rest.starts_with(['/', '?']);
    (is_end && !rest.contains('#')).then_some((host, rest))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.octets() == [127, 0, 0, 1],
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// RFC 3986 section 3.2: an empty user name leaves an `@` that a parser drops.
fn authority_has_at(text: &str) -> bool {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(text: &str) -> RedirectUri {
        RedirectUri::parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"))
    }

    #[test]
    fn what_clients_register_is_kept_as_it_is() {
        for text in [
            "https://client.example/cb",
            "https://client.example/cb?tenant=1",
            "https://client.example",
            "https://client.example:8443/cb",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:33418",
            "http://[::1]:9/cb",
            "http://localhost:3000/oauth/callback",
            "com.example.app:/cb",
            "com.example.app://auth/cb",
        ] {
            assert_eq!(registered(text).as_str(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        let long = format!("https://client.example/{}", "a".repeat(1024));
        for (text, refusal) in [
            ("javascript:alert(1)", RedirectRefusal::Scheme),
            ("JaVaScRiPt:alert(1)", RedirectRefusal::Scheme),
            (" javascript:alert(1)", RedirectRefusal::Malformed),
            ("java\tscript:alert(1)", RedirectRefusal::Malformed),
            ("data:text/html,x", RedirectRefusal::Scheme),
            ("vbscript:x", RedirectRefusal::Scheme),
            ("blob:https://client.example/x", RedirectRefusal::Scheme),
            ("file:///etc/passwd", RedirectRefusal::Scheme),
            ("http://client.example/cb", RedirectRefusal::Scheme),
            ("http://127.0.0.1.evil.example/cb", RedirectRefusal::Scheme),
            ("http://0.0.0.0:1/cb", RedirectRefusal::Scheme),
            ("http://127.1/cb", RedirectRefusal::Malformed),
            ("http://127.0.0.2/cb", RedirectRefusal::Scheme),
            ("http://localhost:1@evil.example", RedirectRefusal::UserInformation),
            ("https://client.example@evil.example", RedirectRefusal::UserInformation),
            ("https://@client.example/cb", RedirectRefusal::UserInformation),
            ("https://client.example/cb#x", RedirectRefusal::Fragment),
            ("https://client.example/cb#", RedirectRefusal::Fragment),
            ("https://*.client.example/cb", RedirectRefusal::Wildcard),
            ("https://client.example/*", RedirectRefusal::Wildcard),
            ("https://client.example/a/../b", RedirectRefusal::Malformed),
            ("https://client.example/a/%2e%2e/b", RedirectRefusal::Malformed),
            ("https://CLIENT.example/cb", RedirectRefusal::Malformed),
            ("https://client.example:443/cb", RedirectRefusal::Malformed),
            ("/cb", RedirectRefusal::Malformed),
            ("cb", RedirectRefusal::Malformed),
            ("", RedirectRefusal::Malformed),
            ("cursor://auth/cb", RedirectRefusal::Scheme),
            (&long, RedirectRefusal::TooLong),
        ] {
            assert_eq!(RedirectUri::parse(text), Err(refusal), "{text:.60}");
        }
    }

    fn check(registered_as: &str, presented: &str, expected: bool) {
        let accepts = registered(registered_as).accepts(presented);
        assert_eq!(accepts, expected, "{registered_as} and {presented}");
    }

    #[test]
    fn comparison_is_byte_by_byte() {
        let uri = "https://client.example/cb";
        check(uri, uri, true);
        for presented in [
            "https://client.example/cb/",
            "https://client.example/cbx",
            "xhttps://client.example/cb",
            "https://client.example/cb?x=1",
            "https://client.example/cb#x",
            "https://client.example:8443/cb",
            "https://client.example/cb/..;/evil",
            "https://client.example/cb/%2e%2e/evil",
            "https://client.example/cb/..%2fevil",
            "https://client.example/cb//evil",
            "https://client.example@evil.example",
            "https://a@b@client.example/cb",
            "HTTPS://client.example/cb",
            "http://client.example/cb",
            "",
        ] {
            check(uri, presented, false);
        }
    }

    #[test]
    fn the_port_of_a_loopback_address_is_free_and_nothing_else() {
        for host in LOOPBACK_HOSTS {
            let uri = format!("http://{host}:1/cb");
            check(&uri, &format!("http://{host}:49152/cb"), true);
            check(&uri, &format!("http://{host}/cb"), true);
            check(&format!("http://{host}/cb"), &format!("http://{host}:5/cb"), true);
            for bad in [
                format!("http://{host}:49152/other"),
                format!("http://{host}:49152/cb?x=1"),
                format!("http://{host}:49152/cb#x"),
                format!("https://{host}:49152/cb"),
                format!("http://{host}:0/cb"),
                format!("http://{host}:65536/cb"),
                format!("http://{host}:/cb"),
                format!("http://{host}:01/cb"),
                format!("http://{host}:1@evil.example/cb"),
                format!("http://{host}.evil.example/cb"),
                format!("http://x@{host}:1/cb"),
            ] {
                check(&uri, &bad, false);
            }
        }
        // Three names, each for itself.
        check("http://127.0.0.1/cb", "http://localhost/cb", false);
        check("http://127.0.0.1/cb", "http://[::1]/cb", false);
    }

    #[test]
    fn a_person_sees_where_a_code_goes() {
        for (text, shown, source) in [
            ("https://client.example/cb", "client.example", "https://client.example"),
            ("http://127.0.0.1:5/cb", "127.0.0.1:5", "http://127.0.0.1:5"),
            ("http://[::1]:5/cb", "[::1]:5", "http:"),
            ("com.example.app:/cb", "com.example.app", "com.example.app:"),
            ("com.example.app://x/cb", "com.example.app", "com.example.app:"),
        ] {
            assert_eq!((destination(text), form_action_source(text).as_str()), (shown, source));
        }
        assert!(is_loopback_address("http://localhost:1/cb"));
        assert!(!is_loopback_address("https://client.example/cb"));
    }
}
