"""Judges events by the published schema of OCSF 1.8.0, the newest that a package has (ocsf-json-schema).

ocsf.py DESCRIPTION EVENTS...    JSON of our description of 1.9.0, and files with an event a line

Prints one JSON line; exit 0 when
- the description says of everything that 1.8.0 has what 1.8.0 says, and what 1.9.0 added is what it lists;
- every event, without what 1.9.0 added, holds by the JSON Schema of its class;
- the same check refuses each event with a required attribute taken away, another type, or one too many.
"""

import copy
import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchema, OcsfJsonSchemaEmbedded, get_ocsf_schema

BASE = "1.8.0"


def form(attribute):
    """(type, is a list, is required, values) of an attribute as our description has it."""
    text = attribute["type"] if isinstance(attribute, dict) else attribute
    values = attribute["enum"] if isinstance(attribute, dict) else None
    single = text.rstrip("!")
    return single.removesuffix("[]"), single.endswith("[]"), text.endswith("!"), values


def published(attribute):
    kind = attribute.get("object_type") or attribute["type"]
    values = {key: value["caption"] for key, value in attribute.get("enum", {}).items()} or None
    required = attribute.get("requirement") == "required"
    return kind, bool(attribute.get("is_array")), required, values


def differences(description, schema):
    """What our description says of 1.8.0 that 1.8.0 does not say."""
    new = description["new_in_1_9"]
    found = []

    def attributes(place, ours, theirs, added):
        for name, attribute in ours.items():
            if (name in added) != (name not in theirs):
                found.append(f"{place}.{name}: new or not?")
            elif name in theirs:
                own, other = form(attribute), published(theirs[name])
                # A class says of itself what it is; ours is said once for all.
                values = own[3] is None or own[3] == other[3]
                if own[:3] != other[:3] or not values:
                    found.append(f"{place}.{name}: {own} is not {other}")

    for name, ours in description["objects"].items():
        if (name in new["objects"]) != (name not in schema["objects"]):
            found.append(f"{name}: new or not?")
        elif name in schema["objects"]:
            theirs = schema["objects"][name]
            attributes(name, ours["attributes"], theirs["attributes"], new["attributes"].get(name, []))
            needed = (theirs.get("constraints") or {}).get("at_least_one", [])
            if name not in new["constraints"] and sorted(needed) != sorted(ours["at_least_one"]):
                found.append(f"{name}: at least one of {needed}")
            missing = required(theirs["attributes"]) - set(ours["attributes"])
            found += [f"{name}.{one}: required, and not described" for one in missing]
    for ours in description["classes"]:
        name, theirs = ours["name"], schema["classes"][ours["name"]]
        both = {**description["base"], **ours["attributes"]}
        attributes(name, both, theirs["attributes"], [])
        missing = required(theirs["attributes"]) - set(both)
        found += [f"{name}.{one}: required, and not described" for one in missing]
        added = set(new["profiles"]) | set(new["class_profiles"].get(name, []))
        if set(ours["profiles"]) - set(theirs["profiles"]) != added:
            found.append(f"{name}: profiles {ours['profiles']}")
        activities = published(theirs["attributes"]["activity_id"])[3]
        if (theirs["uid"], theirs["caption"], activities) != (ours["uid"], ours["caption"], ours["activities"]):
            found.append(f"{name}: number, caption or activities")
    everything = schema["classes"]["api_activity"]["attributes"]
    for profile, ours in description["profiles"].items():
        if profile not in new["profiles"]:
            attributes(profile, ours, everything, new["profile_attributes"].get(profile, []))
    return found


def required(attributes):
    always = (name for name, one in attributes.items() if not one.get("profile") and not one.get("profiles"))
    return {name for name in always if attributes[name].get("requirement") == "required"}


def as_before(event, description):
    """The event without what 1.9.0 added."""
    new = description["new_in_1_9"]
    event = copy.deepcopy(event)
    name = next(one["name"] for one in description["classes"] if one["uid"] == event["class_uid"])
    profiles = event["metadata"]["profiles"]
    for profile in new["profiles"] + new["class_profiles"].get(name, []):
        if profile in profiles:
            profiles.remove(profile)
        for attribute in description["profiles"][profile]:
            event.pop(attribute, None)
    for attributes in new["profile_attributes"].values():
        for attribute in attributes:
            event.pop(attribute, None)
    # The one object that got more attributes stands in one place that is left.
    for attribute in new["attributes"]["fingerprint"]:
        event["raw_data_hash"].pop(attribute, None)
    return name, event


def wrong(event):
    """The same event three times, each time wrong."""
    without, mistyped, extended = (copy.deepcopy(event) for _ in range(3))
    del without["metadata"]["product"]
    mistyped["severity_id"] = "1"
    extended["agent"] = "agt_1"
    return [without, mistyped, extended]


def main():
    description = json.load(open(sys.argv[1], encoding="utf-8"))
    schema = get_ocsf_schema(BASE)
    generator = OcsfJsonSchemaEmbedded(OcsfJsonSchema(schema))
    problems, validators, counts = differences(description, schema), {}, {}
    for path in sys.argv[2:]:
        for line in open(path, encoding="utf-8"):
            name, event = as_before(json.loads(line), description)
            profiles = tuple(sorted(event["metadata"]["profiles"]))
            if (name, profiles) not in validators:
                made = generator.get_class_schema(name, list(profiles))
                validators[name, profiles] = Draft202012Validator(made)
            validator = validators[name, profiles]
            counts[name] = counts.get(name, 0) + 1
            problems += [f"{line[:200]}: {error.json_path}: {error.message}" for error in validator.iter_errors(event)]
            problems += [f"accepted, and wrong: {one}" for one in wrong(event) if validator.is_valid(one)]
    print(json.dumps({"ok": not problems, "events": counts, "problems": problems[:10]}))
    return 0 if not problems else 1


sys.exit(main())
