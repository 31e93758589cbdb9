use super::*;
use crate::log::anchor::public_log_key;
use crate::log::anchor::testing::{Lab, RECORDED, RECORDED_KEY, recorded, recorded_request};
use crate::log::note::Signed;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn the_answer_of_a_real_server_is_read_and_its_checkpoint_is_signed() {
    let (answer, key) = (recorded(), public_log_key(None, RECORDED_KEY).unwrap());
    assert_eq!((answer.index, answer.leaf, answer.size), (0, 0, 1));
    assert_eq!(answer.checkpoint.signed_by_log(&key), Signed::Yes);
    assert_eq!(answer.log, log_id(&key));
    assert_eq!(answer.body, recorded_request().body().into_bytes());
    assert_eq!(answer.checkpoint.head.head.root, recorded_request().leaf());
}

#[test]
fn an_honest_answer_becomes_an_anchor() {
    let lab = Lab::new(7);
    let answer = Answer::parse(lab.answer().to_string().as_bytes()).unwrap();
    let made = answer
        .check(&lab.request, &lab.ours, &lab.expected())
        .unwrap();
    assert_eq!(made, lab.anchor);
}

/// Every field, missing, of another type, and of another value: a line that says so, and no anchor.
#[test]
fn an_answer_of_which_anything_is_missing_or_other_is_refused() {
    let lab = Lab::new(7);
    let whole = lab.answer();
    let refused = |answer: &Value| -> String {
        let bytes = answer.to_string();
        let read = Answer::parse(bytes.as_bytes());
        let read = read.and_then(|a| a.check(&lab.request, &lab.ours, &lab.expected()));
        let text = read.map(|_| answer.to_string()).unwrap_err().to_string();
        assert!(!text.contains('\n') && text.len() < 300, "{text}");
        text
    };
    for path in [
        "/logIndex",
        "/logId/keyId",
        "/kindVersion/kind",
        "/kindVersion/version",
        "/inclusionProof/logIndex",
        "/inclusionProof/rootHash",
        "/inclusionProof/treeSize",
        "/inclusionProof/hashes/0",
        "/inclusionProof/hashes",
        "/inclusionProof/checkpoint/envelope",
        "/inclusionProof/checkpoint",
        "/inclusionProof",
        "/canonicalizedBody",
    ] {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut other = whole.clone();
        match other.pointer_mut(parent).unwrap() {
            Value::Object(o) => drop(o.remove(name)),
            Value::Array(a) => drop(a.remove(0)),
            _ => unreachable!(),
        }
        refused(&other);
        for wrong in [
            Value::Null,
            json!(2),
            json!(2.5),
            json!(true),
            json!([]),
            json!({}),
            json!(""),
            json!("3"),
            json!("02"),
            json!("+2"),
            json!("-1"),
            json!("18446744073709551616"),
            json!("\n\n\n"),
            json!("x".repeat(5000)),
            json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ] {
            let mut other = whole.clone();
            *other.pointer_mut(path).unwrap() = wrong;
            refused(&other);
        }
    }
    let mut twice = whole.to_string();
    twice.insert_str(1, r#""logIndex":"2","#);
    assert!(Answer::parse(twice.as_bytes()).is_err());
    let many = vec![json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="); MAX_PROOF + 1];
    let mut long = whole;
    long["inclusionProof"]["hashes"] = json!(many);
    assert!(refused(&long).contains("too many"));
    long["more"] = json!("x".repeat(MAX_ANSWER));
    assert!(refused(&long).contains("too long"));
}

#[test]
fn what_a_later_server_adds_does_not_matter() {
    let lab = Lab::new(7);
    let mut more = lab.answer();
    more["integratedTime"] = json!("12");
    more["new"] = json!({"a": [1]});
    let answer = Answer::parse(more.to_string().as_bytes()).unwrap();
    assert!(
        answer
            .check(&lab.request, &lab.ours, &lab.expected())
            .is_ok()
    );
}

/// Replays: what the log said of another request, or by a checkpoint of before.
#[test]
fn an_honest_answer_to_something_else_is_refused() {
    let (lab, before) = (Lab::new(7), Lab::new(6));
    let check = |answer: &Value| {
        let read = Answer::parse(answer.to_string().as_bytes()).unwrap();
        read.check(&lab.request, &lab.ours, &lab.expected())
    };
    assert_eq!(check(&before.answer()), Err(AnchorError::OtherEntry));
    let mut old = lab.answer();
    old["inclusionProof"] = before.answer()["inclusionProof"].clone();
    assert_eq!(check(&old), Err(AnchorError::Proof));
    let early = SetHead {
        size: 2,
        root: lab.anchor.proof.hashes[1],
    };
    let early = lab.public.checkpoint(early);
    let mut old = lab.answer();
    let proof = &mut old["inclusionProof"];
    proof["treeSize"] = json!("2");
    proof["rootHash"] = json!(crate::bytes::base64(&early.head.head.root.0));
    proof["checkpoint"]["envelope"] = json!(String::from_utf8(early.encode()).unwrap());
    let lagging = AnchorError::Lagging { index: 2, size: 2 };
    assert_eq!(check(&old), Err(lagging));
}

use crate::statement::SetHead;

proptest! {
    #[test]
    fn no_byte_of_an_answer_can_be_changed_for_another_anchor(at: prop::sample::Index, flip in 1u8..) {
        let lab = Lab::new(7);
        let mut bytes = lab.answer().to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // What is not read may change; what is made of the rest is the same or nothing.
        if let Ok(read) = Answer::parse(&bytes)
            && let Ok(made) = read.check(&lab.request, &lab.ours, &lab.expected())
        {
            prop_assert_eq!(made, lab.anchor);
        }
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..2000) {
        let _ = Answer::parse(&bytes);
        let cut = cut.min(RECORDED.len());
        prop_assert!(Answer::parse(&RECORDED.as_bytes()[..cut]).is_err() || RECORDED[cut..].trim().is_empty());
    }
}
