//! The firmware's event log and its replay, held against the simulator's own.
#![no_main]

use atlas_manifests::evidence::ccel::replay;
use atlas_tdx_sim::ccel::{Event, kind, log};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = replay(bytes) {
        // Register, kind, number of digests, one digest, length of the text.
        assert!(read.events <= bytes.len() / 66, "events of no bytes");
    }
    let _ = differs(bytes);
});

/// A log of any events: two programs that were written apart must find the same registers.
fn differs(bytes: &[u8]) -> Result<()> {
    let mut u = Unstructured::new(bytes);
    let mut events = Vec::new();
    for _ in 0..u.int_in_range(0..=20)? {
        let no_action = u.arbitrary()?;
        events.push(Event {
            register: u.int_in_range(1..=4)?,
            kind: if no_action {
                kind::NO_ACTION
            } else {
                kind::IPL
            },
            digest: u.arbitrary()?,
            data: u.arbitrary()?,
        });
    }
    let mut written = log(&events);
    // Its fill is long: hashing is not what is tested.
    let end = written
        .iter()
        .rposition(|b| *b != 0xff)
        .map_or(0, |at| at + 1);
    written.truncate(end + 1);
    // An event may end in what looks like fill.
    written.extend([0xff; 300]);
    let read = replay(&written).expect("a log that the simulator wrote");
    let measured = events.iter().filter(|e| e.kind != kind::NO_ACTION);
    assert_eq!(read.events, measured.count());
    assert_eq!(read.rtmr.map(|r| r.0), atlas_tdx_sim::ccel::replay(&events));
    Ok(())
}
