//! Row 8: no byte of quote, collateral, binding or log can be changed and still be believed.

use std::sync::LazyLock;

use atlas_manifests::evidence::Evidence;
use atlas_manifests::evidence::appraise::{Appraisal, Appraiser, Presented};
use atlas_manifests::vocabulary::Hardware;
use proptest::prelude::*;

use super::lab::{Lab, good};

struct Kept {
    appraiser: Appraiser,
    evidence: Evidence,
    collateral: Vec<u8>,
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let mut lab = Lab::new();
    // What the texts of a firmware log's events say is covered by nothing; their digests are, in a test of their own.
    lab.ccel = None;
    let evidence = lab.evidence();
    let collateral = lab.collateral().into_bytes();
    good(&lab.appraise_with(&evidence, Some(&collateral)));
    Kept {
        appraiser: lab.appraiser(),
        evidence,
        collateral,
    }
});

fn appraise(evidence: &Evidence, collateral: &[u8]) -> Appraisal {
    KEPT.appraiser.appraise(&Presented {
        evidence,
        earlier: &|_| None,
        collateral: Some(collateral),
        nonce: None,
    })
}

fn believed(evidence: &Evidence, collateral: &[u8]) -> bool {
    let a = appraise(evidence, collateral);
    a.facts.hardware != Hardware::None && !a.refused()
}

/// Every byte of the quote, one bit each. It carries its certificates as text: what is around them there means nothing, nor does the root,
/// which the verifier has. What is believed is the same then.
#[test]
fn row_8_every_byte_of_a_quote_counts() {
    let quote = &KEPT.evidence.quote;
    let begin = |w: &[u8]| w == b"-----BEGIN ";
    let text = quote.windows(11).position(begin).unwrap();
    let root = quote.windows(11).rposition(begin).unwrap();
    let honest = appraise(&KEPT.evidence, &KEPT.collateral);
    let mut harmless = 0;
    for at in 0..quote.len() {
        let mut other = KEPT.evidence.clone();
        other.quote[at] ^= 1 << (at % 8);
        if believed(&other, &KEPT.collateral) {
            assert!(at >= text, "byte {at} of {}", quote.len());
            assert_eq!(appraise(&other, &KEPT.collateral).facts, honest.facts);
            harmless += usize::from(at < root);
        }
    }
    assert!(harmless < 60, "{harmless}");
}

#[test]
fn row_8_every_byte_of_a_binding_counts() {
    for at in 0..KEPT.evidence.binding.len() {
        for bit in [0, 7] {
            let mut other = KEPT.evidence.clone();
            other.binding[at] ^= 1 << bit;
            assert!(!believed(&other, &KEPT.collateral), "byte {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// What Intel signed is signed; around it is JSON, where spaces and names of unknown fields do not matter. What is believed is the same.
    #[test]
    fn row_8_collateral_that_is_changed_is_refused_or_says_the_same(at: prop::sample::Index, bit in 0u8..8) {
        let mut other = KEPT.collateral.clone();
        let at = at.index(other.len());
        other[at] ^= 1 << bit;
        let a = appraise(&KEPT.evidence, &other);
        if a.facts.hardware != Hardware::None && !a.refused() {
            let honest = appraise(&KEPT.evidence, &KEPT.collateral);
            prop_assert_eq!(a.facts, honest.facts);
        }
    }

    #[test]
    fn row_8_a_record_with_any_byte_changed_is_refused_or_the_same_evidence(at: prop::sample::Index, flip in 1u8..) {
        let mut bytes = KEPT.evidence.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Evidence::decode(&bytes) && other.quote == KEPT.evidence.quote {
            let named = other.collateral != KEPT.evidence.collateral;
            prop_assert!(named || !believed(&other, &KEPT.collateral), "byte {}", at);
        }
    }

    #[test]
    fn row_10_no_quote_panics_the_appraisal(cut: prop::sample::Index, at: prop::sample::Index, garbage in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut other = KEPT.evidence.clone();
        let len = other.quote.len();
        let at = at.index(len);
        other.quote.splice(at..(at + garbage.len()).min(len), garbage);
        let end = cut.index(other.quote.len() + 1);
        other.quote.truncate(end);
        let _ = appraise(&other, &KEPT.collateral);
    }
}
