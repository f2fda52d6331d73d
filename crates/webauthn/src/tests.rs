//! Both ceremonies with an authenticator in software, and with the vectors of the specification.

use attorn_jose::{Algorithm, from_base64url};
use attorn_testkit::authenticator::{
    ATTESTED, Asserted, Authenticator, Created, attestation_object, byte_string, challenge, text,
};

use super::*;

const ORIGIN: &str = "https://id.example";

fn party() -> RelyingParty {
    RelyingParty::of_issuer(ORIGIN).unwrap()
}

fn passkey(algorithm: Algorithm) -> Authenticator {
    Authenticator::new(algorithm, 7, "id.example", ORIGIN)
}

fn register(created: &Created) -> Result<NewPasskey, WebauthnRefusal> {
    let registration = Registration::parse(&created.client_data, &created.attestation_object)?;
    registration.verify(&Expected { party: &party(), challenge: &challenge(1) })
}

fn log_in(asserted: &Asserted, of: &Authenticator, known: u32) -> Result<u32, WebauthnRefusal> {
    let credential =
        CredentialId::new(&of.credential).map_err(|_| WebauthnRefusal::CredentialId)?;
    let parts = AssertionParts {
        credential: &asserted.credential,
        client_data: &asserted.client_data,
        authenticator_data: &asserted.authenticator_data,
        signature: &asserted.signature,
        user_handle: &asserted.user_handle,
    };
    let known = KnownPasskey {
        credential: &credential,
        public_key: of.key.public(),
        sign_count: known,
        user_handle: b"somebody",
    };
    let expected = Expected { party: &party(), challenge: &challenge(1) };
    let verified = Assertion::parse(&parts)?.verify(&expected, &known)?;
    Ok(verified.sign_count())
}

#[test]
fn a_passkey_of_either_algorithm_is_made_and_used() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let mut passkey = passkey(algorithm);
        passkey.sign_count = 3;
        let new = register(&passkey.create(&challenge(1))).unwrap();
        assert_eq!(new.credential.as_bytes(), passkey.credential);
        assert_eq!((&new.public_key, new.sign_count), (passkey.key.public(), 3));
        passkey.sign_count = 4;
        assert_eq!(log_in(&passkey.assert(&challenge(1)), &passkey, 3), Ok(4));
    }
}

/// One change of a passkey or of what it gives, and what is then said of both ceremonies.
fn check(change: impl Fn(&mut Authenticator), expected: WebauthnRefusal) {
    let mut passkey = passkey(Algorithm::Es256);
    assert!(register(&passkey.create(&challenge(1))).is_ok());
    assert_eq!(log_in(&passkey.assert(&challenge(1)), &passkey, 0), Ok(0));
    change(&mut passkey);
    assert_eq!(register(&passkey.create(&challenge(1))), Err(expected));
    assert_eq!(log_in(&passkey.assert(&challenge(1)), &passkey, 0), Err(expected));
}

#[test]
fn another_page_or_party_is_refused() {
    for origin in [
        "https://id.example:8443",
        "http://id.example",
        "https://a.id.example",
        "https://id.example/",
        "",
    ] {
        check(|passkey| passkey.origin = origin.to_owned(), WebauthnRefusal::Origin);
    }
    for id in ["example", "ID.example", "a.id.example"] {
        check(|passkey| passkey.rp_id = id.to_owned(), WebauthnRefusal::RelyingParty);
    }
}

#[test]
fn somebody_was_there_and_was_verified() {
    check(|passkey| passkey.flags = 0b100, WebauthnRefusal::UserAbsent);
    check(|passkey| passkey.flags = 0b001, WebauthnRefusal::UserUnverified);
    check(|passkey| passkey.flags |= 0b1_0000, WebauthnRefusal::BackupState);
    // Backed up and eligible, and the bits without a meaning.
    let mut synced = passkey(Algorithm::EdDsa);
    synced.flags |= 0b0011_1010;
    assert!(register(&synced.create(&challenge(1))).is_ok());
    assert_eq!(log_in(&synced.assert(&challenge(1)), &synced, 0), Ok(0));
}

