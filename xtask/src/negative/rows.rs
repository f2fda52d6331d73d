//! The rows as data: what to change in a request that would succeed, and what must come of it.
//!
//! Unknown members are refused, so that a misspelt expectation cannot pass by being ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One file of `vectors/negative`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Two capital letters, as in the row ids.
    pub group: String,
    /// What the group is about.
    pub about: String,
    /// The rows in order.
    pub rows: Vec<Row>,
}

/// One bad input, in one or more spellings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Such as `AT-01`.
    pub id: String,
    /// What is wrong with the input.
    pub title: String,
    /// The rule it breaks.
    #[serde(default)]
    pub section: String,
    /// The part of the product that will bring what the row needs; such a row is not run.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// What every case of the row must lead to, unless the case says otherwise.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// The request that must succeed: the base request unless said otherwise.
    #[serde(default)]
    pub twin: Option<Case>,
    /// The spellings.
    #[serde(default)]
    pub cases: Vec<Case>,
}

/// What must come of a case.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The HTTP statuses that are right; 0 is a connection closed without a reply.
    #[serde(default)]
    pub status: Vec<u16>,
    /// The JSON-RPC error code of the body.
    #[serde(default)]
    pub rpc_code: Option<i64>,
    /// The OAuth error code of the body.
    #[serde(default)]
    pub oauth_error: Option<String>,
    /// Reason codes of which the journal must show one; none means that the input is refused
    /// before there is anything to decide, and the journal stays as it is.
    #[serde(default, deserialize_with = "one_or_many")]
    pub reason: Vec<String>,
    /// Header name to text that its value must contain.
    #[serde(default)]
    pub header_has: BTreeMap<String, String>,
    /// Header name to text that its value must not contain.
    #[serde(default)]
    pub header_lacks: BTreeMap<String, String>,
    /// Texts that the body must contain.
    #[serde(default)]
    pub body_has: Vec<String>,
    /// Texts that the body must not contain.
    #[serde(default)]
    pub body_lacks: Vec<String>,
    /// How many requests of the tested kind may reach the canary.
    #[serde(default)]
    pub canary: usize,
    /// Texts that nothing the canary saw may contain.
    #[serde(default)]
    pub canary_lacks: Vec<String>,
    /// The reply must equal, byte for byte but for ids, that of this other case.
    #[serde(default)]
    pub same_reply_as: Option<Box<Case>>,
}

/// How a request differs from its base.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What this spelling is.
    #[serde(default)]
    pub name: String,
    /// `call` (the default), `list`, `token`, `metadata`, `admin`.
    #[serde(default)]
    pub base: Option<String>,
    /// The agent that sends it: `alpha` unless said otherwise.
    #[serde(default)]
    pub agent: Option<String>,
    /// Replaces the HTTP method.
    #[serde(default)]
    pub method: Option<String>,
    /// Replaces the request target.
    #[serde(default)]
    pub target: Option<String>,
    /// Sets a header, or takes it away where null; `{"hex": ".."}` for any bytes.
    #[serde(default)]
    pub headers: BTreeMap<String, Value>,
    /// Headers added after the others, in order.
    #[serde(default)]
    pub more_headers: Vec<(String, String)>,
    /// Merge patch on the JSON-RPC body.
    #[serde(default)]
    pub rpc: Option<Value>,
    /// Replaces the body; `{"hex": ".."}`, `{"nest": n}`, `{"string": n}` and `{"keys": n}` make one.
    #[serde(default)]
    pub body: Option<Value>,
    /// Text replacements on the serialised body, in order.
    #[serde(default)]
    pub body_replace: Vec<(String, String)>,
    /// Changes to the access token.
    #[serde(default)]
    pub token: Option<Forged>,
    /// Changes to the DPoP proof.
    #[serde(default)]
    pub proof: Option<Forged>,
    /// Changes to the client assertion (`token` base).
    #[serde(default)]
    pub assertion: Option<Forged>,
    /// Sets form parameters (`token` base), or takes them away where null.
    #[serde(default)]
    pub form: BTreeMap<String, Value>,
    /// Form parameters added after the others.
    #[serde(default)]
    pub more_form: Vec<(String, String)>,
    /// The whole request as it goes on the wire; `${token}`, `${proof}`, `${body}`, `${host}` and
    /// `${length}` are filled in.
    #[serde(default)]
    pub wire: Option<String>,
    /// What the canary answers with.
    #[serde(default)]
    pub upstream: Option<Upstream>,
    /// Send the same bytes this often; the last reply counts.
    #[serde(default)]
    pub times: Option<usize>,
    /// Expectation of this case alone.
    #[serde(default)]
    pub expect: Option<Expect>,
}

/// How a JWT differs from the right one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forged {
    /// Merge patch on the header.
    #[serde(default)]
    pub header: Option<Value>,
    /// Merge patch on the claims. `"@now+60"` stands for a time that many seconds from now.
    #[serde(default)]
    pub claims: Option<Value>,
    /// Text replacements on the serialised claims, for what JSON values cannot say.
    #[serde(default)]
    pub claims_replace: Vec<(String, String)>,
    /// Text replacements on the serialised header.
    #[serde(default)]
    pub header_replace: Vec<(String, String)>,
    /// `right` (the default), `stranger`, `hmac`, `none`.
    #[serde(default)]
    pub signer: Option<String>,
    /// Replaces the whole text; `${it}` is the right one.
    #[serde(default)]
    pub text: Option<String>,
    /// Leave it out.
    #[serde(default)]
    pub omit: bool,
    /// `none`, `forged`, `authority`: where its nonce comes from.
    #[serde(default)]
    pub nonce: Option<String>,
}

/// What the canary sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The JSON-RPC method it answers so.
    pub rpc_method: String,
    /// The raw reply; `${id}` is the id of the request.
    #[serde(default)]
    pub bytes: Option<String>,
    /// A whole HTTP reply is made from this status, ...
    #[serde(default)]
    pub status: Option<u16>,
    /// ... these header lines ...
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// ... and this body; `{"string": n}` makes a long one.
    #[serde(default)]
    pub body: Option<Value>,
    /// One byte at a time.
    #[serde(default)]
    pub trickle: bool,
    /// Keep the connection open this many milliseconds afterwards.
    #[serde(default)]
    pub hold_ms: u64,
    /// Replaces the tools that the canary lists.
    #[serde(default)]
    pub tools: Option<Value>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
