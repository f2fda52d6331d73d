//! The listeners on TLS, with a certificate authority of one's own.

use std::fs;

use crate::support::{Folder, Serving, write_config};

#[test]
fn an_operator_enrolls_over_tls_with_the_right_roots_only() {
    let folder = Folder::new("tls");
    let issuer =
        write_config(&folder).replace("http://", "https://").replace("127.0.0.1", "localhost");
    let path = folder.path().join("attorn.toml");
    let mut text =
        fs::read_to_string(&path).unwrap().replace("http://127.0.0.1", "https://localhost");
    text.push_str("[tls]\ncertificates = \"cert.pem\"\nkey = \"key.pem\"\n");
    fs::write(&path, text).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    folder.attorn(&["init"]).expect(0);
    let serving = Serving::start(&folder);
    let enroll = ["enroll", "--url", &issuer, "--code", "@state/first-admin.code"];
    folder.attorn(&enroll).expect(3);
    folder.attorn(&[enroll.as_slice(), &["--roots", "cert.pem"]].concat()).expect(0);
    folder.attorn(&["whoami"]).expect(0);
    serving.stop();
}

/// Nobody would accept it, so nothing is served: a restart must not hide what a reload refuses.
#[test]
fn a_certificate_whose_life_is_over_is_not_served() {
    let folder = Folder::new("tls-over");
    write_config(&folder);
    let path = folder.path().join("attorn.toml");
    let mut text =
        fs::read_to_string(&path).unwrap().replace("http://127.0.0.1", "https://localhost");
    text.push_str("[tls]\ncertificates = \"cert.pem\"\nkey = \"key.pem\"\n");
    fs::write(&path, text).unwrap();
    folder.attorn(&["init"]).expect(0);
    let put = |until_year| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(folder.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    };
    put(2021);
    let refused = Serving::start_refused(&folder).expect(2);
    assert!(refused.err.contains("the certificate's life is over"), "{}", refused.err);
    assert!(refused.err.contains("cert.pem"), "{}", refused.err);
    put(2090);
    Serving::start(&folder).stop();
}
