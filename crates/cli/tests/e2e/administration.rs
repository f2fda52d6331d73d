//! Every noun's commands against a running authority.

use std::fs;

use crate::journey::installed;
use crate::support::Folder;

#[test]
fn agents_servers_and_tools_are_managed() {
    let folder = Folder::new("manage");
    let serving = installed(&folder);
    for (line, code) in [
        ("agent list", 0),
        ("agent show reader", 0),
        ("agent show nobody", 1),
        ("agent keys reader", 0),
        ("owner create sales --email sales@example.com", 0),
        ("owner create sales", 1),
        ("owner list", 0),
        ("agent owner reader sales", 0),
        ("agent suspend reader --reason test", 0),
        ("can-i reader invoices/get_invoice", 1),
        ("agent resume reader", 0),
        ("can-i reader invoices/get_invoice", 0),
        ("agent register other --owner sales --dry-run", 0),
        ("agent show other", 1),
        ("server list", 0),
        ("server show invoices", 0),
        ("server suspend invoices --reason test", 0),
        ("can-i reader invoices/get_invoice", 1),
        ("server resume invoices", 0),
        ("tools list invoices", 0),
        ("tools classify invoices/get_invoice write", 0),
        ("can-i reader invoices/get_invoice", 1),
        ("tools approve invoices/get_invoice --class read", 0),
        ("can-i reader invoices/get_invoice", 0),
        ("status", 0),
        ("doctor", 0),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        folder.attorn(&words).expect(code);
    }
    serving.stop();
}

#[test]
fn grants_end_when_revoked() {
    let folder = Folder::new("grants");
    let serving = installed(&folder);
    let grants = folder.attorn(&["grant", "list", "--agent", "reader", "-o", "json"]).expect(0);
    let grant = grants.json()[0]["id"].as_str().unwrap().to_owned();
    folder.attorn(&["grant", "show", &grant]).expect(0);
    folder.attorn(&["grant", "revoke", &grant, "--reason", "test", "--dry-run"]).expect(0);
    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(0);
    folder.attorn(&["grant", "revoke", &grant, "--reason", "test"]).expect(0);
    folder.attorn(&["can-i", "reader", "invoices/get_invoice"]).expect(1);
    let wrong = ["grant", "create", "reader", "invoices", "sometimes:get_invoice"];
    folder.attorn(&wrong).expect(2);
    serving.stop();
}

#[test]
fn policies_are_applied_and_rolled_back() {
    let folder = Folder::new("policies");
    let serving = installed(&folder);
    let can_i = ["can-i", "reader", "invoices/get_invoice"];
    let text = folder.attorn(&["policy", "show"]).expect(0).out;
    let file = folder.path().join("rules.cedar");
    fs::write(&file, text.trim_end()).unwrap();
    folder.attorn(&["policy", "validate", "rules.cedar"]).expect(0);
    let rule = r#"@id("no-invoices")
forbid (principal, action, resource == Tool::"invoices/get_invoice");"#;
    fs::write(&file, format!("{text}\n{rule}\n")).unwrap();
    folder.attorn(&["policy", "diff", "rules.cedar"]).expect(1);
    folder.attorn(&["policy", "apply", "rules.cedar", "--dry-run"]).expect(0);
    folder.attorn(&can_i).expect(0);
    folder.attorn(&["policy", "apply", "rules.cedar", "--reason", "test"]).expect(0);
    let why = folder.attorn(&can_i).expect(1);
    assert!(why.out.contains("no-invoices"), "{}", why.out);
    // The file was made from version 1, and version 2 is in force: somebody was faster.
    let late = folder.attorn(&["policy", "apply", "rules.cedar", "--reason", "late"]).expect(1);
    assert!(late.err.contains("next: attorn policy diff"), "{}", late.err);
    fs::write(&file, format!("{text}\n")).unwrap();
    let differs = folder.attorn(&["policy", "diff", "rules.cedar"]).expect(1);
    assert!(differs.out.contains("--replaces 2"), "{}", differs.out);
    folder.attorn(&["policy", "apply", "rules.cedar", "--replaces", "2"]).expect(0);
    folder.attorn(&can_i).expect(0);
    folder.attorn(&["policy", "history"]).expect(0);
    folder.attorn(&["policy", "rollback", "2", "--replaces", "2", "--reason", "late"]).expect(1);
    folder.attorn(&["policy", "rollback", "1", "--reason", "test is over"]).expect(0);
    folder.attorn(&can_i).expect(0);
    serving.stop();
}

