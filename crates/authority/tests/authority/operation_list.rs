//! A list of operations: shown, accepted by its digest, and done whole or not at all.

use attorn_authority::Operation;
use serde_json::{Value, json};

use crate::apply::operator_with;
use crate::world::{ADMIN, Client, World};

const PLAN: Operation = Operation::ResourceOperationPlan;
const IMPORT: Operation = Operation::ResourceOperationImport;

async fn with_billing() -> (World, Client) {
    let world = World::new().await;
    let operator = world.operator().await;
    world.done(&operator, Operation::OwnerCreate, &[], json!({ "name": "finance" })).await;
    let new =
        json!({ "name": "billing", "owner": "finance", "url": "https://api.example/billing" });
    world.done(&operator, Operation::ResourceRegister, &[], new).await;
    (world, operator)
}

fn operation(id: &str, class: &str, method: &str, path: &str) -> Value {
    json!({ "id": id, "class": class, "method": method, "path": path })
}

fn get() -> Value {
    operation("invoice.get", "read", "GET", "/invoices/{id}")
}

fn pay() -> Value {
    operation("invoice.pay", "write", "POST", "/invoices/{id}/pay")
}

async fn planned(world: &World, operator: &Client, list: &Value) -> Value {
    world.done(operator, PLAN, &["billing"], list.clone()).await
}

/// The list with the digest that its plan has now.
async fn accepted(world: &World, operator: &Client, list: &Value) -> Value {
    let plan = planned(world, operator, list).await;
    let mut list = list.clone();
    list["digest"] = plan["digest"].clone();
    list
}

async fn imported(world: &World, operator: &Client, list: &Value) -> Value {
    let list = accepted(world, operator, list).await;
    world.done(operator, IMPORT, &["billing"], list).await
}

fn words(plan: &Value) -> Vec<&str> {
    let operations = plan["operations"].as_array().unwrap();
    operations.iter().map(|one| one["change"].as_str().unwrap()).collect()
}

fn scopes(world: &World) -> String {
    world.published.load().resource_named("billing").unwrap().scopes().to_string()
}

#[tokio::test]
async fn a_list_is_shown_done_and_then_changes_nothing() {
    let (world, operator) = with_billing().await;
    let before = world.store.version().await.unwrap();
    let list = json!({ "operations": [get(), pay()] });
    let plan = planned(&world, &operator, &list).await;
    assert_eq!((words(&plan), &plan["applied"]), (vec!["new", "new"], &json!(false)));
    assert_eq!(world.newest("admin.read").await["tool"], "resource.operation_plan");
    assert_eq!((world.store.version().await.unwrap(), scopes(&world)), (before, String::new()));

    let done = imported(&world, &operator, &list).await;
    assert_eq!((&done["operations"], &done["digest"]), (&plan["operations"], &plan["digest"]));
    assert_eq!(done["applied"], true);
    assert_eq!(scopes(&world), "read:invoice.get write:invoice.pay");
    // One change of the registry, however many operations.
    assert_eq!(world.store.version().await.unwrap(), before + 1);

    let again = imported(&world, &operator, &list).await;
    assert_eq!((words(&again), &again["digest"]), (vec!["same", "same"], &Value::Null));
    assert_eq!(
        (&again["unchanged"], world.store.version().await.unwrap()),
        (&json!(2), before + 1)
    );
}

