//! Manifests whose assertions and claim an input chose, with every hash and the signature right: what lies behind those checks.

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::edit::Edit;
use crate::forge;

/// What is changed in an honest manifest before it is signed.
#[derive(Debug, Arbitrary)]
pub struct Forgery {
    /// In which assertion, and how.
    assertions: Vec<(u8, Edit)>,
    /// In the claim.
    claim: Vec<Edit>,
}

struct Kept {
    house: forge::House,
    parts: forge::Parts,
    certificate: Vec<u8>,
    key: forge::Key,
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let house = forge::house();
    let key = forge::Key::of(7);
    let issuer = forge::authority(&house.name);
    let certificate = forge::certify(&forge::leaf(|_| {}), &key, &issuer, &house.key);
    Kept {
        parts: forge::Parts::of(&house.honest),
        house,
        certificate,
        key,
    }
});

impl Forgery {
    /// The manifest, or nothing where the claim is no longer one that can be put together.
    pub fn manifest(&self) -> Option<Vec<u8>> {
        let mut parts = KEPT.parts.clone();
        for (which, edit) in &self.assertions {
            let which = usize::from(*which) % parts.assertions.len();
            edit.apply(&mut parts.assertions[which].1);
        }
        if !self.claim.is_empty() {
            let mut bytes = forge::cbor(&ciborium::Value::Map(parts.claim));
            self.claim.iter().for_each(|e| e.apply(&mut bytes));
            // The decoder here is not what is tested: it must not be asked for gigabytes.
            let read = ciborium::de::from_reader_with_recursion_limit(&bytes[..], 32);
            parts.claim = read.ok().and_then(|v: ciborium::Value| v.into_map().ok())?;
        }
        Some(parts.signed(&KEPT.key, std::slice::from_ref(&KEPT.certificate)))
    }

    /// In whom its reader trusts.
    pub fn anchors() -> &'static str {
        &KEPT.house.anchors
    }
}
