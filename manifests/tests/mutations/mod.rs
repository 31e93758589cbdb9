//! Valid bytes, changed a little, for each parser whose bytes come from elsewhere and whose own tests do not do it: nothing may panic, and nothing
//! may pass for what it was. A few hundred cases each; `scripts/test` runs them, and `PROPTEST_CASES` makes them more.

use std::sync::LazyLock;

use atlas_manifests::bundle::{Bundle, Disclose, write};
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::private::{PrivateRecord, withhold};
use atlas_manifests::read::{peek, read};
use atlas_manifests::set::{Leaf, Segment, SetTree, empty_head};
use atlas_manifests::shelf::{Object, Shelf, ShelfError};
use atlas_manifests::statement::{Sealed, Statement};
use atlas_manifests::trust::Anchors;
use atlas_manifests::verify::{Content, ManifestChoice, Memo, Subject, Terms, verify};
use atlas_manifests::vocabulary::{Kind, State};
use atlas_manifests::wire;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::OURS;
use crate::forgeries::forge::{Key, Parts, authority, certify, house, leaf};
use crate::statements::plain;

/// One place that is changed: the bytes there are replaced, taken out, or doubled.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index, usize),
    Double(Index, usize),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(i, b)| Change::Set(i, b)),
        (any::<Index>(), 0u8..8).prop_map(|(i, bit)| Change::Flip(i, bit)),
        (any::<Index>(), 1usize..40).prop_map(|(i, n)| Change::Cut(i, n)),
        (any::<Index>(), 1usize..40).prop_map(|(i, n)| Change::Double(i, n)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..10))
            .prop_map(|(i, b)| Change::Insert(i, b)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..4)
}

fn apply(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes.iter().cloned() {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match change {
            Change::Set(i, b) => bytes[i.index(len)] = b,
            Change::Flip(i, bit) => bytes[i.index(len)] ^= 1 << bit,
            Change::Cut(i, n) => {
                let at = i.index(len);
                bytes.drain(at..len.min(at + n));
            }
            Change::Double(i, n) => {
                let at = i.index(len);
                let part = bytes[at..len.min(at + n)].to_vec();
                bytes.splice(at..at, part);
            }
            Change::Insert(i, part) => {
                let at = i.index(len);
                bytes.splice(at..at, part);
            }
        }
    }
}

/// What an honest daemon left: one manifest with one input in its set, and a private record.
struct Kept {
    statement: Statement,
    sealed: Sealed,
    segment: (Sha256, Vec<u8>),
    record: Vec<u8>,
}

impl Shelf for Kept {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(match kind {
            Object::Manifest if *name == self.sealed.reference.sha256 => {
                Some(self.sealed.manifest.clone())
            }
            Object::Inputs if *name == self.segment.0 => Some(self.segment.1.clone()),
            Object::Private => Some(self.record.clone()),
            _ => None,
        })
    }
    fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        Ok(Vec::new())
    }
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let (withheld, fields) = withhold([
        ("argv".to_owned(), json!(["python", "train.py"])),
        ("cwd".to_owned(), json!("/home/ada")),
    ])
    .unwrap();
    let mut statement = plain();
    statement.withheld = withheld;
    statement.inputs.clear();
    let mut tree = SetTree::new();
    let leaf = Leaf {
        node: plain().inputs[0].node,
        digests: Some(Digests::of(b"input")),
        manifest: None,
        kind: Kind::Opened,
        state: State::Unattested,
        process: 0,
        tree: 0,
    };
    tree.push(&leaf);
    statement.input_set = tree.head();
    let segment = Segment {
        prev: empty_head(),
        leaves: vec![leaf],
    };
    let sealed = OURS.sealer.seal(&statement).unwrap();
    let row = json!({"node": statement.version.to_string(), "state": "sealed", "gone": false,
        "process": 0, "tree": 0, "inputs": 0, "copied": [], "ephemeral": false});
    let record = json!({"v": 1, "record": {
        "manifest": sealed.reference.sha256, "fields": fields, "row": row, "run": null,
    }});
    Kept {
        segment: (tree.head().root, segment.encode()),
        record: serde_json::to_vec(&record).unwrap(),
        statement,
        sealed,
    }
});

static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut tar = Vec::new();
    write(
        &*KEPT,
        &KEPT.sealed.reference.sha256,
        &Disclose::All,
        &mut tar,
    )
    .unwrap();
    tar
});

fn passes(bundle: &Bundle, content: Digests) -> bool {
    let terms = Terms::of(Anchors::from_pem(&OURS.anchors).unwrap());
    let choice = ManifestChoice {
        given: bundle.manifest().map(<[u8]>::to_vec),
        ..ManifestChoice::default()
    };
    let subject = Subject {
        path: "model".into(),
        content: Content::Digests(content),
    };
    let memo = &mut Memo::default();
    verify(bundle, &terms, subject, &choice, memo, &|_, _| {})
        .code
        .number()
        == 0
}

