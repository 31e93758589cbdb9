//! Attacks 21, 22 and 23: two histories, older ones, and growth that is not shown; what a verifier remembers.

use atlas_manifests::log::memory::Memory;
use atlas_manifests::verify::{Code, FileVerdict};
use atlas_manifests::vocabulary::Tier;

use super::town::{ORIGIN, Town, refused, says};

#[track_caller]
fn both_are_shown(v: &FileVerdict, what: &str, sizes: [&str; 2]) {
    let conflict = v.transparency.as_ref().unwrap().conflict.as_ref().unwrap();
    assert_eq!(conflict.what, what);
    let heads = [&conflict.remembered, &conflict.shown];
    for (head, size) in heads.into_iter().zip(sizes) {
        let lines: Vec<&str> = head.lines().collect();
        assert_eq!(lines[..2], [ORIGIN, size], "{head}");
        assert!(lines[4].contains(ORIGIN), "it is signed: {head}");
    }
}

fn remembered(dir: &std::path::Path) -> u64 {
    let memory = Memory::open(dir).unwrap();
    memory.load(ORIGIN).unwrap().unwrap().head.head.size
}

#[test]
fn a_log_that_grows_is_followed() {
    let mut town = Town::new();
    let dir = town.remember();
    let manifest = town.logged();
    for _ in 0..3 {
        says(&town.verify(&manifest), Tier::Affirming, Code::Ok, "");
        assert_eq!(remembered(&dir), town.tree.head().size);
        town.tree.push(&Town::leaf(b"more"));
    }
}

/// Attack 21.
#[test]
fn two_heads_of_one_size_condemn_the_log_and_both_are_shown() {
    let mut town = Town::new();
    town.remember();
    let manifest = town.logged();
    town.verify(&manifest);
    for live in [true, false] {
        town.tree.0.pop();
        town.tree.push(&Town::leaf(b"another history"));
        town.live = live;
        let v = town.verify(&manifest);
        refused(&v, "SPLIT VIEW");
        both_are_shown(&v, "split", ["3", "3"]);
    }
}

/// Attack 21, within one run and without any memory.
#[test]
fn two_heads_in_one_run_are_found_without_a_memory() {
    let mut town = Town::new();
    let manifest = town.logged();
    let mut memo = atlas_manifests::verify::Memo::default();
    town.verify_with(&manifest, &mut memo);
    town.tree.0.pop();
    town.tree.push(&Town::leaf(b"another history"));
    let v = town.verify_with(&manifest, &mut memo);
    refused(&v, "SPLIT VIEW");
    both_are_shown(&v, "split", ["3", "3"]);
}

/// Attack 22.
#[test]
fn a_log_that_was_set_back_is_refused_and_both_heads_are_shown() {
    let mut town = Town::new();
    let dir = town.remember();
    let manifest = town.logged();
    town.tree.push(&Town::leaf(b"more"));
    town.verify(&manifest);
    town.size = Some(3);
    let v = town.verify(&manifest);
    refused(&v, "set back");
    both_are_shown(&v, "rollback", ["4", "3"]);
    assert_eq!(remembered(&dir), 4, "never forgotten");
}

/// A head that witnesses signed, while the newest waits for them.
#[test]
fn an_older_head_of_a_log_that_still_has_the_newer_one_is_no_rollback() {
    let mut town = Town::new();
    let dir = town.remember();
    let manifest = town.logged();
    town.tree.push(&Town::leaf(b"more"));
    town.verify(&manifest);
    (town.size, town.goes_on) = (Some(3), true);
    let v = town.verify(&manifest);
    assert_eq!(v.checks.transparency, Tier::Affirming, "{:#?}", v.reasons);
    assert_eq!(remembered(&dir), 4, "never forgotten");
}

/// An older bundle is no rollback: it was true when it was made, and cannot grow.
#[test]
fn an_older_bundle_passes_with_a_warning_that_it_was_not_compared() {
    let mut town = Town::new();
    let dir = town.remember();
    let manifest = town.logged();
    town.tree.push(&Town::leaf(b"more"));
    town.verify(&manifest);
    (town.size, town.live, town.mute) = (Some(3), false, true);
    let v = town.verify(&manifest);
    says(&v, Tier::Warning, Code::Ok, "cannot show");
    let why = v.transparency.unwrap().uncompared.unwrap();
    assert!(why.contains("later head of the log, of 4 leaves"), "{why}");
    assert_eq!(remembered(&dir), 4);
}

/// What was not shown to have grown from what is remembered must not take its place: else a fork could be taught by a bundle.
#[test]
fn a_newer_bundle_passes_with_a_warning_and_is_not_remembered() {
    let mut town = Town::new();
    let dir = town.remember();
    let manifest = town.logged();
    town.verify(&manifest);
    town.tree.push(&Town::leaf(b"more"));
    (town.live, town.mute) = (false, true);
    let v = town.verify(&manifest);
    says(&v, Tier::Warning, Code::Ok, "cannot show");
    assert!(v.transparency.unwrap().uncompared.is_some());
    assert_eq!(remembered(&dir), 3);
}

/// Attack 23.
#[test]
fn a_log_that_cannot_show_how_it_grew_is_refused() {
    let mut town = Town::new();
    town.remember();
    let manifest = town.logged();
    town.verify(&manifest);
    town.tree.push(&Town::leaf(b"more"));
    town.mute = true;
    refused(&town.verify(&manifest), "does not show that it grew");
}

/// Attack 23.
#[test]
fn growth_from_another_history_is_refused_and_both_heads_are_shown() {
    let mut town = Town::new();
    town.remember();
    let manifest = town.logged();
    town.verify(&manifest);
    town.tree.0[2] = Town::leaf(b"another history").encode();
    town.tree.push(&Town::leaf(b"more"));
    let v = town.verify(&manifest);
    refused(&v, "does not grow from the smaller");
    both_are_shown(&v, "split", ["3", "4"]);
}

#[test]
fn a_memory_that_cannot_be_used_is_said_once_and_fails_nothing() {
    let mut town = Town::new();
    let dir = town.remember();
    std::fs::write(&dir, "a file in its place").unwrap();
    let manifest = town.logged();
    let mut memo = atlas_manifests::verify::Memo::default();
    let v = town.verify_with(&manifest, &mut memo);
    says(&v, Tier::Affirming, Code::Ok, "cannot be remembered");
    let v = town.verify_with(&manifest, &mut memo);
    assert!(v.reasons.is_empty(), "{:?}", v.reasons);
}

#[test]
fn a_head_that_the_log_did_not_sign_is_never_remembered() {
    let mut town = Town::new();
    let dir = town.remember();
    let manifest = town.logged();
    town.resign = Box::new(|c| c.note.signatures.clear());
    refused(&town.verify(&manifest), "");
    assert!(!dir.exists());
}
