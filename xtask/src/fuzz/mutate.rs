//! Makes inputs from seeds: bytes, JSON members, splices, repeats, numbers at their bounds.

use attorn_jose::{SigningKey, base64url, from_base64url};
use serde_json::{Value, json};

use super::random::Random;
use super::spell::respelled_bytes;
use super::target::Shape;

/// Longer inputs find little and take long.
const BYTES_MAX: usize = 64 << 10;

/// Texts of numbers where something ends.
const NUMBERS: [&str; 20] = [
    "0",
    "-0",
    "1",
    "-1",
    "1.0",
    "1e0",
    "0.1",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1e309",
    "1e-400",
];

/// Texts that are special somewhere.
const STRINGS: [&str; 14] = [
    "",
    " ",
    "\0",
    "\u{1b}[2J",
    "\u{202e}a",
    "e\u{301}",
    "\u{1f600}",
    "=?base64?ZQ==?=",
    "*",
    "..",
    "null",
    "__proto__",
    "https://auth.example/",
    "none",
];

/// One more input.
pub(crate) fn mutated(seeds: &[Vec<u8>], shape: &Shape, random: &mut Random) -> Vec<u8> {
    let seed = random.pick(seeds).cloned().unwrap_or_default();
    let other = random.pick(seeds).cloned().unwrap_or_default();
    let mut input = match shape {
        Shape::Text(words) => bytes(seed, &other, words, random),
        Shape::Json => json(&seed, &other, random),
        Shape::Framed => framed(&seed, &other, random),
        Shape::Jws(key) => jws(&seed, &other, key, random),
    };
    input.truncate(BYTES_MAX);
    input
}

fn bytes(mut input: Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.byte();
                }
            }
            2 => input.insert(at, random.byte()),
            3 => {
                let end = (at + random.below(16)).min(input.len());
                input.drain(at..end);
            }
            4 if random.one_in(4) => input.truncate(at),
            4 | 5 => {
                let end = (at + random.below(32)).min(input.len());
                let piece: Vec<u8> = input.get(at..end).unwrap_or_default().to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            6 => {
                let from = random.below(other.len());
                let end = (from + random.below(64)).min(other.len());
                let piece = other.get(from..end).unwrap_or_default().to_vec();
                input.splice(at..at, piece);
            }
            7 => number(&mut input, at, random),
            _ => {
                let word = random.pick(words).copied().unwrap_or_default();
                input.splice(at..at, word.bytes());
            }
        }
    }
    input
}

/// The next number after `at` becomes one at a bound.
fn number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = input.iter().skip(at).position(digit).map(|found| at + found) else {
        return;
    };
    let length = input.iter().skip(start).take_while(|byte| digit(byte)).count();
    let new = random.pick(&NUMBERS).copied().unwrap_or("0");
    input.splice(start..start + length, new.bytes());
}

fn json(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let (Ok(mut value), false) = (serde_json::from_slice::<Value>(seed), random.one_in(5)) else {
        return bytes(
            seed.to_vec(),
            other,
            &["{", "}", "[", "]", "\"", ",", ":", "\\u0000"],
            random,
        );
    };
    let donor: Value = serde_json::from_slice(other).unwrap_or(Value::Null);
    for _ in 0..random.below(4) {
        change(&mut value, &donor, random);
    }
    let mut text = value.to_string().into_bytes();
    if random.one_in(2) {
        text = respelled_bytes(&text, random);
    }
    match random.below(12) {
        0 => repeat_member(&mut text, random),
        1 => bytes(std::mem::take(&mut text), other, &["\u{feff}"], random).clone_into(&mut text),
        2 => {
            let at = random.below(text.len());
            number(&mut text, at, random);
        }
        _ => {}
    }
    text
}

/// One object gets a member of its own a second time.
fn repeat_member(text: &mut Vec<u8>, random: &mut Random) {
    let opens: Vec<usize> =
        (0..text.len()).filter(|at| text.get(*at..at + 2) == Some(b"{\"")).collect();
    let Some(open) = random.pick(&opens).copied() else { return };
    let rest = text.get(open + 1..).unwrap_or_default();
    let Some(colon) = rest.iter().position(|byte| *byte == b':') else { return };
    let mut copy = rest.get(..colon).unwrap_or_default().to_vec();
    copy.extend_from_slice(b":0,");
    text.splice(open + 1..open + 1, copy);
}

