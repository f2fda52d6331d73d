//! An entry of the journal as one event of [OCSF](https://schema.ocsf.io/1.9.0) 1.9.0.
//!
//! Implemented:
//! - API Activity (6003) for what an agent asks for and how it ended, Authentication (3002) for tokens,
//!   log-ins and proofs, Entity Management (3004) for what people and operators change or look at,
//!   and Base Event (0) for what the process tells of itself: `class`;
//! - the profiles `ai_operation` (`ai_agent`, `delegation`), `record_integrity`, `security_control`
//!   and `trace`;
//! - every entry, and all of it: the logged bytes are `raw_data`, their SHA-256 is `raw_data_hash`,
//!   their place is `metadata.sequence` in `metadata.log_source`, and what has no attribute in OCSF is
//!   in `unmapped`.
//!
//! Not implemented: signatures of single events. The log signs checkpoints, and the proof that
//! `raw_data` is in it comes from the log (`attorn audit proof`). The attestation has a fingerprint
//! alone, which shows that the event is as it left. It has no `prev_event`: entries are leaves of a
//! tree, not links of a chain.
//!
//! The event depends on the log, the place and the bytes, and on nothing else, so that what is sent
//! again is the same.

mod about;
mod class;
mod object;
mod parties;
mod verdict;

use serde_json::{Map, Value};

use self::class::{Activity, Class};
use self::object::Object;
use crate::Entry;
use crate::tree::{hex, leaf_hash, sha256};

/// The version of the schema.
const VERSION: &str = "1.9.0";

/// One event in canonical form (RFC 8785), without a line break: the entry with these bytes, at this
/// place of the log with this origin. Bytes that are no entry of ours become a Base Event that has
/// them as `raw_data`.
pub(crate) fn event(log: &str, index: u64, entry: &[u8]) -> Vec<u8> {
    let place = Place { log, index };
    let event = match Entry::parse(entry) {
        Ok(parsed) => place.of_entry(&parsed, entry),
        Err(_) => place.of_bytes(),
    };
    place.attested(event.and(raw(entry)))
}

/// The event in place of an entry that the other system refuses with `status`: its kind, its time and
/// its hashes, and nothing that a caller could have put into it.
pub(crate) fn refused(log: &str, index: u64, entry: &[u8], status: u16) -> Vec<u8> {
    let place = Place { log, index };
    let known = Entry::parse(entry).ok();
    let metadata = place
        .metadata(vec![RECORD_INTEGRITY])
        .with_some("event_code", known.as_ref().map(|entry| entry.kind.as_str()));
    let unmapped =
        Object::new().with("leaf_hash", leaf_hash(entry).to_base64()).with("refused", status);
    let event = classified(Class::BaseEvent, Activity::UNKNOWN)
        .with("message", format!("an entry that was refused with {status}: the log has it"))
        .with("metadata", metadata)
        .with("raw_data_hash", fingerprint(entry, (1, "Flat")))
        .with("raw_data_size", u64::try_from(entry.len()).unwrap_or(u64::MAX))
        .with("severity", "Medium")
        .with("severity_id", 3)
        .with("time", known.map_or(0, |entry| entry.time_ms))
        .with("unmapped", unmapped);
    place.attested(event)
}

/// Where an entry stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    log: &'a str,
    index: u64,
}

