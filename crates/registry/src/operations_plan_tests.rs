use proptest::prelude::*;

use super::*;
use crate::fixtures::{name, owner};
use crate::{Class, LifeCycle, PathTemplate, ResourceId};

/// `read a GET /x`.
fn operation(text: &str) -> ResourceOperation {
    let parts: Vec<_> = text.split(' ').collect();
    ResourceOperation {
        class: parts[0].parse().unwrap(),
        id: OperationId::parse(parts[1]).unwrap(),
        method: HttpMethod::parse(parts[2]).unwrap(),
        path: PathTemplate::parse(parts[3]).unwrap(),
    }
}

fn operations(texts: &[&str]) -> Vec<ResourceOperation> {
    texts.iter().map(|text| operation(text)).collect()
}

fn resource(operations: Vec<ResourceOperation>) -> Resource {
    Resource {
        id: ResourceId::from_random(&[9; 16]),
        name: name("billing"),
        url: "https://api.example/billing".into(),
        owner: Some(owner().id),
        state: LifeCycle::Active,
        key: None,
        operations,
        downstreams: Vec::new(),
        created_s: 0,
    }
}

fn proposed(operations: &[ResourceOperation]) -> Vec<WantedOperation> {
    let one = |operation: &ResourceOperation| WantedOperation {
        operation: operation.clone(),
        is_stated: false,
    };
    operations.iter().map(one).collect()
}

fn plan(there: &[&str], wanted: &[&str], removes_others: bool) -> OperationsPlan {
    let wanted = proposed(&operations(wanted));
    resource(operations(there)).plan_operations(&wanted, removes_others).unwrap()
}

#[track_caller]
fn check(there: &[&str], wanted: &[&str], changes: &[&str], after: &[&str]) {
    let plan = plan(there, wanted, false);
    let words: Vec<_> = plan.planned.iter().map(|one| one.change.as_str()).collect();
    assert_eq!(words, changes);
    assert_eq!(plan.operations, operations(after));
}

const GET: &str = "read get GET /invoices/{id}";
const PAY: &str = "write pay POST /invoices/{id}/pay";

#[test]
fn what_is_not_there_is_new_and_what_is_there_stays() {
    check(&[], &[GET, PAY], &["new", "new"], &[GET, PAY]);
    check(&[GET], &[PAY], &["new"], &[GET, PAY]);
    check(&[GET, PAY], &[PAY, GET], &["same", "same"], &[GET, PAY]);
}

#[test]
fn a_class_is_raised_and_never_lowered_unless_the_owner_says_so() {
    let (read, irreversible) = ("read pay POST /invoices/{id}/pay", "irreversible pay POST /x");
    check(&[read], &[PAY], &["class"], &[PAY]);
    check(&[PAY], &[read], &["same"], &[PAY]);
    check(&[irreversible], &["read pay GET /y"], &["moved"], &["irreversible pay GET /y"]);
    let stated = WantedOperation { operation: operation(read), is_stated: true };
    let lowered = resource(operations(&[PAY])).plan_operations(&[stated], false).unwrap();
    assert_eq!(lowered.planned[0].change, OperationChange::Class);
    assert_eq!(lowered.operations, operations(&[read]));
}

#[test]
fn a_method_or_path_that_is_another_is_told() {
    check(&[GET], &["read get GET /bills/{id}"], &["moved"], &["read get GET /bills/{id}"]);
    check(
        &[GET],
        &["write get POST /invoices/{id}"],
        &["moved"],
        &["write get POST /invoices/{id}"],
    );
    check(&[GET], &["read get GET /invoices/{n}"], &["moved"], &["read get GET /invoices/{n}"]);
}

#[test]
fn what_another_one_is_at_is_left_out() {
    let twin = "read getInvoice GET /invoices/{number}";
    check(&[GET], &[twin, PAY], &["taken", "new"], &[GET, PAY]);
    let plan = plan(&[GET], &[twin], false);
    assert_eq!(plan.planned[0].before, Some(operation(GET)));
    // Two may change places, and one that is left out is in the way of the next.
    let (a, b) = ("read a GET /a", "read b GET /b");
    let swapped = ["read a GET /b", "read b GET /a"];
    check(&[a, b], &swapped, &["moved", "moved"], &swapped);
    let c = "read c GET /c";
    let wanted = ["read a GET /b", "read b GET /c"];
    check(&[a, b, c], &wanted, &["taken", "taken"], &[a, b, c]);
}

