//! A payment waits for a person: through `attorn connect`, with a client of an older revision.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::journey::{agent, await_tools, installed};
use crate::support::{ATTORN, Connected, Folder, Serving, free_address};
use crate::wire::Wire;

const INVOICE: &str = r#"{ "id": "inv-1001" }"#;

fn issuer_of(folder: &Folder) -> String {
    let config = fs::read_to_string(folder.path().join("attorn.toml")).unwrap();
    config.split("issuer = \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn payer(folder: &Folder) {
    let grants = [("invoices", "read:*"), ("invoices", "irreversible:pay_invoice")];
    agent(folder, &issuer_of(folder), "payer", &grants);
}

#[track_caller]
fn waits_as(answer: &Value, reason: &str) -> String {
    let result = &answer["result"];
    assert_eq!(result["isError"], true, "{answer}");
    assert_eq!(result["_meta"]["dev.attorn/reason"], reason, "{answer}");
    result["_meta"]["dev.attorn/approval"].as_str().unwrap_or_default().to_owned()
}

fn is_paid(answer: &Value) -> bool {
    answer["result"]["isError"] != true && answer.to_string().contains("paid")
}

fn request(folder: &Folder, what: &str, id: &str) {
    folder.attorn(&["request", what, id, "--reason", "looked at it"]).expect(0);
}

#[test]
fn a_payment_waits_and_is_made_once() {
    let folder = Folder::new("approval");
    let serving = installed(&folder);
    payer(&folder);
    let mut client = Connected::start(&folder, "invoices", "payer");
    let first = client.call(1, "pay_invoice", INVOICE);
    let id = waits_as(&first, "approval.required");
    let told = first["result"]["content"][0]["text"].as_str().unwrap();
    assert!(told.contains(&format!("attorn request show {id}")), "{told}");

    let listed = folder.attorn(&["-o", "json", "request", "list", "--state", "pending"]).expect(0);
    assert_eq!(listed.json()[0]["id"], id.as_str());
    let shown = folder.attorn(&["request", "show", &id]).expect(0);
    assert!(shown.out.contains("\n{\"id\":\"inv-1001\"}\n"), "{}", shown.out);
    let shown = folder.attorn(&["-o", "json", "request", "show", &id]).expect(0).json();
    assert_eq!(shown["arguments"], r#"{"id":"inv-1001"}"#);
    assert_eq!(shown["earlier"][0]["reason"], "approval.required");
    fs::write(folder.path().join("call.json"), INVOICE).unwrap();
    let can_i = ["can-i", "payer", "invoices/pay_invoice", "--args", "@call.json"];
    let not_yet = folder.attorn(&can_i).expect(1);
    assert!(not_yet.out.contains("approval.pending") && not_yet.out.contains(&id));
    let decision = first["result"]["_meta"]["dev.attorn/decision_id"].as_str().unwrap();
    let why = folder.attorn(&["explain", decision]).expect(1);
    assert!(why.out.contains(&format!("request {id}")), "{}", why.out);

    folder.attorn(&["request", "approve", &id]).expect(2);
    folder.attorn(&["request", "approve", "apr_x", "--reason", "x"]).expect(1);
    request(&folder, "approve", &id);
    let now = folder.attorn(&can_i).expect(0);
    assert!(now.out.contains(&format!("approved as {id}")), "{}", now.out);
    assert!(is_paid(&client.call(2, "pay_invoice", INVOICE)));
    let again = client.call(3, "pay_invoice", INVOICE);
    assert_ne!(waits_as(&again, "approval.required"), id);
    folder.attorn(&["request", "approve", &id, "--reason", "x"]).expect(1);
    let used = folder.attorn(&["-o", "json", "request", "show", &id]).expect(0).json();
    let made = used["used_by"].as_str().unwrap();
    let why = folder.attorn(&["explain", made]).expect(0);
    assert!(why.out.contains(&format!("approved as {id}")), "{}", why.out);
    let trace = folder.attorn(&["-o", "json", "audit", "trace", decision]).expect(0).out;
    assert!(trace.contains("approval.requested") && trace.contains("approval.approved"), "{trace}");
    drop(client);
    serving.stop();
}

#[test]
fn a_no_and_a_grant_that_is_gone_stop_a_payment() {
    let folder = Folder::new("approval-no");
    let serving = installed(&folder);
    payer(&folder);
    let mut client = Connected::start(&folder, "invoices", "payer");
    let id = waits_as(&client.call(1, "pay_invoice", INVOICE), "approval.required");
    folder.attorn(&["request", "deny", &id, "--reason", "wrong account"]).expect(0);
    let denied = client.call(2, "pay_invoice", INVOICE);
    waits_as(&denied, "approval.denied");
    assert!(denied.to_string().contains("wrong account"), "{denied}");
    let other = r#"{"id":"inv-1002"}"#;
    let id = waits_as(&client.call(3, "pay_invoice", other), "approval.required");
    request(&folder, "approve", &id);
    let grants =
        folder.attorn(&["-o", "json", "grant", "list", "--agent", "payer"]).expect(0).json();
    for grant in grants.as_array().unwrap() {
        if grant.to_string().contains("irreversible") {
            let grant = grant["id"].as_str().unwrap();
            folder.attorn(&["grant", "revoke", grant, "--reason", "test"]).expect(0);
        }
    }
    let refused = client.call(4, "pay_invoice", other);
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let open = client.call(5, "get_invoice", other);
    assert!(open.to_string().contains("open"), "{open}");
    let kept = folder.attorn(&["-o", "json", "request", "show", &id]).expect(0).json();
    assert_eq!(kept["state"], "approved", "nothing is used up by a refused call");
    drop(client);
    serving.stop();
}

/// An authority with a gateway of its own, and a second gateway beside it. Both are reached at one
/// address, as behind a balancer, and the admin API over a wire that can be cut.
struct Two {
    folder: Folder,
    elsewhere: Folder,
    front: Wire,
    admin: Wire,
    own: String,
    second: String,
}

impl Two {
    fn new(test: &str) -> (Self, Serving, Serving) {
        let (folder, elsewhere) = (Folder::new(test), Folder::new(&format!("{test}-second")));
        let (front, admin) = (Wire::new(), Wire::new());
        let [authority, listening, own, second] = [0; 4].map(|_| free_address());
        let issuer = format!("http://{authority}");
        let text = format!(
            "state = \"state\"\n[authority]\nissuer = \"{issuer}\"\nadmin_url = \"http://{}\"\n\
             gateway_url = \"http://{front}\"\n[gateway]\npublic_url = \"http://{front}\"\n\
             [listen]\nauthority = \"{authority}\"\nadmin = \"{listening}\"\ngateway = \"{own}\"\n",
            admin.address,
            front = front.address,
        );
        fs::write(folder.path().join("attorn.toml"), text).unwrap();
        admin.lead_to(&listening);
        front.lead_to(&own);
        folder.attorn(&["init"]).expect(0);
        let serving = Serving::start(&folder);
        let code = "@state/first-admin.code";
        folder.attorn(&["enroll", "--url", &issuer, "--code", code]).expect(0);
        folder.attorn(&["owner", "create", "finance"]).expect(0);
        let server = ["server", "register", "invoices", "--owner", "finance", "--", ATTORN];
        folder.attorn(&[&server[..], &["sample-mcp-server"]].concat()).expect(0);
        await_tools(&folder, "invoices");
        folder.attorn(&["tools", "approve", "invoices"]).expect(0);
        payer(&folder);
        let register = ["gateway", "register", "gw-2", "--owner", "finance"];
        folder.attorn(&[&register[..], &["--code-file", "gw.code"]].concat()).expect(0);
        let profile = elsewhere.path().join("profile");
        enrolled(&folder, &profile, &issuer);
        let text = format!(
            "state = \"state\"\n[gateway]\npublic_url = \"http://{}\"\n[follow]\nprofile = \"{}\"\n\
             [listen]\ngateway = \"{second}\"\n",
            front.address,
            profile.display(),
        );
        fs::write(elsewhere.path().join("attorn.toml"), text).unwrap();
        let beside = Serving::start(&elsewhere);
        let two = Self { folder, elsewhere, front, admin, own, second };
        two.followed();
        (two, serving, beside)
    }

    /// Waits until the second gateway has the registry of now in force.
    fn followed(&self) {
        let mut tries = 0..500;
        loop {
            let status = self.folder.attorn(&["-o", "json", "status"]).expect(0).json();
            let gateways = self.folder.attorn(&["-o", "json", "gateway", "list"]).expect(0).json();
            let (now, there) = (&status["registry_version"], &gateways[0]["version"]);
            if now.is_u64() && now == there {
                return;
            }
            assert!(tries.next().is_some(), "the second gateway is at {there} and not at {now}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client whose connections lead to one gateway.
    fn client(&self, gateway: &str) -> Connected {
        self.front.lead_to(gateway);
        let mut client = Connected::start(&self.folder, "invoices", "payer");
        let read = client.call(90, "get_invoice", INVOICE);
        assert!(read.to_string().contains("open"), "{read}");
        client
    }

    fn approved(&self, client: &mut Connected) -> String {
        let id = waits_as(&client.call(91, "pay_invoice", INVOICE), "approval.required");
        request(&self.folder, "approve", &id);
        self.followed();
        id
    }
}

fn enrolled(folder: &Folder, profile: &Path, issuer: &str) {
    let profile = profile.display().to_string();
    let enroll = ["--profile", &profile, "enroll", "--url", issuer, "--code", "@gw.code"];
    folder.attorn(&enroll).expect(0);
}

/// Whether a file below the folder holds the text.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn of_two_gateways_one_makes_the_call() {
    let (two, serving, beside) = Two::new("approval-two");
    let (mut one, mut other) = (two.client(&two.own), two.client(&two.second));
    two.approved(&mut one);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| one.call(1, "pay_invoice", INVOICE));
        let second = scope.spawn(|| other.call(1, "pay_invoice", INVOICE));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_ne!(is_paid(&first), is_paid(&second), "{first}\n{second}");
    let lost = if is_paid(&first) { &second } else { &first };
    // It came later, or the other one had it by then.
    let reason = lost["result"]["_meta"]["dev.attorn/reason"].as_str().unwrap_or_default();
    assert!(["approval.used", "approval.required"].contains(&reason), "{lost}");
    let used = folder_used(&two.folder);
    assert_eq!(used, 1);
    drop((one, other));
    beside.stop();
    serving.stop();
    // Both were asked.
    for folder in [&two.folder, &two.elsewhere] {
        assert!(holds(&folder.path().join("state"), "pay_invoice"));
    }
}

fn folder_used(folder: &Folder) -> usize {
    let used = folder.attorn(&["-o", "json", "request", "list", "--state", "used"]).expect(0);
    used.json().as_array().unwrap().len()
}

#[test]
fn a_use_whose_answer_is_lost_is_no_payment_and_not_made_up_for() {
    let (two, serving, beside) = Two::new("approval-lost");
    let mut client = two.client(&two.second);
    two.approved(&mut client);
    two.admin.cut_at("/use ");
    let lost = client.call(1, "pay_invoice", INVOICE);
    assert!(!is_paid(&lost), "{lost}");
    assert!(two.admin.was_cut(), "{lost}");
    // The authority dies with it, and comes back.
    serving.kill();
    let serving = Serving::start(&two.folder);
    two.followed();
    assert_eq!(folder_used(&two.folder), 1);
    waits_as(&client.call(2, "pay_invoice", INVOICE), "approval.required");
    let open = client.call(3, "get_invoice", INVOICE);
    assert!(open.to_string().contains("open"), "{open}");
    drop(client);
    beside.stop();
    serving.stop();
}
