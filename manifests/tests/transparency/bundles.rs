//! Logs in bundles: verified offline, with what revokes it, and no way to slip a log in.

use atlas_manifests::bundle::{Bundle, Disclose, write};
use atlas_manifests::digest::Sha256;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::verify::{Code, FileVerdict, Memo};
use atlas_manifests::vocabulary::Tier;

use super::house::{given, judge};
use super::town::{Town, refused, says};

fn packed(town: &Town, manifest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(town, &Sha256::of(manifest), &Disclose::Nothing, &mut bytes).unwrap();
    bytes
}

fn unpacked(town: &Town, bytes: &[u8]) -> FileVerdict {
    let bundle = Bundle::read(bytes).unwrap();
    let choice = given(bundle.manifest().unwrap());
    judge(&bundle, &town.terms, &choice, &mut Memo::default())
}

#[test]
fn a_bundle_takes_along_what_the_logs_say_of_every_manifest_in_it() {
    let mut town = Town::new();
    let (child, _) = town.family();
    town.tree.push(&Leaf::Anchor {
        instance: super::town::INSTANCE,
        seq: 0,
        manifests: 2,
        evidence: None,
        last: true,
    });
    let bytes = packed(&town, &child);
    assert_eq!(bytes, packed(&town, &child), "the same bytes");
    town.terms.appraiser.policy.log.require = true;
    let v = unpacked(&town, &bytes);
    says(&v, Tier::Affirming, Code::Ok, "");
    let facts = v.transparency.unwrap();
    assert_eq!((facts.index, facts.size), (1, 3));
    assert!(Bundle::read(&bytes[..]).unwrap().ignored().is_empty());
}

#[test]
fn what_revokes_a_manifest_or_an_ancestor_travels_with_it() {
    let mut town = Town::new();
    let (child, parent) = town.family();
    for (manifest, code) in [(&parent, Code::Ancestor), (&child, Code::Evidence)] {
        town.tree.push(&Leaf::Revocation {
            what: Revoked::Manifest(Sha256::of(manifest)),
            reason: Reason::Compromised,
        });
        let v = unpacked(&town, &packed(&town, &child));
        assert_eq!(v.code, code, "{:#?}", v.reasons);
    }
}

#[test]
fn a_bundle_that_lists_a_forged_proof_is_refused() {
    let mut town = Town::new();
    let manifest = town.logged();
    let other = town.prove(0, None);
    town.change = Box::new(move |l| l.proof = Some(other.clone()));
    refused(&unpacked(&town, &packed(&town, &manifest)), "not about it");
}

#[test]
fn an_entry_of_a_log_that_is_too_large_is_refused() {
    let mut town = Town::new();
    let manifest = town.logged();
    town.change = Box::new(|l| l.keys = vec![b'x'; (4 << 20) + 1].into());
    let refused = Bundle::read(&packed(&town, &manifest)[..])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("keys is too large"), "{refused}");
}
