//! The way out of servers that know nothing of Attorn, with the keys that this process holds for them.

use std::sync::Arc;
use std::time::Duration;

use attorn_authority::Authority;
use attorn_connect::exchange::ServerIdentity;
use attorn_egress::{Egress, Keys, Parts};
use attorn_enforce::record::Recorder;
use attorn_net::{Client, ClientConfig, Clock, Limits, Listener, Roots, Shutdown, serve};
use attorn_telemetry::Telemetry;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::exit::Failure;
use crate::files;
use crate::outside::{causes, system_random};

use super::Followed;
use super::node::Node;
use super::server_keys;

/// Makes what the configuration names, and serves the addresses it names. Children of servers get
/// theirs when they are started.
pub(super) async fn start(
    config: &Config,
    issuer: &str,
    (node, followed, authority): (&Node, &Followed, Option<&Authority>),
    (telemetry, clock): (&Telemetry, &Clock),
    (serving, shutdown): (&mut JoinSet<()>, &Shutdown),
) -> Result<Option<Egress>, Failure> {
    if config.egress.is_empty() {
        return Ok(None);
    }
    let alone = || Failure::usage("`[[egress]]` needs the authority in the same process");
    let authority = authority.ok_or_else(alone)?;
    let rules = config.egress.iter().map(|rule| client(rule).map(|client| (rule.clone(), client)));
    let folder = server_keys::folder(&config.state);
    let egress = Egress::new(Parts {
        rules: rules.collect::<Result<_, Failure>>()?,
        issuer: issuer.to_owned(),
        published: Arc::clone(&followed.published),
        freshness: Arc::clone(&followed.freshness),
        recorder: Recorder::new(node.journal.clone(), clock.clone(), node.payload_key.clone()),
        keys: Keys::new(move |server| {
            let key = server_keys::held(&folder, server)?;
            Some(ServerIdentity { client_id: server.id.to_string(), key })
        }),
        evidence: authority.evidence_key(),
        clock: clock.clone(),
        random: system_random(),
        telemetry: telemetry.clone(),
    });
    let egress = egress.map_err(|e| Failure::usage(format!("`[[egress]]`: {e}")))?;
    for (address, service) in egress.listeners() {
        let listener = Listener::bind(address, None)
            .await
            .map_err(|e| Failure::usage(causes(&e)).next("see [[egress]] in attorn.toml"))?;
        serving.spawn(serve(listener, service, Limits::default(), shutdown.clone()));
    }
    Ok(Some(egress))
}

/// What reaches the API of a rule, and the issuer for it.
fn client(rule: &attorn_egress::Config) -> Result<Client, Failure> {
    let roots = match &rule.roots {
        Some(path) => Roots::Pem(files::read_text(path)?),
        None => Roots::Public,
    };
    let (http2, body_timeout) = (true, Some(REST));
    Client::new(ClientConfig { roots, http2, body_timeout, ..ClientConfig::default() })
        .map_err(|e| Failure::usage(format!("cannot set up TLS: {}", causes(&e))))
}

/// Time between two pieces of an answer.
const REST: Duration = Duration::from_secs(300);
