use std::net::SocketAddr;

use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::*;
use crate::{Body, Client, ClientConfig, Roots, Tls};

async fn bind(tls: Option<Tls>) -> (Listener, SocketAddr) {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).await.unwrap();
    let address = listener.address();
    (listener, address)
}

fn answering(
    body: &'static str,
) -> impl Fn(Request<ReceivedBody>) -> std::future::Ready<Result<Response<Body>, Infallible>>
+ Clone
+ Send
+ Sync
+ 'static {
    move |_| std::future::ready(Ok(Response::new(Body::full(body))))
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let (listener, address) = bind(None).await;
    let limits = Limits { header_timeout: Duration::from_millis(30), ..Limits::default() };
    let service = service_fn(answering(""));
    tokio::spawn(serve(listener, service, limits, Shutdown::new()));
    for opening in ["", "P", "GET / HTTP/1.1\r\nhost: localhost\r\nx: "] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(opening.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closed by the server, with or without a farewell; never answered with success.
        let _closed = stream.read_to_end(&mut answer).await.is_ok();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{opening:?}");
    }
}

#[tokio::test]
async fn a_head_over_its_limits_is_refused() {
    let (listener, address) = bind(None).await;
    let service = service_fn(answering("taken"));
    tokio::spawn(serve(listener, service, Limits::default(), Shutdown::new()));
    let mut many = String::from("GET / HTTP/1.1\r\nhost: localhost\r\n");
    for number in 0..100 {
        many.push_str(&format!("x-{number}: 1\r\n"));
    }
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n", "a".repeat(64 * 1024));
    for head in [many, long] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close before all is written.
        let _cut = stream.write_all(format!("{head}\r\n").as_bytes()).await.is_err();
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await.is_err();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    }
}

/// Whether a request on this connection is answered.
async fn is_answered(stream: &mut TcpStream) -> bool {
    // The server may have closed before.
    let _cut = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_err();
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    answer[..read].starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn connections_beyond_a_share_are_closed_at_once_and_those_before_go_on() {
    let (listener, address) = bind(None).await;
    let counted = listener.connections().clone();
    let limits = Limits { of_loopback_max: 2, ..Limits::default() };
    tokio::spawn(serve(listener, service_fn(answering("taken")), limits, Shutdown::new()));
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(is_answered(&mut first).await && is_answered(&mut second).await);
    for refused in 1..=3 {
        let mut more = TcpStream::connect(address).await.unwrap();
        assert!(!is_answered(&mut more).await);
        assert_eq!((counted.crowded_out(), counted.open()), (refused, 2));
    }
    assert!(is_answered(&mut first).await);
    // With the end of one there is room for another.
    drop(second);
    for _ in 0..1_000 {
        let mut next = TcpStream::connect(address).await.unwrap();
        if is_answered(&mut next).await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the share did not come back");
}

#[tokio::test]
async fn loopback_has_no_bound_unless_it_is_given_one() {
    let (listener, address) = bind(None).await;
    let limits = Limits { per_address_max: 1, ..Limits::default() };
    tokio::spawn(serve(listener, service_fn(answering("taken")), limits, Shutdown::new()));
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut stream).await);
        held.push(stream);
    }
}

#[tokio::test]
async fn a_stop_lets_the_running_request_finish() {
    static STARTED: Notify = Notify::const_new();
    static FINISH: Notify = Notify::const_new();
    let (listener, address) = bind(None).await;
    let shutdown = Shutdown::new();
    let service = service_fn(|_| async {
        STARTED.notify_one();
        FINISH.notified().await;
        Ok::<_, Infallible>(Response::new(Body::full("done")))
    });
    let serving = tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
    let client = Client::new(ClientConfig::default()).unwrap();
    let request = tokio::spawn(async move {
        client.send(Request::get(format!("http://{address}/")).body(Bytes::new()).unwrap()).await
    });
    STARTED.notified().await;
    shutdown.start();
    FINISH.notify_one();
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "done");
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn fields_are_counted_over_http2_as_well() {
    let (listener, address) = bind(None).await;
    let service = service_fn(answering("taken"));
    tokio::spawn(serve(listener, service, Limits::default(), Shutdown::new()));
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (count, expected) in
        [(64, StatusCode::OK), (65, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)]
    {
        let mut request = Request::get("http://localhost/").body(Empty::new()).unwrap();
        for number in 0..count {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_static("1"));
        }
        assert_eq!(sender.send_request(request).await.unwrap().status(), expected, "{count}");
    }
}

