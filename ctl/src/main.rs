//! Asks, shows, verifies and wraps.
fn main() {}