#[test]
fn an_answer_is_for_one_challenge_and_one_ceremony() {
    let passkey = passkey(Algorithm::Es256);
    let other = challenge(2);
    assert_eq!(register(&passkey.create(&other)), Err(WebauthnRefusal::Challenge));
    assert_eq!(log_in(&passkey.assert(&other), &passkey, 0), Err(WebauthnRefusal::Challenge));
    let get = passkey.client_data("webauthn.get", &challenge(1));
    let created = Created { client_data: get, ..passkey.create(&challenge(1)) };
    assert_eq!(register(&created), Err(WebauthnRefusal::Ceremony));
    let create = passkey.client_data("webauthn.create", &challenge(1));
    let asserted = passkey.assert_with(&create, &passkey.data(0));
    assert_eq!(log_in(&asserted, &passkey, 0), Err(WebauthnRefusal::Ceremony));
}

#[test]
fn a_counter_that_counts_grows() {
    let counted = |now, known| {
        let mut passkey = passkey(Algorithm::EdDsa);
        passkey.sign_count = now;
        log_in(&passkey.assert(&challenge(1)), &passkey, known)
    };
    assert_eq!(counted(0, 0), Ok(0));
    assert_eq!(counted(1, 0), Ok(1));
    assert_eq!(counted(u32::MAX, 7), Ok(u32::MAX));
    for (now, known) in [(7, 7), (6, 7), (0, 7)] {
        assert_eq!(counted(now, known), Err(WebauthnRefusal::Counter), "{now} {known}");
    }
}

#[test]
fn a_word_is_by_the_passkey_that_it_names_and_says_whose_it_is() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let passkey = passkey(algorithm);
        let good = passkey.assert(&challenge(1));
        assert_eq!(log_in(&good, &passkey, 0), Ok(0));
        let with = |change: fn(&mut Asserted)| {
            let mut asserted = good.clone();
            change(&mut asserted);
            log_in(&asserted, &passkey, 0)
        };
        assert_eq!(with(|it| it.credential.push(0)), Err(WebauthnRefusal::CredentialId));
        assert_eq!(with(|it| it.credential.clear()), Err(WebauthnRefusal::CredentialId));
        assert_eq!(with(|it| it.user_handle.push(0)), Err(WebauthnRefusal::UserHandle));
        assert_eq!(with(|it| it.user_handle.clear()), Err(WebauthnRefusal::UserHandle));
        assert_eq!(with(|it| it.signature.push(0)), Err(WebauthnRefusal::Signature));
        assert_eq!(with(|it| it.signature.clear()), Err(WebauthnRefusal::Signature));
        // A counter that somebody raised on the way, and client data with a blank more.
        assert_eq!(with(|it| it.authenticator_data[36] = 9), Err(WebauthnRefusal::Signature));
        assert_eq!(with(|it| it.client_data.push(b' ')), Err(WebauthnRefusal::Signature));
        let other = Authenticator::new(algorithm, 8, "id.example", ORIGIN);
        let by_other =
            Asserted { credential: good.credential.clone(), ..other.assert(&challenge(1)) };
        assert_eq!(log_in(&by_other, &passkey, 0), Err(WebauthnRefusal::Signature));
    }
}

#[test]
fn authenticator_data_has_its_parts_and_nothing_else() {
    let passkey = passkey(Algorithm::Es256);
    let client_data = passkey.client_data("webauthn.get", &challenge(1));
    let used = |data: &[u8]| log_in(&passkey.assert_with(&client_data, data), &passkey, 0);
    let data = passkey.data(0);
    assert_eq!(used(&data), Ok(0));
    for length in 0..data.len() {
        assert_eq!(used(&data[..length]), Err(WebauthnRefusal::AuthenticatorData), "{length}");
    }
    assert_eq!(used(&[&data[..], &[0]].concat()), Err(WebauthnRefusal::AuthenticatorData));
    assert_eq!(used(&passkey.data_with_key()), Err(WebauthnRefusal::AttestedKey));
    // Outputs of extensions that nobody asked for are read and left alone.
    let extended = |map: &[u8]| used(&[&passkey.data(0x80)[..], map].concat());
    let protect = [&[0xa1][..], &text("credProtect"), &[2]].concat();
    assert_eq!(extended(&protect), Ok(0));
    assert_eq!(extended(&[0xa0]), Ok(0));
    for other in [&[][..], &[0x00], &[0xa0, 0x00], &[0xbf, 0xff]] {
        assert!(matches!(extended(other), Err(WebauthnRefusal::Cbor(_))), "{other:02x?}");
    }
}

