//! A statement through a real signature and back, and what happens to it on the way when somebody interferes. Real keys, real C2PA, no mocks.

mod forgeries;
mod mutations;
mod statements;

use std::sync::LazyLock;

use atlas_manifests::assertion::trim;
use atlas_manifests::authority::Authority;
use atlas_manifests::digest::Sha256;
use atlas_manifests::id::InstanceId;
use atlas_manifests::read::{ReadError, Reading, Signature, peek, read};
use atlas_manifests::seal::{SealError, Sealer};
use atlas_manifests::statement::{MAX_DIRECT_INPUTS, MAX_MANIFEST_BYTES, Statement};
use proptest::prelude::*;
use statements::{any_statement, hostile, plain};

struct House {
    anchors: String,
    sealer: Sealer,
}

fn house() -> House {
    let tmp = tempfile::tempdir().unwrap();
    let authority = Authority::create(tmp.path()).unwrap();
    let key = authority.issue(InstanceId([1; 16])).unwrap();
    House {
        anchors: authority.certificate_pem().to_owned(),
        sealer: Sealer::new(key).unwrap(),
    }
}

static OURS: LazyLock<House> = LazyLock::new(house);
static OTHERS: LazyLock<House> = LazyLock::new(house);

/// What was said is what was given, trimmed, with a prefix of its inputs.
fn same(said: &Statement, given: &Statement) {
    let mut want = trim(given);
    assert!(said.inputs.len() <= want.inputs.len());
    want.inputs.truncate(said.inputs.len());
    assert_eq!(*said, want);
}

fn trusted(got: &Result<Reading, ReadError>) -> bool {
    matches!(got, Ok(r) if matches!(r.signature, Signature::Trusted { .. }))
}

#[test]
fn a_plain_statement_is_trusted_under_its_own_authority_only() {
    let s = plain();
    let sealed = OURS.sealer.seal(&s).unwrap();
    let reading = read(&sealed.manifest, &OURS.anchors).unwrap();
    assert_eq!(reading.statement, s);
    assert_eq!(reading.reference, sealed.reference);
    assert_eq!(reading.urn, sealed.urn);
    assert!(reading.urn.starts_with("urn:c2pa:"));
    let Signature::Trusted { signer } = &reading.signature else {
        panic!("{:?}", reading.signature);
    };
    assert!(signer.starts_with("Atlas instance 0101"), "{signer}");
    for anchors in ["", &OTHERS.anchors] {
        let reading = read(&sealed.manifest, anchors).unwrap();
        assert!(matches!(reading.signature, Signature::Untrusted { .. }));
    }
    let both = format!("{}{}", OTHERS.anchors, OURS.anchors);
    let reading = read(&sealed.manifest, &both).unwrap();
    assert!(matches!(reading.signature, Signature::Trusted { .. }));
}

/// Sealed once and kept: what was sealed in format 1 is read for ever. Never make these files anew; a new format gets new ones.
#[test]
fn a_manifest_sealed_in_format_1_still_reads() {
    let bytes = include_bytes!("frozen/format-1.c2pa");
    let anchors = include_str!("frozen/format-1.authority.pem");
    let reading = read(bytes, anchors).unwrap();
    assert!(matches!(reading.signature, Signature::Trusted { .. }));
    let mut want = plain();
    want.parent = Some(want.inputs[0].clone());
    assert_eq!(reading.statement, want);
}

#[test]
fn the_nearest_inputs_stay_when_not_all_fit() {
    let mut s = plain();
    s.inputs = (0..20).map(statements::input).collect();
    let sealed = OURS.sealer.seal(&s).unwrap();
    let said = peek(&sealed.manifest).unwrap().inputs;
    assert!(
        (5..=MAX_DIRECT_INPUTS).contains(&said.len()),
        "{}",
        said.len()
    );
    assert_eq!(said[..], s.inputs[..said.len()]);
    // One more would not have fitted.
    let per_input = sealed.manifest.len()
        - OURS
            .sealer
            .seal(&less(&s, said.len() - 1))
            .unwrap()
            .manifest
            .len();
    assert!(
        said.len() == MAX_DIRECT_INPUTS
            || sealed.manifest.len() + per_input + 8 >= MAX_MANIFEST_BYTES
    );
}

fn less(s: &Statement, inputs: usize) -> Statement {
    let mut s = s.clone();
    s.inputs.truncate(inputs);
    s
}

#[test]
fn a_number_that_the_sdk_cannot_write_is_an_error_not_a_lie() {
    let mut s = plain();
    s.asset.digests.size = u64::MAX;
    assert!(matches!(OURS.sealer.seal(&s), Err(SealError::Sdk(_))));
}

