//! Changes that name the state they replace, so that of two people who edit at once the second
//! hears of the first: RFC 9110 section 13.1.1 and RFC 6585 section 3.
//!
//! Only policies are replaced as a whole; every other change names one fact.

use attorn_registry::Snapshot;
use http::HeaderMap;
use http::header::IF_MATCH;

use super::operation::Operation;
use super::refusal::Refusal;

/// The entity tag of a version of the policies: RFC 9110 section 8.8.3, a strong one.
#[must_use]
pub fn policy_tag(version: u64) -> String {
    format!("\"policy-{version}\"")
}

/// The entity tag of what an operation shows or replaces.
pub(crate) fn entity_tag(operation: Operation, snapshot: &Snapshot) -> Option<String> {
    let is_policy = operation == Operation::PolicyShow || replaces(operation);
    is_policy.then(|| policy_tag(snapshot.policy.version))
}

/// Whether an operation replaces something as a whole.
pub(crate) fn replaces(operation: Operation) -> bool {
    matches!(operation, Operation::PolicyApply | Operation::PolicyRollback)
}

/// Refuses to replace what the caller has not seen. Look while nobody else can change it.
pub(crate) fn verify(
    operation: Operation,
    headers: &HeaderMap,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    if !replaces(operation) {
        return Ok(());
    }
    // RFC 6585 section 3.
    if !headers.contains_key(IF_MATCH) {
        return Err(Refusal::PreconditionMissing);
    }
    // RFC 9110 section 13.1.1: any of the tags, compared strongly, so that a weak one never fits.
    let current = entity_tag(operation, snapshot);
    let named = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = named.flat_map(|value| value.split(',')).map(str::trim);
    if tags.any(|tag| tag == "*" || Some(tag) == current.as_deref()) {
        Ok(())
    } else {
        Err(Refusal::PreconditionFailed)
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{PolicySource, SnapshotParts};
    use http::HeaderValue;

    use super::*;

    fn check(values: &[&str]) -> Option<u16> {
        let policy = PolicySource { version: 7, text: String::new() };
        let snapshot = Snapshot::new(SnapshotParts { policy, ..SnapshotParts::default() });
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        let refused = verify(Operation::PolicyApply, &headers, &snapshot).err();
        refused.map(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn the_version_in_force_is_named() {
        for values in [
            &["\"policy-7\""][..],
            &["*"],
            &["\"policy-6\", \"policy-7\""],
            &["\"policy-6\"", "\"policy-7\""],
        ] {
            assert_eq!(check(values), None, "{values:?}");
        }
    }

    #[test]
    fn another_version_or_none_is_refused() {
        assert_eq!(check(&[]), Some(428));
        for values in
            ["\"policy-6\"", "\"policy-8\"", "policy-7", "W/\"policy-7\"", "\"Policy-7\"", "7", ""]
        {
            assert_eq!(check(&[values]), Some(412), "{values}");
        }
    }
}
