//! A folder, a running `attorn serve`, and commands that are checked.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const ATTORN: &str = env!("CARGO_BIN_EXE_attorn");

/// A folder that goes away with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("attorn-e2e-{test}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs `attorn` here, with a profile of its own.
    pub(crate) fn attorn(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(ATTORN)
            .args(arguments)
            .current_dir(&self.0)
            .env("ATTORN_PROFILE", self.0.join("profile"))
            .output()
            .unwrap();
        Ended::new(arguments, &output)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A command that ended.
pub(crate) struct Ended {
    line: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn new(arguments: &[&str], output: &Output) -> Self {
        Self {
            line: arguments.join(" "),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code and shows everything if it is another one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        let Self { line, out, err, .. } = &self;
        assert_eq!(self.code, code, "attorn {line}\n--- stdout\n{out}\n--- stderr\n{err}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// Where a process under test can be told to listen.
pub(crate) fn free_address() -> String {
    attorn_testkit::ports::free_address().unwrap().to_string()
}

/// A config in `folder` with free ports.
pub(crate) fn write_config(folder: &Folder) -> String {
    let [authority, admin, gateway] = [0; 3].map(|_| free_address());
    let text = format!(
        "state = \"state\"\n\
         [authority]\nissuer = \"http://{authority}\"\nadmin_url = \"http://{admin}\"\n\
         gateway_url = \"http://{gateway}\"\n\
         [gateway]\npublic_url = \"http://{gateway}\"\n\
         [listen]\nauthority = \"{authority}\"\nadmin = \"{admin}\"\ngateway = \"{gateway}\"\n"
    );
    fs::write(folder.path().join("attorn.toml"), text).unwrap();
    format!("http://{authority}")
}

/// A running `attorn serve`, stopped by SIGTERM when dropped.
pub(crate) struct Serving(Child);

impl Serving {
    pub(crate) fn start(folder: &Folder) -> Self {
        Self::started(Command::new(ATTORN).arg("serve").current_dir(folder.path()))
    }

    /// The same, however it is started: in another time zone, or by a shell with fewer rights.
    pub(crate) fn started(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = lines.by_ref().map(|line| line.unwrap()).any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line == "ready")
        });
        assert!(ready, "`attorn serve` ended before it was ready:\n{}", said.join("\n"));
        // Keep reading, or a full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    /// A second process on the same ports and state.
    pub(crate) fn start_refused(folder: &Folder) -> Ended {
        folder.attorn(&["serve"])
    }

    /// Asks it to stop and waits for it.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.terminate();
        assert!(self.0.wait().unwrap().success());
    }

    /// Takes it away in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to read its files again.
    pub(crate) fn hang_up(&self) {
        kill_process(Pid::from_child(&self.0), Signal::HUP).unwrap_or_default();
    }

    fn terminate(&self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap_or_default();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.terminate();
            drop(self.0.wait());
        }
    }
}

/// `attorn connect` as an MCP client sees it: lines in, lines out.
pub(crate) struct Connected {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Connected {
    pub(crate) fn start(folder: &Folder, server: &str, agent: &str) -> Self {
        Self::started(Self::command(folder, server, agent))
    }

    /// The command itself, for who starts it elsewhere.
    pub(crate) fn command(folder: &Folder, server: &str, agent: &str) -> Command {
        let mut command = Command::new(ATTORN);
        command.args(["connect", server, "--agent", agent]);
        command.env("ATTORN_PROFILE", folder.path().join("profile"));
        command
    }

    /// Without a handshake, which MCP 2026-07-28 does not have.
    pub(crate) fn bare(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub(crate) fn started(command: Command) -> Self {
        let mut connected = Self::bare(command);
        let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
        let answer = connected.ask(hello);
        assert!(answer["result"]["protocolVersion"].is_string(), "{answer}");
        connected.tell(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        connected
    }

    /// Sends a line and waits for nothing.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    /// Sends a request and waits for the answer with its id.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        let asked: Value = serde_json::from_str(line).unwrap();
        self.tell(line);
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the connector ended");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == asked["id"] && answer.get("method").is_none() {
                return answer;
            }
        }
    }

    pub(crate) fn call(&mut self, id: u64, tool: &str, arguments: &str) -> Value {
        self.ask(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        ))
    }

    pub(crate) fn tool_names(&mut self, id: u64) -> Vec<String> {
        let answer = self.ask(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#));
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap_or_default();
        drop(self.child.wait());
    }
}

/// `attorn connect --listen` as an MCP client sees it.
pub(crate) struct Listening {
    child: Child,
    host: String,
    pub(crate) path: String,
}

impl Listening {
    pub(crate) fn start(folder: &Folder, server: &str, agent: &str) -> Self {
        let mut child = Command::new(ATTORN)
            .args(["connect", server, "--agent", agent, "--listen", "127.0.0.1:0"])
            .env("ATTORN_PROFILE", folder.path().join("profile"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let rest = url.trim().strip_prefix("http://").unwrap_or_else(|| panic!("{url}"));
        let (host, path) = rest.split_once('/').unwrap();
        Self { child, host: host.to_owned(), path: format!("/{path}") }
    }

    /// One request on a connection of its own; the whole answer as text.
    pub(crate) fn post(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap_or_default();
        drop(self.child.wait());
    }
}
