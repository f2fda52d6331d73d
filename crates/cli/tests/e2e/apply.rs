//! Files of many changes, and servers of a registry, with the real binary.

use std::fs;

use crate::journey::{await_tools, installed};
use crate::support::{ATTORN, Folder};

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

const SERVER_JSON: &str = r#"{
  "$schema": "https://static.modelcontextprotocol.io/schemas/2025-09-29/server.schema.json",
  "name": "com.example/lnvoices", "description": "Invoices", "version": "1.0.0",
  "packages": [{ "registryType": "mcpb", "identifier": "https://example.com/i.mcpb",
    "version": "1.0.0", "transport": { "type": "stdio" },
    "fileSha256": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c" }]
}"#;

#[test]
fn a_server_of_a_registry_waits_with_its_findings() {
    let folder = Folder::new("import");
    let serving = installed(&folder);
    fs::write(folder.path().join("server.json"), SERVER_JSON).unwrap();
    // The file of the hash above, and another one.
    fs::write(folder.path().join("right.mcpb"), "foo\n").unwrap();
    fs::write(folder.path().join("other.mcpb"), "bar\n").unwrap();
    let import = |package: &str| {
        let import =
            ["server", "import", "server.json", "--owner", "finance", "--package", package];
        let run = ["-o", "json", "--", ATTORN, "sample-mcp-server"];
        folder.attorn(&[import.as_slice(), run.as_slice()].concat())
    };
    let answer = import("other.mcpb").expect(0).json();
    let findings = answer["findings"].as_array().unwrap().iter();
    let findings: Vec<_> = findings.map(|one| one["finding"].as_str().unwrap()).collect();
    assert_eq!(findings, ["looks_like_approved", "namespace_unproven", "package_hash_differs"]);
    let refused = folder.attorn(&["server", "resume", "lnvoices"]).expect(1);
    assert!(refused.err.contains("server.pending"), "{}", refused.err);
    folder.attorn(&["grant", "create", "reader", "lnvoices", "read:*"]).expect(0);
    folder.attorn(&["can-i", "reader", "lnvoices/get_invoice"]).expect(1);

    let accept = |findings: &[&str]| {
        let mut line = vec!["server", "accept", "lnvoices", "--reason", "looked at it"];
        findings.iter().for_each(|finding| line.extend(["--finding", finding]));
        folder.attorn(&line)
    };
    let unnamed = accept(&["namespace_unproven"]).expect(1);
    assert!(unnamed.err.contains("looks_like_approved"), "{}", unnamed.err);
    let listed = folder.attorn(&["server", "imports", "-o", "json"]).expect(0).json();
    assert_eq!((&listed[0]["state"], listed.as_array().unwrap().len()), (&"pending".into(), 1));
    // Nobody asked it anything while it waited: not even when the gateway asked a later one.
    let register =
        ["server", "register", "later", "--owner", "finance", "--", ATTORN, "sample-mcp-server"];
    folder.attorn(&register).expect(0);
    await_tools(&folder, "later");
    let tools = folder.attorn(&["server", "tools", "lnvoices", "-o", "json"]).expect(0).json();
    assert_eq!(tools.as_array().unwrap().len(), 0, "{tools}");

    accept(&findings).expect(0);
    await_tools(&folder, "lnvoices");
    // Its tools wait like any others.
    folder.attorn(&["can-i", "reader", "lnvoices/get_invoice"]).expect(1);
    folder.attorn(&["tools", "approve", "lnvoices"]).expect(0);
    folder.attorn(&["can-i", "reader", "lnvoices/get_invoice"]).expect(0);
    serving.stop();
}
