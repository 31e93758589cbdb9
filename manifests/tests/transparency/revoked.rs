//! Attacks 13, 28 and 29: what the log takes back, and lives that end or begin in it.

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::log::proof::Proof;
use atlas_manifests::read;
use atlas_manifests::verify::Code;
use atlas_manifests::vocabulary::Tier;

use super::town::{INSTANCE, Town, refused, says};

fn instance_revoked() -> Leaf {
    Leaf::Revocation {
        what: Revoked::Instance(INSTANCE),
        reason: Reason::Compromised,
    }
}

fn end(last: bool) -> Leaf {
    Leaf::Anchor {
        instance: INSTANCE,
        seq: 3,
        manifests: 1,
        evidence: None,
        last,
    }
}

fn beginning(town: &Town, manifest: &[u8]) -> Leaf {
    let reading = read::read(manifest, &town.terms.anchors.pem).unwrap();
    Leaf::Instance {
        instance: INSTANCE,
        evidence: None,
        seal_key: reading.key,
        log_key: None,
    }
}

#[test]
fn a_revoked_manifest_is_refused_whenever_it_was_logged() {
    for early in [true, false] {
        let mut town = Town::new();
        let manifest = town.seal(&Town::statement());
        let leaf = Leaf::Revocation {
            what: Revoked::Manifest(Sha256::of(&manifest)),
            reason: Reason::Superseded,
        };
        if early {
            town.tree.push(&leaf);
        }
        town.tree.push(&Town::leaf(&manifest));
        if !early {
            town.tree.push(&leaf);
        }
        refused(&town.verify(&manifest), "revoked in the log, as superseded");
    }
}

/// Attack 28.
#[test]
fn what_is_logged_after_its_instance_was_revoked_is_refused_and_what_was_logged_before_stands() {
    let mut town = Town::new();
    let manifest = town.logged();
    town.tree.push(&instance_revoked());
    says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
    let mut town = Town::new();
    town.tree.push(&instance_revoked());
    let manifest = town.logged();
    refused(&town.verify(&manifest), "signed after revocation");
}

#[test]
fn what_was_never_logged_of_a_revoked_instance_is_refused() {
    let mut town = Town::new();
    let manifest = town.seal(&Town::statement());
    town.tree.push(&instance_revoked());
    refused(&town.verify(&manifest), "it was not logged before");
}

/// Attacks 28 and 29. What a killed instance left, its successor logs: then there is no last anchor.
#[test]
fn what_is_logged_after_its_instance_ended_is_refused() {
    let mut town = Town::new();
    town.tree.push(&end(true));
    let manifest = town.logged();
    refused(&town.verify(&manifest), "after its instance had ended");
    for leaf in [end(false), end(true)] {
        let mut town = Town::new();
        let manifest = town.logged();
        town.tree.push(&leaf);
        says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
    }
    let mut town = Town::new();
    town.tree.push(&end(false));
    let manifest = town.logged();
    says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
}

/// Attack 13.
#[test]
fn an_instance_that_begins_twice_is_refused() {
    let mut town = Town::new();
    let manifest = town.seal(&Town::statement());
    let leaf = beginning(&town, &manifest);
    town.tree.push(&leaf);
    town.tree.push(&Town::leaf(&manifest));
    says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
    town.tree.push(&leaf);
    refused(&town.verify(&manifest), "began twice");
}

/// Attacks 13 and 14.
#[test]
fn a_beginning_with_another_key_or_evidence_or_at_a_later_place_is_refused() {
    let mut town = Town::new();
    let manifest = town.logged();
    let Leaf::Instance { seal_key, .. } = beginning(&town, &manifest) else {
        panic!("not a beginning");
    };
    for (seal_key, evidence, words) in [
        (Sha256([1; 32]), None, "seals with another key"),
        (seal_key, Some(Sha256([2; 32])), "other evidence"),
        (seal_key, None, "before its instance began"),
    ] {
        let before = town.tree.clone();
        town.tree.push(&Leaf::Instance {
            instance: INSTANCE,
            evidence,
            seal_key,
            log_key: None,
        });
        refused(&town.verify(&manifest), words);
        town.tree = before;
    }
}

#[test]
fn a_leaf_that_is_not_proven_is_refused_and_one_about_others_is_not_looked_at() {
    let mut town = Town::new();
    let manifest = town.logged();
    town.tree.push(&instance_revoked());
    town.change = Box::new(|l| {
        let mut proof = Proof::parse(&l.leaves[0]).unwrap();
        proof.index = 0;
        l.leaves[0] = proof.encode();
    });
    refused(&town.verify(&manifest), "does not hold");
    town.change = Box::new(|l| {
        let mut proof = Proof::parse(&l.leaves[0]).unwrap();
        proof.extra = Some(b"noise".to_vec());
        l.leaves[0] = proof.encode();
    });
    refused(&town.verify(&manifest), "");
    let other = Leaf::Revocation {
        what: Revoked::Manifest(Sha256([5; 32])),
        reason: Reason::Wrong,
    };
    let other = other.encode();
    town.change = Box::new(move |l| {
        let mut proof = Proof::parse(&l.leaves[0]).unwrap();
        proof.extra = Some(other.clone());
        l.leaves[0] = proof.encode();
    });
    says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
}
