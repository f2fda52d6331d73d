//! A system that refuses what stands in one entry, and one that refuses everything.

use std::sync::atomic::AtomicBool;

use super::*;

const MARK: &str = "${jndi:ldap://192.0.2.1/x}";

/// A filter in front of a collector.
fn filter(body: &str) -> u16 {
    if body.contains("jndi") { 403 } else { 200 }
}

async fn append_marked(journal: &Journal) {
    let entry = Entry { tool: Some(MARK.to_owned()), ..Entry::new(Kind::CallDecided, 7) };
    journal.append(entry.to_canonical(), Durability::Fsync).await.unwrap();
}

/// Steps until nothing is left to send, however often a batch is refused; says how often.
async fn ship_through(shipper: &mut Shipper) -> u32 {
    let mut refused = 0;
    loop {
        match shipper.step().await {
            Ok(true) => {}
            Ok(false) => return refused,
            Err(ShipError::Refused(_)) if refused < 100 => refused += 1,
            other => panic!("{other:?} after {refused}"),
        }
    }
}

/// The lines of the batches that the filter let through, in order.
fn taken(received: &mut mpsc::UnboundedReceiver<Batch>) -> Vec<Value> {
    let mut lines = Vec::new();
    while let Ok((_, body)) = received.try_recv() {
        let text = std::str::from_utf8(&body).unwrap();
        if filter(text) == 200 {
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
    }
    lines
}

/// Every entry came once and in order; those at these places as a line that names them.
#[track_caller]
fn assert_whole(lines: &[Value], marked: &[u64], size: u64) {
    let indices: Vec<u64> = lines.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indices.iter().copied().eq(0..size), "{indices:?}");
    let stubs = lines.iter().filter(|line| line.get("entry").is_none());
    let told: Vec<u64> = stubs.map(|line| line["index"].as_u64().unwrap()).collect();
    assert_eq!(told, marked);
}

#[tokio::test]
async fn an_entry_that_is_refused_holds_nothing_back() {
    let folder = Folder::new();
    let journal = folder.journal();
    append(&journal, 40).await;
    append_marked(&journal).await;
    append(&journal, 600).await;
    append_marked(&journal).await;
    append_marked(&journal).await;
    append(&journal, 3).await;
    let (address, mut received, _serving) = judge(anywhere(), filter).await;
    let mut shipper = folder.shipper(&journal, address).await;
    // The first batch is sent as it was, in case it is the other system that is wrong; after that
    // nobody waits for each further entry.
    assert_eq!(ship_through(&mut shipper).await, 4);
    let lines = taken(&mut received);
    let marked = [40, 641, 642];
    assert_whole(&lines, &marked, 646 + 3);
    let entries = journal.read(0..journal.size()).await.unwrap();
    let expected = serde_json::json!({
        "id": format!("{ORIGIN}#40"),
        "index": 40,
        "leaf_hash": leaf_hash(&entries[40]).to_base64(),
        "log": ORIGIN,
        "refused": 403,
    });
    assert_eq!(lines[40], expected);
    // The journal says which, by whom and why.
    let told: Vec<_> = entries[646..].iter().map(|bytes| Entry::parse(bytes).unwrap()).collect();
    let index = |entry: &Entry| entry.detail["refused"].parse::<u64>().unwrap();
    assert_eq!(told.iter().map(index).collect::<Vec<_>>(), marked);
    let first = &told[0];
    assert_eq!((first.kind, first.outcome), (Kind::JournalShipping, Some(Outcome::UpstreamError)));
    assert_eq!(first.downstream_status.as_deref(), Some("403"));
    assert_eq!((first.detail["ship"].as_str(), first.time_ms), ("test", 1_000));
    assert_eq!(shipper.shipping().next(), journal.size());
    let mut out = Exposition::default();
    shipper.shipping().collect(&mut out);
    assert!(out.finish().contains("attorn_ship_refused_total{ship=\"test\"} 3"));
    journal.close().await;
}

