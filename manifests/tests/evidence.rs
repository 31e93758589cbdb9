//! Evidence by a simulator that shares no code with the verifier, appraised; each attack of the trust facts by its number. And Intel's own, with real clocks.

#[path = "evidence/attacks.rs"]
mod attacks;
#[path = "evidence/files.rs"]
mod files;
#[path = "evidence/flips.rs"]
mod flips;
#[path = "evidence/google.rs"]
mod google;
#[path = "evidence/house.rs"]
mod house;
#[path = "evidence/lab.rs"]
mod lab;
#[path = "evidence/real.rs"]
mod real;
#[path = "evidence/runtime.rs"]
mod runtime;
#[path = "statements/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests of manifests")]
mod statements;
