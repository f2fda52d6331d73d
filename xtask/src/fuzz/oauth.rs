//! Form bodies: read as the WHATWG parser reads them, or refused.

use attorn_oauth::form::Form;
use attorn_oauth::token_request::{Served, TokenRequest};
use url::form_urlencoded;

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const FORM_BODY: Target = Target {
    name: "form_body",
    oracle: "accepted parameters are those the WHATWG parser of `url` reads, none is there twice \
             but `resource` and `audience`, and written anew they make the same request",
    prepare,
};

/// Every grant there is.
const EVERYTHING: Served = Served { people: true, assertions: true };

const WORDS: &[&str] = &[
    "&",
    "=",
    "+",
    "%",
    "%26",
    "%3D",
    "%00",
    "%C3%A9",
    "%80",
    "scope=",
    "resource=",
    "grant_type=",
    "&&",
    "client_secret=x",
    ";",
];

fn prepare(corpus: &Corpus) -> Result<Subject, String> {
    let seeds = corpus.texts("oauth/token-request.json", "/input/form")?;
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let form = match Form::parse(input) {
        Ok(form) => form,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let pairs: Vec<(String, String)> = form_urlencoded::parse(input).into_owned().collect();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    for (number, name) in names.iter().enumerate() {
        let before = names.get(..number).unwrap_or_default();
        let may = matches!(*name, "resource" | "audience");
        ensure(may || !before.contains(name), "a parameter is there twice")?;
    }
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let single = !matches!(name.as_str(), "resource" | "audience");
        ensure(!single || form.value(name) == Some(value), "another value than another reader's")?;
    }
    let resources: Vec<&str> = form.values("resource").collect();
    let read = pairs.iter().filter(|(name, value)| name == "resource" && !value.is_empty());
    ensure(read.map(|(_, value)| value.as_str()).eq(resources.iter().copied()), "other resources")?;
    let mut written = form_urlencoded::Serializer::new(String::new());
    written.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    let written = written.finish();
    if written.len() > attorn_oauth::form::FORM_BYTES_MAX {
        return Ok(Seen::refused(&"too long when written anew"));
    }
    for authorization in [None, Some("Basic YTpi")] {
        let told =
            |body: &[u8]| format!("{:?}", TokenRequest::parse(body, authorization, EVERYTHING));
        ensure(told(input) == told(written.as_bytes()), "another request when written anew")?;
    }
    Ok(Seen::accepted(&TokenRequest::parse(input, None, EVERYTHING)))
}
