//! The second signature, by a key that a quote binds: where evidence stands behind a manifest's key.

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::evidence::{BoundKey, Evidence, KeyUse};
use atlas_manifests::log::note::KeyKind;
use atlas_manifests::seal::Sealer;
use atlas_manifests::shelf::Object;
use atlas_manifests::store::Item;
use atlas_manifests::verify::Code;
use atlas_manifests::vocabulary::{Hardware, Tier};

use super::house;
use super::lab::Lab;
use super::town::{INSTANCE, ORIGIN, Pen, Town, refused, says};

const SEED: u8 = 77;

fn key(evidence: &Evidence, seed: u8) -> Pen {
    let name = format!("{ORIGIN}/{}", evidence.id().hex());
    Pen::of(&name, KeyKind::Ed25519, seed)
}

/// A manifest of a simulated TD, logged, and the evidence behind it, which binds the key with that seed for logs.
fn town() -> (Town, Evidence, Vec<u8>) {
    let mut lab = Lab::new();
    let instance = InstanceKey::generate().unwrap();
    let public = *Pen::of("x", KeyKind::Ed25519, SEED).key.public();
    lab.binding.keys[1] = BoundKey::of(KeyUse::Log, &public);
    let evidence = house::evidence(&mut lab, &instance);
    let id = evidence.id();
    let mut town = Town::with(|authority| {
        let key = authority.certify(instance, INSTANCE, Some(id)).unwrap();
        Sealer::new(key).unwrap()
    });
    town.terms.appraiser = lab.appraiser();
    let collateral = lab.collateral().into_bytes();
    for item in [Item::evidence(&evidence), Item::collateral(collateral)] {
        let key = (format!("{:?}", item.object), item.name);
        town.objects.borrow_mut().insert(key, item.bytes);
    }
    let mut said = Town::statement();
    said.hardware = Hardware::Simulated;
    let manifest = town.seal(&said);
    town.tree.push(&Town::leaf(&manifest));
    (town, evidence, manifest)
}

/// Signed by this key too, which stands among the log's keys.
fn sign(town: &mut Town, pen: Pen) {
    town.keys.push_str(&format!("{}\n", pen.key));
    town.resign = Box::new(move |c| pen.add(c));
}

#[test]
fn a_key_that_the_quote_binds_is_affirmed_and_named() {
    let (mut town, evidence, manifest) = town();
    town.terms.appraiser.policy.log.bound_key = true;
    sign(&mut town, key(&evidence, SEED));
    let v = town.verify(&manifest);
    says(&v, Tier::Affirming, Code::Ok, "");
    let name = format!("{ORIGIN}/{}", evidence.id().hex());
    assert_eq!(v.transparency.unwrap().signers, [ORIGIN, &name]);
}

#[test]
fn without_one_it_is_a_warning_and_a_failure_where_it_is_demanded() {
    for (demanded, code) in [(false, Code::Ok), (true, Code::Evidence)] {
        let (mut town, _, manifest) = town();
        town.terms.appraiser.policy.log.bound_key = demanded;
        let v = town.verify(&manifest);
        says(
            &v,
            Tier::Warning,
            code,
            "not signed by a key that a quote binds",
        );
    }
}

/// Attack 14 and 11: the line names the evidence, and another key made it.
#[test]
fn another_key_under_the_name_of_the_evidence_is_refused() {
    let (mut town, evidence, manifest) = town();
    sign(&mut town, key(&evidence, 5));
    refused(&town.verify(&manifest), "binds another key");
}

#[test]
fn a_line_that_the_bound_key_did_not_make_is_refused() {
    let (mut town, evidence, manifest) = town();
    let pen = key(&evidence, SEED);
    town.keys.push_str(&format!("{}\n", pen.key));
    town.resign = Box::new(move |c| c.note.add(pen.key.line(vec![1; 64])));
    refused(&town.verify(&manifest), "did not make");
}

#[test]
fn evidence_that_is_missing_or_refused_binds_nothing() {
    let (mut town, evidence, manifest) = town();
    let mut stranger = evidence.clone();
    let mut binding = stranger.bound().unwrap();
    binding.instance = atlas_manifests::id::InstanceId([8; 16]);
    stranger.binding = binding.encode();
    sign(&mut town, key(&stranger, SEED));
    let v = town.verify(&manifest);
    says(&v, Tier::Warning, Code::Ok, "is not here");
    // The quote is about another binding.
    let key = (format!("{:?}", Object::Evidence), stranger.id());
    town.objects.borrow_mut().insert(key, stranger.encode());
    refused(&town.verify(&manifest), "is refused: key-binding");
}

#[test]
fn the_evidence_behind_a_head_travels_in_bundles() {
    let (mut town, evidence, manifest) = town();
    town.terms.appraiser.policy.log.bound_key = true;
    sign(&mut town, key(&evidence, SEED));
    let mut bytes = Vec::new();
    let root = atlas_manifests::digest::Sha256::of(&manifest);
    let disclose = atlas_manifests::bundle::Disclose::Nothing;
    atlas_manifests::bundle::write(&town, &root, &disclose, &mut bytes).unwrap();
    let bundle = atlas_manifests::bundle::Bundle::read(&bytes[..]).unwrap();
    let choice = house::given(&manifest);
    let mut memo = atlas_manifests::verify::Memo::default();
    let v = house::judge(&bundle, &town.terms, &choice, &mut memo);
    says(&v, Tier::Affirming, Code::Ok, "");
}
