//! The tamper table: every way in which evidence was changed and others did not notice, on a chain of twelve real manifests.

use super::chain::{Chain, DEPTH, content, node, sealer};
use super::*;
use crate::rows::VersionRow;
use crate::scan::tests::version_row;
use crate::set::{Leaf, Segment, SetTree, empty_head};
use crate::shelf::Object;
use crate::statement::Input;
use crate::statements::plain;
use crate::vocabulary::{Kind, State};

pub(super) fn code(v: &FileVerdict) -> i32 {
    assert_eq!(v.verdict == Outcome::Pass, v.code == Code::Ok, "{v:?}");
    v.code.number()
}

#[test]
fn an_honest_file_passes_with_every_ancestor_checked() {
    let chain = Chain::new();
    let v = chain.judge(&content(DEPTH));
    assert_eq!((code(&v), v.ancestors), (0, DEPTH - 1), "{v:?}");
    assert_eq!(
        v.checks.hardware,
        Tier::None,
        "what was not checked is never ticked"
    );
}

#[test]
fn a_modified_file_is_refused_and_so_is_one_cut_to_nothing() {
    let chain = Chain::new();
    assert_eq!(code(&chain.judge(b"content of checkpoint 13")), 4);
    assert_eq!(code(&chain.judge(b"")), 4);
    let older = chain.judge(&content(3));
    assert_eq!(
        code(&older),
        4,
        "another sealed content at this path is not this path's"
    );
}

#[test]
fn a_file_without_any_manifest_is_not_a_pass() {
    let chain = Chain::new();
    assert_eq!(
        code(&chain.judge_by(b"never seen", ManifestChoice::default())),
        3
    );
    assert_eq!(
        chain.judge_by(b"", ManifestChoice::default()).verdict,
        Outcome::Skipped
    );
}

#[test]
fn no_byte_of_the_manifest_can_be_flipped() {
    let chain = Chain::new();
    let honest = &chain.head().sealed.manifest;
    // One byte of every stretch of 41 reaches every box of a manifest of some 5 KB.
    for at in (0..honest.len()).step_by(41) {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        let given = ManifestChoice {
            given: Some(bytes.clone()),
            ..ManifestChoice::default()
        };
        let v = chain.judge_by(&content(DEPTH), given);
        assert_ne!(v.verdict, Outcome::Pass, "byte {at} as a given file");
        chain.shelf.put(
            Object::Manifest,
            chain.head().sealed.reference.sha256,
            bytes,
        );
        assert_ne!(
            chain.judge(&content(DEPTH)).verdict,
            Outcome::Pass,
            "byte {at} in the store"
        );
    }
}

#[test]
fn a_stripped_signature_is_refused() {
    let chain = Chain::new();
    let mut bytes = chain.head().sealed.manifest.clone();
    let label = b"c2pa.signature\0";
    let at = bytes
        .windows(label.len())
        .rposition(|w| w == label)
        .unwrap()
        + label.len();
    bytes[at + 8..].fill(0);
    let given = ManifestChoice {
        given: Some(bytes),
        ..ManifestChoice::default()
    };
    assert_eq!(code(&chain.judge_by(&content(DEPTH), given)), 5);
}

#[test]
fn a_manifest_of_another_file_is_refused() {
    let chain = Chain::new();
    let other = chain.links[4].sealed.manifest.clone();
    let given = ManifestChoice {
        given: Some(other.clone()),
        ..ManifestChoice::default()
    };
    assert_eq!(code(&chain.judge_by(&content(DEPTH), given)), 4);
    let sidecar = ManifestChoice {
        sidecar: Some(other),
        ..ManifestChoice::default()
    };
    assert_eq!(code(&chain.judge_by(b"never seen", sidecar)), 4);
}

#[test]
fn a_parent_edited_in_place_is_named() {
    let chain = Chain::new();
    let parent = &chain.links[10].sealed;
    let mut bytes = parent.manifest.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    chain
        .shelf
        .put(Object::Manifest, parent.reference.sha256, bytes);
    let v = chain.judge(&content(DEPTH));
    assert_eq!(code(&v), 8);
    assert!(v.reasons[0].text.contains(&node(11).to_string()), "{v:?}");
}

