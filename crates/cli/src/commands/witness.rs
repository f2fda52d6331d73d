//! `attorn witness`: sees that logs of others only grow, after C2SP tlog-witness.
//!
//! Best run by another organisation than the one whose logs it witnesses. It needs nothing of an
//! installation but the public keys of the logs, and keeps a size and a root for each.

mod state;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attorn_audit::cosignature::Cosigner;
use attorn_audit::note::NoteVerifier;
use attorn_audit::witness::{AddCheckpoint, WitnessRefusal};
use attorn_net::{Body, Limits, Listener, Shutdown, Tls, TlsMaterial, serve};
use clap::{Args, Subcommand};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::service::service_fn;
use zeroize::Zeroizing;

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::write_error;
use crate::outside::causes;
use crate::signals::Signals;

use self::state::State;

#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    /// Cosign the checkpoints of logs that only grow, until interrupted
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Folder of the key and of what was cosigned; made if missing
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Name of a new key, such as `witness.example.org/w1`
    #[arg(long, value_name = "NAME", default_value = "attorn-witness")]
    name: String,
    /// Public key of a log to witness, `name+hash+base64`; may be repeated
    #[arg(long = "log", value_name = "KEY", required = true)]
    logs: Vec<String>,
    /// Address to listen on; plain HTTP on loopback only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7810")]
    listen: SocketAddr,
    /// PEM file of the listener's certificate chain, leaf first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificates: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "tls_certificates")]
    tls_key: Option<PathBuf>,
}

const SERVE_EXAMPLES: &str = "\
Example:
  attorn witness serve --state witness --name witness.example.org/w1 \\
    --log id.example.com/node/1+…

`attorn serve` prints the key of its log as `log key`. The key that is printed here goes into the
configuration of who is witnessed, and to auditors:
  [[journal.witnesses]]
  url = \"https://witness.example.org\"
  key = \"witness.example.org/w1+…\"
  attorn audit verify export.json --witness-key witness.example.org/w1+…";

pub(crate) async fn run(command: WitnessCommand) -> Result<Exit, Failure> {
    let WitnessCommand::Serve(args) = command;
    let logs = args.logs.iter().map(|key| {
        let parsed = NoteVerifier::from_vkey(key);
        parsed.map_err(|e| Failure::usage(format!("`{key}` is not a log key: {e}")))
    });
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    files::make_private_folder(&args.state)?;
    let state = State::open(&args.state)?;
    let cosigner = cosigner(&args.state.join("witness.key"), &args.name)?;
    let tls = match (&args.tls_certificates, &args.tls_key) {
        (Some(certificates), Some(key)) => Some(tls(certificates, key)?),
        (_, _) => None,
    };
    let listener = Listener::bind(args.listen, tls).await;
    let listener = listener.map_err(|e| Failure::usage(causes(&e)))?;
    write_error(&format!("witness key {}", cosigner.public().to_vkey()));
    write_error(&format!("listens on  {}", listener.address()));
    let witness = Arc::new(Witness { cosigner, logs, state });
    let (shutdown, mut signals) = (Shutdown::new(), Signals::listen()?);
    let service = service_fn(move |request| {
        let witness = Arc::clone(&witness);
        async move { Ok::<_, Infallible>(witness.answer(request).await) }
    });
    write_error("ready");
    let serving = serve(listener, service, Limits::default(), shutdown.clone());
    let stop = async {
        signals.stop_asked().await;
        shutdown.start();
    };
    tokio::join!(serving, stop);
    Ok(Exit::Yes)
}

/// The key that cosigns. Auditors know the witness by it, so its name never changes.
fn cosigner(path: &Path, name: &str) -> Result<Cosigner, Failure> {
    if path.exists() {
        let text = Zeroizing::new(files::read_private(path)?);
        return Cosigner::from_skey(text.trim_end())
            .map_err(|e| Failure::broken(format!("`{}`: {e}", path.display())));
    }
    let seed = Zeroizing::new(clock::random::<32>());
    let cosigner = Cosigner::from_seed(name, &seed);
    let cosigner = cosigner.map_err(|e| Failure::usage(format!("`--name`: {e}")))?;
    files::write_private(path, Zeroizing::new(cosigner.to_skey()).as_bytes())?;
    Ok(cosigner)
}

