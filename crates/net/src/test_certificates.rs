//! Certificates for the tests of this crate.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CertifiedKey, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use zeroize::Zeroizing;

use crate::der::{Reader, SEQUENCE};
use crate::{Anchors, ClientIdentity, TlsMaterial};

/// What a listener with this certificate shows; it asks clients for none.
pub(crate) fn material(made: &CertifiedKey<KeyPair>) -> TlsMaterial {
    TlsMaterial {
        certificates_pem: made.cert.pem().into_bytes(),
        key_pem: Zeroizing::new(made.signing_key.serialize_pem().into_bytes()),
        clients: None,
        proxies: Vec::new(),
    }
}

/// An authority for client certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn anchors(&self, name: &str) -> Anchors {
        let authorities = vec![self.0.der().to_vec()];
        Anchors { name: name.to_owned(), authorities, revoked_pem: None }
    }

    /// A list on which one leaf stands, by its serial number.
    pub(crate) fn revocation_list(&self, revoked: &ClientIdentity) -> String {
        let pem = revoked.certificates_pem.as_bytes();
        let der = &crate::certificates_of_pem(pem).unwrap()[0];
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial_of(der)),
                revocation_time: rcgen::date_time_ymd(2020, 1, 2),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// A leaf with one URI, for these purposes and until this year.
    pub(crate) fn leaf(
        &self,
        uri: &str,
        purpose: ExtendedKeyUsagePurpose,
        until_year: i32,
    ) -> ClientIdentity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri.to_owned()).unwrap())];
        params.extended_key_usages = vec![purpose];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        identity(leaf.pem(), &key)
    }
}

/// RFC 5280 section 4.1.2.2: the second field, after the version.
fn serial_of(der: &[u8]) -> &[u8] {
    let outer = Reader::new(der).expect(SEQUENCE).unwrap();
    let mut fields = Reader::new(Reader::new(outer).expect(SEQUENCE).unwrap());
    let _version = fields.next().unwrap();
    fields.next().unwrap().content
}

pub(crate) fn identity(certificates_pem: String, key: &KeyPair) -> ClientIdentity {
    ClientIdentity { certificates_pem, key_pem: Zeroizing::new(key.serialize_pem()) }
}
