use std::collections::BTreeMap;

use attorn_mcp::Revision;
use bytes::Bytes;
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::limits::Limits;
use crate::upstream::Work;

/// A server that echoes, reports progress, hangs, exits, or shows its environment.
const SERVER: &str = r#"
import json, os, sys
def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
print("starting up", flush=True)
print("to the log", file=sys.stderr, flush=True)
held = None
for line in sys.stdin:
    message = json.loads(line)
    method, id = message["method"], message.get("id")
    if method == "echo":
        send({"jsonrpc": "2.0", "id": id, "result": message["params"]})
    elif method == "environment":
        send({"jsonrpc": "2.0", "id": id, "result": dict(os.environ, pid=os.getpid())})
    elif method == "limits":
        import resource
        of = lambda name: list(resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
        names = ["DATA", "FSIZE", "NOFILE", "CORE"]
        send({"jsonrpc": "2.0", "id": id, "result": {name: of(name) for name in names}})
    elif method == "progress":
        token = message["params"]["_meta"]["progressToken"]
        send({"jsonrpc": "2.0", "method": "notifications/progress",
              "params": {"progressToken": token, "progress": 1}})
        send({"jsonrpc": "2.0", "id": id, "result": {}})
    elif method == "hold":
        held = id
        token = message["params"].get("token")
        if token:
            send({"jsonrpc": "2.0", "method": "notifications/progress",
                  "params": {"progressToken": token, "progress": 1}})
    elif method == "notifications/cancelled":
        send({"jsonrpc": "2.0", "method": "notifications/message",
              "params": {"cancelled": message["params"]["requestId"], "held": held}})
    elif method == "long":
        sys.stdout.write("x" * (5 << 20))
        sys.stdout.flush()
    elif method == "exit":
        sys.exit(0)
"#;

fn command(program: &str, arguments: Vec<String>) -> ChildCommand {
    ChildCommand {
        program: program.to_owned(),
        arguments,
        environment: BTreeMap::new(),
        limits: ChildLimits::of(&Limits::default()),
        meter: Arc::default(),
        sha256: None,
        found: Arc::default(),
    }
}

fn upstream(script: &str) -> StdioUpstream {
    let given = ["HOME", "PATH"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .chain([("CONFIGURED".to_owned(), "yes".to_owned())]);
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    let command = ChildCommand { environment: given.collect(), ..command("python3", arguments) };
    StdioUpstream::new(command, Duration::from_secs(20), None)
}

fn outgoing(id: Option<u64>, method: &str, params: &str) -> Outgoing {
    let id_member = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let message =
        format!(r#"{{"jsonrpc":"2.0",{id_member}"method":"{method}","params":{params}}}"#);
    Outgoing {
        message: Bytes::from(message),
        id,
        revision: Revision::V2026_07_28,
        mirrored: Vec::new(),
        traceparent: String::new(),
        tracestate: None,
        may_rest: false,
        work: Work::Other,
    }
}

async fn shared(upstream: &StdioUpstream, outgoing: Outgoing) -> Result<Reply, UpstreamFailure> {
    upstream.send_shared(outgoing).await
}

async fn answer(upstream: &StdioUpstream, id: u64, method: &str, params: &str) -> String {
    match shared(upstream, outgoing(Some(id), method, params)).await {
        Ok(Reply::Message { status: StatusCode::OK, message }) => {
            String::from_utf8(message.to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_without_a_session_share_one_child() {
    let upstream = upstream(SERVER);
    let (one, two) = tokio::join!(
        answer(&upstream, 1, "environment", "{}"),
        answer(&upstream, 2, "environment", "{}")
    );
    let pid = |text: &str| text.rsplit_once("\"pid\": ").unwrap().1.to_owned();
    assert!(one.contains("\"id\": 1") && two.contains("\"id\": 2"));
    assert_eq!(pid(&one), pid(&two));
}

#[tokio::test]
async fn a_child_sees_only_what_it_is_given() {
    let upstream = upstream(SERVER);
    let environment = answer(&upstream, 1, "environment", "{}").await;
    assert!(environment.contains("\"CONFIGURED\": \"yes\""));
    assert!(!environment.contains("CARGO"), "{environment}");
}

/// The system's limits hold before the first message reaches the child.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_has_no_more_than_its_limits() {
    let upstream = upstream(SERVER);
    let told = answer(&upstream, 1, "limits", "{}").await;
    for limit in [
        format!("\"DATA\": [{0}, {0}]", 4_u64 << 30),
        format!("\"FSIZE\": [{0}, {0}]", 1 << 30),
        "\"CORE\": [0, 0]".to_owned(),
    ] {
        assert!(told.contains(&limit), "{limit}: {told}");
    }
    let open_files = told.split("\"NOFILE\": [").nth(1).and_then(|rest| rest.split(',').next());
    assert!(open_files.unwrap().parse::<u64>().unwrap() <= 1024, "{told}");
    assert_eq!(upstream.command.meter.children.count(), 1);
    assert_eq!(upstream.command.meter.child_starts.count(), 1);
}

/// Looked up once: who changes the folder later changes nothing.
#[tokio::test]
async fn a_plain_name_stays_the_file_that_was_found() {
    let folder = std::env::temp_dir().join(format!("attorn-found-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    let (first, second) = (folder.join("first"), folder.join("second"));
    let put = |place: &std::path::Path, id: u64| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(place).unwrap();
        let file = place.join("server");
        let text = format!(
            "#!/bin/sh\nread line; echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{id}}}'; read line\n"
        );
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    put(&second, 2);
    let path = format!("relative:{}:{}", first.display(), second.display());
    let environment = BTreeMap::from([("PATH".to_owned(), path)]);
    let command = ChildCommand { environment, ..command("server", Vec::new()) };
    let upstream = StdioUpstream::new(command, Duration::from_secs(20), None);
    assert!(answer(&upstream, 1, "echo", "{}").await.contains("\"result\":2"));
    put(&first, 9);
    upstream.release_shared();
    assert!(answer(&upstream, 1, "echo", "{}").await.contains("\"result\":2"));
    drop(std::fs::remove_dir_all(&folder));
}

#[tokio::test]
async fn a_file_that_is_not_the_registered_one_is_not_started() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = std::env::temp_dir().join(format!("attorn-pinned-{}", std::process::id()));
    let script =
        "#!/bin/sh\nread line; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}'; read line\n";
    let put = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    put(script);
    let digest: String =
        attorn_jose::sha256(script.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let program = file.display().to_string();
    let command = ChildCommand { sha256: Some(digest), ..command(&program, Vec::new()) };
    let upstream = StdioUpstream::new(command, Duration::from_secs(20), None);
    assert!(answer(&upstream, 1, "echo", "{}").await.contains("\"result\":7"));
    upstream.release_shared();
    put(&script.replace(":7", ":8"));
    let refused = shared(&upstream, outgoing(Some(1), "echo", "{}")).await;
    assert!(matches!(refused, Err(UpstreamFailure::Unreachable)));
    drop(std::fs::remove_file(&file));
}

#[tokio::test]
async fn messages_before_the_answer_make_a_stream() {
    let upstream = upstream(SERVER);
    let call = outgoing(Some(3), "progress", r#"{"_meta":{"progressToken":3}}"#);
    let Ok(Reply::Stream(mut messages)) = shared(&upstream, call).await else {
        panic!("a stream");
    };
    let progress = messages.next().await.unwrap().unwrap();
    assert!(progress.starts_with(b"{\"jsonrpc\": \"2.0\", \"method\": \"notifications/progress\""));
    let last = messages.next().await.unwrap().unwrap();
    assert_eq!(last, Bytes::from_static(b"{\"jsonrpc\": \"2.0\", \"id\": 3, \"result\": {}}"));
    assert!(messages.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_has_its_own_child_and_hears_it() {
    let upstream = upstream(SERVER);
    let (session, reply) = upstream.open_session(outgoing(Some(1), "echo", "{}")).await.unwrap();
    assert!(matches!(reply, Reply::Message { .. }));
    let (other, _) = upstream.open_session(outgoing(Some(1), "echo", "{}")).await.unwrap();
    let mut heard = session.child.listen().unwrap();
    let mut heard_elsewhere = other.child.listen().unwrap();
    let cancel = outgoing(None, "notifications/cancelled", r#"{"requestId":7}"#);
    assert!(matches!(
        session.child.send(cancel, upstream.answer_within).await,
        Ok(Reply::Accepted)
    ));
    let message = heard.recv().await.unwrap();
    assert!(message.windows(14).any(|window| window == b"\"cancelled\": 7"));
    assert!(heard_elsewhere.try_recv().is_err());
}

/// Who stops waiting cancels: before the first message, and in the middle of a stream.
#[tokio::test]
async fn leaving_cancels() {
    let upstream = upstream(SERVER);
    let (session, _) = upstream.open_session(outgoing(Some(1), "echo", "{}")).await.unwrap();
    let mut heard = session.child.listen().unwrap();
    let hold = outgoing(Some(2), "hold", "{}");
    let within = Duration::from_millis(50);
    assert_eq!(session.child.send(hold, within).await.err(), Some(UpstreamFailure::Timeout));
    let message = heard.recv().await.unwrap();
    assert!(message.windows(14).any(|window| window == b"\"cancelled\": 2"));
    let stream = outgoing(Some(3), "hold", r#"{"token":3,"_meta":{"progressToken":3}}"#);
    let reply = session.child.send(stream, upstream.answer_within).await;
    assert!(matches!(reply, Ok(Reply::Stream(_))));
    drop(reply);
    let message = heard.recv().await.unwrap();
    assert!(message.windows(14).any(|window| window == b"\"cancelled\": 3"));
}

#[tokio::test]
async fn a_child_that_ends_fails_its_calls_and_the_next_start_waits() {
    let upstream = upstream(SERVER);
    let ended = shared(&upstream, outgoing(Some(1), "exit", "{}")).await;
    assert_eq!(ended.err(), Some(UpstreamFailure::Interrupted));
    let early = shared(&upstream, outgoing(Some(2), "echo", "{}")).await;
    assert_eq!(early.err(), Some(UpstreamFailure::Unreachable));
    upstream.lock().pause.reset();
    assert!(answer(&upstream, 3, "echo", "{}").await.contains("\"id\": 3"));
}

/// A server of an older revision is asked for its era once; nothing of that may stay.
#[tokio::test]
async fn a_released_child_ends_without_a_pause() {
    let upstream = upstream(SERVER);
    answer(&upstream, 1, "echo", "{}").await;
    upstream.release_shared();
    let (session, _) = upstream.open_session(outgoing(Some(2), "echo", "{}")).await.unwrap();
    session.close();
    assert!(answer(&upstream, 3, "echo", "{}").await.contains("\"id\": 3"));
}

#[tokio::test]
async fn a_line_over_the_limit_ends_the_child() {
    let upstream = upstream(SERVER);
    let long = shared(&upstream, outgoing(Some(1), "long", "{}")).await;
    assert_eq!(long.err(), Some(UpstreamFailure::TooLong));
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_not_tried_at_once_again() {
    let within = Duration::from_secs(5);
    let upstream = StdioUpstream::new(command("/nonexistent/server", Vec::new()), within, None);
    for _ in 0..2 {
        let reply = shared(&upstream, outgoing(Some(1), "echo", "{}")).await;
        assert_eq!(reply.err(), Some(UpstreamFailure::Unreachable));
    }
    let opened = upstream.open_session(outgoing(Some(1), "initialize", "{}")).await;
    assert_eq!(opened.err(), Some(UpstreamFailure::Unreachable));
}

#[tokio::test]
async fn arguments_are_not_read_by_a_shell() {
    let arguments = ["-c".to_owned(), SERVER.to_owned(), "$(touch /nonexistent); `id`".to_owned()];
    let script = "import sys, json\nfor line in sys.stdin:\n print(json.dumps({'jsonrpc':'2.0','id':1,'result':{'a':sys.argv[1]}}), flush=True)";
    let environment = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let arguments = [&arguments[..1], &[script.to_owned()], &arguments[2..]].concat();
    let command = ChildCommand { environment, ..command("python3", arguments) };
    let upstream = StdioUpstream::new(command, Duration::from_secs(20), None);
    assert!(answer(&upstream, 1, "echo", "{}").await.contains("$(touch /nonexistent); `id`"));
}

/// Closing a session ends the child and what the child has started.
#[tokio::test]
async fn the_whole_group_ends_with_the_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        r#"
import subprocess, sys
connect = "import socket; socket.create_connection(('127.0.0.1', {port})).recv(1)"
subprocess.Popen([sys.executable, "-c", connect])
for line in sys.stdin:
    print('{{"jsonrpc":"2.0","id":1,"result":{{}}}}', flush=True)
"#
    );
    let upstream = upstream(&script);
    let opened = upstream.open_session(outgoing(Some(1), "initialize", "{}")).await;
    let (mut grandchild, _) = listener.accept().await.unwrap();
    opened.unwrap().0.close();
    // The kernel closes the connection of a process that is gone.
    assert!(!matches!(grandchild.read(&mut [0]).await, Ok(1..)));
}

/// A child that does not listen to the request to end is ended, with what it has started.
#[tokio::test]
async fn a_child_that_ignores_the_request_to_end_is_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        r#"
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = socket.create_connection(('127.0.0.1', {port}))
for line in sys.stdin:
    print('{{"jsonrpc":"2.0","id":1,"result":{{}}}}', flush=True)
while True:
    signal.pause()
"#
    );
    let upstream = upstream(&script);
    let opened = upstream.open_session(outgoing(Some(1), "initialize", "{}")).await;
    let (mut child, _) = listener.accept().await.unwrap();
    opened.unwrap().0.close();
    assert!(!matches!(child.read(&mut [0]).await, Ok(1..)));
}
