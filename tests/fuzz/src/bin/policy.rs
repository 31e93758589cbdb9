//! A verifier's policy in TOML, and where its errors are said to be.
#![no_main]

use std::path::Path;

use atlas_manifests::evidence::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = Path::new("/etc/atlas/policy.toml");
    match Policy::parse(text, file) {
        Ok(policy) => {
            let written = policy.to_toml().expect("it was parsed");
            let again = Policy::parse(&written, file).expect("what was written");
            assert_eq!(again, policy, "{written}");
            let _ = policy.unset();
        }
        Err(e) => assert!(!e.what.contains('\n'), "two lines: {}", e.what),
    }
});