#[test]
fn the_largest_statement_still_fits_and_keeps_its_parent() {
    let s = hostile();
    let sealed = OURS.sealer.seal(&s).unwrap();
    assert!(sealed.manifest.len() < MAX_MANIFEST_BYTES);
    let reading = read(&sealed.manifest, &OURS.anchors).unwrap();
    assert!(matches!(reading.signature, Signature::Trusted { .. }));
    same(&reading.statement, &s);
    assert!(reading.statement.parent.is_some());
}

#[test]
fn an_empty_file_is_refused_because_no_verifier_could_check_it() {
    let mut s = plain();
    s.asset.digests = atlas_manifests::digest::Digests::of(b"");
    assert!(matches!(OURS.sealer.seal(&s), Err(SealError::Empty)));
}

#[test]
fn every_changed_byte_is_noticed() {
    let sealed = OURS.sealer.seal(&plain()).unwrap();
    let mut bytes = sealed.manifest.clone();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            bytes[at] ^= flip;
            let got = read(&bytes, &OURS.anchors);
            bytes[at] ^= flip;
            assert!(!trusted(&got), "byte {at} can be changed: {got:?}");
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    let mut bytes = OURS.sealer.seal(&plain()).unwrap().manifest;
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end], &OURS.anchors).is_err(), "cut at {end}");
    }
    bytes.push(0);
    assert!(read(&bytes, &OURS.anchors).is_err());
    let oversized = vec![0; atlas_manifests::read::MAX_READ_BYTES + 1];
    assert!(matches!(
        read(&oversized, &OURS.anchors),
        Err(ReadError::Malformed(_))
    ));
}

#[test]
fn manifests_of_other_programs_are_told_from_damage() {
    let ours = OURS.sealer.seal(&plain()).unwrap().manifest;
    let mut theirs = ours.clone();
    let (from, to) = (b"org.atlasfs", b"com.example");
    for at in 0..theirs.len() - from.len() {
        if theirs[at..].starts_with(from) {
            theirs[at..at + to.len()].copy_from_slice(to);
        }
    }
    assert!(matches!(read(&theirs, ""), Err(ReadError::Foreign(_))));
    assert!(matches!(
        read(&theirs[..99], ""),
        Err(ReadError::Malformed(_))
    ));
    assert!(matches!(read(b"\x89PNG", ""), Err(ReadError::Malformed(_))));
}

/// The signature of one manifest over the assertions of another: each part is genuine.
#[test]
fn a_signature_moved_to_another_claim_is_noticed() {
    let a = OURS.sealer.seal(&plain()).unwrap().manifest;
    let mut other = plain();
    other.asset.digests.sha256 = Sha256([9; 32]);
    let mut b = OURS.sealer.seal(&other).unwrap().manifest;
    assert_eq!(a.len(), b.len());
    let at = b.len() - 64;
    b[at..].copy_from_slice(&a[at..]);
    assert!(matches!(
        read(&b, &OURS.anchors),
        Err(ReadError::Tampered(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_sealed_reads_back_trimmed_and_small(s in any_statement()) {
        let sealed = OURS.sealer.seal(&s).unwrap();
        prop_assert!(sealed.manifest.len() < MAX_MANIFEST_BYTES);
        prop_assert_eq!(sealed.reference.sha256, Sha256::of(&sealed.manifest));
        let reading = read(&sealed.manifest, &OURS.anchors).unwrap();
        prop_assert!(matches!(reading.signature, Signature::Trusted { .. }), "{:?}", reading.signature);
        same(&reading.statement, &s);
        prop_assert_eq!(peek(&sealed.manifest).unwrap(), reading.statement);
    }

    #[test]
    fn trimming_twice_changes_nothing_more(s in any_statement()) {
        let once = trim(&s);
        prop_assert_eq!(trim(&once), once);
    }

    #[test]
    fn several_changed_bytes_are_noticed(changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6)) {
        let mut bytes = OURS.sealer.seal(&plain()).unwrap().manifest;
        let before = bytes.clone();
        for (at, flip) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        prop_assume!(bytes != before);
        let got = read(&bytes, &OURS.anchors);
        prop_assert!(!trusted(&got), "{:?}", got);
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(read(&bytes, &OURS.anchors).is_err());
    }

    #[test]
    fn anchors_that_are_noise_trust_nobody(anchors in "\\PC{0,80}") {
        let sealed = OURS.sealer.seal(&plain()).unwrap();
        let got = read(&sealed.manifest, &anchors);
        prop_assert!(!trusted(&got), "{:?}", got);
    }
}