#[test]
fn an_ancestor_ten_hops_up_edited_or_deleted_is_found_and_the_way_to_it_told() {
    for deleted in [false, true] {
        let chain = Chain::new();
        let far = &chain.links[1].sealed;
        if deleted {
            chain.shelf.remove(Object::Manifest, far.reference.sha256);
        } else {
            let mut bytes = far.manifest.clone();
            bytes[1000] ^= 1;
            chain
                .shelf
                .put(Object::Manifest, far.reference.sha256, bytes);
        }
        let v = chain.judge(&content(DEPTH));
        assert_eq!(code(&v), 8);
        let way: Vec<String> = (2..=DEPTH).rev().map(|n| node(n).to_string()).collect();
        assert!(v.reasons[0].text.contains(&way.join(" <- ")), "{v:?}");
    }
}

#[test]
fn an_ancestor_sealed_anew_under_the_old_name_is_refused() {
    let chain = Chain::new();
    let old = &chain.links[5];
    let mut forged = old.statement.clone();
    forged.asset.digests = Digests::of(b"poisoned");
    let forged = chain.sealer.seal(&forged).unwrap();
    chain.shelf.put(
        Object::Manifest,
        old.sealed.reference.sha256,
        forged.manifest,
    );
    assert_eq!(code(&chain.judge(&content(DEPTH))), 8);
}

#[test]
fn an_ancestor_about_other_content_or_another_version_than_recorded_is_refused() {
    for what in ["content", "version"] {
        let mut chain = Chain::new();
        let (digests, reference) = (
            chain.head().statement.asset.digests,
            chain.head().sealed.reference,
        );
        let wrong = if what == "content" {
            Digests::of(b"other")
        } else {
            digests
        };
        chain.link(13, Some((wrong, reference)), &|s| {
            if what == "version" {
                s.inputs[0].node = node(99);
            }
        });
        let row = VersionRow {
            manifest: Some(chain.head().sealed.reference),
            ..version_row(node(13))
        };
        let v = chain.judge_by(
            &content(13),
            ManifestChoice {
                row: Some(row),
                ..ManifestChoice::default()
            },
        );
        assert_eq!(code(&v), 8, "{what}");
    }
}

#[test]
fn a_state_replaced_wholesale_under_another_authority_is_not_trusted() {
    let mut chain = Chain::new();
    assert_eq!(code(&chain.judge(&content(DEPTH))), 0);
    chain.terms = sealer().1;
    assert_eq!(code(&chain.judge(&content(DEPTH))), 5);
    chain.terms = Terms::default();
    assert_eq!(code(&chain.judge(&content(DEPTH))), 5);
}

#[test]
fn an_ancestor_under_another_authority_is_not_trusted() {
    let mut chain = Chain::new();
    chain.sealer = sealer().0;
    let mut foreign = plain();
    foreign.version.n = 12;
    foreign.asset.digests = Digests::of(b"foreign");
    (
        foreign.parent,
        foreign.inputs,
        foreign.members,
        foreign.input_set,
    ) = (None, Vec::new(), None, empty_head());
    let foreign_sealed = chain.sealer.seal(&foreign).unwrap();
    chain.shelf.put(
        Object::Manifest,
        foreign_sealed.reference.sha256,
        foreign_sealed.manifest,
    );
    (chain.sealer, chain.terms) = sealer();
    chain.link(
        13,
        Some((foreign.asset.digests, foreign_sealed.reference)),
        &|_| {},
    );
    let row = VersionRow {
        manifest: Some(chain.head().sealed.reference),
        ..version_row(node(13))
    };
    let v = chain.judge_by(
        &content(13),
        ManifestChoice {
            row: Some(row),
            ..ManifestChoice::default()
        },
    );
    assert_eq!(code(&v), 8, "{v:?}");
}

#[test]
fn an_input_set_is_checked_to_its_root() {
    let chain = Chain::new();
    let root = chain.links[7].set;
    let honest = chain.shelf.object(Object::Inputs, &root).unwrap().unwrap();
    for at in 0..honest.len() {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        chain.shelf.put(Object::Inputs, root, bytes);
        assert_eq!(code(&chain.judge(&content(DEPTH))), 8, "byte {at}");
    }
    chain.shelf.remove(Object::Inputs, root);
    assert_eq!(code(&chain.judge(&content(DEPTH))), 8);
}

#[test]
fn a_killed_writer_fails_and_one_that_failed_is_told() {
    let killed = Chain::with(|s| (s.closed, s.status) = (Closed::Killed, Some(9)));
    let v = killed.judge(&content(DEPTH));
    assert_eq!(
        (code(&v), v.checks.completeness),
        (7, Tier::Contraindicated)
    );
    let failed = Chain::with(|s| (s.closed, s.status) = (Closed::Exit, Some(1)));
    let v = failed.judge(&content(DEPTH));
    assert_eq!((code(&v), v.checks.completeness), (0, Tier::Warning));
}