#[test]
fn unchanged_they_are_accepted() {
    let bundle = Bundle::read(&BUNDLE[..]).unwrap();
    assert!(passes(&bundle, KEPT.statement.asset.digests));
    assert_eq!(bundle.disclosed().unwrap().len(), 2);
    let record = PrivateRecord::decode(&KEPT.record).unwrap();
    assert!(record.open(&KEPT.statement, "argv").is_ok());
}

#[test]
fn no_bit_of_a_certificate_can_be_changed_also_where_its_authority_signed_nothing() {
    for at in 0..HOUSE.2.len() {
        for bit in 0..8 {
            let mut certificate = HOUSE.2.clone();
            certificate[at] ^= 1 << bit;
            let bytes = Parts::of(&HOUSE.0.honest).signed(&HOUSE.1, &[certificate]);
            let got = read(&bytes, &HOUSE.0.anchors);
            assert!(!crate::trusted(&got), "byte {at}, bit {bit}");
        }
    }
    let bytes = Parts::of(&HOUSE.0.honest).signed(&HOUSE.1, std::slice::from_ref(&HOUSE.2));
    assert!(crate::trusted(&read(&bytes, &HOUSE.0.anchors)));
}

proptest! {
    #[test]
    fn a_changed_bundle_vouches_for_no_other_bytes_and_discloses_nothing_else(changes in changes()) {
        let mut bytes = BUNDLE.clone();
        apply(&mut bytes, &changes);
        if let Ok(bundle) = Bundle::read(&bytes[..]) {
            prop_assert!(!passes(&bundle, Digests::of(b"other bytes")));
            let _ = bundle.catalogue().unwrap();
            if bundle.root() == KEPT.sealed.reference.sha256 && let Ok(said) = bundle.disclosed() {
                let honest = Bundle::read(&BUNDLE[..]).unwrap().disclosed().unwrap();
                for (field, value) in said {
                    prop_assert_eq!(&honest[&field], &value);
                }
            }
        }
    }

    #[test]
    fn a_changed_private_record_opens_to_nothing_else(changes in changes()) {
        let mut bytes = KEPT.record.clone();
        apply(&mut bytes, &changes);
        if let Ok(record) = PrivateRecord::decode(&bytes) {
            for (field, honest) in [("argv", json!(["python", "train.py"])), ("cwd", json!("/home/ada"))] {
                if let Ok(value) = record.open(&KEPT.statement, field) {
                    prop_assert_eq!(value, &honest);
                }
            }
        }
    }

    /// The boxes, hashes and signature are right: what is changed is what an assertion says.
    #[test]
    fn a_changed_assertion_under_a_right_signature_never_panics(which: Index, changes in changes()) {
        let mut parts = Parts::of(&HOUSE.0.honest);
        let at = which.index(parts.assertions.len());
        apply(&mut parts.assertions[at].1, &changes);
        let bytes = parts.signed(&HOUSE.1, std::slice::from_ref(&HOUSE.2));
        let got = read(&bytes, &HOUSE.0.anchors);
        // Whoever only looks sees no more than whoever checks.
        prop_assert!(got.is_err() || peek(&bytes).is_ok());
    }

    #[test]
    fn a_changed_certificate_under_a_right_signature_never_panics(changes in changes()) {
        let mut certificate = HOUSE.2.clone();
        apply(&mut certificate, &changes);
        let changed = certificate != HOUSE.2;
        let bytes = Parts::of(&HOUSE.0.honest).signed(&HOUSE.1, &[certificate]);
        prop_assert!(!changed || !crate::trusted(&read(&bytes, &HOUSE.0.anchors)));
    }

    #[test]
    fn a_changed_anchor_never_panics_and_trusts_nobody_new(changes in changes()) {
        let mut pem = OURS.anchors.clone().into_bytes();
        apply(&mut pem, &changes);
        if let Ok(text) = String::from_utf8(pem) && let Ok(anchors) = Anchors::from_pem(&text) {
            prop_assert!(!crate::trusted(&read(&HOUSE.0.honest, &anchors.pem)));
        }
    }

    #[test]
    fn a_changed_line_of_the_control_channel_never_panics(which: Index, changes in changes()) {
        let lines = [
            r#"{"v":1,"op":"declare","name":"n","meta":[["a","b"]],"argv":["python",{"b64":"/w=="}],"cgroup":"/x"}"#,
            r#"{"v":1,"op":"object","kind":"manifest","name":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#,
            r#"{"v":1,"op":"register","paths":["a"],"name":null,"author":null}"#,
            r#"{"v":1,"op":"sync","wait_ms":5}"#,
        ];
        let mut bytes = lines[which.index(lines.len())].as_bytes().to_vec();
        apply(&mut bytes, &changes);
        let _ = serde_json::from_slice::<wire::Request>(&bytes);
        let _ = serde_json::from_slice::<wire::Reply>(&bytes);
    }
}

/// An authority, an instance's key, and its certificate.
static HOUSE: LazyLock<(crate::forgeries::forge::House, Key, Vec<u8>)> = LazyLock::new(|| {
    let house = house();
    let key = Key::of(9);
    let certificate = certify(&leaf(|_| {}), &key, &authority(&house.name), &house.key);
    (house, key, certificate)
});
