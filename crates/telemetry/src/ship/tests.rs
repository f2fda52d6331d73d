//! A system that is away, that loses answers, and that is asked again after a crash.

mod refused;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use attorn_audit::note::NoteSigner;
use attorn_audit::{Entry, Kind};
use attorn_journal::{Config, Durability};
use attorn_net::{Body, ClientConfig, Limits, Listener, serve};
use http::Response;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;

const ORIGIN: &str = "test/node/1";

/// A folder that goes away with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("attorn-ship-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn journal(&self) -> Journal {
        let signer = NoteSigner::from_seed(ORIGIN, &[1; 32]).unwrap();
        let (journal, _) = Journal::open(Config::new(self.0.join("log"), ORIGIN), signer).unwrap();
        journal
    }

    fn cursor(&self) -> PathBuf {
        self.0.join("ship/test.cursor")
    }

    async fn shipper(&self, journal: &Journal, address: SocketAddr) -> Shipper {
        self.shipper_of(&[], journal, address).await
    }

    async fn shipper_of(&self, kinds: &[Kind], journal: &Journal, address: SocketAddr) -> Shipper {
        let destination = Destination {
            name: "test".into(),
            url: format!("http://{address}/in").parse().unwrap(),
            authorization: Some(HeaderValue::from_static("Bearer secret")),
            form: LineForm::Entry,
            kinds: kinds.iter().copied().collect(),
            cursor: self.cursor(),
        };
        let client = Client::new(ClientConfig::default()).unwrap();
        let clock = Clock::new(|| 1_000);
        Shipper::new(destination, journal.clone(), client, clock).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn append(journal: &Journal, count: u64) {
    append_of(Kind::AdminRead, journal, count).await;
}

/// Entries that [`append`] does not make.
async fn append_other(journal: &Journal, count: u64) {
    append_of(Kind::LockCreated, journal, count).await;
}

async fn append_of(kind: Kind, journal: &Journal, count: u64) {
    for number in 0..count {
        let entry = Entry::new(kind, number).to_canonical();
        journal.append(entry, Durability::Fsync).await.unwrap();
    }
}

/// One request: its key and its body.
type Batch = (String, Bytes);

/// Answers with these statuses, then with 200; tells of every request.
async fn receiver(
    at: SocketAddr,
    statuses: Vec<u16>,
) -> (SocketAddr, mpsc::UnboundedReceiver<Batch>, Shutdown) {
    let statuses = Mutex::new(statuses.into_iter());
    judge(at, move |_body| statuses.lock().unwrap().next().unwrap_or(200)).await
}

/// Answers as `status` says of a body; tells of every request.
async fn judge(
    at: SocketAddr,
    status: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<Batch>, Shutdown) {
    let listener = Listener::bind(at, None).await.unwrap();
    let address = listener.address();
    let (told, received) = mpsc::unbounded_channel();
    let status = Arc::new(status);
    let service = service_fn(move |request: Request<attorn_net::ReceivedBody>| {
        let (told, status) = (told.clone(), Arc::clone(&status));
        async move {
            let header = |name| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(header(AUTHORIZATION), "Bearer secret");
            let key = header(IDEMPOTENCY_KEY);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let status = status(std::str::from_utf8(&body).unwrap());
            told.send((key, body)).unwrap();
            let answer = Response::builder().status(status).body(Body::full("")).unwrap();
            Ok::<_, Infallible>(answer)
        }
    });
    let shutdown = Shutdown::new();
    tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
    (address, received, shutdown)
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn indices(batch: &Batch) -> Vec<u64> {
    let lines = batch.1.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let line: Value = serde_json::from_slice(line).unwrap();
            let index = line["index"].as_u64().unwrap();
            assert_eq!(line["id"], format!("{ORIGIN}#{index}"));
            assert_eq!(line["log"], ORIGIN);
            assert!(line["entry"]["kind"].is_string());
            index
        })
        .collect()
}

/// The cursor of `folder` is of another journal: nothing is sent, and nothing counts as accepted.
async fn refuses(folder: &Folder, journal: &Journal, address: SocketAddr) {
    let mut shipper = folder.shipper(journal, address).await;
    let refused = shipper.step().await;
    assert!(matches!(refused, Err(ShipError::OtherJournal)), "{refused:?}");
    assert_eq!(shipper.shipping().next(), 0);
    assert_eq!(shipped(&folder.cursor(), journal).await.unwrap(), 0);
}

