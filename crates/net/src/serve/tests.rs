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
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Result<Response<Body>, Infallible>>
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

    let config = crate::tls::client_config(&Roots::Pem(made.cert.pem()), None, false).unwrap();
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
