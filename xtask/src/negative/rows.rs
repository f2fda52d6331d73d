//! The rows as data: what to change in a request that would succeed, and what must come of it.
//!
//! Unknown members are refused, so that a misspelt expectation cannot pass by being ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::approved::Approved;
use super::modes::Http;

/// One file of `vectors/negative`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// Two capital letters, as in the row ids.
    pub(super) group: String,
    /// What the group is about.
    pub(super) about: String,
    /// The rows in order.
    pub(super) rows: Vec<Row>,
}

/// One bad input, in one or more spellings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Such as `AT-01`.
    pub(super) id: String,
    /// What is wrong with the input.
    pub(super) title: String,
    /// The rule it breaks.
    #[serde(default)]
    pub(super) section: String,
    /// The part of the product that will bring what the row needs; such a row is not run.
    #[serde(default)]
    pub(super) waits_for: Option<String>,
    /// Why the row is about nothing that Attorn has; such a row is not run.
    #[serde(default)]
    pub(super) not_applicable: Option<String>,
    /// Tests that show it, as `package/binary/path`: see [`super::shown`].
    #[serde(default)]
    pub(super) shown_by: Vec<String>,
    /// What the title could be taken to hold and no case or test here shows, and why.
    #[serde(default)]
    pub(super) left_out: Option<String>,
    /// Cedar policies in force during all cases and the twin; the ones before come back afterwards.
    #[serde(default)]
    pub(super) policy: Option<String>,
    /// What every case of the row must lead to, unless the case says otherwise.
    #[serde(default)]
    pub(super) expect: Option<Expect>,
    /// The request that must succeed: the base request unless said otherwise.
    #[serde(default)]
    pub(super) twin: Option<Case>,
    /// The spellings.
    #[serde(default)]
    pub(super) cases: Vec<Case>,
}

/// What must come of a case.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// The HTTP statuses that are right; 0 is a connection closed without a reply.
    #[serde(default)]
    pub(super) status: Vec<u16>,
    /// The JSON-RPC error code of the body.
    #[serde(default)]
    pub(super) rpc_code: Option<i64>,
    /// The OAuth error code of the body.
    #[serde(default)]
    pub(super) oauth_error: Option<String>,
    /// Reason codes: the journal must show one, and no other than these. None means that the input is refused
    /// before there is anything to decide, and the journal stays as it is.
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) reason: Vec<String>,
    /// The HTTP library refuses it by itself: its 400 has no body and there is nothing to record.
    #[serde(default)]
    pub(super) refused_by_http: bool,
    /// Header name to text that its value must contain.
    #[serde(default)]
    pub(super) header_has: BTreeMap<String, String>,
    /// Header name to text that its value must not contain.
    #[serde(default)]
    pub(super) header_lacks: BTreeMap<String, String>,
    /// Headers that the reply must not have.
    #[serde(default)]
    pub(super) header_absent: Vec<String>,
    /// Texts that the body must contain.
    #[serde(default)]
    pub(super) body_has: Vec<String>,
    /// Texts that the body must not contain.
    #[serde(default)]
    pub(super) body_lacks: Vec<String>,
    /// How many requests of the tested kind may reach the canary.
    #[serde(default)]
    pub(super) canary: usize,
    /// How many may reach the second canary, which is the server `other`.
    #[serde(default)]
    pub(super) other: usize,
    /// The outcome that the journal must show for the call.
    #[serde(default)]
    pub(super) outcome: Option<String>,
    /// The canary must see its peer go away.
    #[serde(default)]
    pub(super) server_left: bool,
    /// Texts that something the canary saw must contain.
    #[serde(default)]
    pub(super) canary_has: Vec<String>,
    /// Texts that nothing the canary saw may contain.
    #[serde(default)]
    pub(super) canary_lacks: Vec<String>,
    /// The reply must equal, byte for byte but for ids, that of this other case.
    #[serde(default)]
    pub(super) same_reply_as: Option<Box<Case>>,
}