/// Steps until nothing is left to send.
async fn ship_all(shipper: &mut Shipper) {
    while shipper.step().await.unwrap() {}
}

#[tokio::test]
async fn a_system_that_was_away_gets_everything_once() {
    let (folder, journal) = (Folder::new(), Folder::new());
    let journal = journal.journal();
    append(&journal, 3).await;
    let gone = Listener::bind(anywhere(), None).await.unwrap();
    let address = gone.address();
    drop(gone);
    let mut shipper = folder.shipper(&journal, address).await;
    // However long: each look is a failure, and nothing but the journal remembers.
    for _ in 0..3 {
        assert!(matches!(shipper.step().await, Err(ShipError::Send(_))));
        append(&journal, 600).await;
    }
    let (_, mut received, _serving) = receiver(address, vec![503, 429, 302]).await;
    for _ in 0..3 {
        assert!(matches!(shipper.step().await, Err(ShipError::Refused(_))));
    }
    ship_all(&mut shipper).await;
    let mut batches = Vec::new();
    while let Ok(batch) = received.try_recv() {
        batches.push(batch);
    }
    // What was refused was sent again as it was; after that no entry twice and none left out.
    assert!(batches[..4].iter().all(|batch| *batch == batches[0]));
    assert_eq!(indices(&batches[0]), [0, 1, 2], "the batch that was begun, though more came");
    let all: Vec<u64> = batches[3..].iter().flat_map(indices).collect();
    assert!(all.iter().copied().eq(0..journal.size()), "{all:?}");
    assert!(batches.iter().all(|(_, body)| body.len() <= 2 * BATCH_BYTES));
    assert_eq!(shipper.shipping().next(), journal.size());
    // Another start has nothing to say.
    let mut again = folder.shipper(&journal, address).await;
    assert!(!again.step().await.unwrap());
    journal.close().await;
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_sent_again_as_it_was() {
    let folder = Folder::new();
    let journal = folder.journal();
    append(&journal, 5).await;
    let (address, mut received, _serving) = receiver(anywhere(), vec![]).await;
    let mut shipper = folder.shipper(&journal, address).await;
    // The system has the batch, and the process ends before it remembers that.
    let end = shipper.size_of_batch(0).await.unwrap();
    let entries = journal.read(0..end).await.unwrap();
    shipper.cursor.begin(end, leaf_hash(&entries[4])).await.unwrap();
    shipper.post(&format!("0-{end}"), shipper.lines(0, &entries)).await.unwrap();
    drop(shipper);
    append(&journal, 5).await;
    let mut after = folder.shipper(&journal, address).await;
    assert_eq!(after.shipping().next(), 0);
    ship_all(&mut after).await;
    let [first, second, third] = [(); 3].map(|()| received.try_recv().unwrap());
    assert_eq!(first, second, "key and bytes");
    assert_ne!(first.0, third.0);
    assert_eq!(indices(&third), [5, 6, 7, 8, 9]);
    assert!(received.try_recv().is_err());
    journal.close().await;
}

#[tokio::test]
async fn a_journal_from_a_backup_is_not_sent() {
    let (folder, other) = (Folder::new(), Folder::new());
    let journal = folder.journal();
    append(&journal, 5).await;
    let (address, _received, _serving) = receiver(anywhere(), vec![]).await;
    ship_all(&mut folder.shipper(&journal, address).await).await;
    assert_eq!(folder.shipper(&journal, address).await.shipping().next(), 5);
    assert_eq!(shipped(&folder.cursor(), &journal).await.unwrap(), 5);
    journal.close().await;
    let shorter = other.journal();
    append(&shorter, 2).await;
    refuses(&folder, &shorter, address).await;
    // As long again, with another past.
    append_other(&shorter, 5).await;
    refuses(&folder, &shorter, address).await;
    std::fs::write(folder.cursor(), "0").unwrap();
    let form = shipped(&folder.cursor(), &shorter).await;
    assert!(matches!(form, Err(CursorError::Form(_))), "{form:?}");
    shorter.close().await;
}

#[tokio::test]
async fn a_batch_under_way_is_not_sent_with_other_entries() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (journal, restored) = (folder.journal(), other.journal());
    let (address, mut received, _serving) = receiver(anywhere(), vec![]).await;
    append(&journal, 3).await;
    let mut shipper = folder.shipper(&journal, address).await;
    ship_all(&mut shipper).await;
    // The process ends while entries 3 and 4 are on their way.
    append(&journal, 2).await;
    let entries = journal.read(3..5).await.unwrap();
    shipper.cursor.begin(5, leaf_hash(&entries[1])).await.unwrap();
    assert_eq!(shipped(&folder.cursor(), &journal).await.unwrap(), 3);
    drop(shipper);
    journal.close().await;
    // From a backup of before them, and longer again by now: what was accepted is the same.
    append(&restored, 3).await;
    append_other(&restored, 3).await;
    refuses(&folder, &restored, address).await;
    assert_eq!(indices(&received.try_recv().unwrap()), [0, 1, 2]);
    assert!(received.try_recv().is_err());
    restored.close().await;
}

