//! Lists: nothing is added, nothing hidden is left, and the rest is as the server wrote it.

use attorn_json::{Document, Value, parse};
use attorn_mcp::Revision;
use attorn_mcp::list::{ListKind, ListPage, make_private};

use super::corpus::Corpus;
use super::random::Random;
use super::spell::LIMITS;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const LIST_FILTER: Target = Target {
    name: "list_filter",
    oracle: "filter(x) is a part of x in its order, a hidden name is in no item, filtering twice \
             changes nothing, a narrower filter gives a part; cursor and cache are ours",
    prepare,
};

const KINDS: [(ListKind, &str); 4] = [
    (ListKind::Tools, "name"),
    (ListKind::Prompts, "name"),
    (ListKind::Resources, "uri"),
    (ListKind::ResourceTemplates, "uriTemplate"),
];

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let tools = corpus.texts("mcp/definitions.json", "/input")?;
    let mut seeds = vec![
        br#"{"resources":[{"uri":"a:1","name":"one"},{"uri":"a:2"}],"nextCursor":"c"}"#.to_vec(),
        br#"{"resourceTemplates":[{"uriTemplate":"a:{x}"}],"ttlMs":5}"#.to_vec(),
        br#"{"prompts":[{"name":"p"},{"name":7},{}],"total":3}"#.to_vec(),
        br#"{"tools":[],"nextCursor":"","cacheScope":"public","ttlMs":99999999999}"#.to_vec(),
    ];
    for pair in tools.chunks(3) {
        let items = pair.join(&b',');
        seeds.push([b"{\"tools\":[".as_slice(), &items, b"],\"_meta\":{\"k\":1}}"].concat());
    }
    Ok(Subject { seeds, shape: Shape::Json, check: Box::new(check) })
}

/// Which keys a caller may see: half of them, by their letters.
fn shown(key: &str) -> bool {
    Random::of(key.as_bytes()).one_in(2)
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let document = match parse(input, &LIMITS) {
        Ok(document) => document,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    check_private(&document)?;
    let mut seen = Seen::refused(&"no list");
    for (kind, key) in KINDS {
        if let Ok(page) = ListPage::parse(document.value(), kind) {
            check_page(&document, &page, kind, key)?;
            seen = Seen::accepted(&(kind, page.items.len().min(4), page.next_cursor.is_some()));
        }
    }
    Ok(seen)
}

fn items<'a>(document: &Document<'a>, kind: ListKind) -> Vec<Value<'a>> {
    let list = document.value().member(kind.member());
    list.and_then(Value::items).into_iter().flatten().collect()
}

/// The text of a value on one line, as it leaves.
fn line(value: Value<'_>) -> String {
    value.text().replace(['\n', '\r'], "")
}

fn check_page(
    document: &Document<'_>,
    page: &ListPage<'_>,
    kind: ListKind,
    key: &str,
) -> Result<(), String> {
    for revision in [Revision::V2026_07_28, Revision::V2025_11_25] {
        let out = page.write(revision, 60_000, Some("sealed"), |item| shown(&item.key));
        let none = page.write(revision, 60_000, None, |_| false);
        let written = parse(out.as_bytes(), &LIMITS).map_err(|error| format!("{out}: {error}"))?;
        let given: Vec<String> = items(document, kind).into_iter().map(line).collect();
        let left: Vec<String> = items(&written, kind).into_iter().map(line).collect();
        let mut rest = given.iter();
        ensure(left.iter().all(|item| rest.any(|had| had == item)), "an item was not in the list")?;
        for item in items(&written, kind) {
            let name = item.member(key).and_then(Value::string).ok_or("an item without a name")?;
            ensure(shown(&name), "a hidden name is in the list")?;
        }
        let cursor = written.value().member("nextCursor").and_then(Value::string);
        ensure(cursor.as_deref() == Some("sealed"), "another cursor than ours")?;
        if revision.is_modern() {
            let scope = written.value().member("cacheScope").and_then(Value::string);
            ensure(scope.as_deref() == Some("private"), "a list that others may be given")?;
        }
        let again = ListPage::parse(written.value(), kind).map_err(|error| error.to_string())?;
        let twice = again.write(revision, 60_000, Some("sealed"), |item| shown(&item.key));
        ensure(twice == out, "filtered twice, it changes")?;
        let empty = parse(none.as_bytes(), &LIMITS).map_err(|error| error.to_string())?;
        ensure(items(&empty, kind).is_empty(), "a filter that keeps nothing keeps something")?;
        ensure(empty.value().member("nextCursor").is_none(), "the server's cursor leaves")?;
    }
    Ok(())
}

fn check_private(document: &Document<'_>) -> Result<(), String> {
    if !document.is_object() {
        return Ok(());
    }
    let out = make_private(document.value(), 1000);
    let written = parse(out.as_bytes(), &LIMITS).map_err(|error| format!("{out}: {error}"))?;
    let scope = written.value().member("cacheScope").and_then(Value::string);
    ensure(scope.as_deref() == Some("private"), "a result that others may be given")?;
    let ttl = written.value().member("ttlMs").and_then(Value::number);
    let ttl = ttl.map(|token| token.parse::<u64>().unwrap_or(u64::MAX));
    ensure(ttl.is_none_or(|ttl| ttl <= 1000), "a result that is kept too long")
}
