//! Guards and ways out of this machine's configuration, compared with what the authority knows.
//!
//! *Not* checked: whether an API answers, what a program prints that gives its key, and whether the
//! rules give what a server needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use attorn_egress::StaticKey;
use http::HeaderValue;
use serde_json::Value;

use super::asked;
use super::funnel::{Funnel, word};
use crate::admin::{Admin, Operation, items};
use crate::config::{Config, Follow};
use crate::exit::Failure;
use crate::files;
use crate::json::{member, text};
use crate::output::clean;
use crate::profile::{Profile, Who};

/// What was found, or what is wrong.
#[derive(Debug)]
enum Found {
    Failed(Failure),
    Finding { what: String, fix: String },
    Well(String),
}

/// Looks at every `[[guard]]` and `[[egress]]`, and at the gateway that `[follow]` names.
pub(super) async fn look(funnel: &mut Funnel, admin: &Admin, config: &Config) {
    if let Some(follow) = &config.follow {
        followed(funnel, admin, follow).await;
    }
    if config.guard.is_empty() && config.egress.is_empty() {
        return;
    }
    let resources = match asked::listed(admin, Operation::ResourceList).await {
        Ok(answer) => answer,
        Err(failure) => return funnel.fail("apis", &failure),
    };
    for guard in &config.guard {
        let url = guard.public_url.as_str();
        tell(funnel, &format!("guard {url}"), api(items(&resources), url));
    }
    if config.egress.is_empty() {
        return;
    }
    let servers = match asked::listed(admin, Operation::ServerList).await {
        Ok(answer) => answer,
        Err(failure) => return funnel.fail("egress", &failure),
    };
    for way in &config.egress {
        let (server, url) = (way.server.as_str(), way.resource.as_str());
        let step = format!("egress {server}");
        tell(funnel, &step, way_out((items(&servers), server), (items(&resources), url)));
        if let Some(key) = &way.key {
            tell(funnel, &format!("key for {url}"), static_key(key));
        }
    }
}

fn tell(funnel: &mut Funnel, step: &str, found: Found) {
    match found {
        Found::Failed(failure) => funnel.fail(step, &failure),
        Found::Finding { what, fix } => funnel.find(step, &what, &fix),
        Found::Well(detail) => funnel.ok(step, &detail),
    }
}

/// Whether the authority knows the gateway or guard that runs here in a process of its own.
async fn followed(funnel: &mut Funnel, admin: &Admin, follow: &Follow) {
    let listed = asked::listed(admin, Operation::GatewayList).await;
    let own = Profile::load(&follow.profile, Who::Gateway);
    match (own, listed) {
        (Ok(own), Ok(listed)) => {
            let name = clean(&own.identity.name);
            tell(funnel, "follow", gateway(items(&listed), &own.identity.client_id, &name));
        }
        (Err(failure), _) | (_, Err(failure)) => funnel.fail("follow", &failure),
    }
}

fn gateway(listed: &[Value], client_id: &str, name: &str) -> Found {
    let own = listed.iter().find(|one| text(one, "id") == Some(client_id));
    let Some(own) = own else {
        let failure = Failure::no(format!("the authority knows no gateway `{name}`"));
        let name = word(name);
        let next = format!("attorn gateway register {name} --owner OWNER --code-file FILE");
        return Found::Failed(failure.next(next));
    };
    let state = text(own, "state").unwrap_or_default();
    if state != "active" || member(own, "serves") != true {
        let failure = Failure::no(format!("{name} is {} and may not serve", clean(state)));
        return Found::Failed(failure.next("attorn gateway list"));
    }
    Found::Well(format!("{name} is known and may serve"))
}

/// An API by the URL that a configuration names.
fn api(resources: &[Value], url: &str) -> Found {
    let resource = match registered(resources, url) {
        Ok(resource) => resource,
        Err(failure) => return Found::Failed(failure),
    };
    let name = clean(text(resource, "name").unwrap_or_default());
    match member(resource, "operations").as_array().map_or(0, Vec::len) {
        0 => Found::Finding {
            what: format!("{name} has no operations, so every request is refused"),
            fix: format!("attorn resource operation import {} openapi.json", word(&name)),
        },
        count => Found::Well(format!("{name}, active, {count} operations")),
    }
}

