//! Following the registry of an authority that runs elsewhere.
//!
//! One question after the other, each from the version in force; see `authority/admin/gateways.rs`
//! for the other side. Each question acknowledges what is in force here. What is not verified by
//! the issuer's keys, for us and for this very question, changes nothing. Cut off, nothing is done
//! here: the gateway refuses by itself once [`Freshness`] has ended. Refused because another process
//! goes on as this gateway, it ends at once.

use std::sync::Arc;
use std::time::Duration;

use attorn_connect::World;
use attorn_enforce::Freshness;
use attorn_gateway::{ObservedTool, SeenTools};
use attorn_journal::Journal;
use attorn_net::Shutdown;
use attorn_oauth::access_token::{Expected, IssuerKeys};
use attorn_oauth::jwks::{self, JWKS_LIMITS};
use attorn_oauth::registry_message::{
    self, NotFollowed, RegistryChange, RegistryMessage, RegistryMessageRefusal,
};
use attorn_registry::{Published, ReasonCode};
use attorn_store::{InForce, Mark};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admin::{Admin, Operation};
use crate::args::Change;
use crate::clock;
use crate::exit::Failure;
use crate::json::text;
use crate::output::{Format, Output};
use crate::outside::causes;
use crate::profile::{Profile, Who};

use super::lease::LeaseFile;

/// A gateway's view of its authority.
pub(super) struct Follower {
    profile: Profile,
    pub(super) published: Arc<Published>,
    pub(super) freshness: Arc<Freshness>,
    kept: Kept,
    keys: IssuerKeys,
    /// Names this process to the authority.
    run: String,
}

/// What a gateway's state folder says of it to the authority.
pub(super) struct Kept {
    /// It outlives the process: an authority that knows less than we did is not followed.
    pub(super) mark: Mark,
    pub(super) lease: LeaseFile,
    pub(super) journal: Journal,
}

impl Follower {
    pub(super) fn new(
        profile: Profile,
        published: Arc<Published>,
        freshness: Arc<Freshness>,
        kept: Kept,
    ) -> Self {
        let run = attorn_jose::base64url(&clock::random::<16>());
        Self { profile, published, freshness, kept, keys: IssuerKeys::default(), run }
    }

