//! The provenance filesystem daemon.
fn main() {}
