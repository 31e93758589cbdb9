//! Registered sets under attack: members missing, extra, different, swapped, and versions that were made from them.

use super::chain::{Chain, content, node};
use super::tests::code;
use super::*;
use crate::rows::VersionRow;
use crate::scan::StoreScan;
use crate::scan::tests::version_row;
use crate::set::{Leaf, Member, MemberList, Segment, SetTree, empty_head};
use crate::shelf::{Catalogue as _, Object};
use crate::vocabulary::{Kind, State};

/// A chain whose 13th version is a registered set of `a` and `b`, and the bytes of its member list.
fn registered() -> (Chain, Vec<u8>) {
    let mut chain = Chain::new();
    let member = |name: &str| Member {
        path: name.into(),
        digests: Digests::of(name.as_bytes()),
    };
    let list = MemberList::new(vec![member("a"), member("b")]).unwrap();
    let bytes = list.encode();
    chain.link(13, None, &|s| {
        s.asset.digests = Digests::of(&bytes);
        s.members = Some(list.head());
        s.origin = Origin::Registered {
            name: Some("letters".to_owned()),
            author: None,
        };
    });
    chain
        .shelf
        .put(Object::Members, Sha256::of(&bytes), bytes.clone());
    (chain, bytes)
}

fn member_row(chain: &Chain, path: &str, text: &[u8]) -> ManifestChoice {
    let row = VersionRow {
        path: Some(path.into()),
        digests: Some(Digests::of(text)),
        manifest: Some(chain.head().sealed.reference),
        parent: Some(node(13)),
        ..version_row(NodeRef::Content(crate::digest::Blake3::of(text)))
    };
    ManifestChoice {
        row: Some(row),
        ..ManifestChoice::default()
    }
}

#[test]
fn a_set_tells_what_is_missing_extra_and_different() {
    let (chain, bytes) = registered();
    let row = VersionRow {
        manifest: Some(chain.head().sealed.reference),
        ..version_row(node(13))
    };
    let choice = ManifestChoice {
        row: Some(row),
        ..ManifestChoice::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let judge = |files: &[(&str, &str)]| {
        let entries = files.iter().map(|(name, text)| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            Entry {
                path: (*name).into(),
                open: Box::new(move || File::open(file)),
            }
        });
        code(&verify_set(
            &chain.shelf,
            &chain.terms,
            &"set".into(),
            &choice,
            entries,
            &mut Memo::default(),
            &|_, _| {},
        ))
    };
    assert_eq!(judge(&[("a", "a"), ("b", "b")]), 0);
    assert_eq!(judge(&[("a", "a")]), 7);
    assert_eq!(judge(&[("a", "a"), ("b", "b"), ("c", "c")]), 7);
    assert_eq!(judge(&[("a", "a"), ("b", "B")]), 4);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        chain.shelf.put(Object::Members, Sha256::of(&bytes), bad);
        assert_ne!(
            judge(&[("a", "a"), ("b", "b")]),
            0,
            "byte {at} of the member list"
        );
    }
}

#[test]
fn a_member_is_attested_by_its_set_and_no_other_content_at_its_path_is() {
    let (chain, bytes) = registered();
    let judge = |path: &str, text: &[u8]| chain.judge_by(text, member_row(&chain, path, b"a"));
    let v = judge("data/a", b"a");
    assert_eq!(
        (code(&v), v.member_of.as_deref()),
        (0, Some("the set \"letters\"")),
        "{v:?}"
    );
    assert_eq!(
        code(&judge("data/a", b"b")),
        4,
        "swapped for another member"
    );
    assert_eq!(code(&judge("data/a", b"c")), 4);
    assert_eq!(code(&judge("data/a", b"")), 4);
    // The index says that the file is another one; the caller knows where it found it.
    let lie = ManifestChoice {
        place: Some("data/a".into()),
        ..member_row(&chain, "elsewhere", b"b")
    };
    assert_eq!(code(&chain.judge_by(b"b", lie)), 4, "a row that lies");
    let name = Sha256::of(&bytes);
    for at in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        chain.shelf.put(Object::Members, name, bad);
        assert_ne!(
            judge("data/a", b"a").verdict,
            Outcome::Pass,
            "byte {at} of the member list"
        );
    }
    chain.shelf.remove(Object::Members, name);
    assert_eq!(code(&judge("data/a", b"a")), 8);
}

#[test]
fn a_version_made_from_a_member_passes_and_one_made_from_no_member_does_not() {
    for (text, want) in [(&b"a"[..], 0), (b"poison", 8)] {
        let (mut chain, bytes) = registered();
        let set = chain.head().sealed.reference.sha256;
        let leaf = |node, digests, kind| Leaf {
            node,
            digests: Some(digests),
            manifest: Some(set),
            kind,
            state: State::Sealed,
            process: 0,
            tree: 0,
        };
        let leaves = vec![
            leaf(
                NodeRef::Content(crate::digest::Blake3::of(text)),
                Digests::of(text),
                Kind::Read,
            ),
            leaf(node(13), Digests::of(&bytes), Kind::Set),
        ];
        let mut tree = SetTree::new();
        for leaf in &leaves {
            tree.push(leaf);
        }
        let segment = Segment {
            prev: empty_head(),
            leaves,
        };
        chain
            .shelf
            .put(Object::Inputs, tree.head().root, segment.encode());
        chain.link(14, None, &|s| s.input_set = tree.head());
        let v = chain.judge_by(&content(14), chain.last_choice());
        assert_eq!(code(&v), want, "{v:?}");
    }
}

#[test]
fn without_an_index_members_are_found_by_path_and_by_content() {
    let (chain, _) = registered();
    let names: Vec<Sha256> = chain
        .links
        .iter()
        .map(|l| l.sealed.reference.sha256)
        .collect();
    let scan = StoreScan::of(&chain.shelf, &names).unwrap();
    let prefix = Digests::of(b"b").blake3.to_string().parse().unwrap();
    let rows = scan.by_digest(&prefix).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].parent, rows[0].manifest),
        (Some(node(13)), Some(chain.head().sealed.reference))
    );
}
