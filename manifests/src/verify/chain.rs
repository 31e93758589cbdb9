//! A chain of twelve real manifests on a shelf that an attacker writes. For tests of everything that reads evidence.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::authority::Authority;
use crate::id::{InstanceId, VersionId};
use crate::rows::VersionRow;
use crate::scan::tests::version_row;
use crate::seal::Sealer;
use crate::set::{Leaf, Segment, SetTree, empty_head};
use crate::shelf::Object;
use crate::statement::{Input, ManifestRef, Sealed};
use crate::statements::plain;
use crate::vocabulary::{Grade, Kind, State};

pub(crate) const DEPTH: u64 = 12;

/// A shelf that an attacker writes: what is under a name need not be what it says.
#[derive(Default)]
pub(crate) struct Hostile {
    pub(crate) objects: RefCell<BTreeMap<(String, Sha256), Vec<u8>>>,
}

impl Hostile {
    pub(crate) fn put(&self, kind: Object, name: Sha256, bytes: Vec<u8>) {
        self.objects
            .borrow_mut()
            .insert((format!("{kind:?}"), name), bytes);
    }
    pub(crate) fn remove(&self, kind: Object, name: Sha256) {
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

pub(crate) struct Link {
    pub(crate) statement: Statement,
    pub(crate) sealed: Sealed,
    /// Root of its input set.
    pub(crate) set: Sha256,
}

pub(crate) struct Chain {
    pub(crate) shelf: Hostile,
    pub(crate) terms: Terms,
    pub(crate) sealer: Sealer,
    pub(crate) links: Vec<Link>,
}

pub(crate) fn content(n: u64) -> Vec<u8> {
    format!("content of checkpoint {n}").into_bytes()
}

pub(crate) fn node(n: u64) -> NodeRef {
    NodeRef::Version(VersionId {
        n,
        ..plain().version
    })
}

pub(crate) fn sealer() -> (Sealer, Terms) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(&dir.path().join("authority")).unwrap();
    let terms = Terms::of(Anchors::from_pem(authority.certificate_pem()).unwrap());
    (
        Sealer::new(authority.issue(InstanceId([3; 16])).unwrap()).unwrap(),
        terms,
    )
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// Each version has the one before it as its ingredient and as the only leaf of its input set; the first has none.
    pub(crate) fn with(change: impl Fn(&mut Statement)) -> Self {
        let (sealer, terms) = sealer();
        let mut chain = Self {
            shelf: Hostile::default(),
            terms,
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

    pub(crate) fn link(
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

    pub(crate) fn head(&self) -> &Link {
        &self.links[self.links.len() - 1]
    }

    pub(crate) fn row(&self) -> VersionRow {
        VersionRow {
            manifest: Some(self.head().sealed.reference),
            ..version_row(node(DEPTH))
        }
    }

    /// As the path of the last link would be looked up.
    pub(crate) fn last_choice(&self) -> ManifestChoice {
        let row = VersionRow {
            manifest: Some(self.head().sealed.reference),
            ..version_row(NodeRef::Version(self.head().statement.version))
        };
        ManifestChoice {
            row: Some(row),
            ..ManifestChoice::default()
        }
    }

    pub(crate) fn judge(&self, bytes: &[u8]) -> FileVerdict {
        self.judge_by(
            bytes,
            ManifestChoice {
                row: Some(self.row()),
                ..ManifestChoice::default()
            },
        )
    }

    pub(crate) fn judge_by(&self, bytes: &[u8], choice: ManifestChoice) -> FileVerdict {
        let subject = Subject {
            path: "model.pt".into(),
            content: Content::Digests(Digests::of(bytes)),
        };
        verify(
            &self.shelf,
            &self.terms,
            subject,
            &choice,
            &mut Memo::default(),
            &|_, _| {},
        )
    }
}
