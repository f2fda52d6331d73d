//! List results, filtered: the caller sees what it may use.
//!
//! Items that stay keep their own bytes; everything around them is written anew from members we
//! know. Hidden items leave no trace: no count, no cursor of the upstream, no shared cache.

use std::borrow::Cow;

use attorn_json::Value;

use crate::write::{ObjectWriter, write_value};
use crate::{Revision, UpstreamFault};

/// What a list request lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `prompts/list`
    Prompts,
    /// `resources/templates/list`
    ResourceTemplates,
    /// `resources/list`
    Resources,
    /// `tools/list`
    Tools,
}

impl ListKind {
    /// The member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Resources => "resources",
            Self::Tools => "tools",
        }
    }

    /// The member of an item that tells it apart.
    fn key(self) -> &'static str {
        match self {
            Self::Prompts | Self::Tools => "name",
            Self::ResourceTemplates => "uriTemplate",
            Self::Resources => "uri",
        }
    }
}

/// One item of a list.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Name of a tool or prompt, URI of a resource, URI template.
    pub key: Cow<'a, str>,
    /// The raw item.
    pub value: Value<'a>,
}

/// A list result from an upstream.
#[derive(Clone, Debug)]
pub struct ListPage<'a> {
    kind: ListKind,
    /// Items that have a key, in their order. An item without one cannot be decided about.
    pub items: Vec<Item<'a>>,
    /// The upstream's cursor. It is the upstream's secret: seal it before a client sees it.
    pub next_cursor: Option<Cow<'a, str>>,
    ttl_ms: Option<u64>,
    meta: Option<Value<'a>>,
}

impl<'a> ListPage<'a> {
    /// Reads the `result` of a list response.
    ///
    /// # Errors
    /// [`UpstreamFault::ListShape`] when the list is missing or its parts have the wrong type.
    pub fn parse(result: Value<'a>, kind: ListKind) -> Result<Self, UpstreamFault> {
        let mut page =
            Self { kind, items: Vec::new(), next_cursor: None, ttl_ms: None, meta: None };
        let mut listed = None;
        for (name, member) in result.members().ok_or(UpstreamFault::ListShape)? {
            match name.as_ref() {
                // An empty cursor is a cursor: MCP 2026-07-28, Pagination.
                "nextCursor" if !member.is_null() => {
                    page.next_cursor = Some(member.string().ok_or(UpstreamFault::ListShape)?);
                }
                // Negative or odd values count as zero: MCP 2026-07-28, Caching.
                "ttlMs" => {
                    let ttl = member.number().and_then(|token| token.parse().ok());
                    page.ttl_ms = Some(ttl.unwrap_or(0));
                }
                "_meta" if member.is_object() => page.meta = Some(member),
                name if name == kind.member() => listed = member.items(),
                _ => {}
            }
        }
        page.items = listed
            .ok_or(UpstreamFault::ListShape)?
            .filter_map(|value| Some(Item { key: value.member(kind.key())?.string()?, value }))
            .collect();
        Ok(page)
    }

    /// Writes the result anew with the items for which `keep` says yes. `next_cursor` is what the
    /// client gets to see of the cursor.
    pub fn write(
        &self,
        revision: Revision,
        ttl_ms_max: u64,
        next_cursor: Option<&str>,
        mut keep: impl FnMut(&Item<'a>) -> bool,
    ) -> String {
        let mut out = String::new();
        let mut result = ObjectWriter::open(&mut out);
        if revision.is_modern() {
            result.string("resultType", "complete");
            // What one caller may see must not be served to another: MCP 2026-07-28, Caching,
            // Choosing a Cache Scope.
            result.string("cacheScope", "private");
            let ttl_ms = self.ttl_ms.unwrap_or(0).min(ttl_ms_max);
            result.name("ttlMs").push_str(&ttl_ms.to_string());
        }
        let list = result.name(self.kind.member());
        list.push('[');
        let mut empty = true;
        for item in self.items.iter().filter(|item| keep(item)) {
            if !empty {
                list.push(',');
            }
            empty = false;
            write_value(item.value, list);
        }
        list.push(']');
        if let Some(cursor) = next_cursor {
            result.string("nextCursor", cursor);
        }
        if let Some(meta) = self.meta {
            result.value("_meta", meta);
        }
        result.close();
        out
    }
}

/// Rewrites the caching hints of a `resources/read` or `server/discover` result, so that no
/// shared cache serves one caller's answer to another.
pub fn make_private(result: Value<'_>, ttl_ms_max: u64) -> String {
    let mut out = String::with_capacity(result.text().len() + 40);
    let mut object = ObjectWriter::open(&mut out);
    object.string("cacheScope", "private");
    for (name, member) in result.members().into_iter().flatten() {
        match name.as_ref() {
            "cacheScope" => {}
            "ttlMs" => {
                let ttl = member.number().and_then(|token| token.parse::<u64>().ok()).unwrap_or(0);
                object.name("ttlMs").push_str(&ttl.min(ttl_ms_max).to_string());
            }
            name => object.value(name, member),
        }
    }
    object.close();
    out
}

#[cfg(test)]
mod tests {
    use attorn_json::{Limits, parse};

