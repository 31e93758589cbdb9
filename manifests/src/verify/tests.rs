//! The tamper table: every way in which evidence was changed and others did not notice, on a chain of twelve real manifests.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::authority::Authority;
use crate::bundle::{Bundle, Disclose, write};
use crate::id::{InstanceId, VersionId};
use crate::rows::VersionRow;
use crate::scan::tests::version_row;
use crate::seal::Sealer;
use crate::set::{Leaf, Member, MemberList, Segment, SetTree, empty_head};
use crate::statement::{Input, ManifestRef, Sealed};
use crate::statements::plain;
use crate::vocabulary::{Grade, Kind};

const DEPTH: u64 = 12;

/// A shelf that an attacker writes: what is under a name need not be what it says.
#[derive(Default)]
struct Hostile {
    objects: RefCell<BTreeMap<(String, Sha256), Vec<u8>>>,
}

impl Hostile {
    fn put(&self, kind: Object, name: Sha256, bytes: Vec<u8>) {
        self.objects
            .borrow_mut()
            .insert((format!("{kind:?}"), name), bytes);
    }
    fn remove(&self, kind: Object, name: Sha256) {
        self.objects
            .borrow_mut()
            .remove(&(format!("{kind:?}"), name));
    }
}

impl Shelf for Hostile {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(self
            .objects
            .borrow()
            .get(&(format!("{kind:?}"), *name))
            .cloned())
    }
    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        let objects = self.objects.borrow();
        let manifests = objects.iter().filter(|((kind, _), _)| kind == "Manifest");
        let about =
            manifests.filter(|(_, m)| read::peek(m).is_ok_and(|s| s.asset.digests == *asset));
        Ok(about.map(|((_, name), _)| *name).collect())
    }
}

struct Link {
    statement: Statement,
    sealed: Sealed,
    /// Root of its input set.
    set: Sha256,
}

struct Chain {
    shelf: Hostile,
    anchors: Anchors,
    sealer: Sealer,
    links: Vec<Link>,
}

fn content(n: u64) -> Vec<u8> {
    format!("content of checkpoint {n}").into_bytes()
}

fn node(n: u64) -> NodeRef {
    NodeRef::Version(VersionId {
        n,
        ..plain().version
    })
}

fn sealer() -> (Sealer, Anchors) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(&dir.path().join("authority")).unwrap();
    let anchors = Anchors::from_pem(authority.certificate_pem()).unwrap();
    (
        Sealer::new(authority.issue(InstanceId([3; 16])).unwrap()).unwrap(),
        anchors,
    )
}

impl Chain {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// Each version has the one before it as its ingredient and as the only leaf of its input set; the first has none.
    fn with(change: impl Fn(&mut Statement)) -> Self {
        let (sealer, anchors) = sealer();
        let mut chain = Self {
            shelf: Hostile::default(),
            anchors,
            sealer,
            links: Vec::new(),
        };
        for n in 1..=DEPTH {
            let before = chain
                .links
                .last()
                .map(|l| (l.statement.asset.digests, l.sealed.reference));
            chain.link(n, before, &change);
        }
        chain
    }

    fn link(
        &mut self,
        n: u64,
        before: Option<(Digests, ManifestRef)>,
        change: &impl Fn(&mut Statement),
    ) {
        let mut s = plain();
        s.version.n = n;
        s.asset.digests = Digests::of(&content(n));
        (s.parent, s.inputs, s.members) = (None, Vec::new(), None);
        if let Origin::Run(run) = &mut s.origin {
            run.id.n = n;
        }
        let mut tree = SetTree::new();
        let mut segment = Segment {
            prev: empty_head(),
            leaves: Vec::new(),
        };
        if let Some((digests, manifest)) = before {
            s.inputs.push(Input {
                node: node(n - 1),
                title: None,
                digests: Some(digests),
                manifest: Some(manifest),
                media_type: "application/octet-stream".to_owned(),
                kind: Kind::Read,
                grade: Grade::SameProcess,
                state: State::Sealed,
            });
            segment.leaves.push(Leaf {
                node: node(n - 1),
                digests: Some(digests),
                manifest: Some(manifest.sha256),
                kind: Kind::Read,
                state: State::Sealed,
                process: 0,
                tree: 0,
            });
            tree.push(&segment.leaves[0]);
            self.shelf
                .put(Object::Inputs, tree.head().root, segment.encode());
        }
        s.input_set = tree.head();
        change(&mut s);
        let sealed = self.sealer.seal(&s).unwrap();
        self.shelf.put(
            Object::Manifest,
            sealed.reference.sha256,
            sealed.manifest.clone(),
        );
        self.links.push(Link {
            statement: s,
            sealed,
            set: tree.head().root,
        });
    }