#[tokio::test]
async fn other_lines_than_those_of_the_entry_have_another_key() {
    let folder = Folder::new();
    let journal = folder.journal();
    append_marked(&journal).await;
    let (address, mut received, _serving) = judge(anywhere(), filter).await;
    let mut shipper = folder.shipper(&journal, address).await;
    ship_through(&mut shipper).await;
    let mut keys = Vec::new();
    while let Ok((key, _)) = received.try_recv() {
        keys.push(key);
    }
    let own = format!("\"{ORIGIN}#0-1\"");
    assert!(keys[..5].iter().all(|key| *key == own), "{keys:?}");
    assert_eq!(keys[5], format!("\"{ORIGIN}#0-1-refused-403\""));
    // And what the journal says of it.
    assert_eq!(keys[6..], [format!("\"{ORIGIN}#1-2\"")]);
    journal.close().await;
}

#[tokio::test]
async fn processes_that_end_early_get_through_together() {
    let folder = Folder::new();
    let journal = folder.journal();
    append(&journal, 5).await;
    append_marked(&journal).await;
    append(&journal, 6).await;
    let (address, mut received, _serving) = judge(anywhere(), filter).await;
    let mut smallest = u64::MAX;
    for _process in 0..20 {
        let mut shipper = folder.shipper(&journal, address).await;
        // Long enough for one batch to be halved, and not for more.
        for _ in 0..5 {
            drop(shipper.step().await);
        }
        if let Some(end) = shipper.cursor.sending() {
            smallest = smallest.min(end - shipper.cursor.next());
        }
    }
    assert_eq!(smallest, 1, "a part is a part for the next process too");
    assert_whole(&taken(&mut received), &[5], 13);
    journal.close().await;
}

#[tokio::test]
async fn other_refusals_are_about_no_entry() {
    let folder = Folder::new();
    let journal = folder.journal();
    append(&journal, 4).await;
    let statuses: Vec<u16> = [401, 404, 429, 500, 503].into_iter().cycle().take(40).collect();
    let (address, mut received, _serving) = receiver(anywhere(), statuses).await;
    let mut shipper = folder.shipper(&journal, address).await;
    assert_eq!(ship_through(&mut shipper).await, 40);
    let first = received.try_recv().unwrap();
    while let Ok(again) = received.try_recv() {
        assert_eq!(again, first);
    }
    assert_eq!(indices(&first), [0, 1, 2, 3]);
    assert_eq!((journal.size(), shipper.shipping().next()), (4, 4));
    journal.close().await;
}

#[tokio::test]
async fn a_system_that_refuses_everything_loses_nothing() {
    let folder = Folder::new();
    let journal = folder.journal();
    append(&journal, 6).await;
    let is_open = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_open);
    let status = move |_body: &str| if asked.load(Ordering::SeqCst) { 200 } else { 403 };
    let (address, mut received, _serving) = judge(anywhere(), status).await;
    let mut shipper = folder.shipper(&journal, address).await;
    let mut failed = 0;
    while failed < 30 {
        failed += u32::from(shipper.step().await.is_err());
    }
    // No line in the place of an entry was accepted, so none is refused.
    assert_eq!((shipper.shipping().next(), journal.size()), (0, 6));
    while received.try_recv().is_ok() {}
    is_open.store(true, Ordering::SeqCst);
    ship_all(&mut shipper).await;
    assert_whole(&taken(&mut received), &[], 6);
    journal.close().await;
}

#[tokio::test]
async fn who_refuses_what_is_said_of_refusals_gets_no_more_of_them() {
    let folder = Folder::new();
    let journal = folder.journal();
    append_of(Kind::JournalShipping, &journal, 2).await;
    let status = |body: &str| if body.contains("journal.shipping") { 422 } else { 200 };
    let (address, _received, _serving) = judge(anywhere(), status).await;
    let mut shipper = folder.shipper(&journal, address).await;
    ship_through(&mut shipper).await;
    assert_eq!((shipper.shipping().next(), journal.size()), (2, 2));
    journal.close().await;
}
