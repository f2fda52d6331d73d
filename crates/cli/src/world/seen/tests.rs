//! Looks at a server while the journal takes nothing, and after it.

use std::path::{Path, PathBuf};

use attorn_audit::note::NoteSigner;
use attorn_journal::Config;
use attorn_registry::{Class, Name, OwnerId, ServerId, ToolState, UpstreamSpec};
use attorn_store::{Confirmed, NewOwner, NewServer};

use super::*;

fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("attorn-seen-{test}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    folder
}

/// A journal with so many places for entries that wait.
fn journal(folder: &Path, places: usize) -> Journal {
    let signer = NoteSigner::from_seed("test/node/1", &[3; 32]).unwrap();
    let config = Config { queue_entries_max: places, ..Config::new(folder, "test/node/1") };
    Journal::open(config, signer).unwrap().0
}

/// A registry with a server whose tool `get` is approved.
async fn registry() -> (Store, ServerId) {
    let store = Store::in_memory().await.unwrap();
    let act = Act { by: "test", now_s: 1 };
    let (owner, id) = (OwnerId::from_random(&[1; 16]), ServerId::from_random(&[2; 16]));
    let name = |text: &str| Name::parse(text).unwrap();
    let new = NewOwner { id: owner.clone(), name: name("sales"), email: None };
    store.create_owner(&act, &new).await.unwrap();
    let url = "http://127.0.0.1:9/mcp".to_owned();
    let upstream = UpstreamSpec::Http { url };
    let server = NewServer { id: id.clone(), name: name("crm"), owner, upstream };
    store.register_server(&act, &server).await.unwrap();
    let approved = seen_tool(tool("get", 1));
    store.record_seen_tools(&act, &id, &[approved]).await.unwrap();
    let confirmed = Confirmed::plain([1; 32], Class::Read);
    store.approve_tool(&act, &id, "get", &confirmed).await.unwrap();
    (store, id)
}

fn tool(name: &str, digest: u8) -> ObservedTool {
    ObservedTool {
        name: name.to_owned(),
        definition: format!("{{\"n\":{digest}}}"),
        digest: [digest; 32],
        proposed_class: Class::Write,
    }
}

/// What the journal says of tools.
async fn told(journal: &Journal) -> Vec<(Kind, String)> {
    // What was acknowledged before is on the disk with this one, and can be read.
    let marker = Entry::new(Kind::AdminRead, 0).to_canonical();
    journal.append(marker, Durability::Fsync).await.unwrap();
    let read = journal.read(0..journal.size()).await.unwrap();
    let entries = read.iter().map(|bytes| Entry::parse(bytes).unwrap());
    entries.filter_map(|entry| Some((entry.kind, entry.tool?))).collect()
}

#[tokio::test]
async fn what_the_journal_did_not_take_is_told_after_a_later_look() {
    let folder = folder("full");
    let (store, server) = registry().await;
    let look = || SeenTools { server: server.clone(), tools: vec![tool("get", 2), tool("put", 2)] };
    let state = async |name: &str| {
        let known = store.server(&server).await.unwrap();
        known.tools.get(name).map(|tool| tool.state())
    };
    let full = journal(&folder, 0);
    assert!(record(&store, &full, look()).await.is_err());
    // Nothing is lost: for the registry it is news as before.
    assert_eq!(state("put").await, None);
    assert_eq!(state("get").await, Some(ToolState::Approved(Class::Read)));
    full.close().await;
    let free = journal(&folder, 16);
    record(&store, &free, look()).await.unwrap();
    let news = [(Kind::ToolChanged, "get".to_owned()), (Kind::ToolSeen, "put".to_owned())];
    assert_eq!(told(&free).await, news);
    assert_eq!(state("get").await, Some(ToolState::Changed));
    assert_eq!(state("put").await, Some(ToolState::Unconfirmed));
    // And once.
    record(&store, &free, look()).await.unwrap();
    assert_eq!(told(&free).await, news);
    free.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}
