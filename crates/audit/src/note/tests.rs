use serde::Deserialize;

use super::{KeyError, NoteError, NoteSigner, NoteVerifier, OpenedNote, open};

const SKEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

#[test]
fn c2sp_signed_note_vectors() {
    #[derive(Deserialize)]
    struct Vector {
        name: String,
        vkey: String,
        input: String,
        expect: String,
    }
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../../../vectors/audit/note.json")).unwrap();
    for Vector { name, vkey, input, expect } in vectors {
        let verifiers = [NoteVerifier::from_vkey(&vkey).unwrap()];
        let got = match open(&input, &verifiers) {
            Ok(_) => "verified",
            Err(NoteError::Malformed) => "malformed",
            Err(NoteError::SignatureMismatch) => "signature_mismatch",
            Err(NoteError::Unverified) => "unverified",
        };
        assert_eq!(got, expect, "{name}");
    }
}

#[test]
fn keys_keep_their_text_forms() {
    let signer = NoteSigner::from_skey(SKEY).unwrap();
    assert_eq!(signer.to_skey(), SKEY);
    assert_eq!(signer.verifier().to_vkey(), VKEY);
    assert_eq!(NoteVerifier::from_vkey(VKEY).as_ref(), Ok(signer.verifier()));
    assert_eq!(signer.verifier().id(), 0xc74f_20a3);
    assert_eq!(format!("{signer:?}"), "NoteSigner(PeterNeumann, [redacted])");
}

#[test]
fn other_texts_are_no_keys() {
    for (text, expected) in [
        ("", KeyError::Malformed),
        ("PeterNeumann", KeyError::Malformed),
        ("PeterNeumann+c74f20a3", KeyError::Malformed),
        ("PeterNeumann+c74f20a3+", KeyError::Malformed),
        // Type 0x02 is not Ed25519.
        ("PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Malformed),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Malformed),
        (
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            KeyError::IdMismatch,
        ),
        ("Peter+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::IdMismatch),
    ] {
        assert_eq!(NoteVerifier::from_vkey(text), Err(expected), "{text}");
    }
    for name in ["", "with space", "with+plus", "with\u{2003}space", "with\nnewline"] {
        assert_eq!(NoteVerifier::new(name, [1; 32]), Err(KeyError::Name), "{name}");
    }
    assert!(NoteSigner::from_skey(VKEY).is_err());
}

#[test]
fn signed_by_several_is_opened_by_any_of_them() {
    let ours = NoteSigner::from_seed("ours", &[1; 32]).unwrap();
    let theirs = NoteSigner::from_seed("theirs", &[2; 32]).unwrap();
    let note = ours.sign("text\n");
    let signature_of = |text| theirs.sign(text).split_once("\n\n").unwrap().1.to_owned();
    let both = format!("{note}{}", signature_of("text\n"));
    for signer in [&ours, &theirs] {
        let keys = [signer.verifier().clone()];
        let opened = open(&both, &keys);
        assert_eq!(opened, Ok(OpenedNote { text: "text\n", verified_by: &keys[0] }));
    }
    // A wrong signature by a known key refuses the note, even beside a good one.
    let bad = format!("{note}{}", signature_of("other\n"));
    let keys = [ours.verifier().clone(), theirs.verifier().clone()];
    assert_eq!(open(&bad, &keys), Err(NoteError::SignatureMismatch));
    assert!(open(&bad, &keys[..1]).is_ok());
}

#[test]
fn hostile_notes_are_bounded() {
    let ours = NoteSigner::from_seed("ours", &[1; 32]).unwrap();
    let keys = [ours.verifier().clone()];
    assert_eq!(open(&"x".repeat(1_000_001), &keys), Err(NoteError::Malformed));
    let line = "\u{2014} x AAAAAAAA\n";
    assert_eq!(open(&format!("t\n\n{}", line.repeat(101)), &keys), Err(NoteError::Malformed));
    assert_eq!(open(&format!("t\n\n{}", line.repeat(100)), &keys), Err(NoteError::Unverified));
}
