//! What surrounds the process: time zones, and the system's own limits.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::journey::installed;
use crate::support::{ATTORN, Connected, Folder, Serving, write_config};

/// Tokens, proofs and records hold moments, which no time zone changes.
#[test]
fn time_zones_change_nothing() {
    let folder = Folder::new("zones");
    installed(&folder).stop();
    // A day between both sides, one of them with summer time and odd minutes.
    let mut serve = Command::new(ATTORN);
    serve.arg("serve").current_dir(folder.path()).env("TZ", "Pacific/Kiritimati");
    let serving = Serving::started(&mut serve);
    let run = |zone: &str, arguments: &[&str]| {
        let mut command = Command::new(ATTORN);
        command.args(arguments).current_dir(folder.path()).env("TZ", zone);
        let output = command.env("ATTORN_PROFILE", folder.path().join("profile")).output().unwrap();
        assert!(output.status.success(), "{zone}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // When it was used last changes with every use.
    let show = |zone: &str| {
        let shown = run(zone, &["agent", "show", "reader"]);
        let lines = shown.lines().filter(|line| !line.trim_start().starts_with("last used"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let shown = show("UTC");
    assert!(shown.contains("Z"), "{shown}");
    for zone in ["Pacific/Niue", "Australia/Lord_Howe", "America/St_Johns", ":no/such/zone"] {
        run(zone, &["doctor", "invoices", "--client", "reader"]);
        assert_eq!(show(zone), shown, "{zone}");
    }
    serving.stop();
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Without file descriptors nobody is answered; with them again, everybody is.
#[test]
fn a_process_without_descriptors_recovers() {
    let folder = Folder::new("descriptors");
    let issuer = write_config(&folder);
    let address = issuer.trim_start_matches("http://").to_owned();
    folder.attorn(&["init"]).expect(0);
    let limited = format!("ulimit -n 64; exec {ATTORN} serve");
    let mut shell = Command::new("sh");
    let serving = Serving::started(shell.args(["-c", &limited]).current_dir(folder.path()));
    let path = "/.well-known/oauth-authorization-server";
    assert!(get(&address, path).unwrap().starts_with("HTTP/1.1 200"));
    // More connections than it may have descriptors, each with the beginning of a request.
    let held: Vec<TcpStream> = (0..120)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    drop(held);
    assert!(get(&address, path).unwrap().starts_with("HTTP/1.1 200"));
    folder.attorn(&["enroll", "--url", &issuer, "--code", "@state/first-admin.code"]).expect(0);
    folder.attorn(&["whoami"]).expect(0);
    serving.stop();
}

/// Neither the environment nor the folder that `attorn connect` is started in decides where it goes.
#[test]
fn surroundings_that_would_lead_elsewhere_are_not_asked() {
    let folder = Folder::new("elsewhere");
    let serving = installed(&folder);
    let hostile = Folder::new("elsewhere-repository");
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let address = trap.local_addr().unwrap();
    let server = format!(r#"{{"mcpServers":{{"invoices":{{"url":"http://{address}/mcp"}}}}}}"#);
    let config = format!("[authority]\nissuer = \"http://{address}\"\n");
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"];
    let variables: Vec<String> =
        names.iter().map(|name| format!("{name}=http://{address}\n")).collect();
    for (file, text) in [
        (".mcp.json", &server),
        ("mcp.json", &server),
        ("attorn.toml", &config),
        (".env", &variables.concat()),
    ] {
        fs::write(hostile.path().join(file), text).unwrap();
    }
    let mut connect = Connected::command(&folder, "invoices", "reader");
    connect.current_dir(hostile.path());
    connect.envs(names.map(|name| (name, format!("http://{address}"))));
    let mut connected = Connected::started(connect);
    let answer = connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains("inv-1001"), "{answer}");
    assert!(trap.accept().is_err(), "somebody went elsewhere");
    drop(connected);
    serving.stop();
}