#[test]
fn inputs_that_nobody_sealed_are_a_warning_and_not_a_tick() {
    let chain = Chain::with(|s| {
        if s.version.n == DEPTH {
            s.inputs.push(Input {
                node: NodeRef::Content(crate::digest::Blake3::of(b"raw")),
                digests: Some(Digests::of(b"raw")),
                manifest: None,
                state: State::Unattested,
                ..s.inputs[0].clone()
            });
        }
    });
    let v = chain.judge(&content(DEPTH));
    assert_eq!((code(&v), v.checks.inputs), (0, Tier::Warning), "{v:?}");
}

/// A version that another process of its run read before it was finished stands in its own beginning of the run's set.
#[test]
fn a_version_that_was_read_while_it_was_open_is_no_ancestor_of_itself() {
    let open = |n: u64| Leaf {
        node: node(n),
        digests: None,
        manifest: None,
        kind: Kind::Opened,
        state: State::Open,
        process: 1,
        tree: 0,
    };
    let mut tree = SetTree::new();
    let leaves = vec![open(13), open(99)];
    for leaf in &leaves {
        tree.push(leaf);
    }
    let mut chain = Chain::new();
    let segment = Segment {
        prev: empty_head(),
        leaves,
    };
    chain
        .shelf
        .put(Object::Inputs, tree.head().root, segment.encode());
    chain.link(13, None, &|s| s.input_set = tree.head());
    let v = chain.judge_by(&content(13), chain.last_choice());
    assert_eq!((code(&v), v.checks.inputs), (0, Tier::Warning), "{v:?}");
    assert!(
        v.reasons[0].text.starts_with("one input was not finished"),
        "only the other one: {v:?}"
    );
    // As an ingredient, with or without a manifest, it is nonsense.
    chain.link(
        14,
        Some((Digests::of(b"x"), chain.head().sealed.reference)),
        &|s| s.inputs[0].node = node(14),
    );
    assert_eq!(code(&chain.judge_by(&content(14), chain.last_choice())), 8);
}

#[test]
fn a_file_that_was_still_held_passes_with_a_warning_and_never_with_a_tick() {
    let chain = Chain::with(|s| s.quiet = Quiet::Held);
    let v = chain.judge(&content(DEPTH));
    assert_eq!(
        (code(&v), v.checks.completeness),
        (0, Tier::Warning),
        "{v:?}"
    );
    assert!(
        v.reasons
            .iter()
            .any(|r| r.text.contains("still held it open")),
        "{v:?}"
    );
}

/// The index is not signed: that a file is excluded or empty is only believed when there is nothing to hold against it.
#[test]
fn a_row_that_says_excluded_hides_no_tampering_of_a_file_with_a_manifest() {
    let chain = Chain::new();
    for state in [State::Excluded, State::Empty, State::Unattested] {
        let row = VersionRow {
            state,
            ..chain.row()
        };
        let choice = || ManifestChoice {
            row: Some(row.clone()),
            ..ManifestChoice::default()
        };
        assert_eq!(code(&chain.judge_by(b"tampered", choice())), 4, "{state}");
        assert_eq!(code(&chain.judge_by(b"", choice())), 4, "{state}");
    }
    let bare = VersionRow {
        state: State::Excluded,
        ..version_row(node(50))
    };
    let choice = |place: &str, excluded: bool| ManifestChoice {
        row: Some(bare.clone()),
        place: Some(place.into()),
        excluded,
        ..ManifestChoice::default()
    };
    for (place, excluded) in [("a/x.lock", false), ("a/model.pt", true)] {
        assert_eq!(
            chain
                .judge_by(b"a lock file", choice(place, excluded))
                .verdict,
            Outcome::Skipped,
            "skipped, not verified"
        );
    }
    let v = chain.judge_by(
        b"tampered, and its manifest deleted",
        choice("a/model.pt", false),
    );
    assert_eq!(code(&v), 3, "{v:?}");
}

#[test]
fn content_that_was_sealed_elsewhere_is_verified_and_said_to_be_that() {
    let chain = Chain::new();
    let raw = VersionRow {
        state: State::Unattested,
        ..version_row(node(50))
    };
    let choice = ManifestChoice {
        row: Some(raw),
        ..ManifestChoice::default()
    };
    let v = chain.judge_by(&content(4), choice);
    assert_eq!(code(&v), 0);
    assert!(
        v.reasons
            .iter()
            .any(|r| r.text.contains("sealed elsewhere")),
        "{v:?}"
    );
}
