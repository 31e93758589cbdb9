//! Attacks 14, 19, 20, 29, 30 and 33, and what an honest log looks like.

use atlas_manifests::authority::Authority;
use atlas_manifests::digest::Sha256;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::KeyKind;
use atlas_manifests::log::operator::LogKey;
use atlas_manifests::log::proof::Proof;
use atlas_manifests::shelf::Logged;
use atlas_manifests::verify::{Code, Memo};
use atlas_manifests::vocabulary::Tier;

use super::town::{INSTANCE, ORIGIN, Pen, Town, refused, says};

fn change_proof(town: &mut Town, change: impl Fn(&mut Proof) + Send + 'static) {
    town.change = Box::new(move |logged: &mut Logged| {
        let mut proof = Proof::parse(logged.proof.as_ref().unwrap()).unwrap();
        change(&mut proof);
        logged.proof = Some(proof.encode());
    });
}

#[test]
fn a_manifest_in_its_log_is_affirmed_and_says_where() {
    let mut town = Town::new();
    let manifest = town.logged();
    let v = town.verify(&manifest);
    says(&v, Tier::Affirming, Code::Ok, "");
    let facts = v.transparency.unwrap();
    assert_eq!(
        (facts.origin.as_str(), facts.index, facts.size),
        (ORIGIN, 1, 3)
    );
    assert_eq!(facts.signers, [ORIGIN]);
    assert_eq!(facts.root, town.tree.head().root);
    assert_eq!(facts.conflict, None);
}

/// Attack 29.
#[test]
fn what_was_never_logged_is_no_failure_unless_it_is_demanded() {
    let mut town = Town::new();
    town.logged();
    let mut other = Town::statement();
    other.version.n = 8;
    let other = town.seal(&other);
    says(
        &town.verify(&other),
        Tier::None,
        Code::Ok,
        "it is not in it",
    );
    town.terms.appraiser.policy.log.require = true;
    says(
        &town.verify(&other),
        Tier::None,
        Code::Evidence,
        "it is not in it",
    );
}

#[test]
fn without_any_log_nothing_is_said_unless_it_is_demanded() {
    let house = super::house::House::new();
    let manifest = house.seal(&super::house::House::statement());
    let v = house.verify(&manifest);
    assert_eq!(v.checks.transparency, Tier::None);
    assert_eq!(v.transparency, None);
    let mut terms = house.terms();
    terms.appraiser.policy.log.require = true;
    let choice = super::house::given(&manifest);
    let v = super::house::judge(&house.shelf, &terms, &choice, &mut Memo::default());
    says(&v, Tier::None, Code::Evidence, "demands a proof");
}

/// Attack 19.
#[test]
fn a_proof_of_another_leaf_or_place_or_length_is_refused() {
    type Spoil = fn(&mut Proof);
    let spoils: [Spoil; 6] = [
        |p| p.index = 0,
        |p| p.index = 2,
        |p| p.index = 3,
        |p| p.index = u64::MAX,
        |p| {
            p.hashes.pop();
        },
        |p| p.hashes.push(Sha256([1; 32])),
    ];
    for spoil in spoils {
        let mut town = Town::new();
        let manifest = town.logged();
        change_proof(&mut town, spoil);
        refused(&town.verify(&manifest), "not about it");
    }
    let mut town = Town::new();
    let manifest = town.logged();
    let other = town.prove(0, None);
    town.change = Box::new(move |l| l.proof = Some(other.clone()));
    refused(&town.verify(&manifest), "not about it");
    town.change = Box::new(|l| l.proof = Some(b"c2sp.org/tlog-proof@v1\n".to_vec()));
    refused(&town.verify(&manifest), "not a proof");
}

/// Attack 19: a node of the tree whose children spell a leaf is no leaf, and a leaf of another instance not this one's.
#[test]
fn a_leaf_of_another_instance_is_not_this_manifest_s() {
    let mut town = Town::new();
    let manifest = town.seal(&Town::statement());
    town.tree.push(&Leaf::Manifest {
        manifest: Sha256::of(&manifest),
        instance: atlas_manifests::id::InstanceId([9; 16]),
    });
    refused(&town.verify(&manifest), "not about it");
}

/// Attack 20.
#[test]
fn a_head_that_the_log_did_not_sign_is_refused() {
    let others = Pen::of(ORIGIN, KeyKind::Ed25519, 9);
    let mut town = Town::new();
    let manifest = town.logged();
    town.resign = Box::new(move |c| {
        c.note.signatures.clear();
        others.add(c);
    });
    refused(&town.verify(&manifest), "not signed by the log");

    // The log's name and id over bytes that its key did not make.
    let key = town.log.verifier_key();
    town.resign = Box::new(move |c| {
        let mut line = key.line(vec![0; 64]);
        line.bytes[0] = 1;
        c.note.add(line);
    });
    refused(&town.verify(&manifest), "did not make");
}

