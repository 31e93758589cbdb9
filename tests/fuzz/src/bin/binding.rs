//! What a quote binds. Not the record around it.
#![no_main]

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::Binding;
use atlas_manifests::evidence::binding::report_data;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(binding) = Binding::decode(bytes) {
        assert_eq!(binding.encode(), bytes, "one binding, two spellings");
        assert_eq!(binding.id(), Sha256::of(bytes));
        assert_eq!(binding.report_data(), report_data(bytes));
    }
});
