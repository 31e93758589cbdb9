use super::*;
use crate::log::anchor::testing::Lab;
use crate::log::cosignature::cosign;
use crate::log::testing::TestKey;
use proptest::prelude::*;

#[test]
fn an_anchor_is_read_as_it_was_written_and_holds() {
    let lab = Lab::new(7);
    let bytes = lab.anchor.encode().unwrap();
    let read = PublicAnchor::decode(&bytes).unwrap();
    assert_eq!(read, lab.anchor);
    let shown = read.verify(&lab.expected()).unwrap();
    assert_eq!(
        (shown.ours.head.size, shown.index, shown.public.head.size),
        (7, 2, 4)
    );
    let any = Expected {
        key: None,
        ..lab.expected()
    };
    assert_eq!(read.verify(&any), Ok(shown));
    // Whoever knows only the format of proofs reads it too.
    let plain = Proof::parse(&bytes).unwrap();
    assert!(plain.holds(&lab.request.leaf()));
}

/// Text, base64 in text and CBOR in base64: no byte of it is free.
#[test]
fn each_byte_of_an_anchor_counts() {
    let lab = Lab::new(7);
    let bytes = lab.anchor.encode().unwrap();
    for at in 0..bytes.len() {
        for flip in [1u8, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            let read = PublicAnchor::decode(&bad);
            assert!(
                read.is_err() || read.unwrap().verify(&lab.expected()).is_err(),
                "{at}"
            );
        }
        assert!(PublicAnchor::decode(&bytes[..at]).is_err());
    }
}

#[test]
fn each_part_of_an_anchor_is_checked() {
    let lab = Lab::new(7);
    let (other, stranger) = (Lab::new(7), Lab::new(8));
    let refused = |change: &dyn Fn(&mut PublicAnchor)| {
        let mut bad = lab.anchor.clone();
        change(&mut bad);
        bad.verify(&lab.expected()).unwrap_err()
    };
    let any_key = |change: &dyn Fn(&mut PublicAnchor)| {
        let mut bad = lab.anchor.clone();
        change(&mut bad);
        let expected = Expected {
            key: None,
            ..lab.expected()
        };
        bad.verify(&expected).unwrap_err()
    };
    let name = lab.log.name().to_owned();
    assert_eq!(
        refused(&|a| a.checkpoint.note.signatures.clear()),
        AnchorError::NotOurs(name.clone())
    );
    assert_eq!(
        refused(&|a| a.checkpoint.note.signatures[0].bytes[5] ^= 1),
        AnchorError::NotOurs(name)
    );
    assert_eq!(
        refused(&|a| a.checkpoint = stranger.ours.clone()),
        AnchorError::Signature
    );
    assert_eq!(
        refused(&|a| a.sent = other.request.clone()),
        AnchorError::OtherKey
    );
    assert_eq!(
        any_key(&|a| a.sent.key = other.request.key),
        AnchorError::Signature
    );
    assert_eq!(
        any_key(&|a| a.sent = other.request.clone()),
        AnchorError::Proof
    );
    assert_eq!(
        refused(&|a| a.sent.signature[20] ^= 1),
        AnchorError::Signature
    );
    for index in [0, 1, 3] {
        assert_eq!(refused(&|a| a.proof.index = index), AnchorError::Proof);
    }
    assert_eq!(
        refused(&|a| a.proof.index = 4),
        AnchorError::Lagging { index: 4, size: 4 }
    );
    assert_eq!(refused(&|a| a.proof.hashes.swap(0, 1)), AnchorError::Proof);
    assert_eq!(refused(&|a| a.proof.hashes.truncate(1)), AnchorError::Proof);
    assert_eq!(
        refused(&|a| a.proof.hashes.push(Sha256([0; 32]))),
        AnchorError::Proof
    );
    let signatures = |a: &mut PublicAnchor| a.proof.checkpoint.note.signatures.clear();
    assert!(matches!(refused(&signatures), AnchorError::OtherLog(_)));
    assert_eq!(
        refused(&|a| a.proof.checkpoint.note.signatures[0].bytes[5] ^= 1),
        AnchorError::Forged
    );
}

#[test]
fn a_log_of_another_name_or_key_is_not_the_public_one() {
    let lab = Lab::new(7);
    for other in [
        TestKey::log("rekor.example", 3),
        TestKey::log("other.example", 2),
    ] {
        let expected = Expected {
            public: &other.key,
            ..lab.expected()
        };
        assert!(matches!(
            lab.anchor.verify(&expected),
            Err(AnchorError::OtherLog(_))
        ));
        // The right key may not sign for another log either.
        let mut bad = lab.anchor.clone();
        let text = &bad.proof.checkpoint.note.text;
        let line = other.key.line(other.sign(text.as_bytes()).to_vec());
        bad.proof.checkpoint.note.signatures = vec![line];
        assert!(bad.verify(&lab.expected()).is_err());
    }
}

#[test]
fn a_quorum_of_the_public_logs_witnesses_is_demanded_where_it_is_asked_for() {
    let lab = Lab::new(7);
    let witness = TestKey::witness("w.example", 9);
    let policy = format!("witness w {}\nquorum w\n", witness.key);
    let quorum = Quorum::parse(policy.as_bytes()).unwrap();
    let expected = Expected {
        quorum: Some(&quorum),
        ..lab.expected()
    };
    assert_eq!(lab.anchor.verify(&expected), Err(AnchorError::Quorum));
    let mut cosigned = lab.anchor.clone();
    let line = cosign(&witness.key, &cosigned.proof.checkpoint, 1000, |m| {
        witness.sign(m)
    });
    cosigned.proof.checkpoint.note.add(line);
    assert!(cosigned.verify(&expected).is_ok());
    let read = PublicAnchor::decode(&cosigned.encode().unwrap()).unwrap();
    assert_eq!(read, cosigned);
    cosigned.proof.checkpoint.note.signatures[1].bytes[9] ^= 1;
    assert_eq!(cosigned.verify(&expected), Err(AnchorError::Forged));
}

#[test]
fn an_anchor_that_would_not_be_read_is_not_written() {
    let mut lab = Lab::new(7);
    let line = lab.log.line(vec![0; MAX_OWN]);
    lab.anchor.checkpoint.note.add(line);
    assert!(lab.anchor.encode().is_err());
    let mut plain = Lab::new(7).anchor.proof;
    plain.extra = None;
    assert!(PublicAnchor::decode(&plain.encode()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(PublicAnchor::decode(&bytes).is_err());
        let mut proof = Lab::new(7).anchor.proof;
        proof.extra = Some(bytes);
        prop_assert!(PublicAnchor::decode(&proof.encode()).is_err());
    }
}