    use super::*;

    const PAGE: &str = r#"{"tools":[{"name":"a", "x":1.0},{"name":"b"},{"title":"nameless"},{"name":7}],
        "nextCursor":"","ttlMs":900000,"cacheScope":"public","total":4,"_meta":{"k":1}}"#;

    fn filter(text: &str, revision: Revision, cursor: Option<&str>) -> String {
        let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        let page = ListPage::parse(document.value(), ListKind::Tools).unwrap();
        page.write(revision, 60_000, cursor, |item| item.key == "a")
    }

    /// Hidden items leave no trace; kept ones keep their bytes.
    #[test]
    fn a_page_is_filtered_and_private() {
        assert_eq!(
            filter(PAGE, Revision::V2026_07_28, Some("sealed")),
            r#"{"resultType":"complete","cacheScope":"private","ttlMs":60000,"tools":[{"name":"a", "x":1.0}],"nextCursor":"sealed","_meta":{"k":1}}"#
        );
        assert_eq!(
            filter(PAGE, Revision::V2025_11_25, None),
            r#"{"tools":[{"name":"a", "x":1.0}],"_meta":{"k":1}}"#
        );
    }

    #[test]
    fn odd_lifetimes_count_as_zero() {
        for ttl in ["-5", "1.5", "\"60\"", "null", "1e3"] {
            let page = format!(r#"{{"tools":[],"ttlMs":{ttl}}}"#);
            assert!(filter(&page, Revision::V2026_07_28, None).contains(r#""ttlMs":0"#), "{ttl}");
        }
        let page = r#"{"tools":[],"ttlMs":5}"#;
        assert!(filter(page, Revision::V2026_07_28, None).contains(r#""ttlMs":5"#));
    }

    #[test]
    fn an_empty_cursor_is_a_cursor() {
        let cursor = |text: &str| {
            let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            let page = ListPage::parse(document.value(), ListKind::Tools).unwrap();
            page.next_cursor.map(Cow::into_owned)
        };
        assert_eq!(cursor(PAGE).as_deref(), Some(""));
        assert_eq!(cursor(r#"{"tools":[],"nextCursor":null}"#), None);
        assert_eq!(cursor(r#"{"tools":[]}"#), None);
    }

    #[test]
    fn a_result_without_its_list_is_refused() {
        for text in
            [r#"{}"#, r#"{"tools":{}}"#, r#"{"Tools":[]}"#, r#"{"tools":[],"nextCursor":1}"#]
        {
            let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            let page = ListPage::parse(document.value(), ListKind::Tools);
            assert_eq!(page.err(), Some(UpstreamFault::ListShape), "{text}");
        }
    }

    #[test]
    fn each_kind_has_its_own_key() {
        for (kind, text) in [
            (ListKind::Prompts, r#"{"prompts":[{"name":"k"}]}"#),
            (ListKind::Resources, r#"{"resources":[{"name":"n","uri":"k"}]}"#),
            (ListKind::ResourceTemplates, r#"{"resourceTemplates":[{"uriTemplate":"k"}]}"#),
        ] {
            let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            let page = ListPage::parse(document.value(), kind).unwrap();
            assert_eq!(page.items.first().unwrap().key, "k");
        }
    }

    #[test]
    fn a_shared_cache_hint_becomes_private() {
        let text = r#"{"contents":[],"cacheScope":"public","ttlMs":99999999}"#;
        let document = parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        assert_eq!(
            make_private(document.value(), 1000),
            r#"{"cacheScope":"private","contents":[],"ttlMs":1000}"#
        );
    }
}
