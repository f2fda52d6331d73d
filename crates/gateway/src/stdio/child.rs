//! One running child and the task that owns its pipes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use attorn_egress::{Lane, Turn};
use attorn_json::{Limits, Value};
use attorn_mcp::emit;
use attorn_telemetry::ServerMeter;
use bytes::Bytes;
use http::StatusCode;
use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessGroup};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};

use crate::stdio::child_limits::ChildLimits;
use crate::stdio::desk::{Desk, Ending, First, Ticket};
use crate::stdio::lines::{LineFault, log, read_line};
use crate::upstream::{Messages, Outgoing, Reply, UpstreamFailure, Work};

/// What is started.
#[derive(Clone)]
pub(crate) struct ChildCommand {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// All that it sees of an environment.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) limits: ChildLimits,
    pub(crate) meter: Arc<ServerMeter>,
    /// SHA-256 of the file that may be run, in hex; any file without it.
    pub(crate) sha256: Option<String>,
    /// The file that is run, once it was looked for: the same one every time after that.
    pub(crate) found: Arc<OnceLock<PathBuf>>,
}

impl ChildCommand {
    /// The file to run. A plain name is looked up once, in the absolute folders of `PATH`; who
    /// changes a folder later changes nothing until the server is registered anew or the gateway
    /// is started anew.
    fn file(&self) -> std::io::Result<&Path> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let program = Path::new(&self.program);
        let file = if program.is_absolute() {
            program.to_owned()
        } else if self.program.contains('/') {
            return Err(std::io::ErrorKind::InvalidInput.into());
        } else {
            let path = self.environment.get("PATH").map_or("", String::as_str);
            let folders = path.split(':').filter(|folder| folder.starts_with('/'));
            let files = folders.map(|folder| Path::new(folder).join(program));
            let mut runnable = files.filter(|file| is_runnable(file));
            runnable.next().ok_or(std::io::ErrorKind::NotFound)?
        };
        Ok(self.found.get_or_init(|| file))
    }

    /// The file to run, if it is the one that was registered. Who can replace it between this and
    /// the start can still run another one; who replaced it before cannot.
    pub(super) async fn verified_file(&self) -> Result<PathBuf, UpstreamFailure> {
        let command = self.clone();
        // A program may be hundreds of megabytes; nobody else waits for its digest.
        let verified = tokio::task::spawn_blocking(move || command.verify_file()).await;
        let verified = verified.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        verified.map_err(|error| {
            tracing::warn!(program = %self.program, %error, "the server cannot be started");
            UpstreamFailure::Unreachable
        })
    }

    fn verify_file(&self) -> std::io::Result<PathBuf> {
        let file = self.file()?;
        if let Some(registered) = &self.sha256
            && sha256_of(File::open(file)?)? != *registered
        {
            return Err(std::io::Error::other("the file is not the one that was registered"));
        }
        Ok(file.to_owned())
    }
}

/// SHA-256 of a file of any length, in hex.
fn sha256_of(mut file: File) -> std::io::Result<String> {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut part = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut part)?;
        if length == 0 {
            break;
        }
        digest.update(part.get(..length).unwrap_or_default());
    }
    Ok(digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_runnable(file: &Path) -> bool {
    let about = std::fs::metadata(file);
    about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Arguments and environment may hold credentials.
impl std::fmt::Debug for ChildCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildCommand").field("program", &self.program).finish_non_exhaustive()
    }
}

/// A running child. Dropping the last handle ends it.
#[derive(Debug)]
pub(super) struct Child {
    line: Arc<Line>,
    stop: watch::Sender<bool>,
}

/// The way to a child, shared with those who wait for it.
#[derive(Debug)]
struct Line {
    desk: Mutex<Desk>,
    outbox: mpsc::Sender<Bytes>,
    /// The way out of the child. It then works on one request at a time.
    lane: Option<Lane>,
}

impl Child {
    /// Starts a verified file of the command: no shell, a process group of its own, only the given
    /// environment.
    pub(super) fn start(
        command: &ChildCommand,
        file: &Path,
        (desk, lane): (Desk, Option<Lane>),
    ) -> Result<Self, UpstreamFailure> {
        command.meter.child_starts.add_one();
        let variables = lane.as_ref().map(Lane::variables).unwrap_or_default();
        let mut group = spawn(command, file, variables).map_err(|error| {
            tracing::warn!(program = %command.program, %error, "the server cannot be started");
            UpstreamFailure::Unreachable
        })?;
        let pipes = group.take_pipes().ok_or(UpstreamFailure::Unreachable)?;
        let (outbox, letters) = mpsc::channel(OUTBOX_MAX);
        let (stop, stopped) = watch::channel(false);
        let line = Arc::new(Line { desk: Mutex::new(desk), outbox, lane });
        let program = command.program.clone();
        let running = command.meter.children.occupy();
        let supervised = supervise(group, pipes, Arc::clone(&line), (letters, stopped), program);
        tokio::spawn(async move {
            supervised.await;
            drop(running);
        });
        Ok(Self { line, stop })
    }

