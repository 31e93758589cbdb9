//! What a forger could hand to a verifier: every box and hash in order, and something else wrong. Nothing here may be trusted, and nothing may panic,
//! end the stack or reserve what a length promises.

pub(crate) mod forge;

use std::sync::LazyLock;

use atlas_manifests::read::{ReadError, Signature, peek, read};
use ciborium::Value;
use forge::{House, Key, Parts, authority, cbor, certify, house, leaf, only, protected, store};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose};

static OURS: LazyLock<House> = LazyLock::new(house);

fn trusted(manifest: &[u8]) -> bool {
    matches!(read(manifest, &OURS.anchors), Ok(r) if matches!(r.signature, Signature::Trusted { .. }))
}

/// Our own manifest, signed by a fresh key with a certificate of the pinned authority.
fn certified(params: &CertificateParams) -> Vec<u8> {
    let key = Key::of(2);
    let certificate = certify(params, &key, &authority(&OURS.name), &OURS.key);
    Parts::of(&OURS.honest).signed(&key, &[certificate])
}

/// The parts changed, and signed by a key that is trusted: what is refused then is refused for what it says.
fn changed(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let key = Key::of(2);
    let certificate = certify(&leaf(|_| {}), &key, &authority(&OURS.name), &OURS.key);
    let mut parts = Parts::of(&OURS.honest);
    change(&mut parts);
    parts.signed(&key, &[certificate])
}

#[test]
fn the_forger_can_do_what_we_do() {
    assert!(trusted(&OURS.honest));
    assert!(trusted(&changed(|_| {})), "or no test here shows anything");
}

#[test]
fn a_certificate_for_another_use_or_another_time_does_not_seal() {
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change); 9] = [
        ("mail only", |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        }),
        ("code", |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }),
        ("a server", |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        ("any use", |p| {
            p.extended_key_usages.push(ExtendedKeyUsagePurpose::Any);
        }),
        ("no use", |p| p.extended_key_usages.clear()),
        ("an authority", |p| {
            p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }),
        ("expired", |p| {
            p.not_after = rcgen::date_time_ymd(2025, 6, 1);
        }),
        ("not yet", |p| {
            p.not_before = rcgen::date_time_ymd(2074, 6, 1);
        }),
        ("agreement", |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        }),
    ];
    for (what, change) in cases {
        assert!(!trusted(&certified(&leaf(change))), "{what}");
    }
}

/// The SDK asks of each certificate in a chain only that the next one signed it, not that the next one may.
#[test]
fn whoever_has_a_certificate_cannot_certify_others() {
    let (victim, forger) = (Key::of(3), Key::of(4));
    let pinned = authority(&OURS.name);
    for intermediate in [
        leaf(|_| {}),
        leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
    ] {
        let middle = certify(&intermediate, &victim, &pinned, &OURS.key);
        let end = certify(&leaf(|_| {}), &forger, &intermediate, &victim);
        for chain in [
            vec![end.clone(), middle.clone()],
            vec![end.clone()],
            vec![middle.clone(), end.clone()],
        ] {
            assert!(!trusted(&Parts::of(&OURS.honest).signed(&forger, &chain)));
        }
    }
}

/// Names and key identifiers are what anybody can write; the signature is not.
#[test]
fn an_authority_of_the_same_name_and_key_id_is_another_one() {
    let (impostor, forger) = (Key::of(5), Key::of(6));
    let mut twin = authority(&OURS.name);
    twin.key_identifier_method = KeyIdMethod::PreSpecified(OURS.id.clone());
    let end = certify(&leaf(|_| {}), &forger, &twin, &impostor);
    let root = certify(&twin, &impostor, &twin, &impostor);
    for chain in [vec![end.clone()], vec![end, root]] {
        assert!(!trusted(&Parts::of(&OURS.honest).signed(&forger, &chain)));
    }
    let own = leaf(|p| p.distinguished_name = authority(&OURS.name).distinguished_name);
    let selfmade = certify(&own, &forger, &own, &forger);
    assert!(!trusted(
        &Parts::of(&OURS.honest).signed(&forger, &[selfmade])
    ));
}

#[test]
fn a_signature_by_another_algorithm_or_with_more_in_its_header_is_refused() {
    let key = Key::of(2);
    let certificate = certify(&leaf(|_| {}), &key, &authority(&OURS.name), &OURS.key);
    let parts = Parts::of(&OURS.honest);
    let empty = Value::Map(Vec::new());
    let plain = protected(std::slice::from_ref(&certificate));
    assert!(trusted(&parts.signed_under(&key, &plain, &empty)));
    let x5chain = |name: Value| (name, Value::from(certificate.clone()));
    let alg = (Value::from(1), Value::from(-8));
    let headers = [
        vec![(1.into(), (-7).into()), x5chain(33.into())],
        vec![alg.clone(), x5chain("x5chain".into())],
        vec![alg.clone()],
        vec![
            alg.clone(),
            x5chain(33.into()),
            ("sigTst2".into(), empty.clone()),
        ],
        vec![
            alg.clone(),
            x5chain(33.into()),
            ("rVals".into(), empty.clone()),
        ],
        vec![
            alg.clone(),
            (33.into(), Value::Array(vec![certificate.clone().into()])),
        ],
    ];
    for header in headers {
        assert!(
            !trusted(&parts.signed_under(&key, &Value::Map(header.clone()), &empty)),
            "{header:?}"
        );
    }
    let beside = Value::Map(vec![x5chain(33.into())]);
    assert!(!trusted(&parts.signed_under(
        &key,
        &Value::Map(vec![alg]),
        &beside
    )));
    assert!(!trusted(&parts.signed_under(&key, &plain, &beside)));
}

