use super::*;

const TOKEN: [u8; 32] = [3; 32];
const HELD_S: u64 = 1_000;

fn key(byte: u8) -> EvidenceKey {
    EvidenceKey::new(&[byte; 32])
}

fn approval(byte: u8) -> ApprovalId {
    ApprovalId::from_random(&[byte; 16])
}

fn server(byte: u8) -> ServerId {
    ServerId::from_random(&[byte; 16])
}

fn thumbprint(der: &[u8]) -> CertificateThumbprint {
    CertificateThumbprint::of_der(der)
}

fn held() -> HeldCertificate {
    HeldCertificate::new(thumbprint(b"own"), TOKEN, HELD_S)
}

#[test]
fn evidence_is_for_one_call_of_one_process() {
    let (server, other) = (server(1), server(2));
    let of = EvidenceFor { server: &server, subject_token: &TOKEN };
    let text = key(9).vouch_approval(&approval(7), of);
    assert_eq!(key(9).verify_approval(&text, of), Ok(approval(7)));
    assert_eq!(key(8).verify_approval(&text, of), Err(EvidenceForged), "another process");
    let elsewhere = EvidenceFor { server: &other, ..of };
    assert_eq!(key(9).verify_approval(&text, elsewhere), Err(EvidenceForged), "another server");
    let another = EvidenceFor { subject_token: &[4; 32], ..of };
    assert_eq!(key(9).verify_approval(&text, another), Err(EvidenceForged), "another token");
    let (_, tag) = text.split_once('.').unwrap();
    let renamed = format!("{}.{tag}", approval(6));
    assert_eq!(key(9).verify_approval(&renamed, of), Err(EvidenceForged), "another approval");
}

#[test]
fn what_is_no_evidence_is_refused() {
    let server = server(1);
    let of = EvidenceFor { server: &server, subject_token: &TOKEN };
    let text = key(9).vouch_approval(&approval(7), of);
    let (name, tag) = text.split_once('.').unwrap();
    let odd = [
        String::new(),
        ".".to_owned(),
        name.to_owned(),
        format!("{name}."),
        format!(".{tag}"),
        format!("{name}.{tag}."),
        format!("{name}.{tag}="),
        format!("{name}.{}", tag.chars().take(20).collect::<String>()),
        format!("{}.{tag}", name.replace("apr_", "dec_")),
        text.to_uppercase(),
    ];
    for text in odd {
        assert_eq!(key(9).verify_approval(&text, of), Err(EvidenceForged), "{text}");
    }
}

#[test]
fn evidence_of_a_certificate_is_for_one_call_of_one_process() {
    let (own, other) = (server(1), server(2));
    let of = EvidenceFor { server: &own, subject_token: &TOKEN };
    let text = key(9).vouch_certificate(&held(), &own);
    let check = |key: EvidenceKey, of: EvidenceFor<'_>, der: &[u8]| {
        key.verify_certificate(&text, (&thumbprint(der), of), HELD_S)
    };
    let forged = Err(CertificateEvidenceRefusal::Forged);
    assert_eq!(check(key(9), of, b"own"), Ok(()));
    assert_eq!(check(key(8), of, b"own"), forged, "another process");
    assert_eq!(check(key(9), of, b"twin"), forged, "another certificate");
    let elsewhere = EvidenceFor { server: &other, ..of };
    assert_eq!(check(key(9), elsewhere, b"own"), forged, "another server");
    let another = EvidenceFor { subject_token: &[4; 32], ..of };
    assert_eq!(check(key(9), another, b"own"), forged, "another token");
}

#[test]
fn evidence_of_a_certificate_is_good_for_a_minute() {
    let own = server(1);
    let of = EvidenceFor { server: &own, subject_token: &TOKEN };
    let text = key(9).vouch_certificate(&held(), &own);
    let at = |now_s| key(9).verify_certificate(&text, (&thumbprint(b"own"), of), now_s);
    for now_s in [HELD_S - 5, HELD_S, HELD_S + 60] {
        assert_eq!(at(now_s), Ok(()), "{now_s}");
    }
    for now_s in [HELD_S - 6, HELD_S + 61, 0, u64::MAX] {
        assert_eq!(at(now_s), Err(CertificateEvidenceRefusal::Clock), "{now_s}");
    }
    // Its time cannot be moved.
    let (_, tag) = text.split_once('.').unwrap();
    let later = format!("{}.{tag}", HELD_S + 50);
    let moved = key(9).verify_certificate(&later, (&thumbprint(b"own"), of), HELD_S + 100);
    assert_eq!(moved, Err(CertificateEvidenceRefusal::Forged));
}

#[test]
fn what_is_no_evidence_of_a_certificate_is_refused() {
    let own = server(1);
    let of = EvidenceFor { server: &own, subject_token: &TOKEN };
    let text = key(9).vouch_certificate(&held(), &own);
    let (time, tag) = text.split_once('.').unwrap();
    let odd = [
        String::new(),
        ".".to_owned(),
        time.to_owned(),
        format!("{time}."),
        format!(".{tag}"),
        format!("{text}."),
        format!("{text}="),
        format!("0{text}"),
        format!("+{text}"),
        format!(" {text}"),
        format!("-{text}"),
        format!("{time}.{}", tag.chars().take(20).collect::<String>()),
        format!("99999999999999999999.{tag}"),
    ];
    for text in odd {
        let refused = key(9).verify_certificate(&text, (&thumbprint(b"own"), of), HELD_S);
        assert_eq!(refused, Err(CertificateEvidenceRefusal::Forged), "{text}");
    }
}

#[test]
fn a_word_about_one_thing_is_none_about_the_other() {
    let own = server(1);
    let of = EvidenceFor { server: &own, subject_token: &TOKEN };
    let approved = key(9).vouch_approval(&approval(7), of);
    let (_, tag) = approved.split_once('.').unwrap();
    for text in [approved.clone(), format!("{HELD_S}.{tag}")] {
        let refused = key(9).verify_certificate(&text, (&thumbprint(b"own"), of), HELD_S);
        assert_eq!(refused, Err(CertificateEvidenceRefusal::Forged), "{text}");
    }
    let text = key(9).vouch_certificate(&held(), &own);
    let (_, tag) = text.split_once('.').unwrap();
    for text in [text.clone(), format!("{}.{tag}", approval(7))] {
        assert_eq!(key(9).verify_approval(&text, of), Err(EvidenceForged), "{text}");
    }
    assert!(!APPROVED.starts_with(HELD) && !HELD.starts_with(APPROVED));
}

#[test]
fn a_key_is_not_shown() {
    assert_eq!(format!("{:?}", key(9)), "EvidenceKey([redacted])");
}
