//! No byte of a proof, a certificate, the keys or a leaf can be changed so that another thing is affirmed, and none panics.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::shelf::{Entry, Logged, Shelf as _};
use atlas_manifests::verify::FileVerdict;
use atlas_manifests::vocabulary::Tier;
use proptest::prelude::*;

use super::town::{INSTANCE, Town};

/// What is shown, and what is to be shown.
struct Scene {
    town: Town,
    manifest: Vec<u8>,
    honest: Logged,
    shown: Arc<Mutex<Logged>>,
    verdict: FileVerdict,
}

static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| Mutex::new(scene()));

fn scene() -> Scene {
    let mut town = Town::new();
    let manifest = town.logged();
    town.tree.push(&Leaf::Revocation {
        what: Revoked::Instance(INSTANCE),
        reason: Reason::Wrong,
    });
    let entry = Entry::of(Sha256::of(&manifest), &Town::statement());
    let honest = town.transparency(&entry).unwrap().unwrap();
    let verdict = town.verify(&manifest);
    assert_eq!(verdict.checks.transparency, Tier::Affirming);
    let shown = Arc::new(Mutex::new(honest.clone()));
    let now = Arc::clone(&shown);
    town.change = Box::new(move |l| *l = now.lock().unwrap().clone());
    Scene {
        town,
        manifest,
        honest,
        shown,
        verdict,
    }
}

fn flip(bytes: &mut [u8], at: prop::sample::Index, by: u8) {
    let at = at.index(bytes.len());
    bytes[at] ^= by;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_flipped_byte_affirms_anything_else(which in 0..4, at: prop::sample::Index, by in 1u8..) {
        let scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spoiled = scene.honest.clone();
        let part = |shared: &Arc<[u8]>| -> Arc<[u8]> {
            let mut bytes = shared.to_vec();
            flip(&mut bytes, at, by);
            bytes.into()
        };
        match which {
            0 => flip(spoiled.proof.as_mut().unwrap(), at, by),
            1 => flip(&mut spoiled.leaves[0], at, by),
            2 => spoiled.certificate = part(&spoiled.certificate),
            _ => spoiled.keys = part(&spoiled.keys),
        }
        *scene.shown.lock().unwrap() = spoiled;
        let v = scene.town.verify(&scene.manifest);
        if v.checks.transparency == Tier::Affirming {
            prop_assert_eq!(v.transparency, scene.verdict.transparency.clone());
        } else {
            prop_assert_eq!(v.checks.transparency, Tier::Contraindicated);
        }
    }

    #[test]
    fn noise_in_every_place_is_refused_without_a_panic(noise: Vec<u8>, which in 0..4) {
        let scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spoiled = scene.honest.clone();
        match which {
            0 => spoiled.proof = Some(noise),
            1 => spoiled.leaves = vec![noise],
            2 => spoiled.certificate = noise.into(),
            _ => spoiled.keys = noise.into(),
        }
        *scene.shown.lock().unwrap() = spoiled;
        let v = scene.town.verify(&scene.manifest);
        prop_assert_eq!(v.checks.transparency == Tier::Affirming, which == 3);
    }
}
