//! A system that gets the journal: away at first, and asked again by a process that was killed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use attorn_testkit::ocsf::Schema;
use serde_json::Value;

use crate::journey::{installed_with, organised_with};
use crate::support::{Connected, Folder, Serving};

/// A body and what it was answered with.
type Answered = (String, u16);

/// Takes requests one at a time; the first ones are refused.
fn receiver(refused: usize) -> (String, Receiver<Answered>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let (told, received) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            // A process that was killed leaves half a request.
            if reader.read_exact(&mut body).is_err() || length == 0 {
                continue;
            }
            let status = if number < refused { 503 } else { 200 };
            let answer =
                format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // Told first: what the process remembers as accepted is known here before it ends.
            drop(told.send((String::from_utf8(body).unwrap(), status)));
            drop(reader.get_mut().write_all(answer.as_bytes()));
        }
    });
    (url, received)
}

/// The entries of a batch, in order.
fn entries(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn next(received: &Receiver<Answered>) -> Answered {
    received.recv_timeout(Duration::from_secs(60)).unwrap()
}

#[test]
fn the_journal_arrives_whole_although_the_process_is_killed() {
    let folder = Folder::new("shipping");
    let (url, received) = receiver(2);
    let ship = format!("[[ship]]\nname = \"siem\"\nurl = \"{url}\"\n");
    let (serving, _) = organised_with(&folder, &ship);
    let mut accepted: Vec<Value> = Vec::new();
    // Where the batch began that was accepted last.
    let mut last = 0;
    let mut take = |(body, status): Answered| {
        if status == 200 {
            // What was accepted before comes again only as it was: the receiver knows it by its index.
            let batch = entries(&body);
            last = usize::try_from(batch[0]["index"].as_u64().unwrap()).unwrap();
            for entry in batch {
                match usize::try_from(entry["index"].as_u64().unwrap()).unwrap() {
                    again if again < accepted.len() => assert_eq!(accepted[again], entry),
                    new => {
                        assert_eq!(new, accepted.len(), "a gap");
                        accepted.push(entry);
                    }
                }
            }
        }
        accepted.len()
    };
    let first = next(&received);
    assert_eq!(first.1, 503);
    take(first);
    take(next(&received));
    // Killed as soon as a batch was accepted, which it may not have remembered.
    take(next(&received));
    serving.kill();
    let serving = Serving::start(&folder);
    folder.attorn(&["owner", "create", "late"]).expect(0);
    let checkpoint = folder.attorn(&["audit", "checkpoint", "-o", "json"]).expect(0).json();
    let size = usize::try_from(checkpoint["size"].as_u64().unwrap()).unwrap();
    while take(next(&received)) < size {}
    let search = ["audit", "search", "--kind", "journal.shipping", "-o", "json"];
    let begun = folder.attorn(&search).expect(0).json();
    assert_eq!(begun.as_array().unwrap().len(), 2, "{begun}");
    serving.stop();
    while let Ok(answered) = received.try_recv() {
        take(answered);
    }
    let cursor = fs::read_to_string(folder.path().join("state/ship/siem.cursor")).unwrap();
    let cursor: Value = serde_json::from_str(&cursor).unwrap();
    let next = usize::try_from(cursor["next"].as_u64().unwrap()).unwrap();
    // The stop may have cut off the answer to the last batch, and of no earlier one.
    assert!(last > 0 && [last, accepted.len()].contains(&next), "{last}, {cursor}");
}

#[test]
fn a_siem_gets_events_of_its_schema_and_an_export_has_the_same() {
    let folder = Folder::new("siem");
    let (url, received) = receiver(1);
    let ship = format!("[[ship]]\nname = \"siem\"\nurl = \"{url}\"\nformat = \"ocsf\"\n");
    let serving = installed_with(&folder, &ship);
    let mut connected = Connected::start(&folder, "invoices", "reader");
    connected.call(1, "get_invoice", r#"{"id":"inv-1001"}"#);
    connected.call(2, "pay_invoice", r#"{"id":"inv-1001"}"#);
    drop(connected);
    let schema = Schema::of_1_9().unwrap();
    let export = ["audit", "export", "--limit", "1000", "--format", "ocsf", "--to", "all.ndjson"];
    folder.attorn(&export).expect(0);
    let exported = fs::read_to_string(folder.path().join("all.ndjson")).unwrap();
    let exported: Vec<&str> = exported.lines().collect();
    let mut shipped: Vec<String> = Vec::new();
    while shipped.len() < exported.len() {
        let (body, status) = next(&received);
        shipped.extend(body.lines().filter(|_| status == 200).map(str::to_owned));
    }
    for (index, line) in shipped.iter().enumerate() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["metadata"]["sequence"], index);
        let faults = schema.faults(&event);
        assert!(faults.is_empty(), "{faults:?} in {line}");
        assert_eq!(exported.get(index).unwrap_or(&line.as_str()), line);
    }
    let of = |class: u64| exported.iter().filter(|line| has(line, "class_uid", class)).count();
    let [calls, tokens, changes, own] = [6003, 3002, 3004, 0].map(of);
    assert!(calls >= 3 && tokens > 0 && changes > 0 && own > 0, "{exported:?}");
    // What is behind an event is proven by the log, by the place that the event names.
    let last = exported.len() - 1;
    let proof = folder.attorn(&["audit", "proof", &last.to_string(), "-o", "json"]).expect(0);
    let event: Value = serde_json::from_str(exported[last]).unwrap();
    let raw: Value = serde_json::from_str(event["raw_data"].as_str().unwrap()).unwrap();
    assert_eq!(proof.json()["entries"][0]["entry"], raw);

    let none = ["audit", "export", "--tool", "nothing", "--format", "ocsf", "--to", "none.ndjson"];
    folder.attorn(&none).expect(0);
    assert_eq!(fs::read(folder.path().join("none.ndjson")).unwrap(), b"");
    let unknown = ["audit", "export", "--format", "cef", "--to", "x"];
    folder.attorn(&unknown).expect(2);
    serving.stop();
}

fn has(line: &str, name: &str, value: u64) -> bool {
    serde_json::from_str::<Value>(line).unwrap()[name] == value
}
