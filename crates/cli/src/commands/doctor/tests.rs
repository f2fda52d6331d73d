//! What a peer can answer in the place of the authority.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::asked::get_within;
use super::authority::{keys, readiness};
use super::funnel::Funnel;
use crate::exit::Exit;
use crate::output::{Format, Output};
use crate::outside::connect_world;

/// Answers each connection with the same text, and rests then. The address to ask.
fn stub(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            stream.write_all(answer.as_bytes()).unwrap();
            held.push(stream);
        }
    });
    format!("http://{address}")
}

fn whole(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn nothing_is_ready_that_does_not_say_so() {
    let world = connect_world(None).unwrap();
    let not_ready = "503 Service Unavailable";
    for (status, body, exit) in [
        ("200 OK", r#"{"ready":true,"problems":[]}"#, Exit::Yes),
        (not_ready, r#"{"ready":false,"problems":["journal.failed"]}"#, Exit::No),
        (not_ready, r#"{"ready":false,"problems":["new.problem"]}"#, Exit::No),
        (not_ready, r#"{"ready":false,"problems":[]}"#, Exit::No),
        (not_ready, "<h1>no server is available</h1>", Exit::No),
        ("200 OK", "<h1>welcome</h1>", Exit::No),
        ("200 OK", r#"{"problems":[1]}"#, Exit::No),
        ("404 Not Found", "<h1>not found</h1>", Exit::No),
        ("404 Not Found", r#"{"problems":[]}"#, Exit::No),
        ("502 Bad Gateway", "", Exit::No),
    ] {
        let mut funnel = Funnel::new(Output::new(Format::Json));
        readiness(&mut funnel, &world, &stub(whole(status, body))).await;
        assert_eq!(funnel.end(), exit, "{status} {body}");
    }
}

#[tokio::test]
async fn keys_that_are_not_told_are_no_missing_keys() {
    let world = connect_world(None).unwrap();
    let refused = async |status: &str, body: &str| {
        let failure = keys(&world, &stub(whole(status, body))).await.unwrap_err();
        (failure.what, failure.next.unwrap())
    };
    let (what, next) = refused("502 Bad Gateway", "<h1>bad gateway</h1>").await;
    assert!(what.contains("502") && next.contains("curl -i 'http://"), "{what} {next}");
    let (what, next) = refused("200 OK", "<h1>welcome</h1>").await;
    assert!(what.contains("200") && next.contains("curl"), "{what} {next}");
    assert_eq!(refused("200 OK", r#"{"keys":[]}"#).await.1, "attorn key rotate");
    let told = keys(&world, &stub(whole("200 OK", r#"{"keys":[{}]}"#))).await;
    assert!(told.is_ok(), "{told:?}");
}

#[tokio::test]
async fn a_peer_that_rests_holds_nothing_up() {
    let world = connect_world(None).unwrap();
    let url = stub("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_owned());
    let asked = get_within(&world, &url, Duration::from_millis(300));
    let told = tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap();
    assert_eq!(told.unwrap_err().exit, Exit::Unreachable);
}
