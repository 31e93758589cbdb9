//! From a file's manifest to its evidence: whose key, whose instance, what a policy demands, what a bundle carries (rows 11, 13, 14 and 33).

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::bundle::{self, Bundle, Disclose};
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::Purpose;
use atlas_manifests::evidence::policy::Require;
use atlas_manifests::evidence::reference::Artifact;
use atlas_manifests::id::InstanceId;
use atlas_manifests::scan::StoreScan;
use atlas_manifests::seal::Sealer;
use atlas_manifests::shelf::Object;
use atlas_manifests::statement::{Input, ManifestRef, Statement};
use atlas_manifests::verify::{Code, ManifestChoice, Memo};
use atlas_manifests::vocabulary::{Hardware, State, Tier};

use super::lab::{INSTANCE, Lab};
use super::statements::plain;

use super::house::{Both, House, asset_of, evidence, given, judge, says, version_of};

#[test]
fn a_manifest_alone_leads_to_its_evidence_and_simulated_has_its_own_code() {
    let mut house = House::new();
    let manifest = house.seal(&House::statement());
    let v = house.verify(&manifest);
    assert_eq!(v.code, Code::Ok, "{:#?}", v.reasons);
    assert_eq!(v.evidence.as_ref().unwrap().hardware, Hardware::Simulated);
    assert_eq!(v.checks.key_binding, Tier::Affirming);
    house.lab.policy.simulated.allow = false;
    says(&house.verify(&manifest), Code::Simulated, "SIMULATED");
    house.lab.root = false;
    says(&house.verify(&manifest), Code::Evidence, "Intel's root");
}

#[test]
fn missing_evidence_is_none_and_fails_where_it_is_demanded() {
    let mut house = House::new();
    let manifest = house.seal(&House::statement());
    house
        .shelf
        .0
        .borrow_mut()
        .retain(|(kind, _), _| kind != "Evidence");
    let v = house.verify(&manifest);
    assert_eq!(v.code, Code::Ok);
    assert_eq!(v.checks.hardware, Tier::None);
    assert!(v.reasons.iter().any(|r| r.text.contains("is not here")));
    house.lab.policy.evidence.require = Require::File;
    says(
        &house.verify(&manifest),
        Code::Evidence,
        "evidence is demanded",
    );
}

#[test]
fn a_local_key_says_nothing_of_hardware_and_cannot_claim_it() {
    let mut house = House::new();
    let local = house.authority.issue(INSTANCE).unwrap();
    house.sealer = Sealer::new(local).unwrap();
    let honest = house.seal(&Statement {
        hardware: Hardware::None,
        ..House::statement()
    });
    let v = house.verify(&honest);
    assert_eq!((v.code, v.checks.hardware), (Code::Ok, Tier::None));
    assert!(v.evidence.is_none());
    for hardware in [Hardware::Tdx, Hardware::Simulated] {
        let liar = house.seal(&Statement {
            hardware,
            ..House::statement()
        });
        says(&house.verify(&liar), Code::Evidence, "names no evidence");
    }
    house.lab.policy.evidence.require = Require::File;
    says(
        &house.verify(&honest),
        Code::Evidence,
        "not enough for hardware",
    );
}

#[test]
fn row_11_a_certificate_that_names_the_evidence_of_another_key_is_refused() {
    let mut house = House::new();
    let stolen = house.evidence.id();
    let other = InstanceKey::generate().unwrap();
    let key = house
        .authority
        .certify(other, INSTANCE, Some(stolen))
        .unwrap();
    house.sealer = Sealer::new(key).unwrap();
    let manifest = house.seal(&House::statement());
    says(
        &house.verify(&manifest),
        Code::Evidence,
        "binds another key",
    );
}

#[test]
fn row_13_evidence_of_another_instance_or_use_is_refused() {
    let house = House::new();
    let manifest = house.seal(&Statement {
        instance: InstanceId([2; 16]),
        ..House::statement()
    });
    says(&house.verify(&manifest), Code::Evidence, "another instance");
    // An anchor's binding in the place of the instance's.
    let mut house = House::new();
    let key = InstanceKey::generate().unwrap();
    house.lab.binding.purpose = Purpose::Anchor;
    house.lab.binding.seq = 1;
    let anchor = evidence(&mut house.lab, &key);
    house.keep(&anchor);
    let key = house
        .authority
        .certify(key, INSTANCE, Some(anchor.id()))
        .unwrap();
    house.sealer = Sealer::new(key).unwrap();
    let manifest = house.seal(&House::statement());
    says(
        &house.verify(&manifest),
        Code::Evidence,
        "not made for this use",
    );
}