#[tokio::test]
async fn one_connection_carries_many_streams() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = Tls::new(&crate::test_certificates::material(&made)).unwrap();
    let (listener, address) = bind(Some(tls)).await;
    let service = service_fn(answering("taken"));
    tokio::spawn(serve(listener, service, Limits::default(), Shutdown::new()));

    let config = {
        let shown = crate::tls::Shown::new(None).unwrap();
        crate::tls::client_config(&Roots::Pem(made.cert.pem()), &shown, false).unwrap()
    };
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let mut sender = sender.clone();
        let request = Request::get("https://localhost/").body(Empty::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "taken");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    static ENDED: Notify = Notify::const_new();
    let (listener, address) = bind(None).await;
    let limits = Limits { write_timeout: Duration::from_millis(30), ..Limits::default() };
    let service = service_fn(|_| async {
        let (sender, body) = Body::channel(1);
        tokio::spawn(async move {
            // More than the buffers of both ends hold.
            while sender.send(Bytes::from(vec![0; 1 << 20])).await.is_ok() {}
            ENDED.notify_one();
        });
        Ok::<_, Infallible>(Response::new(body))
    });
    tokio::spawn(serve(listener, service, limits, Shutdown::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    ENDED.notified().await;
}

/// A handshake has a time to end in, and no other way than a whole one leads to an answer.
#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = Tls::new(&crate::test_certificates::material(&made)).unwrap();
    let (listener, address) = bind(Some(tls)).await;
    let limits = Limits { header_timeout: Duration::from_millis(300), ..Limits::default() };
    let service = service_fn(answering("taken"));
    tokio::spawn(serve(listener, service, limits, Shutdown::new()));
    // Nothing, the head of a record without its body, records of one byte, and no TLS at all.
    let tiny = [22, 3, 1, 0, 1, 1].repeat(3);
    let openings: [&[u8]; 4] =
        [b"", &[22, 3, 1, 2, 0, 1], &tiny, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"];
    for opening in openings {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(opening).await.unwrap();
        let mut answer = Vec::new();
        let _closed = stream.read_to_end(&mut answer).await.is_ok();
        assert!(!answer.windows(5).any(|window| window == b"taken"), "{opening:?}");
    }
    let config = ClientConfig { roots: Roots::Pem(made.cert.pem()), ..ClientConfig::default() };
    let client = Client::new(config).unwrap();
    let url = format!("https://localhost:{}/", address.port());
    let answer = client.send(Request::get(url).body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "taken");
}

/// One frame of RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Kind and payload of each frame that came back.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        let Some((payload, more)) = rest.split_at_checked(length) else { break };
        found.push((*kind, payload.to_vec()));
        bytes = more;
    }
    found
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// `GET http://localhost/`, as indices of RFC 7541 appendix A.
const GET: &[u8] = b"\x82\x86\x84\x41\x09localhost";

