//! A client certificate in a header: RFC 9440.
//!
//! Implemented: `Client-Cert` and `Client-Cert-Chain` as a proxy sends them that ended the client's
//! TLS. Only requests over a connection of a listed proxy come here; of anybody else the headers are
//! never looked at. The certificate is judged as one of a handshake, but nobody here saw that the
//! client holds its key: the proxy vouches for that.
//!
//! Not implemented: every other header (`X-Forwarded-Client-Cert` and the like).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

use crate::certificate;
use crate::trust::is_within_limits;

/// Why the certificate headers of a listed proxy are not taken. The proxy is at fault, not the
/// client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientCertRefusal {
    /// What the header holds is no certificate, or one beyond the limits.
    #[error("the header holds no certificate")]
    Certificate,
    /// A chain came without its leaf.
    #[error("a chain came without a certificate")]
    ChainAlone,
    /// The value is no byte sequence, or has something beside it.
    #[error("the header is no byte sequence")]
    Form,
    /// The header is there twice.
    #[error("the header is there more than once")]
    Repeated,
}

/// The chain that the headers hold, leaf first; empty where the client has none. Whose word they are
/// is not checked.
///
/// # Errors
/// [`ClientCertRefusal`].
pub fn read(headers: &HeaderMap) -> Result<Vec<CertificateDer<'static>>, ClientCertRefusal> {
    let mut values = headers.get_all(CLIENT_CERT).iter();
    let Some(value) = values.next() else {
        // RFC 9440 section 2.3: a chain comes with its leaf.
        let alone = headers.contains_key(CLIENT_CERT_CHAIN);
        return if alone { Err(ClientCertRefusal::ChainAlone) } else { Ok(Vec::new()) };
    };
    // RFC 9440 section 2.2: one item, and no list. Of two, one may be the client's own.
    if values.next().is_some() {
        return Err(ClientCertRefusal::Repeated);
    }
    let mut chain = vec![leaf(byte_sequence(value.as_bytes())?)?];
    // RFC 9440 section 2.3: a list, which may stand in several fields.
    for value in headers.get_all(CLIENT_CERT_CHAIN) {
        for item in value.as_bytes().split(|byte| *byte == b',') {
            chain.push(CertificateDer::from(byte_sequence(item.trim_ascii())?));
        }
    }
    let (leaf, intermediates) = chain.split_first().ok_or(ClientCertRefusal::Certificate)?;
    if is_within_limits(leaf, intermediates) {
        Ok(chain)
    } else {
        Err(ClientCertRefusal::Certificate)
    }
}

/// One certificate and nothing behind it, which the TLS library reads as well as we do.
fn leaf(der: Vec<u8>) -> Result<CertificateDer<'static>, ClientCertRefusal> {
    let der = CertificateDer::from(der);
    let is_read = certificate::parse(&der).is_some() && ParsedCertificate::try_from(&der).is_ok();
    if is_read { Ok(der) } else { Err(ClientCertRefusal::Certificate) }
}

