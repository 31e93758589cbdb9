//! Manifests: as bytes, and with assertions and claim of a forger whose signature is good.
#![no_main]

use atlas_fuzz::forged::Forgery;
use atlas_fuzz::seeds::{ANCHORS, MANIFEST};
use atlas_manifests::digest::Sha256;
use atlas_manifests::read::{Signature, peek, read};
use libfuzzer_sys::arbitrary::{Arbitrary as _, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else {
        return;
    };
    if how % 2 == 0 {
        let Some(statement) = check(bytes, ANCHORS) else {
            return;
        };
        // The one manifest that was ever signed under that authority.
        let honest = peek(MANIFEST).expect("the honest manifest");
        assert_eq!(statement, honest, "something else is believed");
    } else if let Ok(forgery) = Forgery::arbitrary(&mut Unstructured::new(bytes))
        && let Some(manifest) = forgery.manifest()
    {
        check(&manifest, Forgery::anchors());
    }
});

/// What it says, where it is trusted.
fn check(bytes: &[u8], anchors: &str) -> Option<atlas_manifests::statement::Statement> {
    let said = peek(bytes);
    let reading = read(bytes, anchors).ok()?;
    assert_eq!(said.as_ref(), Ok(&reading.statement));
    assert_eq!(reading.reference.sha256, Sha256::of(bytes));
    assert_eq!(reading.reference.size, bytes.len() as u64);
    matches!(reading.signature, Signature::Trusted { .. }).then_some(reading.statement)
}
