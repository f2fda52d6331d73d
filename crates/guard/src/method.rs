//! What an API could take the method of a request for, beside what its line says.
//!
//! A form in a browser sends GET and POST alone. So frameworks let it say another method: in the field
//! `_method` of a body that is a form, or in the query. The headers that do the same do not reach the
//! API ([`crate::headers`]).
//!
//! The query is here, and is read. The body is still on its way when a request is judged, so that any
//! that could be a form counts as one that says so.
//!
//! Not looked at: `_method` in a body of JSON or of another type that no form has, which few frameworks
//! read; a form that says `GET` or `HEAD`; a form that says a method for which there is no operation;
//! names that an API chose for itself.

use attorn_registry::HttpMethod;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, request};

/// Where else than in its line a request may say a method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In a form, perhaps.
    Form,
    /// In the query: these.
    Query(Vec<String>),
}

impl Said {
    /// What a query says.
    pub(crate) fn in_query(query: Option<&str>) -> Self {
        // Some parsers split at `;` too.
        let pieces = query.into_iter().flat_map(|query| query.split(['&', ';']));
        let fields = pieces.flat_map(|piece| url::form_urlencoded::parse(piece.as_bytes()));
        let named = fields.filter(|(name, _)| names_the_method(name));
        let methods: Vec<String> = named.map(|(_, value)| value.to_ascii_uppercase()).collect();
        if methods.is_empty() { Self::Nowhere } else { Self::Query(methods) }
    }

    /// What a body may say.
    pub(crate) fn in_body(head: &request::Parts, is_empty: bool) -> Self {
        let may = head.method == Method::POST && !is_empty && may_be_form(&head.headers);
        if may { Self::Form } else { Self::Nowhere }
    }
}

/// Names by which frameworks read a method, as they read them: some cut a name at `[` or NUL, drop
/// spaces before it, and make `_` of marks.
fn names_the_method(name: &str) -> bool {
    let name = name.trim_start().split(['[', '\0']).next().unwrap_or_default();
    let mark = |one: char| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' };
    let plain: String = name.trim_end().chars().map(mark).collect();
    NAMES.contains(&plain.as_str())
}

/// Whether somebody could read a body of this type as a form. What says nothing of its type is one to
/// some.
fn may_be_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter().peekable();
    let is_form = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.trim().is_empty() || FORMS.iter().any(|form| text.contains(form))
    };
    types.peek().is_none() || types.any(|value| value.to_str().map_or(true, is_form))
}

/// What a form may ask for that changes something.
pub(crate) const CHANGING: &[HttpMethod] =
    &[HttpMethod::Delete, HttpMethod::Patch, HttpMethod::Put];
const NAMES: &[&str] = &["-method", "x-http-method", "x-http-method-override", "x-method-override"];
/// With all of `multipart/`: some read a form in parts that are called otherwise.
const FORMS: &[&str] = &["x-www-form-urlencoded", "multipart/"];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_method_in_the_query_is_found_under_every_name_that_somebody_reads() {
        for said in [
            "_method=DELETE",
            "a=1&_method=delete&b=2",
            "a=1;_method=DELETE",
            "%5Fmethod=DELETE",
            "_%6Dethod=D%45LETE",
            "_METHOD=DELETE",
            ".method=DELETE",
            "+_method=DELETE",
            "_method[]=DELETE",
            "_method%00x=DELETE",
            "X-HTTP-Method-Override=DELETE",
            "x_http_method=DELETE",
        ] {
            let expected = Said::Query(vec!["DELETE".to_owned()]);
            assert_eq!(Said::in_query(Some(said)), expected, "{said}");
        }
        assert_eq!(Said::in_query(Some("_method")), Said::Query(vec![String::new()]));
        let twice = Said::in_query(Some("_method=PUT&_method=DELETE"));
        assert_eq!(twice, Said::Query(vec!["PUT".to_owned(), "DELETE".to_owned()]));
        for nothing in ["", "method=DELETE", "x=_method", "a_method=1", "_methods=1", "__method=1"]
        {
            assert_eq!(Said::in_query(Some(nothing)), Said::Nowhere, "{nothing}");
        }
        assert_eq!(Said::in_query(None), Said::Nowhere);
    }

    #[test]
    fn a_body_that_could_be_a_form_could_say_a_method() {
        let check = |method: &str, types: &[&str], is_empty, expected| {
            let mut request = Request::builder().method(method);
            for one in types {
                request = request.header("content-type", *one);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(Said::in_body(&head, is_empty), expected, "{method} {types:?}");
        };
        for form in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded; charset=utf-8",
            "multipart/form-data; boundary=x",
            "multipart/mixed; boundary=x",
            "application/json, application/x-www-form-urlencoded",
            "",
        ] {
            check("POST", &[form], false, Said::Form);
            check("POST", &[form], true, Said::Nowhere);
            check("PUT", &[form], false, Said::Nowhere);
        }
        check("POST", &[], false, Said::Form);
        check("POST", &["application/json", "multipart/form-data"], false, Said::Form);
        for other in ["application/json", "text/plain", "application/octet-stream"] {
            check("POST", &[other], false, Said::Nowhere);
        }
    }
}