    /// Why and since when the child no longer answers, if it does not.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.line.with_desk(|desk| desk.ending())
    }

    /// Ends the child: its input is closed, and after a grace its group is killed.
    pub(super) fn stop(&self) {
        self.line.close();
        self.stop.send_replace(true);
    }

    /// The messages that belong to no request.
    pub(super) fn listen(&self) -> Result<mpsc::Receiver<Bytes>, UpstreamFailure> {
        self.line.with_desk(Desk::listen)
    }

    /// Writes one message and waits for the first message that answers it.
    pub(super) async fn send(
        &self,
        outgoing: Outgoing,
        within: Duration,
    ) -> Result<Reply, UpstreamFailure> {
        let Some(id) = outgoing.id else { return self.send_only(outgoing.message, within).await };
        let turn = self.turn(outgoing.work).await?;
        let line = Arc::clone(&self.line);
        let ticket = line.with_desk(|desk| desk.register(id, &outgoing.message))?;
        let Ticket { first, messages, watch, mut over } = ticket;
        let leaves = turn.map(|turn| self.keep_turn(id, turn));
        // From here on, whoever leaves cancels.
        let open = OpenRequest { line, id, _leaves: leaves };
        let answer = async {
            self.write(outgoing.message).await?;
            first.await.map_err(|_| UpstreamFailure::Interrupted)
        };
        match tokio::time::timeout(within, answer).await {
            Err(_late) => Err(UpstreamFailure::Timeout),
            Ok(Err(failure)) => Err(self.ending().map_or(failure, |ending| ending.failure)),
            Ok(Ok(First::Answer(message))) => {
                Ok(Reply::Message { status: StatusCode::OK, message })
            }
            Ok(Ok(First::Stream)) => {
                tokio::spawn(async move {
                    tokio::select! {
                        () = watch.closed() => {}
                        _closed = &mut over => {}
                    }
                    drop(open);
                });
                Ok(Reply::Stream(Messages::Channel(messages)))
            }
        }
    }

    /// Whether it may get another request.
    pub(super) fn is_usable(&self) -> bool {
        self.line.lane.as_ref().is_none_or(Lane::is_open)
    }

    /// Waits until the child works on nothing else, where that matters.
    async fn turn(&self, work: Work) -> Result<Option<Turn>, UpstreamFailure> {
        let Some(lane) = &self.line.lane else { return Ok(None) };
        let call = match work {
            Work::Aside => return Ok(None),
            Work::Call(call) => Some(call),
            Work::Other => None,
        };
        let turn = tokio::time::timeout(TURN_COMES, lane.take(call)).await;
        match turn {
            Ok(Ok(turn)) => Ok(Some(turn)),
            Ok(Err(_ended)) if lane.is_open() => Err(UpstreamFailure::Interrupted),
            // Nothing of the request was sent.
            Ok(Err(_closed)) => Err(UpstreamFailure::ChildGone),
            Err(_late) => Err(UpstreamFailure::Busy),
        }
    }

    /// Keeps the turn until the child has answered, also when the caller leaves before: else the rest
    /// of its work would be done in the name of the next caller. After a while the child is ended. What this gives is dropped when the caller leaves.
    fn keep_turn(&self, id: u64, turn: Turn) -> oneshot::Sender<()> {
        let mut over = self.line.with_desk(|desk| desk.work(id, turn));
        let (leaves, left) = oneshot::channel::<()>();
        let (line, stop) = (Arc::downgrade(&self.line), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                _answered = &mut over => return,
                _left = left => {}
            }
            if tokio::time::timeout(LEFT_BEHIND, over).await.is_err() {
                tracing::warn!("a child goes on for a caller who left, and is ended");
                if let Some(line) = line.upgrade() {
                    line.close();
                }
                stop.send_replace(true);
            }
        });
        leaves
    }

    /// Writes a notification or a response; nothing answers it.
    async fn send_only(&self, message: Bytes, within: Duration) -> Result<Reply, UpstreamFailure> {
        // A cancelled request gets no answer: MCP 2025-11-25, Cancellation.
        if let Some(id) = cancelled_id(&message) {
            self.line.with_desk(|desk| desk.withdraw(id));
            if self.line.lane.is_some() {
                return Ok(Reply::Accepted);
            }
        }
        let written = tokio::time::timeout(within, self.write(message)).await;
        written.map_err(|_late| UpstreamFailure::Timeout)??;
        Ok(Reply::Accepted)
    }

    async fn write(&self, message: Bytes) -> Result<(), UpstreamFailure> {
        self.line.outbox.send(message).await.map_err(|_| UpstreamFailure::Interrupted)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Line {
    fn with_desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// No other request gets its turn at this child.
    fn close(&self) {
        if let Some(lane) = &self.lane {
            lane.close();
        }
    }

    /// Tells the child that an answer is no longer wanted: MCP 2026-07-28, stdio, Cancellation. One that
    /// has a way out is not told: only its answer says that it works no longer.
    fn cancel(&self, id: u64) {
        if self.lane.is_some() {
            return;
        }
        // A full outbox means a child that does not read; it would not read this either.
        drop(self.outbox.try_send(Bytes::from(emit::cancelled(id))));
    }
}

/// A request somebody waits for. Dropped before its answer came, it cancels.
struct OpenRequest {
    line: Arc<Line>,
    id: u64,
    /// Where it has a turn at the child.
    _leaves: Option<oneshot::Sender<()>>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if self.line.with_desk(|desk| desk.withdraw(self.id)) {
            self.line.cancel(self.id);
        }
    }
}