#[test]
fn a_new_passkey_comes_with_its_key_and_a_name_of_its_length() {
    let mut passkey = passkey(Algorithm::EdDsa);
    let created = |data: &[u8]| Created {
        client_data: Authenticator::new(Algorithm::EdDsa, 7, "id.example", ORIGIN)
            .client_data("webauthn.create", &challenge(1)),
        attestation_object: attestation_object("none", &[0xa0], data),
    };
    assert!(register(&created(&passkey.data_with_key())).is_ok());
    assert_eq!(register(&created(&passkey.data(0))), Err(WebauthnRefusal::AttestedKey));
    let without = register(&created(&passkey.data(ATTESTED)));
    assert_eq!(without, Err(WebauthnRefusal::AuthenticatorData));
    let behind = [&passkey.data_with_key()[..], &[0]].concat();
    assert_eq!(register(&created(&behind)), Err(WebauthnRefusal::AuthenticatorData));
    passkey.credential = vec![7; CREDENTIAL_ID_BYTES_MAX];
    assert!(register(&passkey.create(&challenge(1))).is_ok());
    passkey.credential.push(7);
    assert_eq!(register(&passkey.create(&challenge(1))), Err(WebauthnRefusal::CredentialId));
    passkey.credential.clear();
    assert_eq!(register(&passkey.create(&challenge(1))), Err(WebauthnRefusal::CredentialId));
}

#[test]
fn nothing_or_the_passkey_itself_vouches_for_it() {
    for (algorithm, cose) in [(Algorithm::Es256, 0x26), (Algorithm::EdDsa, 0x27)] {
        let passkey = passkey(algorithm);
        let (data, plain) = (passkey.data_with_key(), passkey.create(&challenge(1)));
        let with = |format: &str, statement: &[u8]| {
            let attestation_object = attestation_object(format, statement, &data);
            register(&Created { attestation_object, ..plain.clone() })
        };
        let signature = passkey.sign(&data, &plain.client_data);
        let packed = |alg: u8, signature: &[u8]| {
            let parts = [vec![0xa2], text("alg"), vec![alg], text("sig"), byte_string(signature)];
            with("packed", &parts.concat())
        };
        assert!(with("none", &[0xa0]).is_ok() && packed(cose, &signature).is_ok());
        assert_eq!(packed(cose, &[]), Err(WebauthnRefusal::AttestationStatement));
        let of_other = passkey.sign(&passkey.data(0), &plain.client_data);
        assert_eq!(packed(cose, &of_other), Err(WebauthnRefusal::AttestationStatement));
        assert_eq!(packed(cose ^ 1, &signature), Err(WebauthnRefusal::AttestationStatement));
        let statement = [&[0xa1][..], &text("a"), &[0]].concat();
        assert_eq!(with("none", &statement), Err(WebauthnRefusal::AttestationStatement));
        for format in ["packed", "fido-u2f", "tpm", "None", ""] {
            assert_eq!(with(format, &[0xa0]), Err(WebauthnRefusal::AttestationFormat), "{format}");
        }
    }
}

#[test]
fn an_attestation_object_has_one_spelling() {
    let passkey = passkey(Algorithm::EdDsa);
    let good = passkey.create(&challenge(1));
    let object = &good.attestation_object;
    let with = |attestation_object: Vec<u8>| {
        register(&Created { attestation_object, ..good.clone() }).unwrap_err()
    };
    assert!(register(&good).is_ok());
    for length in 0..object.len() {
        assert!(matches!(with(object[..length].to_vec()), WebauthnRefusal::Cbor(_)), "{length}");
    }
    let behind = [&object[..], &[0]].concat();
    assert_eq!(with(behind), WebauthnRefusal::Cbor(CborError::Trailing));
    // The same members in another order, and of indefinite length.
    let data = byte_string(&passkey.data_with_key());
    let parts = [text("authData"), data.clone(), text("fmt"), text("none"), text("attStmt")];
    let other = [&[0xa3][..], &parts.concat(), &[0xa0]].concat();
    assert_eq!(with(other), WebauthnRefusal::Cbor(CborError::MapOrder));
    let open = [&[0xbf][..], &object[1..], &[0xff]].concat();
    assert_eq!(with(open), WebauthnRefusal::Cbor(CborError::NotShortest));
    // A member more, and one less.
    let more = [&[0xa4][..], &text("a"), &[0], &object[1..]].concat();
    assert_eq!(with(more), WebauthnRefusal::AuthenticatorData);
    let less = [&[0xa2][..], &text("fmt"), &text("none"), &text("authData"), &data].concat();
    assert_eq!(with(less), WebauthnRefusal::AuthenticatorData);
    let long = [&object[..], &[0; 8 << 10]].concat();
    assert_eq!(with(long), WebauthnRefusal::AuthenticatorData);
}