impl Place<'_> {
    fn of_entry(self, entry: &Entry, bytes: &[u8]) -> Object {
        let (class, activity) = class::of(entry);
        let about = match class {
            Class::ApiActivity => about::api_activity(entry),
            Class::Authentication => about::authentication(entry),
            Class::BaseEvent => Object::new(),
            Class::EntityManagement => about::entity_management(entry),
        };
        let about = about.and(verdict::of(entry));
        let profiles: Vec<&str> = PROFILES
            .iter()
            .filter(|(_, attribute)| about.has(attribute))
            .map(|(profile, _)| *profile)
            .chain([RECORD_INTEGRITY])
            .collect();
        let metadata = self
            .metadata(profiles)
            .with_some("correlation_uid", entry.decision_id.clone())
            .with("event_code", entry.kind.as_str());
        classified(class, activity)
            .and(about)
            .with("metadata", metadata)
            .with("time", entry.time_ms)
            .with_some("unmapped", unmapped(class, bytes))
    }

    /// Of an entry that only a later version can read: nothing is known but its bytes.
    fn of_bytes(self) -> Object {
        classified(Class::BaseEvent, Activity::UNKNOWN)
            .with("message", "an entry that this version cannot read")
            .with("metadata", self.metadata(vec![RECORD_INTEGRITY]))
            .with("severity", "Unknown")
            .with("severity_id", 0)
            .with("time", 0)
    }

    fn metadata(self, profiles: Vec<&str>) -> Object {
        let product = Object::new().with("name", "Attorn").with("vendor_name", "Attorn");
        Object::new()
            .with("log_source", self.log)
            .with("product", product)
            .with("profiles", profiles)
            .with("sequence", self.index)
            .with("uid", self.uid())
            .with("version", VERSION)
    }

    /// Names the entry over all logs, as `id` does where entries leave as they are.
    fn uid(self) -> String {
        format!("{}#{}", self.log, self.index)
    }

    /// OCSF 1.9.0, object `attestation`: the fingerprint is over the canonical form of the event with
    /// everything but the fingerprint itself and signatures.
    fn attested(self, event: Object) -> Vec<u8> {
        let attestation = Object::new()
            .with("authority_uid", self.log)
            .with("chain_uid", self.log)
            .with("uid", self.uid());
        let list = |attestation: Object| vec![Value::from(attestation)];
        let bare = event.clone().with("attestation_list", list(attestation.clone()));
        let print = fingerprint(&canonical(bare), (2, "JCS"));
        let attestation = attestation.with("fingerprint", print);
        canonical(event.with("attestation_list", list(attestation)))
    }
}

/// OCSF 1.9.0, attribute `type_uid`: `class_uid * 100 + activity_id`.
fn classified(class: Class, activity: Activity) -> Object {
    let (category, category_name) = class.category();
    Object::new()
        .with("activity_id", activity.id)
        .with("activity_name", activity.name)
        .with("category_name", category_name)
        .with("category_uid", category)
        .with("class_name", class.caption())
        .with("class_uid", class.uid())
        .with("type_name", format!("{}: {}", class.caption(), activity.caption))
        .with("type_uid", class.uid() * 100 + activity.id)
}

/// The logged bytes. They are canonical JSON and so UTF-8; of others the hash is of the bytes, and
/// the text is as near as text can be.
fn raw(entry: &[u8]) -> Object {
    Object::new()
        .with("raw_data", String::from_utf8_lossy(entry).into_owned())
        .with("raw_data_hash", fingerprint(entry, (1, "Flat")))
        .with("raw_data_size", u64::try_from(entry.len()).unwrap_or(u64::MAX))
}

fn fingerprint(bytes: &[u8], (serialization_id, serialization): (u64, &str)) -> Object {
    Object::new()
        .with("algorithm", "SHA-256")
        .with("algorithm_id", 3)
        .with("encoding", "Hex")
        .with("encoding_id", 1)
        .with("serialization", serialization)
        .with("serialization_id", serialization_id)
        .with("value", hex(&sha256(bytes)))
}

/// The members of the entry that the class has no attribute for, by their own names.
fn unmapped(class: Class, bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut members: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let (own, always) = (class.places(), ALWAYS_PLACED);
    members.retain(|name, _| !own.contains(&name.as_str()) && !always.contains(&name.as_str()));
    (!members.is_empty()).then_some(members)
}

fn canonical(event: Object) -> Vec<u8> {
    let bytes = Value::from(event).to_string().into_bytes();
    let limits = attorn_json::Limits::MESSAGE;
    let parsed = attorn_json::parse(&bytes, &limits).ok();
    // Strings and integers of at most 2^53 - 1 alone, so there is always such a form.
    let written = parsed.and_then(|document| attorn_json::canonical(&document).ok());
    written.unwrap_or(bytes)
}

/// The profiles, each with an attribute that only it brings.
const PROFILES: [(&str, &str); 3] =
    [("ai_operation", "ai_agent"), ("security_control", "action_id"), ("trace", "trace")];
const RECORD_INTEGRITY: &str = "record_integrity";
/// Members of an entry that are in attributes of every class.
const ALWAYS_PLACED: [&str; 7] =
    ["decision", "decision_id", "kind", "outcome", "reason", "rule", "time_ms"];

#[cfg(test)]
mod tests;
