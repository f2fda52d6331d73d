//! Certificates for tests of client certificates: made anew each time, in a folder of their own.

use std::path::{Path, PathBuf};

use attorn_jose::CertificateThumbprint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use serde_json::json;

use crate::step::StepFailed;

/// The name of the agent that most certificates are for.
pub const URI: &str = "urn:agent:billing";
/// The SPIFFE ID of the workload that the SVIDs are for.
pub const SPIFFE_ID: &str = "spiffe://example.org/billing";

/// A folder of certificates: `<name>.pem` and `<name>.key`.
#[derive(Debug)]
pub struct Pki(PathBuf);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Pki {
    /// Makes everything that the tests show.
    ///
    /// # Errors
    /// When a certificate cannot be made or written.
    pub fn make(folder: &Path) -> Result<Self, StepFailed> {
        std::fs::create_dir_all(folder)
            .map_err(|source| StepFailed::File { path: folder.to_owned(), source })?;
        let pki = Self(folder.to_owned());
        let (ca, stranger, domain) = (Authority::new()?, Authority::new()?, Authority::new()?);
        pki.write("client-ca.pem", &ca.0.pem())?;
        let bundle = json!({"keys": [
            {"use": "x509-svid", "kty": "EC", "x5c": [STANDARD.encode(domain.0.der())]}
        ]});
        pki.write("bundle.json", &bundle.to_string())?;
        pki.self_signed("server", "localhost")?;
        pki.self_signed("registered", "a.example")?;
        pki.self_signed("unregistered", "a.example")?;
        let uri = |text: &str| names(&[text], &[]);
        for name in ["own", "twin"] {
            pki.leaf(name, &ca, uri(URI)?, |_| {})?;
        }
        pki.leaf("other-ca", &stranger, uri(URI)?, |_| {})?;
        pki.leaf("expired", &ca, uri(URI)?, |leaf| {
            leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
            leaf.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })?;
        pki.leaf("future", &ca, uri(URI)?, |leaf| {
            leaf.not_before = rcgen::date_time_ymd(2090, 1, 1);
        })?;
        pki.leaf("server-only", &ca, uri(URI)?, |leaf| {
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })?;
        pki.leaf("proxy", &ca, uri("urn:proxy:edge")?, |_| {})?;
        pki.leaf("longer", &ca, uri("urn:agent:billing-2")?, |_| {})?;
        pki.leaf("upper", &ca, uri("urn:agent:Billing")?, |_| {})?;
        pki.leaf("second", &ca, names(&["urn:agent:other", URI], &[])?, |_| {})?;
        pki.leaf("wildcard", &ca, names(&[], &["*.example"])?, |_| {})?;
        pki.leaf("svid", &domain, uri(SPIFFE_ID)?, |_| {})?;
        pki.leaf("svid-two", &domain, names(&[SPIFFE_ID, "spiffe://example.org/b"], &[])?, |_| {})?;
        pki.leaf("svid-other-ca", &ca, uri(SPIFFE_ID)?, |_| {})?;
        let wrong = [
            "spiffe://example.com/billing",
            "spiffe://example.org//billing",
            "spiffe://example.org/billing/",
            "spiffe://example.org/a/../billing",
            "spiffe://example.org/%62illing",
            "spiffe://EXAMPLE.org/billing",
        ];
        for (number, id) in wrong.into_iter().enumerate() {
            pki.leaf(&format!("svid-wrong-{number}"), &domain, uri(id)?, |_| {})?;
        }
        let many: Vec<String> = (0..10_000).map(|number| format!("n{number}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        pki.leaf("many-names", &ca, names(&[], &many)?, |_| {})?;
        let own = pki.read("own.pem")?;
        let leaf = STANDARD.decode(pki.in_header("own")?).map_err(failed)?;
        pki.write("joined.pem", &STANDARD.encode(leaf.repeat(2)))?;
        pki.write("long-chain.pem", &own.repeat(50))?;
        pki.write("long-chain.key", &pki.read("own.key")?)?;
        Ok(pki)
    }

    /// The path of a file.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    /// A certificate's text as a header would carry it.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn in_header(&self, name: &str) -> Result<String, StepFailed> {
        let pem = self.read(&format!("{name}.pem"))?;
        Ok(pem.lines().filter(|line| !line.starts_with('-')).collect())
    }

    /// `x5t#S256` of a certificate.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn thumbprint(&self, name: &str) -> Result<String, StepFailed> {
        let der = STANDARD.decode(self.in_header(name)?).map_err(failed)?;
        Ok(CertificateThumbprint::of_der(&der).to_string())
    }

    fn leaf(
        &self,
        name: &str,
        authority: &Authority,
        names: Vec<SanType>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<(), StepFailed> {
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = names;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut leaf);
        let key = KeyPair::generate().map_err(failed)?;
        let made = leaf.signed_by(&key, &authority.0).map_err(failed)?;
        self.write(&format!("{name}.pem"), &made.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn self_signed(&self, name: &str, host: &str) -> Result<(), StepFailed> {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).map_err(failed)?;
        self.write(&format!("{name}.pem"), &made.cert.pem())?;
        self.write(&format!("{name}.key"), &made.signing_key.serialize_pem())
    }

    fn read(&self, file: &str) -> Result<String, StepFailed> {
        let path = self.0.join(file);
        std::fs::read_to_string(&path).map_err(|source| StepFailed::File { path, source })
    }

    fn write(&self, file: &str, text: &str) -> Result<(), StepFailed> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.join(file);
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, private))
            .map_err(|source| StepFailed::File { path, source })
    }
}

impl Authority {
    fn new() -> Result<Self, StepFailed> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(failed)
    }
}

fn names(uris: &[&str], dns: &[&str]) -> Result<Vec<SanType>, StepFailed> {
    let text = |text: &&str| Ia5String::try_from((*text).to_owned()).map_err(failed);
    let uris = uris.iter().map(|uri| text(uri).map(SanType::URI));
    uris.chain(dns.iter().map(|name| text(name).map(SanType::DnsName))).collect()
}

fn failed(error: impl std::fmt::Display) -> StepFailed {
    StepFailed::Check(format!("a test certificate: {error}"))
}
