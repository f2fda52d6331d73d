//! Checks events against the description of OCSF 1.9.0 in `vectors/audit/ocsf-1.9.0.json`.
//!
//! Checked: class, category, activity and type belong together; every required attribute is there;
//! no attribute that the description does not have; types, enumerations and their siblings; "at least
//! one of"; attributes of a profile only under that profile, and only where the class takes it.
//!
//! Not checked: what an attribute means, and attributes of OCSF that the description leaves out: an
//! event that has one is refused here although OCSF takes it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};

/// The description of one version.
#[derive(Debug, Deserialize)]
pub struct Schema {
    version: String,
    base: BTreeMap<String, Attribute>,
    classes: Vec<Class>,
    profiles: BTreeMap<String, BTreeMap<String, Attribute>>,
    objects: BTreeMap<String, Object>,
}

#[derive(Debug, Deserialize)]
struct Class {
    uid: i64,
    caption: String,
    category: i64,
    category_caption: String,
    profiles: Vec<String>,
    activities: BTreeMap<String, String>,
    at_least_one: Vec<String>,
    attributes: BTreeMap<String, Attribute>,
}

#[derive(Debug, Deserialize)]
struct Object {
    at_least_one: Vec<String>,
    attributes: BTreeMap<String, Attribute>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Attribute {
    Plain(String),
    Listed {
        #[serde(rename = "type")]
        form: String,
        sibling: Option<String>,
        #[serde(rename = "enum")]
        values: BTreeMap<String, String>,
    },
}

impl Attribute {
    /// The type, whether it is a list, and whether it is required.
    fn form(&self) -> (&str, bool, bool) {
        let form = match self {
            Self::Plain(form) | Self::Listed { form, .. } => form.as_str(),
        };
        let single = form.trim_end_matches('!');
        (single.trim_end_matches("[]"), single.ends_with("[]"), form.ends_with('!'))
    }
}

impl Schema {
    /// OCSF 1.9.0.
    ///
    /// # Errors
    /// The file is no description.
    pub fn of_1_9() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("../../../vectors/audit/ocsf-1.9.0.json"))
    }

    /// What is wrong with an event; nothing if it is one.
    #[must_use]
    pub fn faults(&self, event: &Value) -> Vec<String> {
        let mut faults = Faults(Vec::new());
        let class_uid = integer(event, "class_uid");
        let class = self.classes.iter().find(|class| Some(class.uid) == class_uid);
        let (Some(members), Some(class)) = (event.as_object(), class) else {
            return vec!["no class of ours".to_owned()];
        };
        classified(class, event, &mut faults);
        let mut attributes: BTreeMap<&str, &Attribute> = BTreeMap::new();
        attributes.extend(named(&self.base).chain(named(&class.attributes)));
        for profile in texts(event.pointer("/metadata/profiles")) {
            match self.profiles.get(profile) {
                Some(own) if class.profiles.iter().any(|known| known == profile) => {
                    attributes.extend(named(own));
                }
                Some(_) | None => faults.add(format!("metadata.profiles: `{profile}`")),
            }
        }
        self.members((members, "event"), &attributes, &class.at_least_one, &mut faults);
        if event.pointer("/metadata/version").and_then(Value::as_str) != Some(&self.version) {
            faults.add("metadata.version".to_owned());
        }
        faults.0
    }

    fn members(
        &self,
        (members, place): (&Map<String, Value>, &str),
        attributes: &BTreeMap<&str, &Attribute>,
        at_least_one: &[String],
        faults: &mut Faults,
    ) {
        for (name, value) in members {
            let at = format!("{place}.{name}");
            match attributes.get(name.as_str()) {
                Some(attribute) => self.value((value, &at), attribute, faults),
                None => faults.add(format!("{at}: unknown attribute")),
            }
            if let Some(Attribute::Listed { sibling, values, .. }) = attributes.get(name.as_str()) {
                listed((value, &at), sibling.as_deref(), (values, members), faults);
            }
        }
        for (name, attribute) in attributes {
            let (_, _, is_required) = attribute.form();
            if is_required && !members.contains_key(*name) {
                faults.add(format!("{place}.{name}: required"));
            }
        }
        if !at_least_one.is_empty() && !at_least_one.iter().any(|name| members.contains_key(name)) {
            faults.add(format!("{place}: none of {}", at_least_one.join(", ")));
        }
    }

    fn value(&self, (value, at): (&Value, &str), attribute: &Attribute, faults: &mut Faults) {
        let (form, is_list, _) = attribute.form();
        let single = [value.clone()];
        let items = match (is_list, value.as_array()) {
            (false, _) => single.as_slice(),
            (true, Some(items)) if !items.is_empty() => items.as_slice(),
            (true, Some(_) | None) => return faults.add(format!("{at}: no list")),
        };
        for item in items {
            match (self.objects.get(form), item.as_object()) {
                (Some(object), Some(members)) => {
                    let attributes = named(&object.attributes).collect();
                    self.members((members, at), &attributes, &object.at_least_one, faults);
                }
                (Some(_), None) => faults.add(format!("{at}: no object")),
                (None, _) if is_of(form, item) => {}
                (None, _) => faults.add(format!("{at}: no {form}")),
            }
        }
    }
}

struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: String) {
        self.0.push(fault);
    }
}

fn named(attributes: &BTreeMap<String, Attribute>) -> impl Iterator<Item = (&str, &Attribute)> {
    attributes.iter().map(|(name, attribute)| (name.as_str(), attribute))
}

/// What says of the same thing once in numbers and once in words.
fn classified(class: &Class, event: &Value, faults: &mut Faults) {
    let activity = integer(event, "activity_id").unwrap_or(-1);
    let Some(caption) = class.activities.get(&activity.to_string()) else {
        return faults.add(format!("event.activity_id: {activity}"));
    };
    let numbers = [("category_uid", class.category), ("type_uid", class.uid * 100 + activity)];
    for (name, expected) in numbers {
        if integer(event, name) != Some(expected) {
            faults.add(format!("event.{name}: not {expected}"));
        }
    }
    let type_name = format!("{}: {caption}", class.caption);
    let mut words = vec![
        ("category_name", class.category_caption.as_str()),
        ("class_name", class.caption.as_str()),
        ("type_name", type_name.as_str()),
    ];
    // The source's own word stands with 99.
    words.extend((activity != OTHER).then_some(("activity_name", caption.as_str())));
    for (name, expected) in words {
        if event.get(name).and_then(Value::as_str) != Some(expected) {
            faults.add(format!("event.{name}: not `{expected}`"));
        }
    }
    if event.get("activity_name").and_then(Value::as_str).is_none_or(str::is_empty) {
        faults.add("event.activity_name: missing".to_owned());
    }
}

/// A number that stands for a word, and the word beside it.
fn listed(
    (value, at): (&Value, &str),
    sibling: Option<&str>,
    (values, members): (&BTreeMap<String, String>, &Map<String, Value>),
    faults: &mut Faults,
) {
    let number = value.as_i64().unwrap_or(-1);
    let Some(caption) = values.get(&number.to_string()) else {
        return faults.add(format!("{at}: {number} is not listed"));
    };
    let Some(sibling) = sibling else { return };
    let word = members.get(sibling).and_then(Value::as_str);
    let fits = match word {
        Some(word) => word == caption || (number == OTHER && !word.is_empty()),
        None => number != OTHER,
    };
    if !fits {
        faults.add(format!("{at}: {number} is `{caption}`, not {word:?}"));
    }
}

fn is_of(form: &str, value: &Value) -> bool {
    match form {
        "boolean_t" => value.is_boolean(),
        "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
        "timestamp_t" => value.is_u64(),
        "ip_t" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "json_t" => true,
        "object" => value.is_object(),
        "file_hash_t" | "resource_uid_t" | "string_t" | "username_t" => value.is_string(),
        _ => false,
    }
}

fn integer(event: &Value, name: &str) -> Option<i64> {
    event.get(name).and_then(Value::as_i64)
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// OCSF: not one of the listed ones; the word beside it is the source's own.
const OTHER: i64 = 99;
