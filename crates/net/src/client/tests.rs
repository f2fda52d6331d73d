use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{CONTENT_LENGTH, HOST, LOCATION};
use http::{StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::{Body, Limits, Listener, Peer, Shutdown, Tls, serve};

type Answer = fn(Request<crate::ReceivedBody>) -> Response<Body>;

async fn start(answer: Answer, tls: Option<Tls>) -> (SocketAddr, Shutdown) {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).await.unwrap();
    let (address, shutdown) = (listener.address(), Shutdown::new());
    let service =
        service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(request))));
    tokio::spawn(serve(listener, service, Limits::default(), shutdown.clone()));
    (address, shutdown)
}

fn client() -> Client {
    Client::new(ClientConfig { reach: Reach::LoopbackOnly, ..ClientConfig::default() }).unwrap()
}

fn get(url: String) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

/// Answers with the peer's port: equal ports are one connection.
#[expect(clippy::needless_pass_by_value, reason = "the shape of every answer here")]
fn port_of_peer(request: Request<crate::ReceivedBody>) -> Response<Body> {
    let peer = request.extensions().get::<Peer>().unwrap();
    Response::new(Body::full(format!("{} {}", peer.address.port(), peer.encrypted)))
}

#[tokio::test]
async fn a_connection_is_used_again_after_its_body() {
    let (address, _stop) = start(port_of_peer, None).await;
    let client = client();
    let first = client.send(get(format!("http://{address}/"))).await.unwrap();
    let first = first.into_body().bytes(100).await.unwrap();
    let second = client.send(get(format!("http://{address}/"))).await.unwrap();
    assert_eq!(second.into_body().bytes(100).await.unwrap(), first);
    assert!(first.ends_with(b" false"));
}

#[tokio::test]
async fn a_body_in_use_keeps_its_connection() {
    let (address, _stop) = start(port_of_peer, None).await;
    let client = client();
    let first = client.send(get(format!("http://{address}/"))).await.unwrap();
    let second = client.send(get(format!("http://{address}/"))).await.unwrap();
    let first = first.into_body().bytes(100).await.unwrap();
    assert_ne!(second.into_body().bytes(100).await.unwrap(), first);
}