/// How a request differs from its base.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What this spelling is.
    #[serde(default)]
    pub(super) name: String,
    /// `call` (the default), `list`, `token`, `workload`, `revoke`, `introspect`, `enroll`, `metadata`,
    /// `discovery`, `admin`, `connect`, `login`, and by an application of a person `authorize`, `push`, `redeem`,
    /// `renew`.
    #[serde(default)]
    pub(super) base: Option<String>,
    /// The agent that sends it: `alpha` unless said otherwise.
    #[serde(default)]
    pub(super) agent: Option<String>,
    /// The server it is sent to: `canary` unless said otherwise.
    #[serde(default)]
    pub(super) server: Option<String>,
    /// The server whose token it carries: the one it is sent to unless said otherwise.
    #[serde(default)]
    pub(super) token_of: Option<String>,
    /// A call that a person decides about first; `${approval}` in the body is its request.
    #[serde(default)]
    pub(super) approved: Option<Approved>,
    /// Commands of the operator to run first; `${jti}`, `${key}` and `${client}` are the agent's.
    #[serde(default)]
    pub(super) before: Vec<Vec<String>>,
    /// Commands that put back what `before` did; `${id}` is the id that its last command printed.
    #[serde(default)]
    pub(super) after: Vec<Vec<String>>,
    /// Cedar policies in force during this case alone.
    #[serde(default)]
    pub(super) policy: Option<String>,
    /// Replaces the HTTP method.
    #[serde(default)]
    pub(super) method: Option<String>,
    /// Replaces the request target.
    #[serde(default)]
    pub(super) target: Option<String>,
    /// Sets a header, or takes it away where null; `{"hex": ".."}` for any bytes.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Value>,
    /// Headers added after the others, in order.
    #[serde(default)]
    pub(super) more_headers: Vec<(String, String)>,
    /// Merge patch on the JSON-RPC body, or on the JSON body of `enroll` and `admin`.
    #[serde(default)]
    pub(super) rpc: Option<Value>,
    /// Replaces the body; `{"hex": ".."}`, `{"nest": n}`, `{"string": n}`, `{"keys": n}` and `{"parameters": n}` make
    /// one.
    #[serde(default)]
    pub(super) body: Option<Value>,
    /// Text replacements on the serialised body, in order.
    #[serde(default)]
    pub(super) body_replace: Vec<(String, String)>,
    /// Changes to the access token.
    #[serde(default)]
    pub(super) token: Option<Forged>,
    /// Changes to the DPoP proof.
    #[serde(default)]
    pub(super) proof: Option<Forged>,
    /// Changes to the client assertion (`token` base) or to the JWT of the platform (`workload`).
    #[serde(default)]
    pub(super) assertion: Option<Forged>,
    /// Sets form parameters, or those of the query of `authorize`; takes them away where null.
    #[serde(default)]
    pub(super) form: BTreeMap<String, Value>,
    /// Form parameters added after the others.
    #[serde(default)]
    pub(super) more_form: Vec<(String, String)>,
    /// The whole request as it goes on the wire; `${token}`, `${proof}`, `${body}`, `${host}` and
    /// `${length}` are filled in.
    #[serde(default)]
    pub(super) wire: Option<String>,
    /// Run it over TLS with client certificates; then nothing else of the case counts.
    #[serde(default)]
    pub(super) mtls: Option<Mtls>,
    /// Send it over HTTP/2, with these changes to the frames.
    #[serde(default)]
    pub(super) http2: Option<Http2>,
    /// Close the connection as soon as the canary has the request.
    #[serde(default)]
    pub(super) hang_up: bool,
    /// What the canary answers with.
    #[serde(default)]
    pub(super) upstream: Option<Upstream>,
    /// Make and send the request this often before; only the one after that counts.
    #[serde(default)]
    pub(super) first_as_well: usize,
    /// Send the same bytes this often; the last reply counts.
    #[serde(default)]
    pub(super) times: Option<usize>,
    /// Expectation of this case alone.
    #[serde(default)]
    pub(super) expect: Option<Expect>,
    /// What HTTP/2 rightly makes of it, where that is something else.
    #[serde(default)]
    pub(super) over_http2: Option<OverHttp2>,
}

/// Another expectation over HTTP/2.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverHttp2 {
    /// Why it is another one.
    pub(super) why: String,
    /// What must come of it.
    pub(super) expect: Expect,
}

impl Case {
    /// What must come of it, by itself or by its row.
    pub(super) fn expected<'a>(&'a self, row: &'a Row, http: Http) -> Option<&'a Expect> {
        let over_http2 = self.over_http2.as_ref().filter(|_| http == Http::Two);
        let own = over_http2.map(|other| &other.expect).or(self.expect.as_ref());
        own.or(row.expect.as_ref())
    }
}