/// RFC 9113 section 10.5: a peer that makes work without end is sent away, with a reason.
#[tokio::test]
async fn floods_of_frames_end_the_connection() {
    let (listener, address) = bind(None).await;
    let limits = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    tokio::spawn(serve(listener, service_fn(answering("taken")), limits, Shutdown::new()));
    let answered = async |sent: Vec<Vec<u8>>| {
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let all = [preface, frame(SETTINGS, 0, 0, &[]), sent.concat()].concat();
        let writing = tokio::spawn(async move {
            // The server may close before all is written.
            let _cut = writer.write_all(&all).await.is_err();
            writer
        });
        let mut answer = Vec::new();
        let _reset = reader.read_to_end(&mut answer).await.is_err();
        drop(writing.await);
        frames(&answer)
    };
    let ids = |count: u32| (0..count).map(|number| 2 * number + 1);
    let rapid_reset = ids(10_000)
        .map(|id| [frame(HEADERS, 5, id, GET), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat());
    let opened = frame(HEADERS, 1, 1, GET);
    let field = [b"\x00\x01x\x7f\xa1\x7e".as_slice(), &[b'a'; 16_000]].concat();
    let continued = |field: &[u8]| {
        let more = std::iter::repeat_n(frame(CONTINUATION, 0, 1, field), 2_000);
        std::iter::once(opened.clone()).chain(more).collect::<Vec<_>>()
    };
    for (name, flood) in [
        ("rapid reset", rapid_reset.collect::<Vec<_>>()),
        ("continuations", continued(&field)),
        ("empty continuations", continued(&[])),
    ] {
        let got = answered(flood).await;
        let sent_away = got.iter().find(|(kind, _)| *kind == GOAWAY);
        let code = sent_away.and_then(|(_, payload)| payload.get(4..8)).unwrap_or_default();
        assert_ne!(code, [0; 4], "{name}: {} frames", got.len());
        assert!(got.iter().filter(|(kind, _)| *kind == DATA).count() < 1_000, "{name}");
    }
    // The same request alone is answered; the peer then says that it is done.
    let polite = vec![frame(HEADERS, 5, 1, GET), frame(GOAWAY, 0, 0, &[0; 8])];
    let got = answered(polite).await;
    assert!(got.contains(&(DATA, b"taken".to_vec())), "{got:?}");
}

/// Acknowledgements that nobody reads are not kept for ever.
#[tokio::test]
async fn questions_whose_answers_are_not_read_are_cut() {
    let (listener, address) = bind(None).await;
    let limits = Limits { write_timeout: Duration::from_millis(30), ..Limits::default() };
    tokio::spawn(serve(listener, service_fn(answering("taken")), limits, Shutdown::new()));
    for question in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let many = question.repeat(4_096);
        // Ends only because the server closes.
        let flood = async { while stream.write_all(&many).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), flood).await.unwrap();
    }
}

/// Answers without a look at the body, and says which path was asked for.
fn deaf(request: Request<ReceivedBody>) -> std::future::Ready<Result<Response<Body>, Infallible>> {
    let (head, _unread) = request.into_parts();
    let path = head.uri.path().to_owned();
    std::future::ready(Ok(Response::new(Body::full(path))))
}

/// Reads up to the end of an answer whose body is this path.
async fn answered(stream: &mut TcpStream, path: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(path.as_bytes()) {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "left without an answer: {}", String::from_utf8_lossy(&answer));
        answer.extend(&piece[..read]);
    }
    String::from_utf8(answer).unwrap().to_lowercase()
}

#[tokio::test]
async fn a_connection_goes_on_after_a_body_that_nobody_read() {
    let (listener, address) = bind(None).await;
    tokio::spawn(serve(listener, service_fn(deaf), Limits::default(), Shutdown::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for number in 0..20 {
        let path = format!("/number-{number}.");
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server has the head by itself at first.
        tokio::task::yield_now().await;
        stream.write_all(b"hello").await.unwrap();
        let answer = answered(&mut stream, &path).await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_go_on_says_so() {
    let (listener, address) = bind(None).await;
    tokio::spawn(serve(listener, service_fn(deaf), Limits::default(), Shutdown::new()));
    for fields in [
        // More than is waited for; never sent; not wanted.
        "content-length: 1000000",
        "content-length: 5",
        "content-length: 5\r\nexpect: 100-continue",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST /end. HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = answered(&mut stream, "/end.").await;
        assert!(answer.contains("connection: close"), "{fields}: {answer}");
        assert!(!answer.contains("100 continue"), "{fields}: {answer}");
    }
}