#[tokio::test]
async fn tls_needs_a_certificate_of_the_given_roots() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = Tls::new(&crate::test_certificates::material(&made)).unwrap();
    let (address, _stop) = start(port_of_peer, Some(tls)).await;
    let url = format!("https://localhost:{}/", address.port());

    let roots = Roots::Pem(made.cert.pem());
    let trusting =
        Client::new(ClientConfig { roots, reach: Reach::LoopbackOnly, ..ClientConfig::default() })
            .unwrap();
    let answer = trusting.send(get(url.clone())).await.unwrap();
    assert!(answer.into_body().bytes(100).await.unwrap().ends_with(b" true"));

    assert!(matches!(client().send(get(url)).await, Err(SendError::Connect(_))));
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (address, _stop) = start(
        |_| {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
            answer
        },
        None,
    )
    .await;
    let answer = client().send(get(format!("http://{address}/"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn an_address_out_of_reach_is_not_connected_to() {
    // 192.0.2.0/24 is for documentation (RFC 5737 section 3): nothing answers there.
    let refused = client().send(get("https://192.0.2.1/".to_owned())).await;
    assert!(matches!(refused, Err(SendError::AddressRefused)));
    let anywhere = Client::new(ClientConfig::default()).unwrap();
    let refused = anywhere.send(get("http://192.0.2.1/".to_owned())).await;
    assert!(matches!(refused, Err(SendError::AddressRefused)));
}

#[test]
fn urls_that_are_not_opened() {
    let check = |url: &'static str, expected| {
        assert_eq!(Target::from_uri(&Uri::from_static(url)).err(), expected, "{url}");
    };
    check("http://127.0.0.1:80/", None);
    check("https://[::1]/", None);
    check("/path", Some(UrlRefusal::NotAbsolute));
    check("ftp://127.0.0.1/", Some(UrlRefusal::Scheme));
    check("http://user@127.0.0.1/", Some(UrlRefusal::UserInformation));
}

/// What the server was asked for, and by which name.
#[expect(clippy::needless_pass_by_value, reason = "the shape of every answer here")]
fn asked_for(request: Request<crate::ReceivedBody>) -> Response<Body> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let path = request.uri().path_and_query().map(http::uri::PathAndQuery::as_str);
    let (method, version) = (request.method(), request.version());
    let host = host.or(authority).unwrap_or_default();
    Response::new(Body::full(format!("{version:?} {method} {host} {}", path.unwrap_or_default())))
}

#[tokio::test]
async fn the_host_is_the_one_of_the_url() {
    let (address, _stop) = start(asked_for, None).await;
    let port = address.port();
    let request = Request::post(format!("http://LocalHost:{port}/a?b=c"))
        .header(HOST, "attacker.test")
        .body(Bytes::from_static(b"x"))
        .unwrap();
    let answer = client().send(request).await.unwrap().into_body().bytes(100).await.unwrap();
    assert_eq!(answer, format!("HTTP/1.1 POST localhost:{port} /a?b=c"));
}

/// A server on TLS, and a client that offers HTTP/2 or not.
async fn over_tls(answer: Answer, http2: bool) -> (String, Client, Shutdown) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = Tls::new(&crate::test_certificates::material(&made)).unwrap();
    let (address, stop) = start(answer, Some(tls)).await;
    let roots = Roots::Pem(made.cert.pem());
    let client = Client::new(ClientConfig { roots, http2, ..ClientConfig::default() }).unwrap();
    (format!("https://localhost:{}", address.port()), client, stop)
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_want_it() {
    for (http2, version) in [(true, "HTTP/2.0"), (false, "HTTP/1.1")] {
        let (url, client, _stop) = over_tls(asked_for, http2).await;
        let mut request = get(format!("{url}/a"));
        request.headers_mut().insert(HOST, HeaderValue::from_static("attacker.test"));
        let answer = client.send(request).await.unwrap().into_body().bytes(100).await.unwrap();
        let host = url.trim_start_matches("https://");
        assert_eq!(answer, format!("{version} GET {host} /a"));
    }
}

#[tokio::test]
async fn streams_share_a_connection() {
    let (url, client, _stop) = over_tls(port_of_peer, true).await;
    let warm = client.send(get(url.clone())).await.unwrap().into_body().bytes(100).await.unwrap();
    // Neither body is read before the other request is answered.
    let first = client.send(get(url.clone())).await.unwrap();
    let second = client.send(get(url)).await.unwrap();
    assert_eq!(first.into_body().bytes(100).await.unwrap(), warm);
    assert_eq!(second.into_body().bytes(100).await.unwrap(), warm);
}

#[tokio::test]
async fn dropping_the_body_of_a_stream_cancels_it_and_no_other() {
    static CANCELLED: Notify = Notify::const_new();
    let (url, client, _stop) = over_tls(
        |request| {
            if request.uri().path() == "/other" {
                return port_of_peer(request);
            }
            let (sender, body) = Body::channel(1);
            tokio::spawn(async move {
                sender.send(Bytes::from_static(b"first")).await.unwrap();
                sender.closed().await;
                CANCELLED.notify_one();
            });
            Response::new(body)
        },
        true,
    )
    .await;
    let other = client.send(get(format!("{url}/other"))).await.unwrap();
    let mut answer = client.send(get(url.clone())).await.unwrap();
    assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    drop(answer);
    CANCELLED.notified().await;
    let again = client.send(get(format!("{url}/other"))).await.unwrap();
    let other = other.into_body().bytes(100).await.unwrap();
    assert_eq!(again.into_body().bytes(100).await.unwrap(), other);
}

#[tokio::test]
async fn a_response_longer_than_asked_for_is_refused() {
    let (address, _stop) = start(|_| Response::new(Body::full("abcd")), None).await;
    let answer = client().send(get(format!("http://{address}/"))).await.unwrap();
    assert_eq!(answer.headers()[CONTENT_LENGTH], "4");
    let refused = answer.into_body().bytes(3).await;
    assert!(matches!(refused, Err(ResponseBodyError::TooLong { bytes_max: 3 })));
}

#[tokio::test]
async fn dropping_the_body_closes_the_connection() {
    static CANCELLED: Notify = Notify::const_new();
    let (address, _stop) = start(
        |_| {
            let (sender, body) = Body::channel(1);
            tokio::spawn(async move {
                sender.send(Bytes::from_static(b"first")).await.unwrap();
                sender.closed().await;
                CANCELLED.notify_one();
            });
            Response::new(body)
        },
        None,
    )
    .await;
    let mut answer = client().send(get(format!("http://{address}/"))).await.unwrap();
    let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    drop(answer);
    CANCELLED.notified().await;
}

#[tokio::test]
async fn a_silent_server_and_a_resting_body_are_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let config = ClientConfig {
        head_timeout: Duration::from_millis(20),
        body_timeout: Some(Duration::from_millis(20)),
        ..ClientConfig::default()
    };
    let hasty = Client::new(config).unwrap();
    assert!(matches!(hasty.send(get(url)).await, Err(SendError::HeadTimeout)));

    let (address, _stop) = start(
        |_| {
            let (sender, body) = Body::channel(1);
            tokio::spawn(async move { sender.closed().await });
            Response::new(body)
        },
        None,
    )
    .await;
    let answer = hasty
        .send_within(get(format!("http://{address}/")), Duration::from_secs(10))
        .await
        .unwrap();
    assert!(matches!(answer.into_body().bytes(10).await, Err(ResponseBodyError::Rested)));
}

#[tokio::test]
async fn a_connection_the_server_closed_is_replaced_without_a_second_request() {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut seen = [0_u8; 1024];
            assert_ne!(stream.read(&mut seen).await.unwrap(), 0);
            REQUESTS.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let client = client();
    for _ in 0..3 {
        let answer = client.send(get(url.clone())).await.unwrap();
        assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    }
    assert_eq!(REQUESTS.load(Ordering::SeqCst), 3);
}

#[test]
fn what_this_machine_lacks_says_nothing_of_the_server() {
    let check = |error: SendError, expected| {
        assert_eq!(error.is_of_this_machine(), expected, "{error:?}");
    };
    for code in [ENFILE, EMFILE] {
        check(SendError::Connect(std::io::Error::from_raw_os_error(code)), true);
        check(SendError::Resolve(std::io::Error::from_raw_os_error(code)), true);
    }
    check(SendError::Connect(ErrorKind::AddrNotAvailable.into()), true);
    for kind in [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::TimedOut] {
        check(SendError::Connect(kind.into()), false);
    }
    check(SendError::ConnectTimeout, false);
    check(SendError::HeadTimeout, false);
}
