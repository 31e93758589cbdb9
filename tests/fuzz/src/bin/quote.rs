//! A TDX quote taken apart. Not whether anybody vouches for it.
#![no_main]

use atlas_manifests::evidence::fmspc;
use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::evidence::reference::Measurements;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(quote) = Quote::parse(bytes) {
        assert!(bytes.starts_with(quote.bytes));
        assert_eq!(
            Quote::parse(quote.bytes).as_ref(),
            Ok(&quote),
            "padding means something"
        );
        assert!(quote.bytes.is_empty() || Quote::parse(&quote.bytes[1..]).as_ref() != Ok(&quote));
        let measured = Measurements::of(&quote);
        assert!(measured.missing().is_empty());
        let _ = (quote.attributes(), quote.xfam(), quote.report_data());
        let _ = (quote.consistent(), fmspc(quote.bytes));
    }
    // The other parser gets what it is given in production: only quotes that ours took; and anything, to know it.
    let _ = fmspc(bytes);
});
