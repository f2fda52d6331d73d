//! Client certificates in headers: one certificate has one spelling, and nothing stands beside it.

use attorn_net::read_client_cert;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use rcgen::{CertificateParams, KeyPair};

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const CLIENT_CERT_HEADER: Target = Target {
    name: "client_cert_header",
    oracle: "accepted: one leaf, and each certificate written back is the item it came from; the same \
             header twice, with something behind it or cut is refused",
    prepare,
};

const WORDS: &[&str] = &[
    ":",
    "::",
    ",",
    ", ",
    ";a=1",
    "=",
    "\"",
    "%0A",
    "-----BEGIN CERTIFICATE-----",
    "\nClient-Cert: ",
    "\nClient-Cert-Chain: ",
    "MAA=",
];

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let made = CertificateParams::default().self_signed(&key).map_err(|error| error.to_string())?;
    let item = written(made.der());
    let pem = made.pem().replace('\n', "%0A");
    let seeds = [
        format!("Client-Cert: {item}"),
        format!(
            "Client-Cert: {item}\nClient-Cert-Chain: {item}, {item}\nClient-Cert-Chain: {item}"
        ),
        format!("Client-Cert: {item}\nClient-Cert: {item}"),
        format!("Client-Cert-Chain: {item}"),
        format!("Client-Cert: {pem}"),
        String::new(),
    ];
    let seeds = seeds.into_iter().map(String::into_bytes).collect();
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let lines = lines(input);
    let chain = match read_client_cert(&headers(&lines)) {
        Ok(chain) => chain,
        Err(refusal) => return Ok(Seen::refused(&refusal)),
    };
    let values = |name: &str| -> Vec<&[u8]> {
        let named = lines.iter().filter(|(known, _)| known.as_str() == name);
        named.map(|(_, value)| value.as_bytes()).collect()
    };
    let leaves = values("client-cert");
    let Some((leaf, intermediates)) = chain.split_first() else {
        ensure(leaves.is_empty() && values("client-cert-chain").is_empty(), "a header is ignored")?;
        return Ok(Seen::accepted(&0));
    };
    ensure(leaves == [written(leaf).as_bytes()], "a leaf that is not what the header holds")?;
    let listed: Vec<String> = intermediates.iter().map(|der| written(der)).collect();
    let told = values("client-cert-chain").join(&b","[..]);
    let told: String =
        String::from_utf8_lossy(&told).chars().filter(|c| !c.is_ascii_whitespace()).collect();
    ensure(told == listed.join(","), "a chain that is not what the headers hold")?;
    let changed = |value: String| {
        let mut lines = lines.clone();
        for (name, old) in &mut lines {
            if name.as_str() == "client-cert" {
                *old = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            }
        }
        Ok::<_, String>(read_client_cert(&headers(&lines)).is_err())
    };
    let item = written(leaf);
    for other in [format!("{item};a"), format!("{item},{item}"), item.replacen(':', "", 1)] {
        ensure(changed(other)?, "another spelling is accepted")?;
    }
    let twice: Vec<_> = lines.iter().chain(&lines).cloned().collect();
    ensure(read_client_cert(&headers(&twice)).is_err(), "two leaves are accepted")?;
    Ok(Seen::accepted(&intermediates.len().min(7)))
}

fn written(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

/// The lines that HTTP can carry.
fn lines(input: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let lines = input.split(|byte| *byte == b'\n');
    let read = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(at)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = value.get(1..)?.trim_ascii();
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    lines.filter_map(read).collect()
}

fn headers(lines: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.clone());
    }
    headers
}
