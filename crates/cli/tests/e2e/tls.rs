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
