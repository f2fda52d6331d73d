//! What a browser is told beside each page.

/// Headers of every page and of every redirect between pages.
///
/// A page is never kept (what a person saw is gone after the log-out, also behind the back button),
/// never framed, and tells no other site where the person came from: addresses of pages name requests.
pub const HEADERS: [(&str, &str); 6] = [
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    // Not `no-referrer`: with it browsers say `Origin: null` when our own form is sent to ourselves
    // (Fetch Standard, section "Origin header"). Other origins are told as little.
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    // Content Security Policy says the same to browsers that know it.
    ("x-frame-options", "DENY"),
];

/// Content Security Policy Level 3: nothing but our own style sheet, and forms to ourselves.
///
/// `leads_to` is where a form of the page may send the browser on: Chromium applies `form-action` to
/// every redirect after it, so a page whose form ends at a client names that client's origin. A source
/// with any character that could end it, such as a semicolon in a host, is left out.
#[must_use]
pub fn content_security_policy(leads_to: Option<&str>) -> String {
    let leads_to = leads_to.filter(|source| source.bytes().all(is_of_source));
    let (space, leads_to) = leads_to.map_or(("", ""), |source| (" ", source));
    format!(
        "default-src 'none'; style-src 'self'; form-action 'self'{space}{leads_to}; \
         frame-ancestors 'none'; base-uri 'none'"
    )
}

/// The same for a page with passkeys: our one script as well, and what it asks of us. Such a page leads
/// nowhere else. WebAuthn Level 3 section 13.4.8 asks for a policy that lets no other script run.
pub const POLICY_WITH_SCRIPT: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
     style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Letters of a scheme, a host and a port (section 2.3.1, `scheme-source` and `host-source`).
const fn is_of_source(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b':' | b'/' | b'.' | b'-' | b'+' | b'[' | b']' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_one_place_more_at_most() {
        assert_eq!(
            content_security_policy(None),
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; \
             base-uri 'none'"
        );
        let policy = content_security_policy(Some("https://client.example"));
        assert!(policy.contains("form-action 'self' https://client.example;"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn a_page_with_our_script_differs_in_that_alone() {
        let more = "script-src 'self'; connect-src 'self'; ";
        assert_eq!(POLICY_WITH_SCRIPT.replace(more, ""), content_security_policy(None));
        assert!(!POLICY_WITH_SCRIPT.contains("unsafe"));
    }

    #[test]
    fn a_host_adds_nothing_to_the_policy() {
        let plain = content_security_policy(None);
        for source in ["https://a;script-src", "https://a,default-src", "https://a *", "https://*"]
        {
            assert_eq!(content_security_policy(Some(source)), plain, "{source}");
        }
        for source in ["com.example.app:", "http://127.0.0.1:8080", "http://[::1]:8080"] {
            assert!(content_security_policy(Some(source)).contains(source), "{source}");
        }
    }
}