#[test]
fn keys_rotate_under_running_agents() {
    let folder = Folder::new("keys");
    let serving = installed(&folder);
    folder.attorn(&["key", "list"]).expect(0);
    folder.attorn(&["key", "rotate", "--dry-run"]).expect(0);
    folder.attorn(&["key", "rotate", "--reason", "test"]).expect(0);
    folder.attorn(&["whoami"]).expect(0);
    folder.attorn(&["doctor", "invoices", "--client", "reader"]).expect(0);
    fs::write(folder.path().join("token"), "no.token.here").unwrap();
    folder.attorn(&["token", "inspect", "@token"]).expect(1);
    serving.stop();
}

#[test]
fn a_key_of_this_machine_is_replaced_by_one_command() {
    let folder = Folder::new("rotate");
    let serving = installed(&folder);
    let keys = || {
        let listed = folder.attorn(&["agent", "keys", "reader", "-o", "json"]).expect(0).json();
        let listed = listed.as_array().unwrap().iter();
        listed.map(|key| key["jkt"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = keys();
    folder.attorn(&["agent", "rotate-key", "reader", "--dry-run"]).expect(0);
    assert_eq!(keys(), before);
    let rotated = folder.attorn(&["agent", "rotate-key", "reader", "-o", "json"]).expect(0);
    assert!(!rotated.out.contains("code"), "{}", rotated.out);
    let key = rotated.json()["key"].as_str().unwrap().to_owned();
    assert!(keys().contains(&key) && !before.contains(&key), "{key}");
    folder.attorn(&["doctor", "invoices", "--client", "reader"]).expect(0);
    folder.attorn(&["agent", "rotate-key", "first-operator"]).expect(0);
    folder.attorn(&["whoami"]).expect(0);
    // An agent whose key is elsewhere keeps it.
    folder.attorn(&["agent", "register", "far", "--owner", "finance"]).expect(0);
    folder.attorn(&["agent", "rotate-key", "far"]).expect(2);
    folder.attorn(&["agent", "rotate-key", "nobody"]).expect(1);
    serving.stop();
}

#[test]
fn the_journal_is_searched_shown_and_proven() {
    let folder = Folder::new("journal");
    let serving = installed(&folder);
    let found = folder.attorn(&["audit", "search", "--kind", "grant.created", "-o", "json"]);
    let found = found.expect(0).json();
    let index = found[0]["index"].as_u64().unwrap().to_string();
    folder.attorn(&["audit", "show", &index]).expect(0);
    folder.attorn(&["audit", "show", "999999"]).expect(1);
    folder.attorn(&["audit", "checkpoint"]).expect(0);
    let proof = folder.attorn(&["audit", "proof", &index, "-o", "ndjson"]).expect(0);
    fs::write(folder.path().join("proof.json"), &proof.out).unwrap();
    folder.attorn(&["audit", "verify", "proof.json"]).expect(0);
    let key = folder.attorn(&["audit", "checkpoint", "-o", "json"]).expect(0).json();
    let key = key["keys"][0].as_str().unwrap().to_owned();
    folder.attorn(&["audit", "verify", "proof.json", "--key", &key]).expect(0);
    let other = "other/node/1+862b368c+ASx9XIH2RiSfkNotvg0AYNnzqC3CepkpGGGddgIUyg3x";
    assert_ne!(folder.attorn(&["audit", "verify", "proof.json", "--key", other]).code, 0);
    folder.attorn(&["audit", "search", "--kind", "no.such.kind"]).expect(1);
    serving.stop();
}
