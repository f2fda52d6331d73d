//! The headers of the request that an API gets, and of the answer that leaves.
//!
//! An API that stands behind a guard believes the identity headers. So nothing that a caller wrote
//! may pass for one of them, in whatever spelling some server reads as the same name: letter case,
//! `_` for `-`, and any other mark, which CGI and its heirs make one of. Nor may it pass for a word of
//! another front: who the client is, by which certificate, and which URL it really asked for.
//!
//! Not known: the names that one API alone believes (`X-User-Id`). Whatever is not named here goes on,
//! since APIs need headers of their own: `docs/decisions/0200-headers-by-family.md`.

use attorn_enforce::trace::TraceContext;
use http::header::{ALT_SVC, CONNECTION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access::Caller;

/// Keeps what may go on of a request: not what belongs to the connection, no credential, and nothing
/// that an API could take for a word of ours. `request_id` is what the API names requests by: one that
/// repeats it would let the caller choose under which name the request is found.
#[must_use]
pub fn carried(sent: &HeaderMap, request_id: &HeaderName) -> HeaderMap {
    let mut named = named_by_connection(sent);
    named.push(plain(request_id));
    let mut headers = HeaderMap::with_capacity(sent.len() + IDENTITY);
    for (name, value) in sent {
        let plain = plain(name);
        if !is_taken(&plain) && !named.contains(&plain) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// What an API may see of a request, and who asks. Nothing when a value cannot be written, which an
/// identifier always can.
pub(crate) fn forwarded(
    sent: &HeaderMap,
    caller: &Caller,
    (trace, request_id): (&TraceContext, &HeaderName),
) -> Option<HeaderMap> {
    let mut headers = carried(sent, request_id);
    let identity = [
        (SUBJECT, caller.subject.clone()),
        (ACTORS, serde_json::to_string(&caller.actors).ok()?),
        (AGENT, caller.agent.to_string()),
        (SERVER, caller.server.to_string()),
        (SCOPE, caller.scope.to_string()),
        (OPERATION, caller.operation.clone()),
        (DECISION, caller.decision_id.clone()),
        (TOKEN_ID, caller.token_id.clone()),
        (TRACEPARENT, trace.traceparent()),
    ];
    for (name, value) in identity {
        headers.insert(name, HeaderValue::from_str(&value).ok()?);
    }
    if let Some(approval) = &caller.approval {
        headers.insert(APPROVAL, HeaderValue::from_str(approval.as_str()).ok()?);
    }
    if let Some(state) = trace.tracestate() {
        headers.insert(TRACESTATE, HeaderValue::from_str(state).ok()?);
    }
    Some(headers)
}

/// Keeps what may leave of an answer: not what belongs to the connection (RFC 9110 section 7.6.1), no
/// cookie, which would not come back, no other way to the API (RFC 7838 section 3), and nothing that
/// is ours to say, as challenges are.
pub fn answered(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let plain = plain(name);
            let is_ours = plain.starts_with(OWN) || **name == DPOP_NONCE;
            let is_theirs = [SET_COOKIE, ALT_SVC, WWW_AUTHENTICATE].contains(name);
            is_ours || is_theirs || is_of_connection(&plain) || named.contains(&plain)
        })
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// One spelling for all that a server may take for one name.
fn plain(name: &HeaderName) -> String {
    let mark = |byte: char| if byte.is_ascii_alphanumeric() { byte } else { '-' };
    name.as_str().chars().map(mark).collect()
}

/// What never goes on: the identity set, credentials, cookies, what fronts say of the client, and what
/// makes some frameworks take a request for another one.
fn is_taken(plain: &str) -> bool {
    let is_listed = TAKEN.contains(&plain);
    let is_of_a_front = OF_FRONTS.iter().any(|family| plain.starts_with(family));
    plain.starts_with(OWN) || is_listed || is_of_a_front || is_of_connection(plain)
}

/// RFC 9110 section 7.6.1.
fn is_of_connection(plain: &str) -> bool {
    OF_CONNECTION.contains(&plain)
}

/// RFC 9110 section 7.6.1: `Connection` names further headers that end here.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    let names = names.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    names.map(|name| plain(&name)).collect()
}

/// The prefix of every header that the guard sets.
const OWN: &str = "attorn-";
const SUBJECT: HeaderName = HeaderName::from_static("attorn-subject");
const ACTORS: HeaderName = HeaderName::from_static("attorn-actors");
const AGENT: HeaderName = HeaderName::from_static("attorn-agent");
const APPROVAL: HeaderName = HeaderName::from_static("attorn-approval");
const SERVER: HeaderName = HeaderName::from_static("attorn-server");
const SCOPE: HeaderName = HeaderName::from_static("attorn-scope");
const OPERATION: HeaderName = HeaderName::from_static("attorn-operation");
const DECISION: HeaderName = HeaderName::from_static("attorn-decision");
const TOKEN_ID: HeaderName = HeaderName::from_static("attorn-token-id");
const IDENTITY: usize = 11;
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Names that go no further.
const TAKEN: &[&str] = &[
    "authorization",
    "dpop",
    "cookie",
    "cookie2",
    "forwarded",
    "via",
    "traceparent",
    "tracestate",
    "baggage",
    "host",
    "content-length",
    "expect",
    // CGI makes `HTTP_PROXY` of it, which clients in the API read as the address of their proxy.
    "proxy",
    // Where a request comes from.
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-remote-ip",
    "x-remote-addr",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    // By which name and over what.
    "x-host",
    "x-http-host-override",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
];
/// Beginnings of names by which fronts tell what they found. An API believes its front, and its front is
/// the guard.
const OF_FRONTS: &[&str] = &[
    // Who forwarded for whom, and who that is, by certificate and name.
    "x-forwarded-",
    // The URL and the method that were asked for: frameworks and fronts route by these.
    "x-original-",
    "x-rewrite-",
    "x-override-",
    "x-envoy-",
    "x-http-method",
    "x-method-override",
    // RFC 9440, and what was there before it: the certificate of the connection.
    "client-cert",
    "x-client-cert",
    "x-client-dn",
    "x-client-issuer",
    "x-client-subject",
    "x-client-verif",
    "x-arr-",
    "x-ssl-",
    "ssl-",
    "x-tls-",
    "x-amzn-mtls-",
    "x-spiffe-",
    // The user, as CGI names them.
    "remote-user",
    "x-remote-user",
    "x-remote-group",
    "x-remote-extra-",
    "x-proxy-user",
    "x-proxy-remote-",
    // The user, as proxies in front of logins name them.
    "x-auth-request-",
    "x-auth-user",
    "x-authenticated-",
    "x-webauth-",
    "x-consumer-",
    "x-credential-",
    "x-anonymous-consumer",
    "x-amzn-oidc-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-pomerium-",
    "x-authentik-",
    "x-vouch-",
    "cf-access-",
    "oidc-claim-",
    "tailscale-user-",
];
const OF_CONNECTION: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sent: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let trace = TraceContext::continued(None, None, &[7; 24]);
        let id = HeaderName::from_static("x-request-id");
        let made = forwarded(&headers, &Caller::example(), (&trace, &id)).unwrap();
        let mut names: Vec<_> = made.keys().map(|name| name.as_str().to_owned()).collect();
        names.retain(|name| !name.starts_with(OWN) && name != "traceparent");
        names.sort();
        names
    }

    #[test]
    fn nothing_that_a_caller_wrote_passes_for_an_identity() {
        let smuggled = [
            ("attorn-subject", "eve"),
            ("Attorn_Subject", "eve"),
            ("ATTORN-subject", "eve"),
            ("attorn_actors", "[]"),
            ("attorn.agent", "eve"),
            ("attorn-approval", "apr_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("Attorn_Approval", "apr_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("attorn-anything", "eve"),
        ];
        assert!(kept(&smuggled).is_empty());
        let mut headers = HeaderMap::new();
        headers.append("attorn-subject", "eve".parse().unwrap());
        headers.append("attorn-subject", "mallory".parse().unwrap());
        let trace = TraceContext::continued(None, None, &[7; 24]);
        let id = HeaderName::from_static("x-request-id");
        let made = forwarded(&headers, &Caller::example(), (&trace, &id)).unwrap();
        let subjects: Vec<_> = made.get_all("attorn-subject").iter().collect();
        assert_eq!(subjects, ["ann"]);
        assert_eq!(made["attorn-actors"], r#"["srv","agt"]"#);
    }

    /// Without an approval there is no such header, whatever the caller wrote; with one it is ours.
    #[test]
    fn an_approval_is_told_in_our_name_alone() {
        let mut headers = HeaderMap::new();
        headers.append("attorn-approval", "apr_bbbbbbbbbbbbbbbbbbbbbbbbbb".parse().unwrap());
        let trace = TraceContext::continued(None, None, &[7; 24]);
        let id = HeaderName::from_static("x-request-id");
        let made = forwarded(&headers, &Caller::example(), (&trace, &id)).unwrap();
        assert!(!made.contains_key("attorn-approval"));
        let approval = attorn_registry::ApprovalId::from_random(&[3; 16]);
        let caller = Caller { approval: Some(approval.clone()), ..Caller::example() };
        let made = forwarded(&headers, &caller, (&trace, &id)).unwrap();
        let told: Vec<_> = made.get_all("attorn-approval").iter().collect();
        assert_eq!(told, [approval.as_str()]);
    }

    #[test]
    fn credentials_hops_and_second_targets_end_here_and_the_rest_goes_on() {
        let gone = [
            ("authorization", "DPoP x"),
            ("proxy_authorization", "x"),
            ("dpop", "x"),
            ("cookie", "x"),
            ("forwarded", "for=x"),
            ("x-forwarded-for", "x"),
            ("x_forwarded_host", "x"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
            ("connection", "close, x-hop"),
            ("x-hop", "x"),
            ("x_hop", "x"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x_request_id", "chosen"),
        ];
        assert!(kept(&gone).is_empty());
        let stays =
            [("accept", "a/b"), ("content-type", "a/b"), ("if-match", "x"), ("x-forward", "1")];
        assert_eq!(kept(&stays), ["accept", "content-type", "if-match", "x-forward"]);
    }

    /// An API that believes its front is told by nobody else which certificate, user or URL it is.
    #[test]
    fn what_only_a_front_may_say_ends_here_and_the_words_of_clients_go_on() {
        for name in [
            "client-cert",
            "Client-Cert-Chain",
            "x-client-cert",
            "X_Client_Cert_DN",
            "x-client-verify",
            "x-ssl-client-cert",
            "x_ssl_client_s_dn",
            "ssl_client_verify",
            "x-arr-clientcert",
            "x-amzn-mtls-clientcert",
            "remote-user",
            "Remote_User",
            "x-remote-user",
            "x-remote-extra-scopes",
            "x-forwarded-user",
            "x-forwarded-client-cert",
            "x-auth-request-email",
            "x-authenticated-userid",
            "x-webauth-user",
            "x-consumer-username",
            "x-goog-authenticated-user-email",
            "x-ms-client-principal-id",
            "x-amzn-oidc-identity",
            "cf-access-authenticated-user-email",
            "x-original-uri",
            "x-original-url",
            "X.Original.Url",
            "x-rewrite-url",
            "x-envoy-original-path",
            "x-override-url",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-host",
            "true-client-ip",
            "proxy",
        ] {
            assert!(kept(&[(name, "eve")]).is_empty(), "{name}");
        }
        for name in [
            "content-type",
            "idempotency-key",
            "user-agent",
            "x-api-key",
            "x-api-version",
            "x-client-version",
            "x-original",
            "x-remote",
            "x-amzn-sagemaker-target-model",
            "x-ms-version",
            "x-user-agent",
            "certificate",
            "sslmode",
        ] {
            assert_eq!(kept(&[(name, "yes")]), [name]);
        }
    }

    #[test]
    fn an_answer_says_nothing_in_our_name() {
        let mut headers = HeaderMap::new();
        for name in [
            "set-cookie",
            "alt-svc",
            "www-authenticate",
            "dpop-nonce",
            "attorn-decision",
            "connection",
            "x-hop",
            "etag",
        ] {
            headers.insert(name.parse::<HeaderName>().unwrap(), "x-hop".parse().unwrap());
        }
        answered(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
    }
}