#[tokio::test]
async fn each_change_of_a_list_is_on_record_and_the_list_before_them() {
    let (world, operator) = with_billing().await;
    let first = json!({ "operations": [get(), pay()] });
    imported(&world, &operator, &first).await;
    let moved = operation("invoice.get", "read", "GET", "/bills/{id}");
    let list = json!({ "operations": [moved], "remove_others": true });
    let list = accepted(&world, &operator, &list).await;
    let done = world.done(&operator, IMPORT, &["billing"], list.clone()).await;
    assert_eq!(words(&done), ["moved", "removed"]);
    let entries = world.entries().await;
    let of_list = |one: &&Value| one["tool"] == "resource.operation_import";
    let whole = entries.iter().rev().find(of_list).unwrap();
    let digest = attorn_jose::sha256(list.to_string().as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (&whole["kind"], &whole["detail"]["sha256"]),
        (&json!("admin.changed"), &json!(digest))
    );
    let details: Vec<_> = entries
        .iter()
        .filter(|one| one["decision_id"] == whole["decision_id"] && one["tool"].is_null())
        .map(|one| &one["detail"])
        .collect();
    let expected = [
        json!({ "name": "billing", "operation": "read:invoice.get GET /bills/{id}",
            "operation_before": "read:invoice.get GET /invoices/{id}" }),
        json!({ "name": "billing", "operation_removed": "invoice.pay" }),
    ];
    assert_eq!(details, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn nobody_accepts_what_they_were_not_shown() {
    let (world, operator) = with_billing().await;
    let list = json!({ "operations": [get()] });
    let shown = accepted(&world, &operator, &list).await;
    let mut other = shown.clone();
    other["operations"] = json!([get(), pay()]);
    let mut raised = shown.clone();
    raised["operations"][0]["class"] = json!("write");
    for wrong in [list, other, raised] {
        let refused = world.run(&operator, IMPORT, &["billing"], wrong).await;
        assert_eq!(refused.refusal(), (409, "request.precondition"));
        assert_eq!(world.newest("admin.refused").await["reason"], "request.precondition");
    }
    assert_eq!(scopes(&world), "");
    // Somebody else changed the API meanwhile.
    let there = operation("invoice.get", "write", "GET", "/invoices/{id}");
    world.done(&operator, Operation::ResourceOperationAdd, &["billing"], there).await;
    let late = world.done(&operator, IMPORT, &["billing"], shown.clone()).await;
    assert_eq!((words(&late), scopes(&world)), (vec!["same"], "write:invoice.get".to_owned()));
    let gone = ["billing", "invoice.get"];
    world.done(&operator, Operation::ResourceOperationRemove, &gone, json!({})).await;
    world.done(&operator, IMPORT, &["billing"], shown).await;
    assert_eq!(scopes(&world), "read:invoice.get");
}

#[tokio::test]
async fn a_list_lowers_a_class_only_by_the_word_of_the_owner() {
    let (world, operator) = with_billing().await;
    imported(&world, &operator, &json!({ "operations": [pay()] })).await;
    let mut read = pay();
    read["class"] = json!("read");
    let proposed = imported(&world, &operator, &json!({ "operations": [read] })).await;
    assert_eq!((words(&proposed), scopes(&world)), (vec!["same"], "write:invoice.pay".to_owned()));
    read["stated"] = json!(true);
    let stated = imported(&world, &operator, &json!({ "operations": [read] })).await;
    assert_eq!((words(&stated), scopes(&world)), (vec!["class"], "read:invoice.pay".to_owned()));
}

#[tokio::test]
async fn what_is_at_a_place_is_left_there_unless_others_are_removed() {
    let (world, operator) = with_billing().await;
    imported(&world, &operator, &json!({ "operations": [get()] })).await;
    let twin = operation("getInvoice", "read", "GET", "/invoices/{number}");
    let list = json!({ "operations": [twin, pay()] });
    let done = imported(&world, &operator, &list).await;
    assert_eq!(words(&done), ["taken", "new"]);
    assert_eq!(done["operations"][0]["before"], "read:invoice.get GET /invoices/{id}");
    assert_eq!(scopes(&world), "read:invoice.get write:invoice.pay");
    let list = json!({ "operations": [twin, pay()], "remove_others": true });
    assert_eq!(words(&imported(&world, &operator, &list).await), ["new", "same", "removed"]);
    assert_eq!(scopes(&world), "read:getInvoice write:invoice.pay");
}

#[tokio::test]
async fn a_list_of_another_form_changes_nothing() {
    let (world, operator) = with_billing().await;
    let many: Vec<_> =
        (0..1001).map(|n| operation(&format!("o{n}"), "read", "GET", &format!("/o{n}"))).collect();
    for wrong in [
        json!({ "operations": [operation("a b", "read", "GET", "/a")] }),
        json!({ "operations": [operation("a", "none", "GET", "/a")] }),
        json!({ "operations": [operation("a", "read", "OPTIONS", "/a")] }),
        json!({ "operations": [operation("a", "read", "GET", "/{a}.json")] }),
        json!({ "operations": [get(), operation("other", "read", "GET", "/Invoices/{n}")] }),
        json!({ "operations": [get(), operation("invoice.get", "read", "GET", "/other")] }),
        json!({ "operations": many }),
        json!({ "operations": [], "remove_others": true }),
        json!({ "operations": {} }),
        json!({}),
    ] {
        for operation in [PLAN, IMPORT] {
            let refused = world.run(&operator, operation, &["billing"], wrong.clone()).await;
            assert_eq!(refused.refusal(), (400, "request.malformed"), "{wrong}");
        }
    }
    let unknown = world.run(&operator, PLAN, &["other"], json!({ "operations": [] })).await;
    assert_eq!(unknown.refusal(), (404, "resource.unknown"));
    // The twin: as many as an API may have.
    let list = json!({ "operations": many[..1000] });
    assert_eq!(imported(&world, &operator, &list).await["applied"], true);
}

#[tokio::test]
async fn a_list_does_no_more_than_its_operator_may_do_one_by_one() {
    let (world, operator) = with_billing().await;
    let own = ["read:resource.operation_plan", "write:resource.operation_import"];
    let bare = operator_with(&world, &operator, "bare", &own).await;
    let list = accepted(&world, &bare, &json!({ "operations": [get(), pay()] })).await;
    let refused = world.run(&bare, IMPORT, &["billing"], list.clone()).await;
    assert_eq!(refused.refusal(), (403, "scope.missing"));
    let adds = [&own[..], &["write:resource.operation_add"]].concat();
    let adds = operator_with(&world, &operator, "adds", &adds).await;
    world.done(&adds, IMPORT, &["billing"], list).await;
    let mut raised = pay();
    raised["class"] = json!("irreversible");
    for list in
        [json!({ "operations": [get()], "remove_others": true }), json!({ "operations": [raised] })]
    {
        let list = accepted(&world, &adds, &list).await;
        let refused = world.run(&adds, IMPORT, &["billing"], list.clone()).await;
        assert_eq!(refused.refusal(), (403, "scope.missing"));
        assert_eq!(scopes(&world), "read:invoice.get write:invoice.pay");
    }
    // The twin: who may do both.
    imported(&world, &operator, &json!({ "operations": [raised] })).await;
    assert_eq!(scopes(&world), "read:invoice.get irreversible:invoice.pay");
}

#[tokio::test]
async fn a_list_whose_entries_cannot_all_be_written_changes_nothing() {
    let (world, operator) = with_billing().await;
    let many: Vec<_> =
        (0..900).map(|n| operation(&format!("o{n}"), "read", "GET", &format!("/o{n}"))).collect();
    let list = accepted(&world, &operator, &json!({ "operations": many })).await;
    let before = world.store.version().await.unwrap();
    let token = world.token(&operator, &format!("{ADMIN}/admin")).await;
    let request = world.request(&operator, &token, IMPORT, (&["billing"], list)).await;
    let size = world.journal.size();
    // The journal ends after the intent.
    let ended = async {
        while world.journal.size() <= size {
            tokio::task::yield_now().await;
        }
        world.journal.clone().close().await;
    };
    let (refused, ()) = tokio::join!(world.admin(request), ended);
    assert_eq!(refused.refusal(), (503, "journal.unavailable"));
    assert_eq!((world.store.version().await.unwrap(), scopes(&world)), (before, String::new()));
}
