use crate::openapi::LeftOut;
use crate::openapi::tests::{BILLING, HOST, URL, check, document, read, told};
use crate::{Class, OperationId};

/// `GET /items/{id}` beside one more path: its class, and why the other one is left out.
#[track_caller]
fn beside(path: &str, item: &str, class: &str, reason: &str) {
    let paths =
        format!(r#"{{"/items/{{id}}":{{"get":{{"operationId":"item"}}}},"{path}":{item}}}"#);
    check(&paths, &[&format!("{class}:item GET /items/{{id}}")], &[reason]);
}

const WARNS: &str = r#"{"get":{"x-attorn-class":"irreversible"}}"#;

#[test]
fn what_is_left_out_raises_what_takes_its_requests() {
    for (path, reason) in [
        ("/items/purge", "id_missing"),
        ("/Items/purge", "id_missing"),
        ("/items/purge/", "trailing_slash"),
        ("/items//purge", "path"),
        ("/items/all%20of%20it", "path"),
        ("/items/purge?all=true", "path"),
        ("/items/{id}:purge", "partial_variable"),
        ("/items/{id}?purge={all}", "partial_variable"),
        ("/{kind}/{id}.{form}", "partial_variable"),
        ("/it{kind}/{id}", "partial_variable"),
        ("/items/{item.id}", "variable_name"),
        ("/items/{path+}", "variable_name"),
        ("/{all:.*}", "variable_name"),
    ] {
        beside(path, WARNS, "irreversible", reason);
    }
    for (item, reason) in [
        (r#"{"get":{"operationId":"x","x-attorn-class":"Irreversible"}}"#, "class"),
        (r#"{"get":{"operationId":"x"},"x-attorn-class":7}"#, "class"),
        (r#"{"get":{},"x-attorn-class":"irreversible"}"#, "id_missing"),
        (r#"{"GET":{"x-attorn-class":"irreversible"}}"#, "method"),
        (r#"{"get":{"x-attorn-class":"irreversible"},"servers":[]}"#, "own_servers"),
        (r#"{"get":{"$ref":"x"}}"#, "reference"),
        (r#"{"$ref":"x"}"#, "reference"),
    ] {
        beside("/items/purge", item, "irreversible", reason);
    }
    beside("/items/purge", r#"{"get":{"x-attorn-class":"write"}}"#, "write", "id_missing");
}

#[test]
fn what_is_left_out_raises_nothing_that_takes_none_of_its_requests() {
    for (path, reason) in [
        ("/items", "id_missing"),
        ("/items/{id}/purge", "id_missing"),
        ("/items/{id}/{page}.pdf", "partial_variable"),
        ("/things/purge", "id_missing"),
        ("/things/{id}:purge", "partial_variable"),
        ("/items-{id}/purge", "partial_variable"),
        ("/items/purge/{path+}", "variable_name"),
        ("/", "id_missing"),
    ] {
        beside(path, WARNS, "read", reason);
    }
    for (item, reason) in [
        (r#"{"get":{}}"#, "id_missing"),
        (r#"{"get":{"x-attorn-class":"read"}}"#, "id_missing"),
        (r#"{"get":1}"#, "form"),
        ("[]", "form"),
        (r#"{"post":{"x-attorn-class":"irreversible"}}"#, "id_missing"),
        (r#"{"options":{"x-attorn-class":"irreversible"}}"#, "method"),
    ] {
        beside("/items/purge", item, "read", reason);
    }
}

/// What a partial variable could be is told by the text around it.
#[test]
fn a_partial_variable_is_each_name_that_it_could_be() {
    for (partial, class) in [
        ("s{x}h", "irreversible"),
        ("S{x}H", "irreversible"),
        ("{x}ch", "irreversible"),
        ("se{x}", "irreversible"),
        ("{a}ear{b}", "irreversible"),
        ("search{x}", "irreversible"),
        ("%73earch", "irreversible"),
        ("search;{x}", "irreversible"),
        ("{x}:purge", "read"),
        ("{a}:{b}", "read"),
        ("{x}.pdf", "read"),
        ("sea{x}arch", "read"),
        ("x%20y", "read"),
    ] {
        let paths = format!(
            r#"{{"/items/search":{{"get":{{"operationId":"x"}}}},"/items/{partial}":{WARNS}}}"#
        );
        let described = read(&document(&format!(r#""paths":{paths}"#)), URL, false);
        assert_eq!(told(&described), [format!("{class}:x GET /items/search")], "{partial}");
    }
}

#[test]
fn an_operation_is_raised_once_and_by_the_most_dangerous() {
    let paths = r#""paths":{"/a/b":{"get":{"x-attorn-class":"write"}},
        "/a/{id}":{"get":{"operationId":"x"}},"/{c}/{d}":{"get":{"operationId":"y"}},
        "/a/c":{"get":{"operationId":"z","x-attorn-class":"irreversible"}},
        "/e":{"get":{"operationId":"z"}},"/f":{"get":{"operationId":"f"}}}"#;
    let described = read(&document(paths), URL, false);
    let expected = ["irreversible:x GET /a/{id}", "irreversible:y GET /{c}/{d}", "read:f GET /f"];
    assert_eq!(told(&described), expected);
    // Twins are left out as well, and the class of one of them counts.
    let because = |(id, one): &(OperationId, LeftOut)| {
        format!("{}: {} {}", id.as_str(), one.path, one.reason.as_str())
    };
    let raised: Vec<_> = described.raised.iter().map(because).collect();
    assert_eq!(raised, ["x: /a/c id_twice", "y: /a/c id_twice"]);
}

#[test]
fn what_is_left_out_raises_nothing_elsewhere_at_the_host() {
    let class = |path: &str| {
        let text = document(&format!(
            r#""servers":[{{"url":"{HOST}"}}],
            "paths":{{"/billing/{{id}}":{{"get":{{"operationId":"x"}}}},"{path}":{WARNS}}}"#
        ));
        read(&text, BILLING, false).operations[0].class
    };
    for path in ["/billing/purge", "/{tenant}/purge", "/{all+}", "billing/purge"] {
        assert_eq!(class(path), Class::Irreversible, "{path}");
    }
    for path in ["/purge", "/other/purge", "/billing", "/billing/a/purge"] {
        assert_eq!(class(path), Class::Read, "{path}");
    }
}
