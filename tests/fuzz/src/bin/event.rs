//! Events of RTMR3 and the entries of its log.
#![no_main]

use atlas_manifests::evidence::{Entry, Event, Rtmr};
use atlas_manifests::id::InstanceId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(event) = Event::decode(bytes) {
        assert_eq!(event.encode(), bytes, "one event, two spellings");
    }
    if let Ok(entry) = Entry::decode(bytes) {
        assert_eq!(entry.encode(), bytes, "one entry, two spellings");
        // What another instance sees of it extends the register by the same.
        let seen = entry.seen_by(InstanceId([1; 16]));
        assert_eq!(seen.apply(Rtmr::ZERO), entry.apply(Rtmr::ZERO));
        assert_eq!(seen.seen_by(InstanceId([1; 16])), seen);
    }
});
