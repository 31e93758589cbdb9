//! A daemon in a simulated trust domain, its store and a verifier. Not tests: those spoil one thing each (`files`).

use std::cell::RefCell;
use std::collections::BTreeMap;

use atlas_manifests::authority::{Authority, InstanceKey};
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::{BoundKey, Entry, Evidence, KeyUse};
use atlas_manifests::id::{NodeRef, VersionId};
use atlas_manifests::seal::Sealer;
use atlas_manifests::set::empty_head;
use atlas_manifests::shelf::{Object, Shelf, ShelfError};
use atlas_manifests::statement::{Asset, Input, Statement};
use atlas_manifests::store::Item;
use atlas_manifests::trust::Anchors;
use atlas_manifests::verify::{
    Code, Content, FileVerdict, LogTerms, ManifestChoice, Memo, Subject, Terms, verify,
};
use atlas_manifests::vocabulary::Hardware;

use super::lab::{INSTANCE, Lab, start};
use super::statements::plain;

#[derive(Default)]
pub(crate) struct Heap(pub(crate) RefCell<BTreeMap<(String, Sha256), Vec<u8>>>);

impl Heap {
    pub(crate) fn put(&self, kind: Object, name: Sha256, bytes: Vec<u8>) {
        self.0
            .borrow_mut()
            .insert((format!("{kind:?}"), name), bytes);
    }
}

impl Shelf for Heap {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(self.0.borrow().get(&(format!("{kind:?}"), *name)).cloned())
    }
    fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        Ok(Vec::new())
    }
}

/// A daemon in a simulated TD, its store, and a verifier.
pub(crate) struct House {
    pub(crate) lab: Lab,
    pub(crate) authority: Authority,
    pub(crate) shelf: Heap,
    pub(crate) sealer: Sealer,
    pub(crate) evidence: Evidence,
}

/// With manifests to be found by content, newest last.
pub(crate) struct Both<'a> {
    pub(crate) heap: &'a Heap,
    pub(crate) names: Vec<Sha256>,
}

impl Shelf for Both<'_> {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        self.heap.object(kind, name)
    }
    fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        Ok(self.names.clone())
    }
}

/// An instance's key, and evidence that binds it.
pub(crate) fn evidence(lab: &mut Lab, key: &InstanceKey) -> Evidence {
    lab.binding.keys[0] = BoundKey::of(KeyUse::Seal, &key.public());
    lab.entries = vec![Entry::Event(start(&lab.binding).encode())];
    let mut evidence = lab.evidence();
    evidence.collateral = Some(Sha256::of(lab.collateral().as_bytes()));
    evidence
}

impl House {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let mut lab = Lab::new();
        let key = InstanceKey::generate().unwrap();
        let evidence = evidence(&mut lab, &key);
        let key = authority
            .certify(key, INSTANCE, Some(evidence.id()))
            .unwrap();
        let house = Self {
            sealer: Sealer::new(key).unwrap(),
            shelf: Heap::default(),
            lab,
            authority,
            evidence,
        };
        house.keep(&house.evidence);
        house
    }

    pub(crate) fn keep(&self, evidence: &Evidence) {
        let item = Item::evidence(evidence);
        self.shelf.put(item.object, item.name, item.bytes);
        let collateral = self.lab.collateral().into_bytes();
        self.shelf
            .put(Object::Collateral, Sha256::of(&collateral), collateral);
    }

    pub(crate) fn statement() -> Statement {
        Statement {
            hardware: Hardware::Simulated,
            inputs: Vec::new(),
            input_set: empty_head(),
            ..plain()
        }
    }

    pub(crate) fn seal(&self, s: &Statement) -> Vec<u8> {
        let sealed = self.sealer.seal(s).unwrap();
        self.shelf.put(
            Object::Manifest,
            sealed.reference.sha256,
            sealed.manifest.clone(),
        );
        sealed.manifest
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            anchors: Anchors::from_pem(self.authority.certificate_pem()).unwrap(),
            appraiser: self.lab.appraiser(),
            log: LogTerms::default(),
        }
    }

    pub(crate) fn verify(&self, manifest: &[u8]) -> FileVerdict {
        self.verify_from(&self.shelf, manifest, &mut Memo::default())
    }

    pub(crate) fn verify_from(
        &self,
        shelf: &dyn Shelf,
        manifest: &[u8],
        memo: &mut Memo,
    ) -> FileVerdict {
        judge(shelf, &self.terms(), &given(manifest), memo)
    }
}

/// This manifest and no other.
pub(crate) fn given(manifest: &[u8]) -> ManifestChoice {
    ManifestChoice {
        given: Some(manifest.to_vec()),
        ..ManifestChoice::default()
    }
}

/// Of the one content that all tests here are about.
pub(crate) fn judge(
    shelf: &dyn Shelf,
    terms: &Terms,
    choice: &ManifestChoice,
    memo: &mut Memo,
) -> FileVerdict {
    let subject = Subject {
        path: "model.pt".into(),
        content: Content::Digests(Digests::of(b"a model")),
    };
    verify(shelf, terms, subject, choice, memo, &|_, _| {})
}

pub(crate) fn asset_of(input: &Input) -> Asset {
    Asset {
        digests: input.digests.unwrap(),
        ..plain().asset
    }
}

pub(crate) fn version_of(input: &Input) -> VersionId {
    match input.node {
        NodeRef::Version(version) => version,
        NodeRef::Content(_) => panic!("not a version"),
    }
}

pub(crate) fn says(v: &FileVerdict, code: Code, words: &str) {
    assert_eq!(v.code, code, "{:#?}", v.reasons);
    assert!(
        v.reasons.iter().any(|r| r.text.contains(words)),
        "{words}: {:#?}",
        v.reasons
    );
}