#[tokio::test]
async fn it_follows_the_journal_until_it_is_stopped() {
    let folder = Folder::new();
    let journal = folder.journal();
    let (address, mut received, _serving) = receiver(anywhere(), vec![500]).await;
    let shipper = folder.shipper(&journal, address).await;
    let (shipping, stop) = (shipper.shipping(), Shutdown::new());
    let running = tokio::spawn(shipper.run(stop.clone()));
    append(&journal, 1).await;
    let refused = received.recv().await.unwrap();
    assert_eq!(received.recv().await.unwrap(), refused);
    append(&journal, 2).await;
    let mut seen = 1;
    while seen < 3 {
        seen += indices(&received.recv().await.unwrap()).len();
    }
    stop.start();
    running.await.unwrap();
    let mut out = Exposition::default();
    shipping.collect(&mut out);
    let text = out.finish();
    assert!(text.contains("attorn_ship_failures_total{ship=\"test\"} 1"), "{text}");
    journal.close().await;
}

#[tokio::test]
async fn events_leave_in_order_and_in_smaller_batches() {
    let folder = Folder::new();
    let journal = folder.journal();
    append(&journal, 600).await;
    let (address, mut received, _serving) = receiver(anywhere(), vec![]).await;
    let mut shipper = folder.shipper(&journal, address).await;
    shipper.destination.form = LineForm::Ocsf;
    ship_all(&mut shipper).await;
    let (mut sequence, mut batches) = (Vec::new(), 0);
    while let Ok((key, body)) = received.try_recv() {
        batches += 1;
        assert!(key.starts_with(&format!("\"{ORIGIN}#{}-", sequence.len())), "{key}");
        assert!(body.len() <= BATCH_BYTES, "{}", body.len());
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).unwrap();
            let index = event["metadata"]["sequence"].as_u64().unwrap();
            assert_eq!(event["metadata"]["uid"], format!("{ORIGIN}#{index}"));
            assert_eq!(event["class_uid"], 3004);
            sequence.push(index);
        }
    }
    assert!(sequence.iter().copied().eq(0..journal.size()), "{sequence:?}");
    assert!(batches > 2, "{batches}");
    journal.close().await;
}

/// Who asked for some kinds gets no other, and does not fall behind where there is none of them.
#[tokio::test]
async fn a_system_gets_the_kinds_that_it_asked_for() {
    let (folder, log) = (Folder::new(), Folder::new());
    let journal = log.journal();
    let (address, mut received, _shutdown) = receiver(anywhere(), vec![503]).await;
    let mut shipper = folder.shipper_of(&[Kind::LockCreated], &journal, address).await;
    append(&journal, BATCH_ENTRIES_MAX + 3).await;
    ship_all(&mut shipper).await;
    let first = BATCH_ENTRIES_MAX + 3;
    assert_eq!((shipper.shipping().next(), received.try_recv().is_err()), (first, true));
    append(&journal, 2).await;
    append_other(&journal, 1).await;
    append(&journal, 1).await;
    // Refused: it is sent again, as it was, also by the next process.
    assert!(matches!(shipper.step().await, Err(ShipError::Refused(_))));
    assert_eq!(shipper.shipping().next(), first);
    let mut shipper = folder.shipper_of(&[Kind::LockCreated], &journal, address).await;
    ship_all(&mut shipper).await;
    let (refused, accepted) = (received.try_recv().unwrap(), received.try_recv().unwrap());
    assert_eq!(refused, accepted);
    assert_eq!(indices(&accepted), [first + 2]);
    assert_eq!((shipper.shipping().next(), received.try_recv().is_err()), (first + 4, true));
}