    fn head(&self) -> &Link {
        &self.links[self.links.len() - 1]
    }

    fn row(&self) -> VersionRow {
        VersionRow {
            manifest: Some(self.head().sealed.reference),
            ..version_row(node(DEPTH))
        }
    }

    fn judge(&self, bytes: &[u8]) -> FileVerdict {
        self.judge_by(
            bytes,
            ManifestChoice {
                row: Some(self.row()),
                ..ManifestChoice::default()
            },
        )
    }

    fn judge_by(&self, bytes: &[u8], choice: ManifestChoice) -> FileVerdict {
        let subject = Subject {
            path: "model.pt".into(),
            content: Content::Digests(Digests::of(bytes)),
        };
        verify(
            &self.shelf,
            &self.anchors,
            subject,
            &choice,
            &mut Memo::default(),
            &|_, _| {},
        )
    }
}

fn code(v: &FileVerdict) -> i32 {
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
    chain.anchors = sealer().1;
    assert_eq!(code(&chain.judge(&content(DEPTH))), 5);
    chain.anchors = Anchors::none();
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
    (chain.sealer, chain.anchors) = sealer();
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

#[test]
fn a_set_tells_what_is_missing_extra_and_different() {
    let mut chain = Chain::new();
    let names = ["a", "b"];
    let list = MemberList::new(
        names
            .map(|n| Member {
                path: n.into(),
                digests: Digests::of(n.as_bytes()),
            })
            .into(),
    )
    .unwrap();
    let bytes = list.encode();
    chain.link(13, None, &|s| {
        s.asset.digests = Digests::of(&bytes);
        s.members = Some(list.head());
        s.origin = Origin::Registered {
            name: None,
            author: None,
        };
    });
    chain
        .shelf
        .put(Object::Members, Sha256::of(&bytes), bytes.clone());
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
            &chain.anchors,
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
fn a_bundle_verifies_without_the_store_and_not_when_it_was_changed() {
    let chain = Chain::new();
    let root = chain.head().sealed.reference.sha256;
    let mut tar = Vec::new();
    write(&chain.shelf, &root, &Disclose::Nothing, &mut tar).unwrap();
    let mut again = Vec::new();
    write(&chain.shelf, &root, &Disclose::Nothing, &mut again).unwrap();
    assert_eq!(tar, again, "the same store gives the same bytes");
    let judge = |bundle: &Bundle| {
        let choice = ManifestChoice {
            given: bundle.manifest().map(<[u8]>::to_vec),
            ..ManifestChoice::default()
        };
        let subject = Subject {
            path: "model.pt".into(),
            content: Content::Digests(Digests::of(&content(DEPTH))),
        };
        code(&verify(
            bundle,
            &chain.anchors,
            subject,
            &choice,
            &mut Memo::default(),
            &|_, _| {},
        ))
    };
    assert_eq!(judge(&Bundle::read(&tar[..]).unwrap()), 0);
    for at in (0..tar.len()).step_by(509) {
        let mut bad = tar.clone();
        bad[at] ^= 4;
        // What the change did not reach, for example padding, may still pass; nothing may panic, and no object may be another.
        if let Ok(bundle) = Bundle::read(&bad[..]) {
            assert!(
                bundle
                    .manifest()
                    .is_none_or(|m| Sha256::of(m) == bundle.root())
            );
        }
    }
    assert!(Bundle::read(&tar[..tar.len() / 2]).is_err());
}