fn registered<'r>(resources: &'r [Value], url: &str) -> Result<&'r Value, Failure> {
    let found = resources.iter().find(|one| text(one, "url") == Some(url));
    let resource = found.ok_or_else(|| {
        Failure::no("no API is registered with this URL")
            .next(format!("attorn resource register NAME --owner OWNER --url {}", word(url)))
    })?;
    let (name, state) = (text(resource, "name"), text(resource, "state"));
    if state == Some("active") {
        return Ok(resource);
    }
    let (name, state) = (clean(name.unwrap_or_default()), clean(state.unwrap_or_default()));
    let next = format!("attorn resource show {}", word(&name));
    Err(Failure::no(format!("{name} is {state}")).next(next))
}

/// A server, the API that it has a way to, and whether a rule gives it anything there.
fn way_out((servers, server): (&[Value], &str), (resources, url): (&[Value], &str)) -> Found {
    let known = servers.iter().find(|one| text(one, "name") == Some(server));
    let Some(known) = known else {
        let failure = Failure::no(format!("no server `{}` is registered", clean(server)));
        return Found::Failed(failure.next("attorn server list"));
    };
    let state = text(known, "state").unwrap_or_default();
    if state != "active" {
        let failure = Failure::no(format!("the server is {}", clean(state)));
        return Found::Failed(failure.next(format!("attorn server show {}", word(server))));
    }
    let resource = match registered(resources, url) {
        Ok(resource) => resource,
        Err(failure) => return Found::Failed(failure),
    };
    let name = clean(text(resource, "name").unwrap_or_default());
    let rules = member(resource, "downstreams").as_array().into_iter().flatten();
    match rules.filter(|rule| text(rule, "server") == Some(server)).count() {
        0 => Found::Finding {
            what: format!("no rule gives it anything at {name}"),
            fix: format!(
                "attorn server downstream allow {} {} --from SCOPE --to SCOPE",
                word(server),
                word(&name)
            ),
        },
        count => Found::Well(format!("{name}, {count} rules")),
    }
}

/// The key of an API that knows nothing else. A program is found and not run: it may do more than print.
fn static_key(key: &StaticKey) -> Found {
    let told = match (&key.file, key.command.as_deref().and_then(<[String]>::first)) {
        (Some(path), _) => key_file(key, path),
        (None, Some(program)) => key_program(program),
        (None, None) => Err(Failure::usage("it has neither `file` nor `command`")),
    };
    told.map_or_else(Found::Failed, Found::Well)
}

fn key_file(key: &StaticKey, path: &Path) -> Result<String, Failure> {
    let secret = zeroize::Zeroizing::new(files::read_private(path)?);
    let secret = secret.trim_end();
    let line = zeroize::Zeroizing::new(format!("{}{secret}", key.prefix));
    if secret.is_empty() || HeaderValue::from_str(&line).is_err() {
        let what = format!("`{}` is no key: one line of visible ASCII", path.display());
        return Err(Failure::usage(what).next("write the key into it again"));
    }
    Ok(format!("`{}`, readable by its owner alone", path.display()))
}