#[test]
fn row_14_one_key_for_two_instances_is_refused() {
    // Two bindings of one key: made by a daemon that hands its key on.
    let house = House::new();
    let first = house.seal(&House::statement());
    let mut memo = Memo::default();
    assert_eq!(
        house.verify_from(&house.shelf, &first, &mut memo).code,
        Code::Ok
    );
    let second = house.seal(&Statement {
        instance: InstanceId([2; 16]),
        ..House::statement()
    });
    says(
        &house.verify_from(&house.shelf, &second, &mut memo),
        Code::Evidence,
        "another instance too",
    );
}

#[test]
fn row_33_an_ancestors_evidence_speaks_for_the_file() {
    let mut house = House::new();
    let parent = house.seal(&Statement {
        asset: asset_of(&plain().inputs[0]),
        version: version_of(&plain().inputs[0]),
        ..House::statement()
    });
    let input = Input {
        manifest: Some(ManifestRef {
            sha256: Sha256::of(&parent),
            size: parent.len() as u64,
        }),
        ..plain().inputs[0].clone()
    };
    // The child is sealed by a local key: only the parent has evidence.
    house.sealer = Sealer::new(house.authority.issue(InstanceId([7; 16])).unwrap()).unwrap();
    let child = house.seal(&Statement {
        hardware: Hardware::None,
        instance: InstanceId([7; 16]),
        inputs: vec![input],
        ..House::statement()
    });
    assert_eq!(
        house.verify(&child).code,
        Code::Ok,
        "{:#?}",
        house.verify(&child).reasons
    );
    house.lab.policy.simulated.allow = false;
    says(&house.verify(&child), Code::Simulated, "1 of its ancestors");
    house.lab.policy.simulated.allow = true;
    house.lab.references[0].mrtd = house.lab.references[0].rtmr0;
    says(
        &house.verify(&child),
        Code::Ancestor,
        "evidence is refused: measurements",
    );
    house.lab.references = Lab::new().references;
    house
        .shelf
        .0
        .borrow_mut()
        .retain(|(kind, _), _| kind != "Evidence");
    assert_eq!(house.verify(&child).code, Code::Ok);
    house.lab.policy.evidence.require = Require::Lineage;
    assert_eq!(house.verify(&child).code, Code::Evidence);
}

#[test]
fn evidence_and_collateral_travel_in_the_bundle() {
    let house = House::new();
    let manifest = house.seal(&House::statement());
    let mut bytes = Vec::new();
    bundle::write(
        &house.shelf,
        &Sha256::of(&manifest),
        &Disclose::Nothing,
        &mut bytes,
    )
    .unwrap();
    let bundle = Bundle::read(&bytes[..]).unwrap();
    let v = house.verify_from(&bundle, &manifest, &mut Memo::default());
    assert_eq!(v.code, Code::Ok, "{:#?}", v.reasons);
    assert_eq!(v.checks.measurements, Tier::Affirming);
}

/// What is under the name need not be what it says.
#[test]
fn evidence_that_was_swapped_on_the_shelf_is_refused() {
    let house = House::new();
    let manifest = house.seal(&House::statement());
    let other = Lab::new().evidence();
    house
        .shelf
        .put(Object::Evidence, house.evidence.id(), other.encode());
    says(&house.verify(&manifest), Code::Evidence, "is another one");
    house
        .shelf
        .put(Object::Evidence, house.evidence.id(), b"garbage".to_vec());
    says(&house.verify(&manifest), Code::Evidence, "not a record");
    house.keep(&house.evidence);
    house.shelf.put(
        Object::Collateral,
        house.evidence.collateral.unwrap(),
        b"{}".to_vec(),
    );
    let v = house.verify(&manifest);
    assert_eq!(
        (v.code, v.checks.hardware),
        (Code::Ok, Tier::None),
        "{:#?}",
        v.reasons
    );
}