    /// Follows until the shutdown. What goes wrong is tried again.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut admin = None;
        loop {
            let asked = tokio::select! {
                () = shutdown.started() => return,
                asked = self.ask(&mut admin) => asked,
            };
            if let Err(failure) = asked {
                let pause = self.failed(&failure);
                admin = None;
                tokio::select! {
                    () = shutdown.started() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }

    /// Says what is wrong, and after which time to ask again.
    fn failed(&self, failure: &Failure) -> Duration {
        let error = &failure.what;
        let is_fenced = matches!(
            failure.reason,
            Some(ReasonCode::GatewayCopied | ReasonCode::GatewayLogForked)
        );
        if !is_fenced {
            tracing::error!(error, "the registry cannot be followed");
            return PAUSE_AFTER_FAILURE;
        }
        // Another one serves in our place: from now on nothing is answered here.
        self.freshness.end();
        let name = &self.profile.identity.name;
        tracing::error!(
            error,
            "this gateway refuses everything: stop the process that should not run, then \
             `attorn gateway reset {name} --reason …`"
        );
        PAUSE_WHEN_FENCED
    }

    /// One question and its answer.
    async fn ask(&mut self, admin: &mut Option<Admin>) -> Result<(), Failure> {
        let admin = match admin {
            Some(admin) => admin,
            None => admin.insert(open(&self.profile).await?),
        };
        let (nonce, asked_at) = (attorn_jose::base64url(&clock::random::<16>()), Instant::now());
        let after = self.published.load().version;
        let log = self.kept.journal.checkpoint().checkpoint;
        let question = json!({
            "after": after,
            "lease": self.kept.lease.held(),
            "log_root": log.root.to_base64(),
            "log_size": log.size,
            "nonce": nonce,
            "run": self.run,
        });
        let answer = admin.post_read(Operation::RegistryFollow, question).await?;
        let message = text(&answer, "message").unwrap_or_default();
        let verified = match self.verified(message, &nonce) {
            Err(RegistryMessageRefusal::KeyUnknown) => {
                self.keys = issuer_keys(&self.profile).await?;
                self.verified(message, &nonce)
            }
            verified => verified,
        };
        let message = verified.map_err(|refusal| Failure::broken(refusal.to_string()))?;
        // Before it is presented. A lease that cannot be kept, on a full disk say, is not: the one
        // we have counts until we present another, and a lock must be heard all the same.
        if let Some(lease) = message.lease
            && let Err(error) = self.kept.lease.keep(lease)
        {
            tracing::warn!(%error, "the new lease of this gateway cannot be kept");
        }
        self.take(message.change)?;
        self.freshness.note_heard(asked_at);
        Ok(())
    }

    fn verified(
        &self,
        message: &str,
        nonce: &str,
    ) -> Result<RegistryMessage, RegistryMessageRefusal> {
        let identity = &self.profile.identity;
        let expected =
            Expected { issuer: &identity.issuer, audience: &identity.client_id, keys: &self.keys };
        registry_message::verify(message, &expected, nonce)
    }

    fn take(&self, change: RegistryChange) -> Result<(), Failure> {
        let (now, known) = (self.published.load(), self.kept.mark.at());
        let next = change.leading_on(&now, (known.version, known.epoch)).map_err(not_followed)?;
        let in_force = next.as_ref().unwrap_or(&now);
        let in_force = InForce { version: in_force.version, epoch: in_force.epoch };
        // First, and also where nothing is new: until a mark that could not be written is, the
        // authority does not count as heard. What it said is in force all the same.
        let marked = self.kept.mark.raise(in_force);
        if let Some(next) = next {
            self.published.publish(next);
        }
        marked.map_err(|e| Failure::broken(causes(&e)))
    }
}

fn not_followed(refusal: NotFollowed) -> Failure {
    let failure = Failure::broken(refusal.to_string());
    match refusal {
        NotFollowed::Older => failure.next("attorn key rotate --emergency"),
        NotFollowed::AnotherQuestion | NotFollowed::Delta(_) => failure,
    }
}

/// A session of our own. After a failure another one is opened, with the certificate of then.
async fn open(profile: &Profile) -> Result<Admin, Failure> {
    Admin::with_profile(profile.renewed()?, Output::new(Format::Ndjson)).await
}

/// The issuer's keys as it shows them now, from the place that its tokens are verified with too.
async fn issuer_keys(profile: &Profile) -> Result<IssuerKeys, Failure> {
    let World { client, .. } = profile.renewed()?.world()?;
    let request = Request::get(format!("{}/jwks", profile.identity.issuer)).body(Bytes::new());
    let request = request.map_err(|e| Failure::usage(causes(&e)))?;
    let response = client.send(request).await.map_err(|e| Failure::unreachable(causes(&e)))?;
    let body = response.into_body().bytes(JWKS_LIMITS.bytes_max).await;
    let body = body.map_err(|e| Failure::unreachable(causes(&e)))?;
    jwks::parse(&body).map_err(|e| Failure::broken(causes(&e)))
}

/// Tells the authority of tools, one listing after the other. What is lost is seen again at the
/// next look.
pub(super) async fn report(
    profile: Profile,
    mut seen: mpsc::Receiver<SeenTools>,
    shutdown: Shutdown,
) {
    let mut admin = None;
    loop {
        let seen = tokio::select! {
            () = shutdown.started() => return,
            seen = seen.recv() => seen,
        };
        let Some(seen) = seen else { return };
        if let Err(failure) = tell(&mut admin, &profile, &seen).await {
            tracing::error!(error = failure.what, "seen tools are not told");
            admin = None;
        }
    }
}

async fn tell(
    admin: &mut Option<Admin>,
    profile: &Profile,
    seen: &SeenTools,
) -> Result<(), Failure> {
    let admin = match admin {
        Some(admin) => admin,
        None => admin.insert(open(profile).await?),
    };
    let place = [seen.server.as_str()];
    for part in parts(&seen.tools) {
        let (body, change) = (json!({ "tools": part }), Change { dry_run: false });
        match admin.send_change(Operation::ServerSeen, &place, body, change).await {
            // What the authority does not take hides nothing that comes after it.
            Err(Failure { reason: Some(reason), what, .. }) => {
                tracing::error!(reason = reason.as_str(), error = what, "seen tools are refused");
            }
            told => drop(told?),
        }
    }
    Ok(())
}

/// The tools as the authority is told of them, in pieces that it takes: definitions may be long, and
/// one that is hides nothing beside it.
fn parts(tools: &[ObservedTool]) -> Vec<Vec<Value>> {
    let mut parts: Vec<Vec<Value>> = Vec::new();
    let mut bytes = 0_usize;
    for tool in tools {
        let told = json!({
            "name": tool.name,
            "definition": tool.definition,
            "proposed_class": tool.proposed_class.as_str(),
        });
        let length = told.to_string().len() + 1;
        if let Some(part) = parts.last_mut().filter(|_| bytes + length <= PART_BYTES_MAX) {
            bytes += length;
            part.push(told);
        } else {
            bytes = length;
            parts.push(vec![told]);
        }
    }
    parts
}

/// The identity of this gateway, enrolled with `attorn enroll`.
pub(super) fn load_profile(folder: &std::path::Path) -> Result<Profile, Failure> {
    Profile::load(folder, Who::Gateway)
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("issuer", &self.profile.identity.issuer)
            .finish_non_exhaustive()
    }
}

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// A person has to look; each question leaves an entry.
const PAUSE_WHEN_FENCED: Duration = Duration::from_secs(5);
/// The authority takes 1 MiB. A definition has 256 KiB at most, and as a text twice that at worst.
const PART_BYTES_MAX: usize = 768 << 10;

#[cfg(test)]
mod tests {
    use attorn_registry::Class;

    use super::*;

    fn tool(name: &str, definition: String) -> ObservedTool {
        let (name, digest, proposed_class) = (name.to_owned(), [0; 32], Class::Read);
        ObservedTool { name, definition, digest, proposed_class }
    }

    #[test]
    fn a_long_definition_is_told_apart_from_the_others() {
        let check = |tools: &[ObservedTool], expected: &[&[&str]]| {
            let parts = parts(tools);
            let names = |part: &Vec<Value>| -> Vec<String> {
                part.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!(parts.iter().map(names).collect::<Vec<_>>(), expected);
            assert!(parts.iter().all(|part| json!({ "tools": part }).to_string().len() < 1 << 20));
        };
        // As long as a definition may be, of nothing but what doubles in a text.
        let long = || "\"".repeat(256 << 10);
        let short = || "{}".to_owned();
        check(&[], &[]);
        check(&[tool("a", short()), tool("b", short())], &[&["a", "b"]]);
        check(
            &[tool("a", short()), tool("b", long()), tool("c", long()), tool("d", short())],
            &[&["a", "b"], &["c", "d"]],
        );
    }
}
