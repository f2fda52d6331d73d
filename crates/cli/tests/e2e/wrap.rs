//! `attorn wrap`: a server nobody changed, behind a gateway, with an agent that may use it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{ATTORN, Connected, Folder};

struct Wrapped(Child);

impl Wrapped {
    /// Starts it and reads what it prints until it says that it stays up.
    fn start(folder: &Folder, switches: &[&str]) -> (Self, String) {
        let mut child = Command::new(ATTORN)
            .args(["wrap", "--dir", ".", "--name", "inv"])
            .args(switches)
            .args(["--", ATTORN, "sample-mcp-server"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            told.push_str(&line);
            told.push('\n');
            if line.starts_with("Stays up") {
                break;
            }
        }
        (Self(child), told)
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap_or_default();
        drop(self.0.wait());
    }
}

#[test]
fn accepted_annotations_make_granted_tools_callable() {
    let folder = Folder::new("wrap");
    let (wrapped, told) = Wrapped::start(&folder, &["--accept-annotations"]);
    assert!(told.contains("ACCEPTING") && told.contains("\"mcpServers\""), "{told}");
    let mut connected = Connected::start(&folder, "inv", "inv-agent");
    assert_eq!(connected.tool_names(1), ["get_invoice", "search_invoices"]);
    let answer = connected.call(2, "get_invoice", r#"{"id":"inv-1001"}"#);
    assert!(answer.to_string().contains("Ada Shipping"), "{answer}");
    let hidden = connected.call(3, "add_note", r#"{"id":"inv-1001","note":"x"}"#);
    assert!(hidden.get("error").is_some(), "{hidden}");
    drop((connected, wrapped));
}

#[test]
fn without_acceptance_nothing_is_callable() {
    let folder = Folder::new("wrap-held");
    let (wrapped, told) = Wrapped::start(&folder, &[]);
    assert!(told.contains("5 tools wait for you"), "{told}");
    let mut connected = Connected::start(&folder, "inv", "inv-agent");
    assert_eq!(connected.tool_names(1), Vec::<String>::new());
    folder.attorn(&["tools", "approve", "inv/get_invoice"]).expect(0);
    assert_eq!(connected.tool_names(2), ["get_invoice"]);
    drop((connected, wrapped));
}
