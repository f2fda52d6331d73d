//! The client certificate of a connection: what of it is read, once.

use rustls::pki_types::CertificateDer;

use crate::der::{
    GENERALIZED_TIME, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, UTC_TIME, Value,
};

/// A client certificate whose private key the peer holds: the handshake showed it.
///
/// It says nothing yet about who the peer is. Whoever reads it judges anchors, names and life, or
/// compares the thumbprint with one that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// SHA-256 of the DER.
    pub thumbprint: [u8; 32],
    /// First second of its life, since 1970.
    pub not_before_s: u64,
    /// Last second of its life, since 1970.
    pub not_after_s: u64,
    /// The DNS names, verbatim.
    pub dns_names: Vec<String>,
    /// The URIs, verbatim.
    pub uris: Vec<String>,
    /// The sets of authorities that its chain leads to, by name.
    pub anchors: Vec<String>,
}

/// Parses a leaf; its anchors are judged elsewhere.
///
/// `None` for what is malformed, or holds more names than any client needs.
pub(crate) fn parse(der: &CertificateDer<'_>) -> Option<PeerCertificate> {
    let mut outer = Reader::new(der.as_ref());
    let mut certificate = Reader::new(outer.expect(SEQUENCE)?);
    // RFC 5280 section 4.1: version, serial number, signature, issuer, validity, subject, key, …
    let mut fields = Reader::new(certificate.expect(SEQUENCE)?);
    let mut next = fields.next()?;
    if next.tag == VERSION {
        next = fields.next()?;
    }
    let _serial = next;
    let (_signature, _issuer) = (fields.expect(SEQUENCE)?, fields.expect(SEQUENCE)?);
    let mut validity = Reader::new(fields.expect(SEQUENCE)?);
    let (not_before_s, not_after_s) = (time(validity.next()?)?, time(validity.next()?)?);
    let mut names = Names::default();
    while let Some(field) = fields.next() {
        if field.tag == EXTENSIONS {
            let mut extensions = Reader::new(field.content);
            names.read(extensions.expect(SEQUENCE)?)?;
        }
    }
    if !fields.is_at_end() || !outer.is_at_end() {
        return None;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der.as_ref());
    Some(PeerCertificate {
        thumbprint: digest.as_ref().try_into().ok()?,
        not_before_s,
        not_after_s,
        dns_names: names.dns,
        uris: names.uris,
        anchors: Vec::new(),
    })
}

#[derive(Default)]
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
}

impl Names {
    /// RFC 5280 section 4.1.2.9: a list of extensions, each of a kind once.
    fn read(&mut self, extensions: &[u8]) -> Option<()> {
        let mut extensions = Reader::new(extensions);
        let mut seen = false;
        while !extensions.is_at_end() {
            let mut extension = Reader::new(extensions.expect(SEQUENCE)?);
            if extension.expect(OBJECT_IDENTIFIER)? != SUBJECT_ALTERNATIVE_NAME {
                continue;
            }
            if std::mem::replace(&mut seen, true) {
                return None;
            }
            let mut value = extension.next()?;
            if value.tag != OCTET_STRING {
                // `critical`, which changes nothing here.
                value = extension.next()?;
            }
            let mut names = Reader::new(value.content);
            self.read_names(names.expect(SEQUENCE)?)?;
        }
        Some(())
    }

    /// RFC 5280 section 4.2.1.6: DNS names and URIs are IA5 strings; other kinds are passed over.
    fn read_names(&mut self, names: &[u8]) -> Option<()> {
        let mut names = Reader::new(names);
        let mut count = 0;
        while !names.is_at_end() {
            let name = names.next()?;
            count += 1;
            if count > NAMES_MAX {
                return None;
            }
            let kept = match name.tag {
                DNS_NAME => &mut self.dns,
                URI => &mut self.uris,
                _ => continue,
            };
            let text = std::str::from_utf8(name.content).ok().filter(|text| text.is_ascii())?;
            kept.push(text.to_owned());
        }
        Some(())
    }
}

/// RFC 5280 sections 4.1.2.5.1 and 4.1.2.5.2: always in UTC and with seconds.
fn time(value: Value<'_>) -> Option<u64> {
    let text = std::str::from_utf8(value.content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match value.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let of_day = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    Some(days_since_1970(year, month, day)? * 86_400 + of_day)
}

/// Days of the Gregorian calendar; years begin in March, so that a leap day is the last one.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    (year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1).checked_sub(719_468)
}

/// More names than this stand for nobody.
const NAMES_MAX: usize = 64;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
/// 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn san(uris: &[&str], dns: &[&str]) -> Vec<SanType> {
        let text = |text: &&str| Ia5String::try_from((*text).to_owned()).unwrap();
        let uris = uris.iter().map(|uri| SanType::URI(text(uri)));
        uris.chain(dns.iter().map(|name| SanType::DnsName(text(name)))).collect()
    }

    fn made(names: Vec<SanType>) -> Option<PeerCertificate> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        parse(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn names_and_life_are_read() {
        let read = made(san(&["urn:a", "spiffe://x/y"], &["a.example"])).unwrap();
        assert_eq!(read.uris, ["urn:a", "spiffe://x/y"]);
        assert_eq!(read.dns_names, ["a.example"]);
        assert_eq!((read.not_before_s, read.not_after_s), (1_709_164_800, 2_524_608_000));
        assert!(read.anchors.is_empty());
    }

    #[test]
    fn a_certificate_without_names_has_none() {
        let read = made(Vec::new()).unwrap();
        assert!(read.uris.is_empty() && read.dns_names.is_empty());
    }

    #[test]
    fn ten_thousand_names_are_nobodys() {
        let names: Vec<String> = (0..10_000).map(|number| format!("n{number}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(made(san(&[], &names)), None);
    }

    #[test]
    fn what_is_cut_is_no_certificate() {
        let key = KeyPair::generate().unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        for length in 0..der.len() {
            let cut = CertificateDer::from(der[..length].to_vec());
            assert_eq!(parse(&cut), None, "{length}");
        }
        let longer = CertificateDer::from([der.as_slice(), &[0]].concat());
        assert_eq!(parse(&longer), None);
    }

    #[test]
    fn times_have_one_form() {
        let read = |tag, text: &str| time(Value { tag, content: text.as_bytes() });
        assert_eq!(read(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(read(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for text in ["700101000000", "7001010000Z", "701301000000Z", "490101000000+0100"] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
    }
}