/// The process group of a child. Killed when dropped, also when the runtime goes down.
#[derive(Debug)]
struct Group {
    child: Box<dyn ChildWrapper>,
}

/// The three pipes of a child.
struct Pipes {
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
}

impl Group {
    fn take_pipes(&mut self) -> Option<Pipes> {
        let input = self.child.stdin().take()?;
        let output = self.child.stdout().take()?;
        let errors = self.child.stderr().take()?;
        Some(Pipes { input, output, errors })
    }

    /// MCP 2026-07-28, stdio, Shutdown: a request to end, then force. The whole group goes, also
    /// what the child has started.
    async fn end(mut self) {
        drop(self.child.signal(SIGTERM));
        if tokio::time::timeout(TERM_GRACE, self.child.inner_mut().wait()).await.is_err() {
            tracing::debug!("a child ignored the request to end");
        }
        drop(self.child.start_kill());
        drop(tokio::time::timeout(TERM_GRACE, self.child.wait()).await);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.child.start_kill());
    }
}

fn spawn(
    command: &ChildCommand,
    file: &Path,
    variables: &[(String, String)],
) -> std::io::Result<Group> {
    let mut wrapped = CommandWrap::with_new(file, |process| {
        process
            .args(&command.arguments)
            .env_clear()
            .envs(&command.environment)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    });
    wrapped.wrap(ProcessGroup::leader());
    let group = Group { child: wrapped.spawn()? };
    // A child that cannot be limited does not stay.
    command.limits.set_on(group.child.id())?;
    Ok(group)
}

/// Moves messages until the child ends, breaks a rule, or is no longer wanted. If this task dies,
/// the group dies with it.
async fn supervise(
    group: Group,
    pipes: Pipes,
    line: Arc<Line>,
    (letters, stopped): (mpsc::Receiver<Bytes>, watch::Receiver<bool>),
    program: String,
) {
    let Pipes { input, output, errors } = pipes;
    let log_errors = async {
        log(BufReader::new(errors), &program).await;
        std::future::pending::<()>().await;
    };
    let failure = tokio::select! {
        failure = read_messages(output, &line) => failure,
        () = write_messages(input, letters, stopped) => UpstreamFailure::Interrupted,
        () = log_errors => UpstreamFailure::Interrupted,
    };
    line.close();
    line.with_desk(|desk| desk.end(failure));
    tracing::debug!(%program, %failure, "the server ended");
    group.end().await;
}

async fn read_messages(output: ChildStdout, line: &Line) -> UpstreamFailure {
    let mut output = BufReader::new(output);
    let mut text = Vec::new();
    loop {
        match read_line(&mut output, &mut text, Limits::MESSAGE.bytes_max).await {
            Ok(()) => {
                if let Some(id) = line.with_desk(|desk| desk.deliver(&text)) {
                    line.cancel(id);
                }
            }
            Err(LineFault::End) => return UpstreamFailure::Interrupted,
            Err(LineFault::TooLong) => return UpstreamFailure::TooLong,
        }
    }
}

/// Writes until nobody sends any more. Then the input is closed, which asks the child to end, and
/// the child is given a moment to do so.
async fn write_messages(
    mut input: ChildStdin,
    mut letters: mpsc::Receiver<Bytes>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let message = tokio::select! {
            message = letters.recv() => message,
            _gone = stopped.wait_for(|stop| *stop) => None,
        };
        let Some(message) = message else { break };
        let mut framed = Vec::with_capacity(message.len() + 1);
        // MCP 2026-07-28, stdio: one line per message. In JSON a raw line end stands only between
        // tokens.
        framed.extend(message.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        framed.push(b'\n');
        if input.write_all(&framed).await.is_err() || input.flush().await.is_err() {
            break;
        }
    }
    drop(input);
    tokio::time::sleep(INPUT_GRACE).await;
}

fn cancelled_id(message: &[u8]) -> Option<u64> {
    let document = attorn_json::parse(message, &Limits::MESSAGE).ok()?;
    let method = document.value().member("method").and_then(Value::string)?;
    if method != "notifications/cancelled" {
        return None;
    }
    document.value().member("params")?.member("requestId")?.number()?.parse().ok()
}

const OUTBOX_MAX: usize = 64;
/// How long a request waits for its turn at a child that works on one at a time.
const TURN_COMES: Duration = Duration::from_secs(20);
/// How long a child may go on for a caller who left.
const LEFT_BEHIND: Duration = Duration::from_secs(15);
const SIGTERM: i32 = 15;
/// Between the end of its input and the request to end.
const INPUT_GRACE: Duration = Duration::from_secs(2);
/// Between the request to end and force.
const TERM_GRACE: Duration = Duration::from_secs(2);