#[test]
fn a_quote_for_one_manifest_is_good_for_that_one_only() {
    let mut house = House::new();
    let mut said = House::statement();
    let mut lab = Lab::new();
    lab.binding = house.lab.binding.clone();
    lab.entries = house.lab.entries.clone();
    lab.binding.purpose = Purpose::Manifest;
    lab.binding.seq = 1;
    lab.binding.claim = Some(house.sealer.partial_claim(&said).unwrap());
    let mut own = lab.evidence();
    own.collateral = house.evidence.collateral;
    house.keep(&own);
    said.evidence = Some(own.id());
    assert_eq!(
        house.sealer.partial_claim(&said).unwrap(),
        lab.binding.claim.unwrap()
    );
    let manifest = house.seal(&said);
    let v = house.verify(&manifest);
    assert_eq!(v.code, Code::Ok, "{:#?}", v.reasons);
    let other = house.seal(&Statement {
        title: None,
        sealed_at: "2026-11-26T12:00:01Z".to_owned(),
        ..said.clone()
    });
    says(
        &house.verify(&other),
        Code::Evidence,
        "for another manifest",
    );
    // The instance's own evidence is no such quote.
    let manifest = house.seal(&Statement {
        evidence: Some(house.evidence.id()),
        ..said
    });
    says(
        &house.verify(&manifest),
        Code::Evidence,
        "not made for this use",
    );
    // Without it the file is not what it says, and a demand is not met.
    let manifest = house.seal(&Statement {
        evidence: Some(own.id()),
        ..House::statement()
    });
    house
        .shelf
        .0
        .borrow_mut()
        .remove(&("Evidence".to_owned(), own.id()));
    let v = house.verify(&manifest);
    assert_eq!(v.checks.key_binding, Tier::Warning, "{:#?}", v.reasons);
    house.lab.policy.evidence.require = Require::File;
    says(
        &house.verify(&manifest),
        Code::Evidence,
        "not enough for key-binding",
    );
}

/// The same bytes, sealed once more by somebody honest, do not speak for the file that was refused.
#[test]
fn a_refused_manifest_of_a_files_own_is_not_replaced_by_another_of_the_same_bytes() {
    let mut house = House::new();
    let bad = house.seal(&House::statement());
    house.sealer = Sealer::new(house.authority.issue(InstanceId([7; 16])).unwrap()).unwrap();
    let honest = house.seal(&Statement {
        hardware: Hardware::None,
        instance: InstanceId([7; 16]),
        ..House::statement()
    });
    house.lab.root = false;
    let shelf = Both {
        heap: &house.shelf,
        names: vec![Sha256::of(&honest), Sha256::of(&bad)],
    };
    let rows = StoreScan::of(&house.shelf, &[Sha256::of(&bad)])
        .unwrap()
        .into_rows()
        .0;
    let choice = ManifestChoice {
        row: rows.into_iter().next(),
        ..ManifestChoice::default()
    };
    let mut memo = Memo::default();
    let v = judge(&shelf, &house.terms(), &choice, &mut memo);
    says(&v, Code::Evidence, "Intel's root");
}

/// The paper's golden values: data that nobody sealed, and that its maker vouches for.
#[test]
fn an_input_that_is_a_reference_value_needs_no_manifest_of_its_own() {
    let house = House::new();
    let input = Input {
        manifest: None,
        state: State::Unattested,
        ..plain().inputs[0].clone()
    };
    let content = input.digests.unwrap();
    let manifest = house.seal(&Statement {
        inputs: vec![input],
        ..House::statement()
    });
    assert_eq!(house.verify(&manifest).checks.inputs, Tier::Warning);
    let mut terms = house.terms();
    let golden = Artifact {
        name: None,
        sha256: Some(content.sha256),
        blake3: None,
    };
    terms.appraiser.references.documents[0]
        .document
        .artifacts
        .push(golden);
    let mut memo = Memo::default();
    let v = judge(&house.shelf, &terms, &given(&manifest), &mut memo);
    assert_eq!(v.checks.inputs, Tier::Affirming, "{:#?}", v.reasons);
    assert_eq!(v.reference, None, "the file itself is none");
}
