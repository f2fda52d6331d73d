//! Files of many changes, and servers of a registry, with the real binary.

use std::fs;

use crate::journey::installed;
use crate::support::Folder;

const FILE: &str = r#"
[[owners]]
name = "sales"

[[agents]]
name = "seller"
owner = "sales"

[[tools]]
server = "invoices"
name = "get_invoice"
class = "read"

[[grants]]
agent = "seller"
server = "invoices"
patterns = ["read:get_invoice"]

[policy]
file = "rules.cedar"
reason = "from git"
"#;

#[test]
fn a_file_is_applied_whole_or_not_at_all() {
    let folder = Folder::new("apply");
    let serving = installed(&folder);
    let rules = folder.attorn(&["policy", "show"]).expect(0).out;
    let rule = "\n@id(\"more\") forbid (principal, action, resource == Tool::\"invoices/none\");\n";
    fs::write(folder.path().join("rules.cedar"), format!("{rules}{rule}")).unwrap();
    fs::write(folder.path().join("registry.toml"), FILE).unwrap();
    let dry_run = ["apply", "-f", "registry.toml", "--dry-run"];
    let planned = folder.attorn(&dry_run).expect(0);
    assert!(planned.out.contains("4 changes to make, 1 as they are"), "{}", planned.out);
    folder.attorn(&["agent", "show", "seller"]).expect(1);

    let broken = FILE.replace("\"seller\"\nserver", "\"nobody\"\nserver");
    fs::write(folder.path().join("broken.toml"), broken).unwrap();
    folder.attorn(&["apply", "-f", "broken.toml", "--dry-run"]).expect(1);
    let refused = folder.attorn(&["apply", "-f", "broken.toml"]).expect(1);
    assert!(refused.err.contains("grants[0]: no such agent (agent.unknown)"), "{}", refused.err);
    folder.attorn(&["agent", "show", "seller"]).expect(1);

    let applied = folder.attorn(&["apply", "-f", "registry.toml", "-o", "json"]).expect(0).json();
    assert_eq!(applied["changes"].as_array().unwrap().len(), 4, "{applied}");
    folder.attorn(&["agent", "show", "seller"]).expect(0);
    let again = folder.attorn(&["apply", "-f", "registry.toml"]).expect(0);
    assert!(again.out.contains("0 changes made, 5 as they are"), "{}", again.out);
    folder.attorn(&["apply", "-f", "missing.toml"]).expect(2);
    serving.stop();
}
