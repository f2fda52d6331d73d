//! What becomes of a client certificate on its way: whether anybody asks for it, and what arrives.
//!
//! A proxy that ends TLS takes the certificate from the connection. Unless Attorn lists it and it
//! sends `Client-Cert`, agents with certificates do not get through; without this check they only
//! learn that nobody knows them.

use attorn_connect::World;
use attorn_connect::metadata::AuthorizationServer;
use attorn_net::SEEN_CERTIFICATE;
use http::HeaderMap;

use super::funnel::Funnel;
use crate::exit::Failure;
use crate::profile::Proof;

/// The way to the authority. `headers` are those of its health check.
pub(super) fn at_authority(
    funnel: &mut Funnel,
    (world, proof): (&World, &Proof),
    server: &AuthorizationServer,
    headers: &HeaderMap,
) {
    let is_taken = server.tls_client_certificate_bound_access_tokens;
    let is_asked_for = world.client.was_asked_for_certificate();
    match proof {
        Proof::Certificate(_) if !is_taken => funnel.fail(
            STEP,
            &Failure::no("the authority takes no client certificates")
                .next("set `client_auth = \"optional\"` under [tls] of its attorn.toml"),
        ),
        Proof::Certificate(_) => {
            let told = proof.thumbprint().and_then(|own| arrived(&own, is_asked_for, headers));
            funnel.check(STEP, told);
        }
        Proof::Key(_) if !is_taken => {}
        // No failure for an agent with a key, but for those that have none.
        Proof::Key(_) if !is_asked_for => {
            funnel.find(STEP, &format!("{NOT_ASKED}; agents that have one cannot come here"), FIX);
        }
        Proof::Key(_) if seen(headers).is_some_and(|seen| seen != "none") => {
            funnel.find(STEP, "a proxy's own certificate is taken for that of its clients", FIX);
        }
        Proof::Key(_) => funnel.ok(STEP, "would be asked for"),
    }
}

/// The way to a gateway, for an agent that has a certificate. `headers` are those of its health check.
pub(super) fn at_gateway(funnel: &mut Funnel, proof: &Proof, headers: &HeaderMap) {
    match proof {
        Proof::Key(_) => {}
        Proof::Certificate(_) => {
            // The authority may have asked for it, so who asked is not known.
            let told = proof.thumbprint().and_then(|own| arrived(&own, true, headers));
            funnel.check("certificate at the gateway", told);
        }
    }
}

fn arrived(own: &str, is_asked_for: bool, headers: &HeaderMap) -> Result<String, Failure> {
    let failed = |what: &str| Err(Failure::no(what).next(FIX));
    if !is_asked_for {
        return failed(NOT_ASKED);
    }
    match seen(headers) {
        Some(seen) if seen == own => Ok("asked for, and arrived".to_owned()),
        Some("malformed") => failed("a proxy sends it in a form that cannot be read"),
        Some("none") | None => {
            failed("it did not arrive: a proxy ends TLS and keeps it, or is not trusted with it")
        }
        Some(_) => failed("another one arrived: a proxy shows its own instead"),
    }
}

fn seen(headers: &HeaderMap) -> Option<&str> {
    headers.get(SEEN_CERTIFICATE)?.to_str().ok()
}

const STEP: &str = "certificate";
const NOT_ASKED: &str = "nobody asked for a certificate: something before it ends TLS";
const FIX: &str = "let the proxy pass TLS through, or send `Client-Cert` and be listed under \
                   [[trusted_proxies]] (docs/mtls.md), or use agents with keys (DPoP)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ones_own_certificate_is_well() {
        let check = |is_asked_for, seen: Option<&'static str>, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.extend(seen.map(|seen| (SEEN_CERTIFICATE, seen.parse().unwrap())));
            let told = arrived("own", is_asked_for, &headers).unwrap_or_else(|e| e.what);
            assert!(told.contains(expected), "{told}");
        };
        check(true, Some("own"), "and arrived");
        check(true, Some("other"), "another one");
        check(true, Some("malformed"), "cannot be read");
        check(true, Some("none"), "did not arrive");
        check(true, None, "did not arrive");
        check(false, Some("none"), "nobody asked");
    }
}