fn key_program(program: &str) -> Result<String, Failure> {
    let is_program = |path: &Path| {
        let meta = std::fs::metadata(path);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let is_there = if program.contains('/') {
        is_program(Path::new(program))
    } else {
        path.split(':').any(|folder| is_program(&Path::new(folder).join(program)))
    };
    if is_there {
        return Ok(format!("`{}` is there; it was not run", clean(program)));
    }
    let failure = Failure::usage(format!("there is no program `{}`", clean(program)));
    Err(failure.next("see `command` under [[egress]] in attorn.toml"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "https://api.example/billing";

    /// A word for what was found, and the command that is named.
    fn told(found: Found) -> (&'static str, String) {
        match found {
            Found::Failed(failure) => ("failed", failure.next.unwrap_or_default()),
            Found::Finding { fix, .. } => ("finding", fix),
            Found::Well(detail) => ("well", detail),
        }
    }

    #[track_caller]
    fn check(found: Found, word: &str, text: &str) {
        let told = told(found);
        assert!(told.0 == word && told.1.contains(text), "{told:?}");
    }

    fn resource(state: &str, operations: usize, rules: &[&str]) -> Vec<Value> {
        let rules: Vec<_> = rules.iter().map(|server| json!({ "server": server })).collect();
        vec![json!({
            "name": "billing", "url": URL, "state": state, "downstreams": rules,
            "operations": vec![json!({}); operations],
        })]
    }

    #[test]
    fn a_guard_stands_before_an_api_that_is_registered_and_can_be_asked() {
        check(api(&resource("active", 2, &[]), URL), "well", "2 operations");
        check(api(&resource("active", 0, &[]), URL), "finding", "operation import billing");
        check(api(&resource("suspended", 2, &[]), URL), "failed", "resource show billing");
        check(api(&[], URL), "failed", "resource register");
        let other = api(&resource("active", 2, &[]), "https://api.example/billing/");
        check(other, "failed", "resource register");
    }

    #[test]
    fn a_way_out_has_a_server_an_api_and_a_rule() {
        let servers = |state: &str| vec![json!({ "name": "crm", "state": state })];
        let way =
            |servers: &[Value], resources: &[Value]| way_out((servers, "crm"), (resources, URL));
        let (active, ruled) = (servers("active"), resource("active", 1, &["crm", "other"]));
        check(way(&active, &ruled), "well", "1 rules");
        check(way(&active, &resource("active", 1, &["other"])), "finding", "downstream allow crm");
        check(way(&active, &[]), "failed", "resource register");
        check(way(&servers("suspended"), &ruled), "failed", "server show crm");
        check(way(&[], &ruled), "failed", "server list");
    }

    #[test]
    fn a_gateway_of_its_own_is_known_and_may_serve() {
        let listed = |state: &str, serves: bool| {
            vec![json!({ "id": "agt_1", "name": "guard-1", "state": state, "serves": serves })]
        };
        let found = |listed: &[Value]| gateway(listed, "agt_1", "guard-1");
        check(found(&listed("active", true)), "well", "guard-1");
        check(found(&listed("active", false)), "failed", "gateway list");
        check(found(&listed("suspended", false)), "failed", "gateway list");
        check(found(&[]), "failed", "gateway register guard-1");
    }

    #[test]
    fn a_key_is_one_line_that_nobody_else_reads_or_a_program_that_is_there() {
        let key = |members: Value| serde_json::from_value::<StaticKey>(members).unwrap();
        let folder = std::env::temp_dir().join(format!("attorn-doctor-key-{}", std::process::id()));
        files::make_private_folder(&folder).unwrap();
        let path = folder.join("key");
        let of_file = || static_key(&key(json!({ "file": path, "prefix": "Bearer " })));
        check(of_file(), "failed", "");
        for (text, word) in [("s3cret\n", "well"), ("\n", "failed"), ("a\nb", "failed")] {
            files::write_private(&path, text.as_bytes()).unwrap();
            check(of_file(), word, "");
        }
        files::write_private(&path, b"s3cret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        check(of_file(), "failed", "chmod 600");
        std::fs::remove_dir_all(&folder).unwrap();
        check(static_key(&key(json!({ "command": ["sh", "-c", "exit 1"] }))), "well", "not run");
        check(static_key(&key(json!({ "command": ["/bin/sh"] }))), "well", "not run");
        for program in ["attorn-no-such-program", "/bin", "/no/such"] {
            check(static_key(&key(json!({ "command": [program] }))), "failed", "command");
        }
        check(static_key(&key(json!({}))), "failed", "");
    }
}