/// RFC 8941 section 3.3.5: base64 between colons. Parameters mean nothing here, and so are refused.
/// Stricter than section 4.2.7 asks: padding is there and its bits are zero, so that a certificate has
/// one spelling.
fn byte_sequence(value: &[u8]) -> Result<Vec<u8>, ClientCertRefusal> {
    let inner = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
    inner.and_then(|text| STANDARD.decode(text).ok()).ok_or(ClientCertRefusal::Form)
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rcgen::ExtendedKeyUsagePurpose;

    use super::*;
    use crate::certificates_of_pem;
    use crate::test_certificates::Authority;

    fn der() -> Vec<u8> {
        let leaf = Authority::new().leaf("urn:a", ExtendedKeyUsagePurpose::ClientAuth, 2090);
        certificates_of_pem(leaf.certificates_pem.as_bytes()).unwrap().remove(0)
    }

    fn item(der: &[u8]) -> String {
        format!(":{}:", STANDARD.encode(der))
    }

    fn check(lines: &[(HeaderName, &str)]) -> Result<usize, ClientCertRefusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).map_err(|_| ClientCertRefusal::Form)?;
            headers.append(name, value);
        }
        read(&headers).map(|chain| chain.len())
    }

    #[test]
    fn a_leaf_and_its_chain_are_read() {
        let (one, other) = (item(&der()), item(&der()));
        assert_eq!(check(&[]), Ok(0));
        assert_eq!(check(&[(CLIENT_CERT, &one)]), Ok(1));
        let list = format!("{other}, {other},{other}");
        assert_eq!(check(&[(CLIENT_CERT, &one), (CLIENT_CERT_CHAIN, &list)]), Ok(4));
        let two = [(CLIENT_CERT_CHAIN, other.as_str()), (CLIENT_CERT_CHAIN, other.as_str())];
        assert_eq!(check(&[&[(CLIENT_CERT, one.as_str())], &two[..]].concat()), Ok(3));
    }

    #[test]
    fn two_leaves_and_a_chain_alone_are_refused() {
        let one = item(&der());
        let twice = [(CLIENT_CERT, one.as_str()), (CLIENT_CERT, one.as_str())];
        assert_eq!(check(&twice), Err(ClientCertRefusal::Repeated));
        assert_eq!(check(&[(CLIENT_CERT_CHAIN, &one)]), Err(ClientCertRefusal::ChainAlone));
    }

    #[test]
    fn what_is_no_byte_sequence_is_refused() {
        let der = der();
        let one = item(&der);
        let base64 = STANDARD.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----%0A{base64}%0A-----END CERTIFICATE-----%0A");
        for value in [
            "",
            ":",
            "garbage",
            ":?:",
            &base64,
            &pem,
            &format!(":{base64}"),
            &format!("{one};a=1"),
            &format!("{one}, {one}"),
            &format!("\"{base64}\""),
            &format!(": {base64}:"),
            &format!(":{}:", base64.trim_end_matches('=').to_owned() + "==="),
        ] {
            assert_eq!(check(&[(CLIENT_CERT, value)]), Err(ClientCertRefusal::Form), "{value}");
        }
        let chain = [(CLIENT_CERT, one.as_str()), (CLIENT_CERT_CHAIN, "a")];
        assert_eq!(check(&chain), Err(ClientCertRefusal::Form));
    }

    /// Whatever is changed in it: what is taken is the one spelling of what was read.
    #[test]
    fn a_certificate_has_one_spelling() {
        let value = item(&der()).into_bytes();
        let mut taken = 0;
        for at in 0..value.len() {
            for byte in *b":=A/+- ,;\"0z" {
                let mut changed = value.clone();
                changed[at] = byte;
                let mut headers = HeaderMap::new();
                headers.append(CLIENT_CERT, HeaderValue::from_bytes(&changed).unwrap());
                if let Ok(chain) = read(&headers) {
                    assert_eq!(item(&chain[0]).into_bytes(), changed, "{at} {byte}");
                    taken += 1;
                }
            }
            let cut = HeaderValue::from_bytes(&value[..at]).unwrap();
            assert!(read(&HeaderMap::from_iter([(CLIENT_CERT, cut)])).is_err(), "{at}");
        }
        assert!(taken > 0);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let der = der();
        let cut = &der[..der.len() - 1];
        let two = [der.as_slice(), der.as_slice()].concat();
        for bytes in [&[][..], &[0x30, 0], b"garbage", cut, &two, &[&der[..], &[0]].concat()] {
            let refused = check(&[(CLIENT_CERT, &item(bytes))]);
            assert_eq!(refused, Err(ClientCertRefusal::Certificate), "{bytes:?}");
        }
        let one = item(&der);
        let long = vec![one.clone(); 7].join(",");
        let long = check(&[(CLIENT_CERT, &one), (CLIENT_CERT_CHAIN, &long)]);
        assert_eq!(long, Err(ClientCertRefusal::Certificate));
    }
}
