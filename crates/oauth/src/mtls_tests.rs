use super::*;

const NOW_S: u64 = 1_000;

struct Held {
    anchors: Vec<String>,
    dns_names: Vec<String>,
    uris: Vec<String>,
}

fn held(anchors: &[&str], dns_names: &[&str], uris: &[&str]) -> Held {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Held { anchors: owned(anchors), dns_names: owned(dns_names), uris: owned(uris) }
}

impl Held {
    fn certificate(&self) -> PresentedCertificate<'_> {
        PresentedCertificate {
            thumbprint: CertificateThumbprint::of_der(b"leaf"),
            not_before_s: 500,
            not_after_s: 1_500,
            anchors: &self.anchors,
            dns_names: &self.dns_names,
            uris: &self.uris,
        }
    }

    fn check(&self, authentication: &Authentication, expected: Result<(), CertificateRefusal>) {
        assert_eq!(verify_registered(authentication, &self.certificate(), NOW_S), expected);
    }
}

fn dns(name: &str) -> Authentication {
    Authentication::TlsClientAuth { name: CertificateName::Dns(name.to_owned()) }
}

fn uri(uri: &str) -> Authentication {
    Authentication::TlsClientAuth { name: CertificateName::Uri(uri.to_owned()) }
}

#[test]
fn a_name_of_the_configured_authority_is_compared_exactly() {
    let one = held(&[CLIENT_CA], &["billing.example"], &["urn:agent:billing"]);
    one.check(&dns("billing.example"), Ok(()));
    one.check(&uri("urn:agent:billing"), Ok(()));
    for other in ["billing.exampl", "billing.example.org", "illing.example", "x.example"] {
        one.check(&dns(other), Err(CertificateRefusal::Name));
    }
    one.check(&uri("urn:agent:Billing"), Err(CertificateRefusal::Name));
    one.check(&Authentication::PrivateKeyJwt, Err(CertificateRefusal::Method));
}

#[test]
fn wildcards_and_second_names_stand_for_nobody() {
    held(&[CLIENT_CA], &["*.example"], &[])
        .check(&dns("billing.example"), Err(CertificateRefusal::Name));
    let two = held(&[CLIENT_CA], &["other.example", "billing.example"], &["urn:a", "urn:b"]);
    two.check(&dns("billing.example"), Err(CertificateRefusal::Name));
    two.check(&uri("urn:a"), Err(CertificateRefusal::Name));
    held(&[CLIENT_CA], &[], &[]).check(&dns("billing.example"), Err(CertificateRefusal::Name));
}

#[test]
fn another_authority_does_not_count() {
    for anchors in [&[][..], &["spiffe://example.org"][..]] {
        held(anchors, &["billing.example"], &[])
            .check(&dns("billing.example"), Err(CertificateRefusal::Untrusted));
    }
}

#[test]
fn a_self_signed_certificate_counts_by_its_thumbprint_alone() {
    let of = |der: &[u8]| Authentication::SelfSignedTlsClientAuth {
        certificates: vec![CertificateThumbprint::of_der(der)],
    };
    let unchained = held(&[], &["billing.example"], &[]);
    unchained.check(&of(b"leaf"), Ok(()));
    unchained.check(&of(b"other"), Err(CertificateRefusal::Unregistered));
    held(&[CLIENT_CA], &[], &[]).check(&of(b"other"), Err(CertificateRefusal::Unregistered));
}

#[test]
fn an_svid_is_of_its_own_trust_domain() {
    let id = SpiffeId::parse("spiffe://example.org/billing").unwrap();
    let registered = Authentication::Spiffe { id };
    let own = ["spiffe://example.org"];
    held(&own, &[], &["spiffe://example.org/billing"]).check(&registered, Ok(()));
    held(&own, &[], &["spiffe://example.org/other"])
        .check(&registered, Err(CertificateRefusal::Name));
    held(&own, &[], &["spiffe://example.org/billing", "urn:x"])
        .check(&registered, Err(CertificateRefusal::Name));
    for anchor in ["spiffe://evil.example", CLIENT_CA] {
        held(&[anchor], &[], &["spiffe://example.org/billing"])
            .check(&registered, Err(CertificateRefusal::Untrusted));
    }
}

#[test]
fn a_certificate_counts_during_its_life_only() {
    let facts = held(&[CLIENT_CA], &["billing.example"], &[]);
    let at = |now_s| verify_registered(&dns("billing.example"), &facts.certificate(), now_s);
    assert_eq!((at(500), at(1_500)), (Ok(()), Ok(())));
    for now_s in [499, 1_501] {
        assert_eq!(at(now_s), Err(CertificateRefusal::Clock));
    }
}

#[test]
fn without_a_certificate_nobody_is_authenticated() {
    let id = AgentId::from_random(&[1; 16]);
    let refused = authenticate(&id, &dns("billing.example"), None, NOW_S);
    assert_eq!(refused.err(), Some(CertificateRefusal::Missing));
    let facts = held(&[CLIENT_CA], &["billing.example"], &[]);
    let presented = facts.certificate();
    let client = authenticate(&id, &dns("billing.example"), Some(&presented), NOW_S).unwrap();
    assert_eq!(*client.client_id(), id);
    assert_eq!(client.key().as_bytes(), presented.thumbprint.as_bytes());
}
