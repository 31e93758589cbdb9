//! One piece of evidence as it is stored.
#![no_main]

use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::evidence::{Entry, Evidence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(evidence) = Evidence::decode(bytes) {
        assert_eq!(evidence.encode(), bytes, "one record, two spellings");
        let _ = evidence.bound();
        let _ = Quote::parse(&evidence.quote);
        if let Some(log) = &evidence.events {
            let foreign = |e: &&Entry| matches!(e, Entry::Foreign(_));
            assert_eq!(log.foreign(), log.entries.iter().filter(foreign).count());
            assert!(log.head().count >= log.from);
        }
    }
});