/// WebAuthn Level 3 section 16: what others compute. Their authenticator did not always verify the
/// person, which is refused here, and everything else holds.
mod vectors {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2);
        digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn example() -> RelyingParty {
        RelyingParty::of_issuer("https://example.org").unwrap()
    }

    const SELF_OBJECT: &str = "a363666d74667061636b65646761747453746d74a263616c67266373696758483046022100ae045923ded832b844cae4d5fc864277c0dc114ad713e271af0f0d371bd3ac540221009077a088ed51a673951ad3ba2673d5029bab65b64f4ea67b234321f86fcfac5d68617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b55d00000000df850e09db6afbdfab51697791506cfc0020455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58ca5010203262001215820eb151c8176b225cc651559fecf07af450fd85802046656b34c18f6cf193843c5225820927b8aa427a2be1b8834d233a2d34f61f13bfd44119c325d5896e183fee484f2";
    const SELF_CLIENT_DATA: &str = "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a2265476e4374334c55745936366b336a506a796e6962506b31716e666644616966715a774c33417032392d55222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a205539685458764b453255526b4d6e625f3078594856673d3d227d";
    const NONE_OBJECT: &str = "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220";
    const NONE_DATA: &str =
        "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000";
    const NONE_CLIENT_DATA: &str = "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f334a5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d";
    const NONE_SIGNATURE: &str = "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87";

    #[test]
    fn a_passkey_that_vouches_for_itself_is_taken() {
        // Section 16.3, packed self attestation with ES256.
        let registration = Registration::parse(&hex(SELF_CLIENT_DATA), &hex(SELF_OBJECT)).unwrap();
        let challenge = registration.challenge().to_owned();
        assert_eq!(from_base64url(&challenge).unwrap().len(), 32);
        let expected = Expected { party: &example(), challenge: &challenge };
        let new = registration.clone().verify(&expected).unwrap();
        let id = "455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58c";
        assert_eq!(new.credential.as_bytes(), hex(id));
        let other = Expected { party: &party(), challenge: &challenge };
        assert_eq!(registration.verify(&other), Err(WebauthnRefusal::Origin));
    }

    #[test]
    fn a_word_by_one_without_attestation_holds_but_for_the_person() {
        // Section 16.2, no attestation with ES256.
        let object = AttestationObject::parse(&hex(NONE_OBJECT)).unwrap();
        assert_eq!(object.attestation, Attestation::None);
        let attested = object.data.attested.unwrap();
        let parts = AssertionParts {
            credential: attested.credential.as_bytes(),
            client_data: &hex(NONE_CLIENT_DATA),
            authenticator_data: &hex(NONE_DATA),
            signature: &hex(NONE_SIGNATURE),
            user_handle: b"u",
        };
        let assertion = Assertion::parse(&parts).unwrap();
        let known = KnownPasskey {
            credential: &attested.credential,
            public_key: &attested.public_key,
            sign_count: 0,
            user_handle: b"u",
        };
        let expected = Expected { party: &example(), challenge: assertion.challenge() };
        let refused = assertion.verify(&expected, &known);
        assert_eq!(refused, Err(WebauthnRefusal::UserUnverified));
        let signed =
            [hex(NONE_DATA), attorn_jose::sha256(&hex(NONE_CLIENT_DATA)).to_vec()].concat();
        let held = signature::verify(&attested.public_key, &signed, &hex(NONE_SIGNATURE));
        assert_eq!(held, Ok(()));
        let mut changed = signed;
        changed[33] ^= 1;
        let held = signature::verify(&attested.public_key, &changed, &hex(NONE_SIGNATURE));
        assert_eq!(held, Err(WebauthnRefusal::Signature));
    }
}
