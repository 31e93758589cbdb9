//! What Intel says of a kind of platform, read and not yet judged.
#![no_main]

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::collateral::Collateral;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = Collateral::parse(bytes) {
        assert_eq!(read.name, Sha256::of(bytes));
        let (first, last) = read.window;
        assert_eq!(read.valid_at(first), first <= last);
        assert_eq!(read.valid_at(last), first <= last);
        assert!(
            !last
                .checked_add(1)
                .is_some_and(|after| read.valid_at(after))
        );
    }
});
