//! `attorn dev --once`: the demonstration checks itself.

use crate::support::Folder;

#[test]
fn the_demonstration_goes_as_it_must() {
    let folder = Folder::new("dev");
    let ended = folder.attorn(&["dev", "--once", "--dir", "demo"]).expect(0);
    for expected in [
        "ok   allowed:",
        "subject   ann",
        "ok   what ann may not do, the agent may not do for her",
        "ok   the API was told for whom, which agent asked, and through which server",
        "call.decided",
        "call.completed",
        "ok   it sees: search_invoices",
        "approval.required",
        "ok   a person sees exactly what will be sent: {\"id\":\"inv-1001\"}",
        "ok   approved, it is made:",
        "ok   and only once",
        "ok   refused: HTTP 401",
        "ok   after one changed byte:",
        "Everything went as it must.",
    ] {
        assert!(ended.out.contains(expected), "{expected}\n{}", ended.out);
    }
    // A secret in the output would end up in a terminal's history or a CI log.
    let token = std::fs::read_to_string(folder.path().join("demo/profile/stolen-token.txt"));
    assert!(!ended.out.contains(token.unwrap().trim()));
    assert!(!ended.out.contains("PRIVATE KEY"));

    let export = folder.path().join("demo/export.json").display().to_string();
    folder.attorn(&["audit", "verify", &export]).expect(0);
}

#[test]
fn a_kept_folder_starts_again() {
    let folder = Folder::new("dev-again");
    folder.attorn(&["dev", "--once", "--dir", "demo"]).expect(0);
    folder.attorn(&["dev", "--once", "--dir", "demo"]).expect(0);
}
