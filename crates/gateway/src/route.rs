//! Which paths exist. Compared byte by byte: nothing is decoded, folded or normalised, so that no
//! second reader of a path can see another route.

/// What a request path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/healthz`
    Health,
    /// The MCP endpoint of the server of this name.
    Mcp(&'a str),
    /// Protected resource metadata of the server of this name (RFC 9728 section 3.1).
    Metadata(&'a str),
    /// `/readyz`
    Ready,
}

impl<'a> Route<'a> {
    /// The route of exactly this path, if there is one.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        if path == "/healthz" {
            return Some(Self::Health);
        }
        if path == "/readyz" {
            return Some(Self::Ready);
        }
        if let Some(rest) = path.strip_prefix("/.well-known/oauth-protected-resource/") {
            return server_name(rest).map(Self::Metadata);
        }
        server_name(path.strip_prefix('/')?).map(Self::Mcp)
    }
}

/// `<name>/mcp`, where a name is `[a-z0-9][a-z0-9-]{0,62}`.
fn server_name(rest: &str) -> Option<&str> {
    let name = rest.strip_suffix("/mcp")?;
    let (first, others) = name.as_bytes().split_first()?;
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = plain(first)
        && others.len() <= 62
        && others.iter().all(|byte| plain(byte) || *byte == b'-');
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn only_exact_paths_are_routes() {
        assert_eq!(Route::parse("/healthz"), Some(Route::Health));
        assert_eq!(Route::parse("/readyz"), Some(Route::Ready));
        assert_eq!(Route::parse("/crm/mcp"), Some(Route::Mcp("crm")));
        assert_eq!(
            Route::parse("/.well-known/oauth-protected-resource/crm/mcp"),
            Some(Route::Metadata("crm"))
        );
        for other in [
            "",
            "/",
            "/mcp",
            "//mcp",
            "/crm/mcp/",
            "/CRM/mcp",
            "/crm/mcp/..;/admin",
            "/crm%2fmcp",
            "//crm/mcp",
            "/-crm/mcp",
            "/crm/mcp.",
            "/healthz/",
            "/healthz/x",
            "/crm/mcp;a=1",
            "/a/b/mcp",
            "/.well-known/oauth-protected-resource",
            "/.well-known/mcp",
            "/crm/MCP",
        ] {
            assert_eq!(Route::parse(other), None, "{other}");
        }
    }
}
