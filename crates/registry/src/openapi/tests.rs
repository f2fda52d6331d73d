use proptest::prelude::*;

use super::*;
use crate::Class;

pub(super) const URL: &str = "https://api.example/";

/// A document with these members beside its version.
pub(super) fn document(members: &str) -> String {
    format!(r#"{{"openapi":"3.1.0","info":{{"title":"t","version":"1"}},{members}}}"#)
}

pub(super) fn read(text: &str, url: &str, derives_names: bool) -> DescribedOperations {
    let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
    document.operations(&document.base(url, None).unwrap(), derives_names).unwrap()
}

pub(super) fn told(described: &DescribedOperations) -> Vec<String> {
    described.operations.iter().map(ToString::to_string).collect()
}

/// What becomes of `paths`: operations, and words of why something is none.
#[track_caller]
pub(super) fn check(paths: &str, operations: &[&str], reasons: &[&str]) {
    let described = read(&document(&format!(r#""paths":{paths}"#)), URL, false);
    assert_eq!(told(&described), operations, "{paths}");
    let words: Vec<_> = described.left_out.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(words, reasons, "{paths}");
}

#[test]
fn methods_propose_classes() {
    check(
        r#"{"/a/{id}":{"summary":"s","description":"d","parameters":[],"x-y":{},
            "get":{"operationId":"g"},"head":{"operationId":"h"},"put":{"operationId":"u"},
            "post":{"operationId":"p"},"patch":{"operationId":"a"},"delete":{"operationId":"d"}}}"#,
        &[
            "read:g GET /a/{id}",
            "read:h HEAD /a/{id}",
            "write:u PUT /a/{id}",
            "write:p POST /a/{id}",
            "write:a PATCH /a/{id}",
            "irreversible:d DELETE /a/{id}",
        ],
        &[],
    );
}

#[test]
fn a_document_raises_a_class_and_lowers_none() {
    let one = |method: &str, class: &str| {
        format!(r#"{{"/a":{{"{method}":{{"operationId":"x","x-attorn-class":{class}}}}}}}"#)
    };
    for (method, class, expected) in [
        ("get", r#""read""#, "read:x GET /a"),
        ("get", r#""irreversible""#, "irreversible:x GET /a"),
        ("post", r#""irreversible""#, "irreversible:x POST /a"),
        ("post", r#""read""#, "write:x POST /a"),
        ("delete", r#""read""#, "irreversible:x DELETE /a"),
    ] {
        check(&one(method, class), &[expected], &[]);
    }
    let of_all = |all: &str, class: &str| {
        format!(
            r#"{{"/a":{{"x-attorn-class":{all},"get":{{"operationId":"x","x-attorn-class":{class}}}}}}}"#
        )
    };
    for (all, class, expected) in [
        (r#""irreversible""#, r#""read""#, "irreversible:x GET /a"),
        (r#""read""#, r#""write""#, "write:x GET /a"),
        (r#""write""#, r#""irreversible""#, "irreversible:x GET /a"),
        (r#""read""#, r#""read""#, "read:x GET /a"),
    ] {
        check(&of_all(all, class), &[expected], &[]);
    }
    for wrong in [r#""Read""#, r#""none""#, r#""""#, "null", "true", r#"["read"]"#] {
        check(&one("get", wrong), &[], &["class"]);
        check(&of_all(wrong, r#""irreversible""#), &[], &["class"]);
        check(&of_all(r#""irreversible""#, wrong), &[], &["class"]);
    }
    let without = r#"{"/a":{"get":{"operationId":"x"},"x-attorn-class":"irreversible"}}"#;
    check(without, &["irreversible:x GET /a"], &[]);
}

const RIGHT: &str = r#"{"/a":{"get":{"operationId":"x"}}}"#;

#[test]
fn what_becomes_no_operation_is_named() {
    for (wrong, reason) in [
        (r#"{"/a":[]}"#, "form"),
        (r#"{"/a":{"get":1}}"#, "form"),
        (r#"{"/a":{"get":{"operationId":"repos/get"}}}"#, "id_form"),
        (r#"{"/a":{"get":{"operationId":""}}}"#, "id_form"),
        (r#"{"/a":{"get":{"operationId":7}}}"#, "id_form"),
        (r#"{"/a":{"get":{}}}"#, "id_missing"),
        (r#"{"/a":{"options":{"operationId":"x"}}}"#, "method"),
        (r#"{"/a":{"trace":{"operationId":"x"}}}"#, "method"),
        (r#"{"/a":{"GET":{"operationId":"x"}}}"#, "method"),
        (r#"{"/a":{"servers":[],"get":{"operationId":"x"}}}"#, "own_servers"),
        (r#"{"/a":{"get":{"operationId":"x","servers":[]}}}"#, "own_servers"),
        (r##"{"/a":{"$ref":"#/x","get":{"operationId":"x"}}}"##, "reference"),
        (r##"{"/a":{"get":{"$ref":"#/x","operationId":"x"}}}"##, "reference"),
    ] {
        check(wrong, &[], &[reason]);
    }
    check(RIGHT, &["read:x GET /a"], &[]);
}

/// Each path with a twin that differs in what is wrong alone.
#[test]
fn paths_that_are_no_templates_are_named() {
    let get = |path: &str| format!(r#"{{"{path}":{{"get":{{"operationId":"x"}}}}}}"#);
    for (wrong, reason, right) in [
        ("/a/{id}.json", "partial_variable", "/a/{id}"),
        ("/a/{b}-{c}", "partial_variable", "/a/{b}/{c}"),
        ("/a/{b}{c}", "partial_variable", "/a/{b}/{c}"),
        ("/a/{b", "partial_variable", "/a/{b}"),
        ("/a/{b c}", "variable_name", "/a/{b_c}"),
        ("/a/{user.id}", "variable_name", "/a/{user_id}"),
        ("/a/{}", "variable_name", "/a/{b}"),
        ("/a?b={c}", "partial_variable", "/a/b"),
        ("/a?b=c", "path", "/a/b"),
        ("/a%20b", "path", "/a-b"),
        ("/a//b", "path", "/a/b"),
        ("/../a", "path", "/a"),
        ("a", "path", "/a"),
        ("/a/", "trailing_slash", "/a"),
    ] {
        check(&get(wrong), &[], &[reason]);
        check(&get(right), &[&format!("read:x GET {right}")], &[]);
    }
}

#[test]
fn of_twins_neither_is_taken() {
    check(
        r#"{"/a":{"get":{"operationId":"x"}},"/b":{"get":{"operationId":"x"}},
            "/c":{"get":{"operationId":"y"}}}"#,
        &["read:y GET /c"],
        &["id_twice", "id_twice"],
    );
    check(
        r#"{"/a/{b}":{"get":{"operationId":"x"}},"/A/{c}":{"get":{"operationId":"y"}},
            "/a/{d}":{"put":{"operationId":"z"}}}"#,
        &["write:z PUT /a/{d}"],
        &["place_twice", "place_twice"],
    );
    let text = document(r#""paths":{"/a":{"get":{"operationId":"x"},"get":{"operationId":"y"}}}"#);
    let refused = OpenApiDocument::parse(text.as_bytes()).unwrap_err();
    assert_eq!(refused, OpenApiRefusal::Json(JsonError::DuplicateKey));
}

#[test]
fn what_is_left_out_says_where_it_stands() {
    let described =
        read(&document(r#""paths":{"/a":{"trace":{"operationId":"x"}},"/b":1}"#), URL, false);
    let [one, other] = &described.left_out[..] else { panic!("{described:?}") };
    assert_eq!((one.method.as_deref(), one.path.as_str()), (Some("TRACE"), "/a"));
    assert_eq!(one.id.as_deref(), Some("x"));
    assert_eq!((&other.method, other.path.as_str(), &other.id), (&None, "/b", &None));
    let text = document(r#""paths":{"/billing/a":{"get":{}},"/b":{"get":{}}}"#);
    let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
    let base = document.base(BILLING, Some(HOST)).unwrap();
    let described = document.operations(&base, false).unwrap();
    let below = |one: &LeftOut| one.below.as_ref().map(ToString::to_string);
    let below: Vec<_> = described.left_out.iter().map(below).collect();
    assert_eq!(below, [Some("/a".to_owned()), None]);
}

#[test]
fn names_are_derived_only_where_that_is_asked_for() {
    let paths = r#""paths":{"/v1.2/a_b~c/{id}":{"get":{}},"/r":{"get":{"operationId":"repos/get"}},
        "/":{"get":{}},"/named":{"put":{"operationId":"own"}}}"#;
    let named = read(&document(paths), URL, true);
    let expected = [
        "read:get.v1.2.a_b-c.id GET /v1.2/a_b~c/{id}",
        "read:get.r GET /r",
        "read:get GET /",
        "write:own PUT /named",
    ];
    assert_eq!((told(&named), named.left_out.len()), (expected.map(str::to_owned).to_vec(), 0));
    assert_eq!(read(&document(paths), URL, false).left_out.len(), 3);
    // Of a reference nobody has read what it is.
    let elsewhere = r##""paths":{"/a":{"get":{"$ref":"#/x"}}}"##;
    let named = read(&document(elsewhere), URL, true);
    assert_eq!((named.operations.len(), named.left_out[0].reason), (0, LeftOutReason::Reference));
    // A derived name that two have is nobody's, and one that is too long is none.
    let twins = r#""paths":{"/a.b":{"get":{}},"/a/b":{"get":{}}}"#;
    assert_eq!(read(&document(twins), URL, true).left_out.len(), 2);
    let long = format!(r#""paths":{{"/{}":{{"get":{{}}}}}}"#, "a".repeat(61));
    assert_eq!(read(&document(&long), URL, true).left_out[0].reason, LeftOutReason::IdForm);
}

fn servers(urls: &[&str]) -> String {
    let all: Vec<_> = urls.iter().map(|url| format!(r#"{{"url":"{url}"}}"#)).collect();
    let paths = r#"{"/billing/a":{"get":{"operationId":"x"}},"/b":{"get":{"operationId":"y"}},
        "/":{"get":{"operationId":"z"}}}"#;
    document(&format!(r#""servers":[{}],"paths":{paths}"#, all.join(",")))
}

/// Where the paths of the document above are for an API, or the word of the refusal.
#[track_caller]
fn based(url: &str, urls: &[&str], stated: Option<&str>, expected: &[&str]) {
    let text = servers(urls);
    let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
    let found = match document.base(url, stated) {
        Err(BaseRefusal::Ambiguous { .. }) => vec!["ambiguous".to_owned()],
        Err(BaseRefusal::NotTheEnd { .. }) => vec!["not the end".to_owned()],
        Err(BaseRefusal::Several) => vec!["several".to_owned()],
        Err(BaseRefusal::Stated) => vec!["stated".to_owned()],
        Ok(base) => {
            let described = document.operations(&base, false).unwrap();
            described.operations.iter().map(|one| one.path.to_string()).collect()
        }
    };
    assert_eq!(found, expected, "{url} {urls:?} {stated:?}");
}

pub(super) const HOST: &str = "https://api.example/";
pub(super) const BILLING: &str = "https://api.example/billing";

#[test]
fn a_server_at_the_host_of_the_api_says_where_it_is() {
    based(HOST, &["https://api.example"], None, &["/billing/a", "/b", "/"]);
    based(HOST, &["https://API.example:443/"], None, &["/billing/a", "/b", "/"]);
    based(HOST, &["https://api.example/v1"], None, &["/v1/billing/a", "/v1/b"]);
    based(BILLING, &[BILLING], None, &["/billing/a", "/b"]);
    based(BILLING, &["https://api.example/billing/v1"], None, &["/v1/billing/a", "/v1/b"]);
    // One document for all of a host: what is elsewhere is left out.
    based(BILLING, &["https://api.example"], None, &["/a"]);
    based(BILLING, &["https://api.example/v1"], None, &["not the end"]);
    based(BILLING, &["https://api.example/bill"], None, &["not the end"]);
    based(BILLING, &["https://api.example/{v}"], None, &["not the end"]);
    based(BILLING, &["https://api.example/v1", "https://api.example/v2"], None, &["several"]);
    based(BILLING, &["https://api.example/v1", BILLING], None, &["/billing/a", "/b"]);
}

#[test]
fn a_server_elsewhere_is_the_api_from_another_side() {
    let all = &["/billing/a", "/b", "/"];
    for urls in [&[][..], &["/"], &["https://test.example"], &["https://{region}.example/"]] {
        based(HOST, urls, None, all);
        // `/billing/a` may be below the API or be the API's `/a`.
        based(BILLING, urls, None, &["ambiguous"]);
    }
    based(BILLING, &["/billing"], None, &["/billing/a", "/b"]);
    based(BILLING, &["http://10.0.0.1:8080/billing/"], None, &["/billing/a", "/b"]);
    for url in
        ["/v1", "https://test.example/v1", "v1", "https://test.example/{v}", "/a?b", "/a/../b"]
    {
        based(HOST, &[url], None, &["not the end"]);
    }
    based("https://api.example/xbilling", &["/billing"], None, &["not the end"]);
    based("https://api.example/x/billing", &["/billing"], None, &["/billing/a", "/b"]);
    based("https://api.example/other", &["/"], None, &["/billing/a", "/b"]);
}

#[test]
fn a_stated_address_counts_in_the_place_of_servers() {
    let wrong = &["https://test.example/v9"];
    based(BILLING, wrong, Some(BILLING), &["/billing/a", "/b"]);
    based(BILLING, wrong, Some("https://api.example/"), &["/a"]);
    based(BILLING, wrong, Some("https://api.example/billing/v1"), &["/v1/billing/a", "/v1/b"]);
    for stated in [
        "https://api.example/other",
        "https://api.example/billings",
        "https://other.example/billing",
        "http://api.example/billing",
        "https://api.example:8443/billing",
        "https://api.example/billing?x",
        "https://api.example/billing/{v}",
        "/billing",
        "",
    ] {
        based(BILLING, wrong, Some(stated), &["stated"]);
    }
}

/// A guard takes `/billing` and not `/billing/` for the API itself.
#[test]
fn the_api_itself_has_one_spelling() {
    let text =
        |path: &str| document(&format!(r#""paths":{{"{path}":{{"get":{{"operationId":"x"}}}}}}"#));
    let found = |path: &str, url: &str, stated: &str| {
        let text = text(path);
        let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
        let base = document.base(url, Some(stated)).unwrap();
        let described = document.operations(&base, false).unwrap();
        described.operations.first().map(|one| one.path.to_string())
    };
    assert_eq!(found("/", HOST, HOST).as_deref(), Some("/"));
    assert_eq!(found("/", BILLING, BILLING), None);
    assert_eq!(found("/billing", BILLING, HOST).as_deref(), Some("/"));
    assert_eq!(found("/billing/", BILLING, HOST), None);
    assert_eq!(
        found("/", "https://api.example/billing/", "https://api.example/billing").as_deref(),
        Some("/")
    );
}

#[test]
fn other_documents_are_refused() {
    let refused = |text: &str| OpenApiDocument::parse(text.as_bytes()).err();
    for good in [
        r#"{"openapi":"3.0.0","paths":{}}"#,
        r#"{"openapi":"3.0.4","paths":{}}"#,
        r#"{"openapi":"3.1.0","paths":{},"servers":[]}"#,
    ] {
        assert_eq!(refused(good), None, "{good}");
    }
    for other in ["3.2.0", "3.1", "3.0.", "3.1.0-rc0", "2.0.0", "3.10.0", "", "03.1.0"] {
        let text = format!(r#"{{"openapi":"{other}","paths":{{}}}}"#);
        assert_eq!(refused(&text), Some(OpenApiRefusal::Version), "{other}");
    }
    assert_eq!(refused(r#"{"swagger":"2.0","paths":{}}"#), Some(OpenApiRefusal::Swagger));
    for (member, text) in [
        ("openapi", r#"{"paths":{}}"#),
        ("openapi", r#"{"openapi":3.1,"paths":{}}"#),
        ("openapi", "[]"),
        ("paths", r#"{"openapi":"3.1.0"}"#),
        ("paths", r#"{"openapi":"3.1.0","paths":[]}"#),
        ("servers", r#"{"openapi":"3.1.0","paths":{},"servers":{}}"#),
        ("servers", r#"{"openapi":"3.1.0","paths":{},"servers":[{}]}"#),
        ("servers", r#"{"openapi":"3.1.0","paths":{},"servers":[{"url":1}]}"#),
    ] {
        assert_eq!(refused(text), Some(OpenApiRefusal::Form(member)), "{text}");
    }
    for text in ["", "openapi: 3.1.0\npaths: {}\n", "\u{feff}{}", r#"{"a":1,"a":1}"#] {
        assert!(matches!(refused(text), Some(OpenApiRefusal::Json(_))), "{text}");
    }
    let of = |count: usize| {
        let servers = vec![r#"{"url":"/"}"#; count].join(",");
        document(&format!(r#""servers":[{servers}],"paths":{{}}"#))
    };
    assert_eq!(refused(&of(64)), None);
    assert_eq!(refused(&of(65)), Some(OpenApiRefusal::TooManyServers));
}

#[test]
fn more_than_an_api_may_have_is_refused() {
    let of = |count: usize, method: &str| {
        let paths: Vec<_> = (0..count)
            .map(|n| format!(r#""/p{n}":{{"{method}":{{"operationId":"o{n}"}}}}"#))
            .collect();
        let text = document(&format!(r#""paths":{{{}}}"#, paths.join(",")));
        let document = OpenApiDocument::parse(text.as_bytes()).unwrap();
        let described = document.operations(&document.base(URL, None).unwrap(), false);
        described.map(|all| all.operations.len() + all.left_out.len())
    };
    for method in ["get", "trace"] {
        assert_eq!(of(1000, method), Ok(1000));
        assert_eq!(of(1001, method), Err(OpenApiRefusal::TooMany));
    }
}

#[test]
fn every_reason_has_a_word_and_a_meaning_of_its_own() {
    let words: std::collections::BTreeSet<_> = LeftOutReason::ALL.map(LeftOutReason::as_str).into();
    let meanings: std::collections::BTreeSet<_> =
        LeftOutReason::ALL.map(LeftOutReason::meaning).into();
    assert_eq!((words.len(), meanings.len()), (LeftOutReason::ALL.len(), LeftOutReason::ALL.len()));
}

const SEED: &str = r#"{"openapi":"3.1.0","servers":[{"url":"https://{a}.example/v1"},{"url":"/"}],
"paths":{"/a/{id}":{"get":{"operationId":"x","x-attorn-class":"write"},"delete":{"operationId":"y"}},
"/b/{c}.json":{"post":{"operationId":"z"}},"/d/":{"$ref":"x"},"x-e":1,"/":{"trace":{}}}}"#;

proptest! {
    /// Whatever a document is, it is read without a panic, and what is read keeps the rules.
    #[test]
    fn a_document_that_somebody_changed_is_read_or_refused(
        changes in proptest::collection::vec((0..SEED.len(), 0..4_u8, any::<u8>()), 0..6),
        stated in proptest::option::of("https://api\\.example[/a-z{}?]{0,6}"),
        derives_names: bool,
    ) {
        let mut bytes = SEED.as_bytes().to_vec();
        for (at, how, byte) in changes {
            let at = at.min(bytes.len().saturating_sub(1));
            let words = [&b"{}"[..], b"/", b"\"get\":{},", b"[]", b"null", b"%2F", b"../"];
            match how {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => { bytes.splice(at..at, words[usize::from(byte) % words.len()].iter().copied()); }
                _ => bytes.truncate(bytes.len().saturating_sub(usize::from(byte) % 8)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        for url in [HOST, BILLING] {
            let Ok(document) = OpenApiDocument::parse(&bytes) else { return Ok(()) };
            let Ok(base) = document.base(url, stated.as_deref()) else { continue };
            let described = document.operations(&base, derives_names).unwrap();
            let places: std::collections::BTreeSet<_> =
                described.operations.iter().map(ResourceOperation::place).collect();
            prop_assert_eq!(places.len(), described.operations.len());
            for one in &described.operations {
                let is_safe = matches!(one.method.as_str(), "GET" | "HEAD");
                prop_assert!(is_safe || one.class > Class::Read, "{}", one);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(document) = OpenApiDocument::parse(&bytes) {
            drop(document.base(URL, None));
        }
    }
}