fn tls(certificates: &Path, key: &Path) -> Result<Tls, Failure> {
    let material = TlsMaterial {
        certificates_pem: files::read(certificates)?,
        key_pem: Zeroizing::new(files::read_private(key)?.into_bytes()),
        clients: None,
        proxies: Vec::new(),
    };
    Tls::new(&material).map_err(|e| Failure::usage(causes(&e)))
}

struct Witness {
    cosigner: Cosigner,
    logs: Vec<NoteVerifier>,
    state: State,
}

/// Why there is no cosignature.
enum Unsigned {
    Refused(WitnessRefusal),
    /// What was cosigned cannot be kept, so nothing is signed.
    NotKept(std::io::Error),
}

impl From<WitnessRefusal> for Unsigned {
    fn from(refusal: WitnessRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Witness {
    async fn answer(self: Arc<Self>, request: Request<attorn_net::ReceivedBody>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.uri.path() != "/add-checkpoint" {
            return answer(StatusCode::NOT_FOUND, "text/plain", String::new());
        }
        if head.method != Method::POST {
            return answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new());
        }
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let Some(body) =
            body.ok().and_then(|body| String::from_utf8(body.to_bytes().to_vec()).ok())
        else {
            return answer(StatusCode::BAD_REQUEST, "text/plain", String::new());
        };
        // It waits for the disk.
        let judged = tokio::task::spawn_blocking(move || self.cosign(&body, clock::now_s()));
        match judged.await {
            Ok(Ok(line)) => answer(StatusCode::OK, "text/plain", line),
            Ok(Err(Unsigned::Refused(refusal))) => refused(refusal),
            Ok(Err(Unsigned::NotKept(error))) => {
                tracing::error!(%error, "a checkpoint cannot be kept, so it is not cosigned");
                answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new())
            }
            Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new()),
        }
    }

    fn cosign(&self, body: &str, now_s: u64) -> Result<String, Unsigned> {
        let request = AddCheckpoint::parse(body)?;
        let checkpoint = request.open(&self.logs)?;
        let text = request.text().ok_or(WitnessRefusal::Malformed)?;
        // C2SP tlog-witness: judging and keeping are one step, and kept is before signed.
        let judge = |known| request.verify(&checkpoint, known);
        let judged = self.state.advance(&checkpoint, request.note, judge);
        match judged.map_err(Unsigned::NotKept)? {
            Ok(()) => Ok(self.cosigner.cosign(text, now_s)),
            Err(refusal) => {
                tell(&checkpoint.origin, refusal);
                Err(refusal.into())
            }
        }
    }
}

/// Two signed trees of one size are proof against the log. A proof that does not hold is none:
/// whoever has a checkpoint can send one.
fn tell(origin: &str, refusal: WitnessRefusal) {
    match refusal {
        WitnessRefusal::Forked { size } => {
            tracing::error!(origin, size, "a log shows two trees of one size; both notes are kept");
        }
        WitnessRefusal::NotConsistent => {
            tracing::error!(
                origin,
                "a checkpoint does not extend the one cosigned before; both notes are kept"
            );
        }
        WitnessRefusal::Conflict { .. }
        | WitnessRefusal::Malformed
        | WitnessRefusal::OriginUnknown
        | WitnessRefusal::Unsigned => {}
    }
}

fn refused(refusal: WitnessRefusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        // C2SP tlog-witness: the body is the size cosigned last, of this media type.
        WitnessRefusal::Conflict { size } | WitnessRefusal::Forked { size } => {
            answer(status, "text/x.tlog.size", format!("{size}\n"))
        }
        WitnessRefusal::Malformed
        | WitnessRefusal::NotConsistent
        | WitnessRefusal::OriginUnknown
        | WitnessRefusal::Unsigned => answer(status, "text/plain", format!("{refusal}\n")),
    }
}

fn answer(status: StatusCode, media_type: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// A checkpoint with a hundred signatures and a proof of 63 lines.
const BODY_BYTES_MAX: usize = 64 * 1024;
