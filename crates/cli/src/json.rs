//! Reading answers of which only a few members matter.

use serde_json::Value;

/// A member of an object, `null` if it is not there.
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// What stands at a path such as `/result/content/0/text` (RFC 6901), `null` if nothing does.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

/// A member that is a text.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    member(value, name).as_str()
}

/// Sets a member of an object; anything else stays as it is.
pub(crate) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_null() {
        let value = json!({ "a": [{ "b": "c" }] });
        assert_eq!(at(&value, "/a/0/b"), "c");
        assert_eq!(at(&value, "/a/1/b"), &Value::Null);
        assert_eq!(text(&value, "a"), None);
        assert_eq!(member(&Value::Null, "a"), &Value::Null);
    }
}
