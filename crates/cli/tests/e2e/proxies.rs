//! A real proxy that ends TLS in front, and certificates in its headers (RFC 9440).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use attorn_testkit::haproxy::{Files, Front, HaProxy};
use attorn_testkit::ports::free_port;
use http::StatusCode;

use crate::mtls::{Authority, Installed, URI};
use crate::support::Folder;

/// An installation behind a proxy. The proxy has the ports that the world knows.
struct Behind {
    installed: Installed,
    proxy: Option<HaProxy>,
    ports: Vec<(u16, u16)>,
}

/// What a proxy does with certificates.
#[derive(Clone, Copy)]
enum Habit {
    /// Asks for them and passes them on: what docs/mtls.md tells operators to write.
    Passes,
    /// Asks for them and keeps them.
    Keeps,
    /// Does not ask.
    NeverAsks,
}

impl Behind {
    fn new(test: &str, ca: &Authority) -> Self {
        let (mut proxy, mut ports) = (None, Vec::new());
        let installed = Installed::with(test, ca, |folder, text| {
            // The addresses of the file stay those of the world; Attorn itself listens elsewhere.
            let (head, listen) = text.split_once("[listen]\n").unwrap();
            let mut listen = listen.to_owned();
            for name in ["authority", "gateway"] {
                let start = format!("{name} = \"127.0.0.1:");
                let (_, rest) = listen.split_once(&start).unwrap();
                let public = rest.split('"').next().unwrap().to_owned();
                let own = free_port().unwrap();
                listen = listen.replace(&format!("{start}{public}"), &format!("{start}{own}"));
                let public: u16 = public.parse().unwrap();
                ports.push((public, own));
            }
            *text = format!(
                "{head}[listen]\n{listen}[[trusted_proxies]]\nname = \"edge\"\n\
                 listeners = [\"authority\", \"gateway\"]\ncertificates = \"edge.crt\"\n"
            );
            write_files(folder, ca);
            proxy = Some(started(folder, &ports, Habit::Passes));
        });
        Self { installed, proxy, ports }
    }

    fn replace_proxy(&mut self, habit: Habit) {
        self.proxy = None;
        self.proxy = Some(started(&self.installed.folder, &self.ports, habit));
    }
}

fn write_files(folder: &Folder, ca: &Authority) {
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
    write("public.pem", &(read("cert.pem") + &read("key.pem")));
    // Of the same authority as the agents: it is known by its bytes and stands for no agent.
    let (certificate, key) = ca.leaf("urn:proxy:edge");
    write("edge.crt", &certificate);
    write("edge.pem", &(certificate + &key));
}

fn started(folder: &Folder, ports: &[(u16, u16)], habit: Habit) -> HaProxy {
    let path = |file: &str| folder.path().join(file);
    let asks = format!(
        "verify optional ca-file {} ca-ignore-err all crt-ignore-err all",
        path("client-ca.pem").display()
    );
    let clears = ["del-header Client-Cert", "del-header Client-Cert-Chain"];
    let passes = "set-header Client-Cert :%[ssl_c_der,base64]: if { ssl_c_used }";
    let (bind, rules) = match habit {
        Habit::Passes => (asks, [&clears[..], &[passes]].concat()),
        Habit::Keeps => (asks, clears.to_vec()),
        Habit::NeverAsks => (String::new(), clears.to_vec()),
    };
    let rules: Vec<String> = rules.into_iter().map(str::to_owned).collect();
    let front =
        |&(port, to): &(u16, u16)| Front { port, to, bind: bind.clone(), rules: rules.clone() };
    let fronts: Vec<Front> = ports.iter().map(front).collect();
    let (server, own, roots) = (path("public.pem"), path("edge.pem"), path("cert.pem"));
    let files = Files { server: &server, own: &own, roots: &roots };
    HaProxy::start(folder.path(), files, &fronts).unwrap()
}

/// DER in the form of RFC 9440 section 2.2.
fn in_header(pem: &str) -> String {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    format!(":{base64}:")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_proxy_passes_certificates_on() {
    let ca = Authority::new();
    let behind = Behind::new("proxy-passes", &ca);
    let installed = &behind.installed;
    let client_id = installed.agent("billing", &["--tls-san-uri", URI]);
    let (own, twin) = (ca.leaf(URI), ca.leaf(URI));
    let stranger = Authority::new().leaf(URI);
    let own_header = in_header(&own.0);
    let own = installed.client(Some(&own));
    let (status, token) = installed.token(&own, &client_id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let (status, called) = installed.call(&own, &bearer).await;
    assert_eq!(status, StatusCode::OK, "{called}");
    // Nobody else, whatever they write into the header: the proxy takes it away.
    let (twin, nobody) = (installed.client(Some(&twin)), installed.client(None));
    for client in [&twin, &nobody] {
        for header in [None, Some(own_header.as_str())] {
            let (status, refused) = installed.call_with(client, &bearer, header).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{refused}");
        }
    }
    // The proxy looked at no chain; Attorn did.
    let (status, _) = installed.token(&installed.client(Some(&stranger)), &client_id).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(installed.token(&nobody, &client_id).await.0, StatusCode::UNAUTHORIZED);
    // The journal says who vouched.
    for kind in ["token.issued", "call.decided"] {
        let entries = installed.reasons(kind);
        assert!(
            entries.contains(r#""proxy": "edge""#) || entries.contains(r#""proxy":"edge""#),
            "{kind}: {entries}"
        );
    }
    behind.installed.serving.stop();
}

#[test]
fn doctor_finds_a_proxy_that_strips_certificates() {
    let ca = Authority::new();
    let mut behind = Behind::new("proxy-strips", &ca);
    let client_id = behind.installed.agent("billing", &["--tls-san-uri", URI]);
    let path = behind.installed.folder.path().to_owned();
    let (certificate, key) = ca.leaf(URI);
    fs::write(path.join("billing.crt"), certificate).unwrap();
    fs::write(path.join("billing.key"), key).unwrap();
    fs::set_permissions(path.join("billing.key"), PermissionsExt::from_mode(0o600)).unwrap();
    behind.installed.enroll_billing(&client_id, 0);
    let doctor = |behind: &Behind, code: i32| {
        let asked = ["doctor", "invoices", "--client", "billing"];
        behind.installed.folder.attorn(&asked).expect(code).out
    };
    let told = doctor(&behind, 0);
    assert!(told.contains("asked for, and arrived"), "{told}");
    behind.replace_proxy(Habit::Keeps);
    let told = doctor(&behind, 1);
    assert!(told.contains("a proxy ends TLS and keeps it"), "{told}");
    behind.replace_proxy(Habit::NeverAsks);
    let told = doctor(&behind, 1);
    assert!(told.contains("something before it ends TLS"), "{told}");
    // An operator with a key is told of it as well, though nothing of theirs fails.
    let told = behind.installed.folder.attorn(&["doctor"]).expect(0).out;
    assert!(told.contains("agents that have one cannot come here"), "{told}");
    behind.installed.serving.stop();
}
