use super::*;

const HASH: &str = "fe333e598595000ae021bd27117db32ec69af6987f507ba7a63c90638ff633ce";

fn document() -> String {
    format!(
        r#"{{"$schema":"https://static.modelcontextprotocol.io/schemas/2025-09-29/server.schema.json",
        "name":"com.example/weather","description":"Weather","version":"1.2.0",
        "remotes":[{{"type":"sse","url":"https://weather.example/sse"}},
                   {{"type":"streamable-http","url":"https://weather.example/{{tenant}}/mcp"}},
                   {{"type":"streamable-http","url":"https://weather.example/mcp"}}],
        "packages":[{{"registryType":"mcpb","identifier":"https://weather.example/w.mcpb",
                     "version":"1.2.0","fileSha256":"{HASH}","transport":{{"type":"stdio"}}}}]}}"#
    )
}

fn parsed(text: &str) -> Result<ServerDocument, DocumentRefusal> {
    ServerDocument::parse(text)
}

#[test]
fn what_counts_is_read() {
    let document = parsed(&document()).unwrap();
    assert_eq!((document.namespace(), document.last_name()), ("com.example", "weather"));
    assert_eq!(document.remotes, ["https://weather.example/mcp"]);
    assert_eq!(document.packages[0].sha256.as_deref(), Some(HASH));
    assert!(!document.is_withdrawn);
}

#[test]
fn an_answer_of_a_registry_holds_the_document_and_its_status() {
    for (status, withdrawn) in [("active", false), ("deprecated", true), ("deleted", true)] {
        let meta = format!(
            r#""_meta":{{"io.modelcontextprotocol.registry/official":{{"status":"{status}"}}}}"#
        );
        let answer = parsed(&format!(r#"{{"server":{},{meta}}}"#, document())).unwrap();
        assert_eq!((answer.version.as_str(), answer.is_withdrawn), ("1.2.0", withdrawn));
    }
}

#[test]
fn a_document_with_two_readings_is_refused() {
    let own = document();
    let other = own.replace("com.example", "com.another");
    let members = own.strip_prefix('{').unwrap();
    let with = |server: &str| format!(r#"{{"server":{server},{members}"#);
    for text in [with(&other), with("{}"), with("null"), with("[]")] {
        assert_eq!(parsed(&text), Err(DocumentRefusal::Form), "{text}");
    }
    assert_eq!(parsed(r#"{"server":null}"#), Err(DocumentRefusal::Form));
    parsed(&format!(r#"{{"server":{other}}}"#)).unwrap();
}

#[test]
fn what_is_no_document_is_refused() {
    use DocumentRefusal as R;
    let with = |from: &str, to: &str| document().replacen(from, to, 1);
    for (text, expected) in [
        ("[]".to_owned(), R::Form),
        ("{}".to_owned(), R::Form),
        (with(r#""version":"1.2.0","#, r#""version":"1.2.0","version":"1.3.0","#), R::Form),
        (with("com.example/weather", "weather"), R::Name),
        (with("com.example/weather", "com.example/a/b"), R::Name),
        (with("com.example/weather", "com.example/wеather"), R::Name),
        (with("com.example/weather", "/weather"), R::Name),
        (with("1.2.0", "latest"), R::Version),
        (with("1.2.0", "^1.2.0"), R::Version),
        (with("1.2.0", "1.x"), R::Version),
        (with("1.2.0", "1.*"), R::Version),
        (with("1.2.0", ""), R::Version),
        (with("\"1.2.0\",\"fileSha256\"", "\">=1\",\"fileSha256\""), R::Version),
        (with(HASH, "fe33"), R::Hash),
        (with(HASH, &HASH.to_uppercase()), R::Hash),
        (with("w.mcpb", "\u{455}.mcpb"), R::PackageIdentifier),
        (with("w.mcpb", &"w".repeat(512)), R::PackageIdentifier),
    ] {
        assert_eq!(parsed(&text).unwrap_err(), expected, "{text}");
    }
}

fn facts<'a>(document: &'a ServerDocument, approved: &'a [ApprovedNames<'a>]) -> ImportFacts<'a> {
    ImportFacts {
        name: "weather",
        namespace_proven: true,
        package: document.packages.first(),
        package_sha256: Some(HASH),
        approved,
    }
}

#[test]
fn each_doubt_is_a_finding_and_without_any_there_is_none() {
    use ImportFinding as F;
    let document = parsed(&document()).unwrap();
    let base = || facts(&document, &[]);
    let without = ImportedPackage { identifier: "w".into(), sha256: None };
    for (facts, expected) in [
        (base(), vec![]),
        (ImportFacts { namespace_proven: false, ..base() }, vec![F::NamespaceUnproven]),
        (ImportFacts { package_sha256: None, ..base() }, vec![F::PackageNotCompared]),
        (ImportFacts { package_sha256: Some("00"), ..base() }, vec![F::PackageHashDiffers]),
        (ImportFacts { package: Some(&without), ..base() }, vec![F::PackageHashMissing]),
        (ImportFacts { package: None, ..base() }, vec![]),
    ] {
        assert_eq!(document.findings(&facts), expected, "{facts:?}");
    }
}

#[test]
fn a_name_like_that_of_an_approved_server_is_a_finding() {
    let document = parsed(&document()).unwrap();
    let check = |approved: ApprovedNames<'_>, expected: bool| {
        let found = document.findings(&facts(&document, &[approved]));
        assert_eq!(found.contains(&ImportFinding::LooksLikeApproved), expected, "{approved:?}");
    };
    let named = |name| ApprovedNames { name, source: None, package: None };
    check(named("weather"), true);
    check(named("wether"), true);
    check(named("crm"), false);
    // From the same source it is another version, and no imitation: if it is from there.
    let copied = ApprovedNames { source: Some("com.example/weather"), ..named("weather-one") };
    check(copied, false);
    let approved = [copied];
    let unproven = ImportFacts { namespace_proven: false, ..facts(&document, &approved) };
    let expected = [ImportFinding::LooksLikeApproved, ImportFinding::NamespaceUnproven];
    assert_eq!(document.findings(&unproven), expected);
    check(ApprovedNames { source: Some("com.exarnple/weather"), ..named("other") }, true);
    check(
        ApprovedNames { package: Some("https://weather.example/w.mcpb"), ..named("other") },
        true,
    );
}

#[test]
fn findings_are_spelled_as_they_are_stored() {
    for finding in ImportFinding::ALL {
        let stored = serde_json::to_string(&finding).unwrap();
        assert_eq!(stored, format!("\"{}\"", finding.as_str()));
        assert!(!finding.meaning().ends_with('.'));
    }
}