/// Attack 20: lines of keys that nobody knows say nothing.
#[test]
fn lines_of_unknown_keys_are_passed_over() {
    let stranger = Pen::of("stranger.example", KeyKind::Ed25519, 9);
    let mut town = Town::new();
    let manifest = town.logged();
    town.resign = Box::new(move |c| stranger.add(c));
    says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
}

/// Attack 20.
#[test]
fn a_head_of_another_origin_or_with_another_spelling_is_refused() {
    for (from, to) in [
        (format!("\n\n{ORIGIN}\n3\n"), format!("\n\n{ORIGIN}\n03\n")),
        (
            format!("\n\n{ORIGIN}\n3\n"),
            "\n\nlog.example/b\n3\n".to_owned(),
        ),
        (format!("\n\n{ORIGIN}\n3\n"), format!("\n\n{ORIGIN}\n4\n")),
    ] {
        let mut town = Town::new();
        let manifest = town.logged();
        let proof = String::from_utf8(town.prove(1, None)).unwrap();
        let bad = proof.replacen(&from, &to, 1);
        assert_ne!(bad, proof);
        town.change = Box::new(move |l| l.proof = Some(bad.clone().into_bytes()));
        refused(&town.verify(&manifest), "");
    }
}

#[test]
fn a_log_that_no_pinned_authority_certified_is_refused() {
    let other = Town::new();
    let mut town = Town::new();
    let manifest = town.logged();
    let pem: Vec<u8> = other.log.certificate_pem().into();
    town.change = Box::new(move |l| l.certificate = pem.clone().into());
    refused(&town.verify(&manifest), "no authority that is trusted");
    town.change = Box::new(|l| l.certificate = Vec::new().into());
    refused(&town.verify(&manifest), "not the certificate of a log");
}

/// A neighbour's log is certified by the same authority, and says nothing of this node.
#[test]
fn the_log_of_another_node_is_refused() {
    let mut town = Town::new();
    let manifest = town.logged();
    let dir = tempfile::tempdir().unwrap();
    let node = atlas_manifests::id::NodeId([9; 16]);
    let key = LogKey::open_or_create(&town.authority, dir.path(), node, ORIGIN).unwrap();
    let pem: Vec<u8> = key.certificate_pem().into();
    town.change = Box::new(move |l| l.certificate = pem.clone().into());
    refused(&town.verify(&manifest), "the log of node 0909");
}

#[test]
fn a_certificate_that_is_not_valid_today_is_refused() {
    let mut town = Town::new();
    let manifest = town.logged();
    town.terms.appraiser.clock.0 = 1_000_000;
    refused(&town.verify(&manifest), "not valid today");
}

/// Attack 14.
#[test]
fn one_key_for_seals_and_the_log_is_refused() {
    // The log's key in the daemon's place: an instance's certificate cannot be made for it here, so the log is given the instance's.
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let instance = authority.issue(INSTANCE).unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", instance.chain()[0].clone()));
    let mut town = Town::new();
    let manifest = town.logged();
    town.change = Box::new(move |l| l.certificate = pem.clone().into_bytes().into());
    refused(&town.verify(&manifest), "made for another use");
}

/// Attack 30.
#[test]
fn a_key_of_small_order_signs_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let key =
        atlas_manifests::log::note::VerifierKey::new(ORIGIN, KeyKind::Ed25519, identity).unwrap();
    let mut town = Town::new();
    let manifest = town.logged();
    town.resign = Box::new(move |c| {
        c.note.signatures.clear();
        let mut zero = vec![0; 64];
        zero[0] = 1;
        c.note.add(key.line(zero));
    });
    refused(&town.verify(&manifest), "not signed by the log");
}

/// Attack 33.
#[test]
fn an_ancestor_s_bad_place_in_the_log_fails_the_lineage() {
    let mut town = Town::new();
    let (child, parent) = town.family();
    let v = town.verify(&child);
    says(&v, Tier::Affirming, Code::Ok, "");
    let leaf = Leaf::Revocation {
        what: atlas_manifests::log::leaf::Revoked::Manifest(Sha256::of(&parent)),
        reason: atlas_manifests::log::leaf::Reason::Wrong,
    };
    town.tree.push(&leaf);
    let v = town.verify(&child);
    says(
        &v,
        Tier::Affirming,
        Code::Ancestor,
        "it was revoked in the log, as wrong",
    );
    assert_eq!(v.checks.lineage, Tier::Contraindicated);
}