/// Bindings that leave bytes out, or that somebody else's verifier might prefer to ours.
#[test]
fn only_one_binding_of_the_whole_content_is_accepted() {
    let binding = |parts: &mut Parts, key: &str, value: Value| {
        let old: Value = ciborium::from_reader(&parts.assertion("c2pa.hash.data")[..]).unwrap();
        let mut map = old.into_map().unwrap();
        map.retain(|(k, _)| k.as_text() != Some(key));
        map.push((key.into(), value));
        *parts.assertion("c2pa.hash.data") = cbor(&Value::Map(map));
    };
    let range = Value::Map(vec![
        ("start".into(), 0.into()),
        ("length".into(), 5.into()),
    ]);
    let cases: Vec<Vec<u8>> = vec![
        changed(|p| binding(p, "exclusions", Value::Array(vec![range]))),
        changed(|p| binding(p, "exclusions", Value::Array(Vec::new()))),
        changed(|p| binding(p, "alg", "sha512".into())),
        changed(|p| binding(p, "alg", "SHA256".into())),
        changed(|p| binding(p, "hash", vec![0u8; 31].into())),
        changed(|p| p.assertions.retain(|(l, _)| l != "c2pa.hash.data")),
    ];
    for bytes in cases {
        assert!(matches!(
            read(&bytes, &OURS.anchors),
            Err(ReadError::Tampered(_) | ReadError::Malformed(_))
        ));
    }
    for label in [
        "c2pa.hash.data",
        "c2pa.hash.data__1",
        "c2pa.hash.boxes",
        "c2pa.hash.bmff.v3",
        "c2pa.hash.collection.data",
        "c2pa.hash.multi-asset",
        "c2pa.hash.data.part",
        "c2pa.soft-binding",
        "c2pa.thumbnail.claim.jpeg",
        "c2pa.ingredient",
        "c2pa.ingredient.v3__",
        "c2pa.ingredient.v3__1__1",
        "cawg.identity",
        "org.atlasfs",
        "org.atlasfsx.version",
    ] {
        let body = Parts::of(&OURS.honest).assertion("c2pa.hash.data").clone();
        let bytes = changed(|p| p.assertions.push((label.to_owned(), body)));
        assert!(
            read(&bytes, &OURS.anchors).is_err() && peek(&bytes).is_err(),
            "{label}"
        );
    }
    let later = changed(|p| {
        p.assertions
            .push(("org.atlasfs.later".to_owned(), vec![0xa0]));
    });
    assert!(
        trusted(&later),
        "what later versions add under our own prefix"
    );
}

#[test]
fn a_second_manifest_or_a_nested_store_is_refused() {
    let one = only(&OURS.honest);
    let nested = only(&OURS.honest);
    for bytes in [
        store(&[one.clone(), one.clone()]),
        store(&[]),
        store(&[OURS.honest[8..].to_vec()]),
        store(&[[&nested[..], &OURS.honest].concat()]),
        [&OURS.honest[..], &OURS.honest].concat(),
        [&OURS.honest[..], b"\0"].concat(),
    ] {
        assert!(read(&bytes, &OURS.anchors).is_err() && peek(&bytes).is_err());
    }
}

/// Anybody can sign these with a key of his own; they are decoded before the signature is judged. Decoders that believe a length reserve
/// twenty gigabytes, and those that nest as deep as they are told end the stack, which nothing can catch.
#[test]
fn lengths_that_lie_and_nesting_without_end_do_not_take_the_verifier_down() {
    let huge = [0x5b, 0, 0, 0, 5, 0, 0, 0, 0].to_vec();
    let text = [0x7b, 0, 0, 0, 5, 0, 0, 0, 0].to_vec();
    let map = [0xbb, 0, 0, 0, 5, 0, 0, 0, 0].to_vec();
    let deep = vec![0x81; 500_000];
    let tags = vec![0xc1; 500_000];
    let endless = vec![0x9f; 500_000];
    for body in [huge, text, map, deep, tags, endless] {
        for label in [
            "org.atlasfs.later",
            "c2pa.actions.v2",
            "org.atlasfs.version",
            "c2pa.ingredient.v3",
        ] {
            let bytes = changed(|p| {
                p.assertions.retain(|(l, _)| l != label);
                p.assertions.push((label.to_owned(), body.clone()));
            });
            assert!(read(&bytes, &OURS.anchors).is_err(), "{label}");
        }
    }
    let mut nested = Value::Null;
    for _ in 0..120 {
        nested = Value::Array(vec![nested]);
    }
    let bytes = changed(|p| p.set("claim_generator_info", nested));
    assert!(read(&bytes, &OURS.anchors).is_err());
}

/// An ingredient that says something else of the same digest, and claims about itself that do not fit.
#[test]
fn a_claim_that_does_not_fit_its_assertions_is_refused() {
    for (key, value) in [
        (
            "instanceID",
            Value::from("urn:atlas:v:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a:101"),
        ),
        ("alg", "sha512".into()),
        (
            "signature",
            "self#jumbf=/c2pa/urn:c2pa:other/c2pa.signature".into(),
        ),
        (
            "redacted_assertions",
            Value::Array(vec!["self#jumbf=c2pa.assertions/x".into()]),
        ),
        (
            "gathered_assertions",
            Value::Array(vec![Value::Map(vec![
                ("url".into(), "x".into()),
                ("hash".into(), vec![0u8; 32].into()),
            ])]),
        ),
    ] {
        assert!(!trusted(&changed(|p| p.set(key, value))), "{key}");
    }
}
