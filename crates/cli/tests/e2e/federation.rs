//! A workload without a key of its own, let in by the JWT of its platform.

use std::fs;
use std::process::Command;

use attorn_jose::{Algorithm, NewHeader, SigningKey, sign};
use serde_json::json;

use crate::journey::installed_with;
use crate::support::{ATTORN, Connected, Folder};

const PLATFORM: &str = "https://platform.example";
const TRUST: &str = r#"
[[authority.trusted_issuers]]
issuer = "https://platform.example"
kind = "workload"
jwks_file = "platform.jwks"
agents = [{ agent = "robot", claims = { sub = "job:1" } }]
"#;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Algorithm::Es256, &[seed; 32]).unwrap()
}

fn set_text() -> String {
    format!(r#"{{"keys":[{}]}}"#, key(1).public().to_jwk(Some("a")))
}

/// What the platform puts into the file that the workload reads.
fn put_token(folder: &Folder, issuer: &str, sub: &str, signer: &SigningKey) {
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({
        "iss": PLATFORM, "sub": sub, "aud": issuer, "iat": now_s, "exp": now_s + 600,
        "jti": format!("{now_s}-{}", fs::read_dir(folder.path()).unwrap().count())
    });
    let header = NewHeader { typ: "JWT", kid: Some("a"), jwk: false };
    let text = sign(&header, claims.to_string().as_bytes(), signer).unwrap();
    fs::write(folder.path().join("token"), format!("{text}\n")).unwrap();
}

fn setting(folder: &Folder, name: &str) -> String {
    let text = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    let start = format!("{name} = \"");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(start.as_str())).unwrap();
    line.trim_end_matches('"').to_owned()
}

#[test]
fn a_workload_calls_a_tool_by_its_platforms_word() {
    let folder = Folder::new("federation");
    fs::write(folder.path().join("platform.jwks"), set_text()).unwrap();
    let serving = installed_with(&folder, TRUST);
    let register = ["agent", "register", "robot", "--owner", "finance"];
    folder.attorn(&[register.as_slice(), &["--workload-issuer", PLATFORM]].concat()).expect(0);
    folder.attorn(&["grant", "create", "robot", "invoices", "read:*"]).expect(0);
    let issuer = setting(&folder, "issuer");
    let address = format!("{}/invoices/mcp", setting(&folder, "gateway_url"));
    let connect = ["connect", address.as_str(), "--workload-token", "token"];

    // The doctor reads the keys as the authority does, and names a file that holds none.
    let told = folder.attorn(&["doctor"]).expect(0).out;
    assert!(told.contains(&format!("issuer {PLATFORM} ok")), "{told}");
    let path = folder.path().join("platform.jwks");
    fs::write(&path, "{}").unwrap();
    let told = folder.attorn(&["doctor"]).expect(2).out;
    assert!(told.contains("`jwks_file`: not a key set"), "{told}");
    fs::write(&path, set_text()).unwrap();

    // Another workload, and one of a platform that signs with another key.
    for (sub, signer) in [("job:2", key(1)), ("job:1", key(2))] {
        put_token(&folder, &issuer, sub, &signer);
        folder.attorn(&connect).expect(1);
    }
    put_token(&folder, &issuer, "job:1", &key(1));
    let mut command = Command::new(ATTORN);
    command.args(connect).current_dir(folder.path());
    let mut connected = Connected::started(command);
    let answer = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains("inv-1001"), "{answer}");
    let refused = connected.call(2, "pay_invoice", r#"{"id":"inv-1001"}"#);
    assert!(refused.get("error").is_some(), "{refused}");
    drop(connected);

    let told =
        folder.attorn(&["audit", "search", "--kind", "token.issued", "-o", "json"]).expect(0);
    assert!(told.out.contains(PLATFORM) && told.out.contains("job:1"), "{}", told.out);
    let told =
        folder.attorn(&["audit", "search", "--kind", "token.refused", "-o", "json"]).expect(0);
    for reason in ["assertion.unmapped", "assertion.signature"] {
        assert!(told.out.contains(reason), "{}", told.out);
    }
    serving.stop();
}