/// A request over TLS, made by `curl`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mtls {
    /// `call`, `token`, or `assertion` for a token request by a key.
    pub(super) request: String,
    /// Whose: `billing` unless said otherwise.
    #[serde(default)]
    pub(super) agent: Option<String>,
    /// The certificate shown in the handshake; none unless said.
    #[serde(default)]
    pub(super) certificate: Option<String>,
    /// The certificate that a call's token was got with, if not the agent's own.
    #[serde(default)]
    pub(super) token_with: Option<String>,
    /// Another confirmation in the token; `${own}` is the thumbprint of that certificate.
    #[serde(default)]
    pub(super) cnf: Option<Value>,
    /// Another scheme than `Bearer`.
    #[serde(default)]
    pub(super) scheme: Option<String>,
    /// Header lines; `${own}` is the agent's certificate, `${twin}` and others are by their names.
    #[serde(default)]
    pub(super) headers: Vec<String>,
    /// More options for `curl`.
    #[serde(default)]
    pub(super) options: Vec<String>,
}

/// How a JWT differs from the right one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forged {
    /// Merge patch on the header.
    #[serde(default)]
    pub(super) header: Option<Value>,
    /// Merge patch on the claims. `"@now+60"` stands for a time that many seconds from now.
    #[serde(default)]
    pub(super) claims: Option<Value>,
    /// Text replacements on the serialised claims, for what JSON values cannot say.
    #[serde(default)]
    pub(super) claims_replace: Vec<(String, String)>,
    /// Text replacements on the serialised header.
    #[serde(default)]
    pub(super) header_replace: Vec<(String, String)>,
    /// `right` (the default), `stranger`, `hmac`, `none`, or a key of `platforms.rs`.
    #[serde(default)]
    pub(super) signer: Option<String>,
    /// Replaces the whole text; `${it}` is the right one.
    #[serde(default)]
    pub(super) text: Option<String>,
    /// Leave it out.
    #[serde(default)]
    pub(super) omit: bool,
    /// `none`, `forged`, `authority`: where its nonce comes from.
    #[serde(default)]
    pub(super) nonce: Option<String>,
}

/// How the frames of a request over HTTP/2 differ from the right ones.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http2 {
    /// Names of fields to leave out.
    #[serde(default)]
    pub(super) without: Vec<String>,
    /// Fields before all others.
    #[serde(default)]
    pub(super) first: Vec<(String, String)>,
    /// Fields after all others.
    #[serde(default)]
    pub(super) last: Vec<(String, String)>,
    /// Trailers.
    #[serde(default)]
    pub(super) trailers: Vec<(String, String)>,
}

/// What the canary sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    /// The JSON-RPC method it answers so.
    pub(super) rpc_method: String,
    /// The raw reply; `${id}` is the id of the request.
    #[serde(default)]
    pub(super) bytes: Option<String>,
    /// A whole HTTP reply is made from this status, ...
    #[serde(default)]
    pub(super) status: Option<u16>,
    /// ... these header lines ...
    #[serde(default)]
    pub(super) headers: Vec<(String, String)>,
    /// ... and this body; `{"string": n}` makes a long one.
    #[serde(default)]
    pub(super) body: Option<Value>,
    /// One byte at a time.
    #[serde(default)]
    pub(super) trickle: bool,
    /// Keep the connection open this many milliseconds afterwards.
    #[serde(default)]
    pub(super) hold_ms: u64,
    /// Replaces the tools that the canary lists.
    #[serde(default)]
    pub(super) tools: Option<Value>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http2_may_have_an_expectation_of_its_own() {
        let row: Row = serde_json::from_str(
            r#"{"id": "XX-01", "title": "a", "expect": {"status": [400]}, "cases": [
                {"name": "alike"},
                {"name": "own", "expect": {"status": [403]}},
                {"name": "reset", "over_http2": {"why": "malformed", "expect": {"status": [0]}}}
            ]}"#,
        )
        .unwrap();
        let statuses = |http: Http| -> Vec<u16> {
            let expected = row.cases.iter().filter_map(|case| case.expected(&row, http));
            expected.flat_map(|expect| expect.status.clone()).collect()
        };
        assert_eq!(statuses(Http::One), [400, 403, 400]);
        assert_eq!(statuses(Http::Two), [400, 403, 0]);
        let without = r#"{"name": "reset", "over_http2": {"expect": {"status": [0]}}}"#;
        assert!(serde_json::from_str::<Case>(without).is_err(), "it says why");
    }
}
