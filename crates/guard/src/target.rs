//! Where a request goes: the path is read once, and the same bytes are proven, judged and forwarded.

use attorn_registry::{HttpMethod, Matched, Resource};
use http::{Uri, request};

use crate::config::ApiUrl;
use crate::method::{CHANGING, Said};

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// RFC 9449 section 4.2: what the proof must name, from the configured URL and the path.
    pub htu: String,
    /// What comes after the API's URL, as sent; nothing where the request is for something else.
    pub below: Option<String>,
    /// As sent.
    pub query: Option<String>,
    /// A method that is not in the request line.
    said: Said,
}

impl Target {
    /// The target of a request to an API.
    #[must_use]
    pub fn of(uri: &Uri, api: &ApiUrl) -> Self {
        let path = uri.path();
        Self {
            htu: format!("{}{path}", api.origin()),
            below: below(path, api.path()).map(str::to_owned),
            query: uri.query().map(str::to_owned),
            said: Said::in_query(uri.query()),
        }
    }

    /// The same with what an API could find in the body, which is not read.
    #[must_use]
    pub fn with_body(self, head: &request::Parts, is_empty: bool) -> Self {
        let said =
            if self.said == Said::Nowhere { Said::in_body(head, is_empty) } else { self.said };
        Self { said, ..self }
    }

    /// The operation that a request to here would be, and the scopes of all that the API could take it
    /// for. A query that says a method has to name an operation as well: else there is a reading that
    /// nobody listed.
    #[must_use]
    pub fn operation<'r>(&self, resource: &'r Resource, method: &str) -> Option<Matched<'r>> {
        let path = self.operation_path()?;
        match &self.said {
            Said::Nowhere => resource.operation_at(method, path),
            Said::Form => resource.operation_among((method, path), CHANGING),
            Said::Query(methods) => {
                let is_listed = |one: &String| resource.operation_at(one, path).is_some();
                let matched = resource.operation_among((method, path), &HttpMethod::ALL)?;
                methods.iter().all(is_listed).then_some(matched)
            }
        }
    }

    /// The path as operations are written: `/` is the resource itself.
    #[must_use]
    pub fn operation_path(&self) -> Option<&str> {
        let below = self.below.as_deref()?;
        Some(if below.is_empty() { "/" } else { below })
    }

    /// Path and query, for a digest.
    #[must_use]
    pub fn text(&self) -> String {
        let below = self.below.as_deref().unwrap_or_default();
        let query = self.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        format!("{below}{query}")
    }
}

/// What is left of `path` below the API's own. The API itself has one spelling: a slash more is
/// another path.
fn below<'p>(path: &'p str, own: &str) -> Option<&'p str> {
    if path == own {
        return Some("");
    }
    let rest = path.strip_prefix(own.strip_suffix('/').unwrap_or(own))?;
    (rest.starts_with('/') && rest != "/").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api: &str, path: &str, expected: Option<&str>) {
        let target = Target::of(&path.parse().unwrap(), &ApiUrl::parse(api).unwrap());
        assert_eq!(target.operation_path(), expected, "{api} {path}");
    }

    #[test]
    fn a_path_is_below_the_api_or_it_is_not() {
        let billing = "https://api.example/billing";
        check(billing, "/billing", Some("/"));
        check(billing, "/billing/invoices/7?x=1", Some("/invoices/7"));
        check(billing, "/billing//invoices", Some("//invoices"));
        for other in
            ["/billing/", "/billings/7", "/", "/Billing/x", "/x/../billing/a", "//billing/a"]
        {
            check(billing, other, None);
        }
        check("https://api.example/", "/", Some("/"));
        check("https://api.example/", "/invoices/7", Some("/invoices/7"));
        check("https://api.example/v1/", "/v1/", Some("/"));
        check("https://api.example/v1/", "/v1/a", Some("/a"));
        check("https://api.example/v1/", "/v1", None);
    }

    #[test]
    fn the_proof_names_the_configured_host_and_no_query() {
        let api = ApiUrl::parse("https://api.example/billing").unwrap();
        let target = Target::of(&"http://evil.example/billing/a?b=%2F".parse().unwrap(), &api);
        assert_eq!(target.htu, "https://api.example/billing/a");
        assert_eq!(target.text(), "/a?b=%2F");
    }
}