#[test]
fn others_are_removed_where_that_is_asked_for() {
    let twin = "read getInvoice GET /invoices/{number}";
    let plan = plan(&[GET, PAY], &[twin], true);
    let words: Vec<_> = plan.planned.iter().map(|one| one.change.as_str()).collect();
    assert_eq!(words, ["new", "removed", "removed"]);
    assert_eq!(plan.operations, operations(&[twin]));
}

#[test]
fn a_list_that_contradicts_itself_or_is_too_long_is_refused() {
    let refused = |there: &[ResourceOperation], wanted: &[ResourceOperation]| {
        resource(there.to_vec()).plan_operations(&proposed(wanted), false).err()
    };
    let taken = Some(ResourceRefusal::OperationTaken);
    assert_eq!(refused(&[], &operations(&[GET, "read get GET /other"])), taken);
    assert_eq!(refused(&[], &operations(&[GET, "read two GET /INVOICES/{x}"])), taken);
    assert_eq!(refused(&[], &operations(&[GET, "write two POST /invoices/{x}"])), None);
    let many = |prefix: &str, count: usize| -> Vec<_> {
        (0..count).map(|n| operation(&format!("read {prefix}{n} GET /{prefix}{n}"))).collect()
    };
    assert_eq!(refused(&many("a", 400), &many("b", 600)), None);
    assert_eq!(refused(&many("a", 400), &many("b", 601)), Some(ResourceRefusal::TooMany));
}

#[test]
fn the_text_is_of_the_changes_alone() {
    let text = |there: &[&str], wanted: &[&str]| plan(there, wanted, true).text();
    assert_eq!(text(&[GET], &[GET]), None);
    let both = text(&[], &[GET, PAY]);
    assert_eq!(both.as_deref(), Some(BOTH));
    assert_eq!(text(&[], &[PAY, GET]), both);
    assert_eq!(text(&["read x GET /x"], &["read x GET /x", GET, PAY]), both);
    let all = [
        text(&[], &[GET]),
        text(&[GET], &["write get GET /invoices/{id}"]),
        text(&[GET], &["read get GET /invoices"]),
        text(&[GET], &[]),
        both,
    ];
    assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
}

const BOTH: &str = "attorn/operations/v1
new read:get GET /invoices/{id}
new write:pay POST /invoices/{id}/pay
";

fn any_operations() -> impl Strategy<Value = Vec<ResourceOperation>> {
    let one = (0..3_usize, "[a-d]", 0..2_usize, "[a-d]").prop_map(|(class, id, method, path)| {
        let (class, method) = (Class::ALL[class], ["GET", "POST"][method]);
        operation(&format!("{class} {id} {method} /{path}"))
    });
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        let mut none = resource(Vec::new());
        for one in all {
            if none.verify_operation(&one).is_ok() {
                none.operations.push(one);
            }
        }
        none.operations
    })
}

proptest! {
    #[test]
    fn a_plan_keeps_the_rules_and_done_again_changes_nothing(
        there in any_operations(),
        wanted in any_operations(),
        removes_others: bool,
    ) {
        let wanted = proposed(&wanted);
        let plan = resource(there.clone()).plan_operations(&wanted, removes_others).unwrap();
        let mut after = resource(Vec::new());
        for one in &plan.operations {
            prop_assert_eq!(after.verify_operation(one), Ok(()));
            after.operations.push(one.clone());
        }
        for one in &plan.operations {
            let own = there.iter().find(|own| own.id == one.id);
            prop_assert!(own.is_none_or(|own| own.class <= one.class));
        }
        prop_assert_eq!(plan.text().is_none(), plan.operations == there);
        let again = after.plan_operations(&wanted, removes_others).unwrap();
        // What was in the way may be gone now, so that another one moves there.
        let is_settled = plan.planned.iter().all(|one| one.change != OperationChange::Taken);
        if is_settled {
            prop_assert_eq!(again.text(), None);
            prop_assert_eq!(again.operations, plan.operations);
        }
    }
}
