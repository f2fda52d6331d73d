//! The pages of what happened: for whom, and that looking is on record.

use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::Durability;
use attorn_registry::Role;
use http::StatusCode;
use serde_json::json;

use super::browser::{Browser, Town, location};
use crate::world::ISSUER;

const DECISION: &str = "dec_aaaaaaaaaaaaaaaaaaaaaaaaaa";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A town with a chain in its log, and eve who may read it.
async fn town() -> Town {
    let town = Town::new().await;
    let agent = town.world.agent(&town.operator, "billing", &["read:get"]).await;
    let snapshot = town.world.published.load();
    let ann = snapshot.person_named("ann").unwrap().id.to_string();
    let server = snapshot.server_named("crm").unwrap().id.to_string();
    let base = |kind, decision| Entry {
        agent: Some(agent.id.to_string()),
        agent_key: Some("bound-key".to_owned()),
        audience: Some("https://gw.example/crm/mcp".to_owned()),
        decision,
        proof_key: Some("bound-key".to_owned()),
        scope: Some("read:get".to_owned()),
        subject: Some(ann.clone()),
        token_jti: Some("jti-1".to_owned()),
        ..Entry::new(kind, town.world.now_s() * 1000)
    };
    let issued = base(Kind::TokenIssued, Some(Decision::Permit));
    let decided = Entry {
        decision_id: Some(DECISION.to_owned()),
        server: Some(server.clone()),
        time_ms: issued.time_ms + 41_000,
        tool: Some("get<b>\u{202e}".to_owned()),
        trace_id: Some(TRACE.to_owned()),
        ..base(Kind::CallDecided, Some(Decision::Permit))
    };
    let accessed = Entry {
        decision_id: Some("dec_bbbbbbbbbbbbbbbbbbbbbbbbbb".to_owned()),
        downstream_request_id: Some("req 17/x".to_owned()),
        downstream_resource: Some("invoices-api".to_owned()),
        exchanged_jti: Some("jti-2".to_owned()),
        trace_id: Some(TRACE.to_owned()),
        ..base(Kind::ResourceAccessed, Some(Decision::Permit))
    };
    let stolen = Entry {
        decision_id: Some("dec_cccccccccccccccccccccccccc".to_owned()),
        proof_key: Some("other-key".to_owned()),
        token_jti: Some("jti-3".to_owned()),
        ..base(Kind::CallDecided, Some(Decision::Deny))
    };
    for entry in [issued, decided, accessed, stolen] {
        town.world.journal.append(entry.to_canonical(), Durability::Fsync).await.unwrap();
    }
    let eve = town.person("eve", &[]).await;
    town.set(&eve, &[Role::Auditor], &[]).await;
    town
}

#[tokio::test]
async fn a_chain_is_found_by_each_of_its_names() {
    let town = town().await;
    let eve = town.logged_in("eve").await;
    let ann = town.world.published.load().person_named("ann").unwrap().id.to_string();
    for name in [
        format!("/traces/{DECISION}"),
        format!("/traces/{TRACE}"),
        "/traces/jti-1".to_owned(),
        "/traces/jti-1?by=token".to_owned(),
        "/traces/req%2017%2Fx".to_owned(),
        "/traces/req%2017%2Fx?by=downstream_request".to_owned(),
        "/traces/jti-2?by=exchanged".to_owned(),
        "/traces/billing".to_owned(),
        "/traces/billing?by=agent".to_owned(),
        "/traces/ann".to_owned(),
        format!("/traces/{ann}"),
    ] {
        let page = eve.get(&name).await;
        assert_eq!(page.status, StatusCode::OK, "{name}: {}", page.page);
        for text in ["call.decided", "resource.accessed", "invoices-api", "billing", "crm", "41 s"]
        {
            assert!(page.page.contains(text), "{name}: {text}: {}", page.page);
        }
        assert!(!page.page.contains("<b>") && !page.page.contains('\u{202e}'), "{name}");
    }
    let page = eve.get(&format!("/traces/{DECISION}")).await.page;
    // What is missing is said, and whether the key was the right one.
    assert!(page.contains("allowed, and no outcome is here"), "{page}");
    assert!(page.contains("the exchange of its token is not here"), "{page}");
    assert!(page.contains("matches") && !page.contains("is another one"), "{page}");
    assert!(page.contains(&format!("attorn audit trace {DECISION}")), "{page}");
    let stolen = eve.get("/traces/jti-3").await.page;
    assert!(stolen.contains("is another one"), "{stolen}");
}

#[tokio::test]
async fn looking_is_on_record_before_anything_is_shown() {
    let town = town().await;
    let eve = town.logged_in("eve").await;
    eve.get("/traces/req%2017%2Fx?by=downstream_request").await;
    let looked = town.world.newest("admin.read").await;
    let who = town.world.published.load().person_named("eve").unwrap().id.to_string();
    assert_eq!((&looked["tool"], &looked["by"]), (&json!("audit.trace"), &json!(who)));
    assert_eq!(looked["detail"]["looked_up"], "req 17/x");
    assert_eq!(looked["detail"]["looked_up_by"], "downstream_request");
    eve.get("/traces").await;
    assert_eq!(town.world.newest("admin.read").await["tool"], "audit.search");
    // Where it cannot be recorded nothing is shown.
    town.world.journal.clone().close().await;
    let page = eve.get(&format!("/traces/{DECISION}")).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!page.page.contains("call.decided"), "{}", page.page);
}

#[tokio::test]
async fn only_who_may_read_the_log_sees_it() {
    let town = town().await;
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| !role.may_audit()).collect();
    let ann = town.world.published.load().person_named("ann").unwrap().id.clone();
    town.set(&ann, &roles, &[]).await;
    let browser = town.logged_in("ann").await;
    let known = format!("/traces/{DECISION}");
    let mut pages = Vec::new();
    for path in [known.as_str(), "/traces/unknown", "/traces", "/traces?id=x"] {
        let refused = browser.get(path).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(town.reason("admin.refused").await, "role.missing");
        pages.push(refused.page);
    }
    assert_eq!(pages[0], pages[1], "whether it is there does not show");
    let nobody = Browser::new(&town.world);
    assert_eq!(location(&nobody.get(&known).await), format!("{ISSUER}/login"));
    // The twin.
    town.set(&ann, &[Role::Auditor], &[]).await;
    assert_eq!(browser.get(&known).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_search_leads_to_a_chain_or_says_that_there_is_none() {
    let town = town().await;
    let eve = town.logged_in("eve").await;
    let search = eve.get("/traces").await;
    assert!(search.page.contains(&format!("/traces/{DECISION}")), "{}", search.page);
    let found = eve.get("/traces?id=req+17%2Fx&by=downstream_request").await;
    let to = format!("{ISSUER}/traces/req%2017%2Fx?by=downstream_request");
    assert_eq!(location(&found), to);
    assert_eq!(eve.follow(&found).await.status, StatusCode::OK);
    // A search of another form is none.
    let odd = eve.get("/traces?id=x&by=%22%3E").await;
    assert_eq!(location(&odd), format!("{ISSUER}/traces/x"));
    let none = eve.follow(&odd).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.page.contains("Nothing is recorded"), "{}", none.page);
    assert_eq!(eve.get("/traces?id=").await.status, StatusCode::OK);
    assert_eq!(eve.get("/traces?id=a&id=b").await.status, StatusCode::OK);
}