/// Changes one value somewhere below `value`.
fn change(value: &mut Value, donor: &Value, random: &mut Random) {
    let total = count(value);
    let Ok(node) = nth(value, random.below(total)) else { return };
    match random.below(10) {
        0 => *node = boundary(random),
        1 => *node = Value::Null,
        2 => *node = Value::Array(vec![node.take()]),
        3 => *node = json!({ "a": node.take() }),
        4 => {
            let mut donor = donor.clone();
            let total = count(&donor);
            if let Ok(part) = nth(&mut donor, random.below(total)) {
                *node = part.take();
            }
        }
        _ => change_inside(node, random),
    }
}

fn change_inside(node: &mut Value, random: &mut Random) {
    match node {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            let Some(name) = random.pick(&names) else { return };
            let Some(member) = members.get(name).cloned() else { return };
            match random.below(4) {
                0 => drop(members.remove(name)),
                1 => drop(members.insert(renamed(name, random), member)),
                2 => {
                    members.remove(name);
                    members.insert(renamed(name, random), member);
                }
                _ => {
                    let other = random.pick(&names).cloned().unwrap_or_default();
                    members.insert(other, member);
                }
            }
        }
        Value::Array(items) => {
            let at = random.below(items.len());
            match (random.below(3), items.get(at).cloned()) {
                (0, Some(item)) => items.push(item),
                (1, Some(_)) => drop(items.remove(at)),
                (_, Some(_) | None) => items.reverse(),
            }
        }
        Value::String(text) => {
            let changed = match random.below(4) {
                0 => text.to_ascii_uppercase(),
                1 => format!("{text}{}", random.pick(&STRINGS).copied().unwrap_or_default()),
                2 => text.repeat(random.below(40)),
                _ => {
                    let raw = bytes(text.as_bytes().to_vec(), b"", &STRINGS, random);
                    String::from_utf8_lossy(&raw).into_owned()
                }
            };
            *text = changed;
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => *node = boundary(random),
    }
}

fn renamed(name: &str, random: &mut Random) -> String {
    match random.below(4) {
        0 => name.to_ascii_uppercase(),
        1 => format!("{name}\u{200b}"),
        2 => random.pick(&STRINGS).copied().unwrap_or_default().to_owned(),
        _ => format!("{name}{}", random.below(3)),
    }
}

fn boundary(random: &mut Random) -> Value {
    match random.below(4) {
        0 => Value::Bool(random.one_in(2)),
        1 => Value::from(random.pick(&STRINGS).copied().unwrap_or_default()),
        _ => {
            let text = random.pick(&NUMBERS).copied().unwrap_or("0");
            serde_json::from_str(text).unwrap_or(Value::Null)
        }
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(members) => members.values().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The value with this number in a walk from the top, or how many are left to count.
fn nth(value: &mut Value, number: usize) -> Result<&mut Value, usize> {
    if number == 0 {
        return Ok(value);
    }
    let mut left = number - 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for child in children {
        match nth(child, left) {
            Ok(found) => return Ok(found),
            Err(rest) => left = rest,
        }
    }
    Err(left)
}

/// Header lines and body are changed apart, and now and then together.
fn framed(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let (head, body) = frame(seed);
    let (other_head, other_body) = frame(other);
    let words = ["mcp-name", "Mcp-Method", "mcp-param-", ": ", "\n", "=?base64?", "?=", "\t", " "];
    let mut out = match random.below(4) {
        0 => bytes(head.to_vec(), other_head, &words, random),
        1 => other_head.to_vec(),
        _ => head.to_vec(),
    };
    out.extend_from_slice(b"\n\n");
    match random.below(3) {
        0 => out.extend_from_slice(body),
        _ => out.extend_from_slice(&json(body, other_body, random)),
    }
    out
}

/// Cuts an input of [`Shape::Framed`] in two.
pub(crate) fn frame(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    (input.get(..at).unwrap_or_default(), input.get(at + 2..).unwrap_or_default())
}

fn jws(seed: &[u8], other: &[u8], key: &SigningKey, random: &mut Random) -> Vec<u8> {
    let parts = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let mut parts = text.split('.').map(|part| from_base64url(part).unwrap_or_default());
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    if random.one_in(4) {
        return bytes(seed.to_vec(), other, &[".", "=", "-", "_", "e30"], random);
    }
    let ((mut header, mut payload), (other_header, other_payload)) = (parts(seed), parts(other));
    if random.one_in(3) {
        header = json(&header, &other_header, random);
    }
    if !random.one_in(3) {
        payload = json(&payload, &other_payload, random);
    }
    let input = format!("{}.{}", base64url(&header), base64url(&payload));
    let signature = key.sign(input.as_bytes()).unwrap_or_default();
    format!("{input}.{}", base64url(&signature)).into_bytes()
}
