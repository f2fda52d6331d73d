//! The arguments of a call as a policy sees them.
//!
//! The text is the peer's, so nothing in it is interpreted: no escape for entities or extension
//! types is known here. Strings, booleans, whole numbers up to 2^53, objects and arrays pass.
//! Everything else is left out and its place remembered, because a rule that cannot see its input
//! must fail and not merely fail to match.

use std::collections::BTreeSet;

use attorn_json::{Limits, Value, parse};
use cedar_policy::RestrictedExpression;

/// Larger arguments are not shown to policies, and a rule that wants them fails.
const LIMITS: Limits = Limits { bytes_max: 64 << 10, depth_max: 32 };
/// Values in one set of arguments.
const VALUES_MAX: usize = 4096;
/// RFC 8785 section 3.2.2.3: beyond this, readers disagree about the number.
const WHOLE_MAX: u64 = 1 << 53;

/// Arguments in Cedar's form.
#[derive(Debug)]
pub(crate) struct Projection {
    /// One field per argument that could be kept.
    pub(crate) fields: Vec<(String, RestrictedExpression)>,
    /// Names of top-level arguments of which something was left out.
    pub(crate) left_out: BTreeSet<String>,
}

/// The arguments are not strict JSON, not an object, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArgumentsRefused;

/// Turns arguments into fields. A call without arguments has none.
pub(crate) fn project(text: Option<&str>) -> Result<Projection, ArgumentsRefused> {
    let mut projection = Projection { fields: Vec::new(), left_out: BTreeSet::new() };
    let Some(text) = text else { return Ok(projection) };
    let document = parse(text.as_bytes(), &LIMITS).map_err(|_not_strict| ArgumentsRefused)?;
    let members = document.value().members().ok_or(ArgumentsRefused)?;
    let mut walk = Walk { values: 0, incomplete: false };
    for (name, value) in members {
        walk.incomplete = false;
        if let Some(kept) = walk.value(value)? {
            projection.fields.push((name.clone().into_owned(), kept));
        }
        if walk.incomplete {
            projection.left_out.insert(name.into_owned());
        }
    }
    Ok(projection)
}

struct Walk {
    values: usize,
    incomplete: bool,
}

impl Walk {
    fn value(
        &mut self,
        value: Value<'_>,
    ) -> Result<Option<RestrictedExpression>, ArgumentsRefused> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(ArgumentsRefused);
        }
        if let Some(text) = value.string() {
            return Ok(Some(RestrictedExpression::new_string(text.into_owned())));
        }
        if let Some(truth) = value.boolean() {
            return Ok(Some(RestrictedExpression::new_bool(truth)));
        }
        if let Some(whole) = value.number().and_then(whole_number) {
            return Ok(Some(RestrictedExpression::new_long(whole)));
        }
        if let Some(members) = value.members() {
            let mut fields = Vec::new();
            for (name, member) in members {
                if let Some(kept) = self.value(member)? {
                    fields.push((name.into_owned(), kept));
                }
            }
            let record = RestrictedExpression::new_record(fields);
            return record.map(Some).map_err(|_duplicate| ArgumentsRefused);
        }
        if let Some(items) = value.items() {
            let mut kept = Vec::new();
            for item in items {
                kept.extend(self.value(item)?);
            }
            return Ok(Some(RestrictedExpression::new_set(kept)));
        }
        // `null`, and numbers that are not whole or too large.
        self.incomplete = true;
        Ok(None)
    }
}

/// The value of a number token, when it is whole. `100`, `100.0` and `1e2` are one number: the
/// canonical form that goes on to the server spells them alike.
fn whole_number(token: &str) -> Option<i64> {
    let whole = match token.parse::<i64>() {
        Ok(whole) => whole,
        Err(_has_another_form) => {
            let number = token.parse::<f64>().ok().filter(|n| n.is_finite() && n.fract() == 0.0)?;
            // Printed without a fraction, so that no cast is needed.
            format!("{number:.0}").parse().ok()?
        }
    };
    (whole.unsigned_abs() <= WHOLE_MAX).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(text: &str) -> Vec<String> {
        project(Some(text)).unwrap().left_out.into_iter().collect()
    }

    fn names(text: &str) -> Vec<String> {
        project(Some(text)).unwrap().fields.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn plain_values_pass() {
        let text = r#"{"a":"x","b":true,"c":-5,"d":{"e":[1,"2",{}]},"f":100.0,"g":1e2}"#;
        assert_eq!(names(text), ["a", "b", "c", "d", "f", "g"]);
        assert!(left_out(text).is_empty());
    }

    #[test]
    fn what_cannot_be_said_is_left_out_and_remembered() {
        for value in ["null", "1.5", "9007199254740993", "1e300", "-9007199254740994"] {
            assert_eq!(left_out(&format!(r#"{{"a":{value},"b":1}}"#)), ["a"], "{value}");
            assert_eq!(names(&format!(r#"{{"a":{value},"b":1}}"#)), ["b"], "{value}");
        }
        assert_eq!(left_out(r#"{"a":{"b":[1,null]},"c":1}"#), ["a"]);
    }

    #[test]
    fn whole_numbers_have_one_value() {
        for token in ["100", "100.0", "1e2", "1000e-1"] {
            assert_eq!(whole_number(token), Some(100), "{token}");
        }
        assert_eq!(whole_number("-0"), Some(0));
        assert_eq!(whole_number("9007199254740992"), Some(1 << 53));
        assert_eq!(whole_number("9007199254740993"), None);
        assert_eq!(whole_number("0.1"), None);
    }

    #[test]
    fn escapes_of_other_formats_mean_nothing() {
        let text = r#"{"__entity":{"type":"Agent","id":"root"},"__extn":{"fn":"ip","arg":"::1"}}"#;
        assert_eq!(names(text), ["__entity", "__extn"]);
        let (_, record) = project(Some(text)).unwrap().fields.remove(0);
        assert!(format!("{record:?}").contains("Record"));
    }

    #[test]
    fn what_is_too_large_or_not_strict_is_refused() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(64 << 10));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(40), "]".repeat(40));
        let many = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(5000));
        for text in [&long, &deep, &many, "[]", "7", "", "{\"a\":1,\"a\":2}", "{\"a\":\"\\ud800\"}"]
        {
            assert!(project(Some(text)).is_err());
        }
        assert!(project(Some("{}")).unwrap().fields.is_empty());
        assert!(project(None).unwrap().fields.is_empty());
    }
}
