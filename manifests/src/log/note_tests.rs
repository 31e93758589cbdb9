use super::*;
use crate::log::testing::TestKey;
use proptest::prelude::*;

const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn the_example_of_the_specification_is_verified() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!(key.to_string(), VKEY);
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.signed_by(&key), Signed::Yes);
    assert_eq!(note.encode(), NOTE.as_bytes());
}

#[test]
fn a_line_that_the_key_did_not_make_condemns_the_note() {
    let key: VerifierKey = VKEY.parse().unwrap();
    let mut note = Note::parse(NOTE.as_bytes()).unwrap();
    let mut forged = note.signatures[0].clone();
    forged.bytes[3] ^= 1;
    note.add(forged);
    assert_eq!(note.signed_by(&key), Signed::Forged);
    note.text.push('x');
    assert_eq!(note.signed_by(&key), Signed::Forged);
}

#[test]
fn a_key_of_the_same_name_or_the_same_id_is_another_key() {
    let (one, other) = (
        TestKey::log("log.example", 1),
        TestKey::log("log.example", 2),
    );
    let mut note = Note::of("text\n".to_owned());
    note.add(one.key.line(one.sign(b"text\n").to_vec()));
    assert_eq!(note.signed_by(&one.key), Signed::Yes);
    assert_eq!(note.signed_by(&other.key), Signed::No);
    note.signatures[0].id = other.key.id();
    assert_eq!(note.signed_by(&one.key), Signed::No);
    assert_eq!(note.signed_by(&other.key), Signed::Forged);
}

/// All-zero signatures verify under a key of small order, for any text, where nobody looks (RFC 8032 leaves it open).
#[test]
fn keys_of_small_order_sign_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let key = VerifierKey::new("log.example", KeyKind::Ed25519, identity).unwrap();
    let mut note = Note::of("anything\n".to_owned());
    let mut zero = vec![0; 64];
    zero[0] = 1;
    note.add(key.line(zero));
    assert_eq!(note.signed_by(&key), Signed::Forged);
}

#[test]
fn malformed_notes_are_refused() {
    for (from, to) in [
        ("\n\n", "\n"),
        ("This is an example message.\n", ""),
        ("\u{2014} ", "- "),
        ("\u{2014} ", "\u{2014}  "),
        ("example.com/foo ", " "),
        ("example.com/foo ", "example+foo "),
        ("Uw2QOkn8", "Uw2QOk"),
        ("=\n", "=\n\n"),
        ("=\n", "="),
        ("=\n", "=\r\n"),
        (" message", "\u{0} message"),
    ] {
        let bad = NOTE.replacen(from, to, 1);
        assert_ne!(bad, NOTE);
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(Note::parse(&[0xff, b'\n', b'\n']).is_err());
    assert!(Note::parse(&vec![b'a'; MAX_NOTE + 1]).is_err());
    let lines = NOTE.split_once("\n\n").unwrap().1;
    let many = format!("text\n\n{}", lines.repeat(MAX_SIGNATURES + 1));
    assert!(Note::parse(many.as_bytes()).is_err());
}

#[test]
fn malformed_keys_are_refused() {
    for (from, to) in [
        ("+530d903a", "+530d903b"),
        ("+530d903a", "+530D903A"),
        ("+530d903a", ""),
        ("example.com/foo", ""),
        ("example.com/foo", "a b"),
        ("AekyeRrm", "Aeky"),
        ("AekyeRrm", "BekyeRrm"),
    ] {
        let bad = VKEY.replacen(from, to, 1);
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_parses_is_written_alike(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'A'), Just(b'='), Just(0xe2u8), Just(0x80), Just(0x94)], 0..60)) {
        if let Ok(note) = Note::parse(&bytes) {
            prop_assert_eq!(note.encode(), bytes);
        }
    }
}
