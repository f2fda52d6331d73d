//! A SPIFFE bundle endpoint behind real TLS.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use attorn_net::Client;
use attorn_testkit::haproxy::{Files, Front, HaProxy};
use attorn_testkit::ports::free_port;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::json;

use crate::mtls::{Authority, Installed};
use crate::support::Folder;

const ID: &str = "spiffe://example.org/billing";

/// Serves this text as the bundle. It is read at the start of the server.
fn serving(folder: &Folder, port: u16, bundle: &str) -> HaProxy {
    let path = |file: &str| folder.path().join(file);
    fs::write(path("served.json"), bundle).unwrap();
    let file = path("served.json").display().to_string();
    let rule = format!("return status 200 content-type application/json file {file}");
    let front = Front { port, to: port, bind: String::new(), rules: vec![rule] };
    let (server, roots) = (path("endpoint.pem"), path("endpoint.crt"));
    let files = Files { server: &server, own: &server, roots: &roots };
    HaProxy::start(folder.path(), files, &[front]).unwrap()
}

fn bundle(authority: &Authority, sequence: u64) -> String {
    let der = STANDARD.encode(authority.0.der());
    let key = json!({"use": "x509-svid", "kty": "EC", "x5c": [der]});
    json!({"keys": [key], "spiffe_sequence": sequence, "spiffe_refresh_hint": 60}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_endpoint_says_whose_svids_count() {
    let (first, second) = (Authority::new(), Authority::new());
    let port = free_port().unwrap();
    let mut server = None;
    let installed = Installed::with("bundle-endpoint", &Authority::new(), |folder, text| {
        let _written = write!(
            text,
            "[[tls.spiffe]]\ntrust_domain = \"example.org\"\n\
             bundle_endpoint = \"https://localhost:{port}/bundle\"\n\
             bundle_endpoint_roots = \"endpoint.crt\"\n"
        );
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        write("endpoint.crt", &made.cert.pem());
        write("endpoint.pem", &(made.cert.pem() + &made.signing_key.serialize_pem()));
        server = Some(serving(folder, port, &bundle(&first, 1)));
    });
    let client_id = installed.agent("billing", &["--spiffe-id", ID]);
    let of_first = installed.client(Some(&first.leaf(ID)));
    let of_second = installed.client(Some(&second.leaf(ID)));
    takes_over(&installed, (&of_first, &of_second), &client_id).await;
    // Another authority takes its place.
    serve_again(&mut server, &installed, port, &bundle(&second, 2));
    takes_over(&installed, (&of_second, &of_first), &client_id).await;
    // What is older, or not there at all, changes nothing: the last good one counts on.
    serve_again(&mut server, &installed, port, &bundle(&first, 1));
    installed.wait_for("tls.reload_refused", 1).await;
    assert!(installed.reasons("tls.reload_refused").contains("older than the one in force"));
    drop(server.take());
    takes_over(&installed, (&of_second, &of_first), &client_id).await;
    installed.serving.stop();
}

/// Waits until the first counts, and then the other one does not.
async fn takes_over(installed: &Installed, (one, other): (&Client, &Client), client_id: &str) {
    let taken = async {
        while installed.token(one, client_id).await.0 != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap();
    assert_eq!(installed.token(other, client_id).await.0, StatusCode::UNAUTHORIZED);
}

/// Serves another text, and has the endpoint asked again.
fn serve_again(server: &mut Option<HaProxy>, installed: &Installed, port: u16, bundle: &str) {
    drop(server.take());
    *server = Some(serving(&installed.folder, port, bundle));
    installed.serving.hang_up();
}
