//! A manifest in its node's log, judged; each attack on a log of the trust facts by its number. The log is made here, in memory, by RFC 6962 alone.

#[path = "transparency/attacks.rs"]
mod attacks;
#[path = "transparency/bound.rs"]
mod bound;
#[path = "transparency/bundles.rs"]
mod bundles;
#[path = "transparency/flips.rs"]
mod flips;
#[path = "transparency/heads.rs"]
mod heads;
#[path = "evidence/house.rs"]
#[allow(dead_code, reason = "shared with the tests of evidence")]
mod house;
#[path = "evidence/lab.rs"]
#[allow(dead_code, reason = "shared with the tests of evidence")]
mod lab;
#[path = "transparency/revoked.rs"]
mod revoked;
#[path = "statements/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests of manifests")]
mod statements;
#[path = "transparency/town.rs"]
mod town;
#[path = "transparency/witnesses.rs"]
mod witnesses;
