//! A bundle about one piece of evidence, and the evidence that other bundles take along. Appraises nothing.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Bundle, BundleError, entry_name, pack};
use crate::digest::Sha256;
use crate::evidence::Evidence;
use crate::shelf::{Object, Shelf};

/// Writes the bundle of this evidence: what its event log goes on from, and the collateral of all of them, as far as the shelf has it.
/// The evidence itself need not be there: the answer to a nonce is kept nowhere.
///
/// # Errors
/// When writing fails, or looking something up.
pub fn write_evidence(
    shelf: &dyn Shelf,
    about: &Evidence,
    out: &mut dyn Write,
) -> Result<(), BundleError> {
    let mut objects = BTreeMap::new();
    let before = beside(shelf, about, &mut objects)?;
    let entry = entry_name(Object::Evidence, &about.id());
    objects.insert(entry, about.encode());
    if let Some(before) = before {
        collect(shelf, before, &mut objects)?;
    }
    pack(None, Some(about.id()), BTreeMap::new(), &objects, out)
}

/// Takes evidence along as far as it is here, with what its event log goes on from, and its collateral. That it is missing is for the
/// verifier to say: a bundle of a machine without it is whole.
pub(super) fn collect(
    shelf: &dyn Shelf,
    first: Sha256,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    let mut next = Some(first);
    while let Some(id) = next.take() {
        let entry = entry_name(Object::Evidence, &id);
        if objects.contains_key(&entry) {
            break;
        }
        let Some(bytes) = shelf.object(Object::Evidence, &id)? else {
            break;
        };
        if let Ok(evidence) = Evidence::decode(&bytes) {
            next = beside(shelf, &evidence, objects)?;
        }
        objects.insert(entry, bytes);
    }
    Ok(())
}

/// Takes a record's collateral along, and names the evidence before it.
fn beside(
    shelf: &dyn Shelf,
    evidence: &Evidence,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> Result<Option<Sha256>, BundleError> {
    if let Some(name) = evidence.collateral
        && let Some(bytes) = shelf.object(Object::Collateral, &name)?
    {
        objects.insert(entry_name(Object::Collateral, &name), bytes);
    }
    Ok(evidence.bound().ok().and_then(|b| b.previous))
}

impl Bundle {
    /// The evidence that the bundle is about; `None` when it is about a manifest.
    pub fn evidence(&self) -> Option<Evidence> {
        // What does not decode was refused when the bundle was read.
        Evidence::decode(self.object_about(Object::Evidence)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Disclose, write};
    use crate::digest::Digests;
    use crate::evidence::Purpose;
    use crate::evidence::binding::tests::binding;
    use crate::shelf::ShelfError;
    use crate::verify::chain::Chain;
    use proptest::prelude::*;

    struct Heap(BTreeMap<Sha256, Vec<u8>>);

    impl Shelf for Heap {
        fn object(&self, _: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
            Ok(self.0.get(name).cloned())
        }

        fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
            Ok(Vec::new())
        }
    }

    /// An instance's evidence, kept with its collateral, and an anchor after it that is kept nowhere.
    fn pair() -> (Heap, Evidence, Evidence) {
        let first = binding();
        let mut next = binding();
        (next.purpose, next.seq) = (Purpose::Anchor, 1);
        next.previous = Some(first.id());
        let collateral = b"collateral".to_vec();
        let [first, next] = [first, next].map(|b| Evidence {
            binding: b.encode(),
            quote: vec![1; 100],
            events: None,
            ccel: None,
            gpu: None,
            collateral: Some(Sha256::of(&collateral)),
        });
        let heap = [
            (first.id(), first.encode()),
            (Sha256::of(&collateral), collateral),
        ];
        (Heap(heap.into()), first, next)
    }

    fn packed() -> Vec<u8> {
        let (heap, _, next) = pair();
        let mut bytes = Vec::new();
        write_evidence(&heap, &next, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_anchor_travels_with_what_its_event_log_goes_on_from() {
        let (_, first, next) = pair();
        let bundle = Bundle::read(&packed()[..]).unwrap();
        assert_eq!(bundle.evidence(), Some(next.clone()));
        assert_eq!(
            (bundle.root(), bundle.manifest(), bundle.node()),
            (next.id(), None, None)
        );
        let found = |kind, name| bundle.object(kind, &name).unwrap();
        assert_eq!(found(Object::Evidence, first.id()), Some(first.encode()));
        let collateral = next.collateral.unwrap();
        assert_eq!(
            found(Object::Collateral, collateral).unwrap(),
            b"collateral"
        );
    }

    #[test]
    fn a_bundle_about_a_file_is_not_about_the_evidence_in_it() {
        let chain = Chain::new();
        let mut bytes = Vec::new();
        let root = chain.head().sealed.reference.sha256;
        write(&chain.shelf, &root, &Disclose::Nothing, &mut bytes).unwrap();
        let bundle = Bundle::read(&bytes[..]).unwrap();
        assert!(bundle.evidence().is_none() && bundle.manifest().is_some());
    }

    /// A list that names both would let two readers see two different things in one file.
    #[test]
    fn a_list_that_names_both_or_neither_or_what_is_not_there_is_refused() {
        let (heap, first, _) = pair();
        let entry = entry_name(Object::Evidence, &first.id());
        let objects = BTreeMap::from([(entry, heap.0[&first.id()].clone())]);
        let read = |root, evidence| {
            let mut bytes = Vec::new();
            pack(root, evidence, BTreeMap::new(), &objects, &mut bytes).unwrap();
            Bundle::read(&bytes[..])
        };
        let id = first.id();
        assert!(read(None, Some(id)).is_ok());
        for (root, evidence) in [
            (Some(id), Some(id)),
            (None, None),
            (Some(id), None),
            (None, Some(Sha256([0; 32]))),
        ] {
            let refused = read(root, evidence).unwrap_err();
            assert!(matches!(refused, BundleError::Damaged(_)), "{refused}");
        }
    }

    #[test]
    fn evidence_under_the_name_of_another_is_refused() {
        let (heap, first, next) = pair();
        let entry = entry_name(Object::Evidence, &next.id());
        let objects = BTreeMap::from([(entry, heap.0[&first.id()].clone())]);
        let mut bytes = Vec::new();
        pack(None, Some(next.id()), BTreeMap::new(), &objects, &mut bytes).unwrap();
        let refused = Bundle::read(&bytes[..]).unwrap_err().to_string();
        assert!(refused.contains("is something else"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_flipped_byte_gives_other_evidence_or_panics(at: prop::sample::Index, flip in 1u8..) {
            let (_, _, next) = pair();
            let mut bytes = packed();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(bundle) = Bundle::read(&bytes[..]) {
                prop_assert_eq!(bundle.evidence(), Some(next));
            }
        }
    }
}
