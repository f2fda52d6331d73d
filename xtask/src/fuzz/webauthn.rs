//! What passkeys say: one answer has one spelling, and says what a second reader finds in it.

use attorn_jose::Algorithm;
use attorn_testkit::authenticator::{
    Authenticator, attestation_object, byte_string, challenge, cose_key, text,
};
use attorn_webauthn::{Attestation, AttestationObject, AuthenticatorData};

use super::corpus::Corpus;
use super::target::{Seen, Shape, Subject, Target, ensure};

pub(crate) const PASSKEY_ANSWER: Target = Target {
    name: "passkey_answer",
    oracle: "an accepted answer is what a lenient reader and a canonical writer make of it, and its \
             data is what was read of it, written anew; with a byte more or less it is refused",
    prepare,
};

const WORDS: &[&str] = &[
    "fmt",
    "none",
    "packed",
    "attStmt",
    "authData",
    "alg",
    "sig",
    "x5c",
    "cfmt",
    "gattStmt",
    "hauthData",
    "\u{0}",
    "\u{1}",
    "\u{2}",
    "\u{3}",
    "\u{18}",
    "\u{19}",
    "\u{20}",
    "\u{21}",
    "\u{22}",
    "&",
    "'",
    "X",
    "credProtect",
];

fn prepare(_corpus: &Corpus) -> Result<Subject, String> {
    let mut seeds = Vec::new();
    for (algorithm, cose) in [(Algorithm::Es256, 0x26), (Algorithm::EdDsa, 0x27)] {
        // A fixture: the seed of its key is known.
        let mut passkey = Authenticator::new(algorithm, 7, "id.example", "https://id.example");
        let (data, created) = (passkey.data_with_key(), passkey.create(&challenge(1)));
        let signature = passkey.sign(&data, &created.client_data);
        let statement =
            [vec![0xa2], text("alg"), vec![cose], text("sig"), byte_string(&signature)].concat();
        let protect = [vec![0xa1], text("credProtect"), vec![2]].concat();
        seeds.push(attestation_object("packed", &statement, &data));
        seeds.push(created.attestation_object);
        seeds.extend([data, passkey.data(0)]);
        passkey.flags |= 0x80;
        seeds.push([passkey.data(0), protect.clone()].concat());
        let extended = [passkey.data_with_key(), protect].concat();
        seeds.extend([attestation_object("none", &[0xa0], &extended), extended]);
    }
    Ok(Subject { seeds, shape: Shape::Text(WORDS), check: Box::new(check) })
}

fn check(input: &[u8]) -> Result<Seen, String> {
    let of_object = match AttestationObject::parse(input) {
        Ok(object) => {
            ensure(rewritten(input).as_deref() == Some(input), "another spelling of the object")?;
            ensure(written(&object.data).as_deref() == Some(&object.data_bytes[..]), "its data")?;
            strict(input, |bytes| AttestationObject::parse(bytes).is_ok())?;
            let kind = matches!(object.attestation, Attestation::None);
            return Ok(Seen::accepted(&("object", kind, object.data.extensions.is_some())));
        }
        Err(refusal) => refusal,
    };
    match AuthenticatorData::parse(input) {
        Ok(data) => {
            ensure(written(&data).as_deref() == Some(input), "another spelling of the data")?;
            strict(input, |bytes| AuthenticatorData::parse(bytes).is_ok())?;
            let parts = (data.attested.is_some(), data.extensions.is_some());
            Ok(Seen::accepted(&("data", parts)))
        }
        Err(refusal) => Ok(Seen::refused(&(of_object, refusal))),
    }
}

/// With something behind it, or cut, it is not the same and not accepted.
fn strict(input: &[u8], accepts: impl Fn(&[u8]) -> bool) -> Result<(), String> {
    let more = [input, &[0]].concat();
    let less = input.split_last().map_or(input, |(_, rest)| rest);
    ensure(!accepts(&more) && !accepts(less), "a byte more or less is accepted")
}

/// Authenticator data by its fields.
fn written(data: &AuthenticatorData) -> Option<Vec<u8>> {
    let mut bytes = data.rp_id_hash.to_vec();
    bytes.push(data.flags.byte());
    bytes.extend(data.sign_count.to_be_bytes());
    if let Some(attested) = &data.attested {
        let credential = attested.credential.as_bytes();
        bytes.extend(attested.aaguid);
        bytes.extend(u16::try_from(credential.len()).ok()?.to_be_bytes());
        bytes.extend(credential);
        bytes.extend(cose_key(&attested.public_key));
    }
    if let Some(extensions) = &data.extensions {
        bytes.extend(rewritten(extensions)?);
    }
    Some(bytes)
}

/// A CBOR item as a reader has it that forgives every spelling.
enum Item {
    /// A type without parts: integers and simple values.
    Plain(u8, u64),
    /// A byte string or a text.
    String(u8, Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// One item, read leniently and written in the canonical form.
fn rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let item = read(&mut rest, 0)?;
    rest.is_empty().then(|| write(&item))
}

fn read(rest: &mut &[u8], depth: usize) -> Option<Item> {
    let initial = *take(rest, 1)?.first()?;
    let (major, short) = (initial >> 5, initial & 0x1f);
    let argument = match short {
        0..=23 => u64::from(short),
        24..=27 => {
            let bytes = take(rest, 1 << (short - 24))?;
            bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
        }
        _ => return None,
    };
    let count = usize::try_from(argument).ok()?;
    match major {
        2 | 3 => Some(Item::String(major, take(rest, count)?.to_vec())),
        4 | 5 if depth > 16 || count > rest.len() => None,
        4 => (0..count).map(|_| read(rest, depth + 1)).collect::<Option<_>>().map(Item::Array),
        5 => {
            let entry = |_| Some((read(rest, depth + 1)?, read(rest, depth + 1)?));
            (0..count).map(entry).collect::<Option<_>>().map(Item::Map)
        }
        _ => Some(Item::Plain(major, argument)),
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn write(item: &Item) -> Vec<u8> {
    match item {
        Item::Plain(major, argument) => head(*major, *argument),
        Item::String(major, bytes) => [head(*major, length(bytes)), bytes.clone()].concat(),
        Item::Array(items) => {
            let parts = items.iter().flat_map(write);
            head(4, length(items)).into_iter().chain(parts).collect()
        }
        Item::Map(entries) => {
            let mut written: Vec<_> =
                entries.iter().map(|(key, value)| (write(key), write(value))).collect();
            let major = |key: &[u8]| key.first().map_or(0, |initial| initial >> 5);
            written.sort_by(|(a, _), (b, _)| (major(a), a.len(), a).cmp(&(major(b), b.len(), b)));
            let parts = written.into_iter().flat_map(|(key, value)| [key, value].concat());
            head(5, length(entries)).into_iter().chain(parts).collect()
        }
    }
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn head(major: u8, argument: u64) -> Vec<u8> {
    let bytes = argument.to_be_bytes();
    let [.., last] = bytes;
    let (short, length) = match argument {
        0..=23 => (last, 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    let tail = bytes.get(8 - length..).unwrap_or_default();
    [&[(major << 5) | short][..], tail].concat()
}
