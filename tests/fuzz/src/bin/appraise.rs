//! A whole appraisal of evidence by a simulator, spoiled from outside or from inside the trust domain: see `spoiled`.
#![no_main]

use atlas_fuzz::spoiled::{Case, house};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Case| house().with(|house| case.run(house)));
