use super::*;
use crate::digest::hex;
use proptest::prelude::*;

fn digest(n: u8) -> Sha256 {
    Sha256([n; 32])
}

fn all() -> Vec<(Leaf, &'static str)> {
    let instance = InstanceId([0x11; 16]);
    vec![
        (
            Leaf::Manifest {
                manifest: digest(0xaa),
                instance,
            },
            "846c61746c61732d6c6561662d31686d616e69666573745820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa5011111111111111111111111111111111",
        ),
        (
            Leaf::Inputs {
                run: RunId { instance, n: 7 },
                head: SetHead {
                    size: 300,
                    root: digest(0xbb),
                },
            },
            "866c61746c61732d6c6561662d3166696e7075747350111111111111111111111111111111110719012c5820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        ),
        (
            Leaf::Instance {
                instance,
                evidence: Some(digest(1)),
                seal_key: digest(2),
                log_key: None,
            },
            "866c61746c61732d6c6561662d3168696e7374616e636550111111111111111111111111111111115820010101010101010101010101010101010101010101010101010101010101010158200202020202020202020202020202020202020202020202020202020202020202f6",
        ),
        (
            Leaf::Anchor {
                instance,
                seq: 0,
                manifests: 24,
                evidence: None,
                last: true,
            },
            "876c61746c61732d6c6561662d3166616e63686f725011111111111111111111111111111111001818f601",
        ),
        (
            Leaf::Revocation {
                what: Revoked::Instance(instance),
                reason: Reason::Compromised,
            },
            "856c61746c61732d6c6561662d316a7265766f636174696f6e68696e7374616e636550111111111111111111111111111111116b636f6d70726f6d69736564",
        ),
    ]
}

/// The bytes of format 1, for ever.
#[test]
fn the_bytes_of_a_leaf_stay_what_they_are() {
    for (leaf, frozen) in all() {
        assert_eq!(hex(&leaf.encode()), frozen, "{}", leaf.kind());
        assert_eq!(Leaf::decode(&leaf.encode()).unwrap(), leaf);
        assert!(leaf.encode().len() <= MAX_LEAF);
    }
}

#[test]
fn a_leaf_with_another_length_or_bytes_after_it_is_refused() {
    for (leaf, _) in all() {
        let mut bytes = leaf.encode();
        bytes[0] += 1;
        assert!(Leaf::decode(&bytes).is_err());
        let mut bytes = leaf.encode();
        bytes.push(0);
        assert!(Leaf::decode(&bytes).is_err());
    }
}

proptest! {
    #[test]
    fn what_decodes_has_one_spelling(at in 0usize..200, to in any::<u8>(), which in 0usize..5) {
        let mut bytes = all()[which].0.encode();
        if let Some(b) = bytes.get_mut(at) {
            *b = to;
        }
        if let Ok(leaf) = Leaf::decode(&bytes) {
            prop_assert_eq!(leaf.encode(), bytes);
        }
    }
}
