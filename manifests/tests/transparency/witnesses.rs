//! Attack 24: too few witnesses, one twice, times to come; and what a policy of witnesses demands.

use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::verify::{Code, FileVerdict};
use atlas_manifests::vocabulary::Tier;

use super::town::{NOW, Pen, Town, refused, says};

/// Two of these three must cosign.
fn policy(witnesses: &[Pen; 3]) -> Quorum {
    let [a, b, c] = witnesses.each_ref().map(|w| w.key.to_string());
    let text =
        format!("witness a {a}\nwitness b {b}\nwitness c {c}\ngroup two 2 a b c\nquorum two\n");
    Quorum::parse(text.as_bytes()).unwrap()
}

fn witnesses() -> [Pen; 3] {
    [1, 2, 3].map(|n| Pen::witness(&format!("w{n}.example"), n))
}

/// Cosigned by these, at these times.
fn cosigned(lines: &'static [(usize, u64)], require: bool) -> FileVerdict {
    spoiled(lines, require, |_| {})
}

fn spoiled(
    lines: &'static [(usize, u64)],
    require: bool,
    spoil: fn(&mut atlas_manifests::log::checkpoint::Checkpoint),
) -> FileVerdict {
    let mut town = Town::new();
    let manifest = town.logged();
    let pens = witnesses();
    town.terms.log.witnesses = Some(policy(&pens));
    let demands = &mut town.terms.appraiser.policy.log;
    demands.require = require;
    demands.max_cosignature_age_seconds = Some(1000);
    town.resign = Box::new(move |c| {
        for (which, time) in lines {
            pens[*which].cosign(c, *time);
        }
        spoil(c);
    });
    town.verify(&manifest)
}

#[test]
fn enough_witnesses_are_affirmed_and_named_with_their_times() {
    let v = cosigned(&[(0, NOW - 10), (2, NOW + 60)], true);
    says(&v, Tier::Affirming, Code::Ok, "");
    let said = v.transparency.unwrap().witnesses;
    let said: Vec<_> = said
        .iter()
        .map(|w| (w.name.as_str(), w.time.as_str()))
        .collect();
    assert_eq!(
        said,
        [("a", "2026-11-26T11:59:50Z"), ("c", "2026-11-26T12:01:00Z")]
    );
}

#[test]
fn too_few_the_same_twice_too_old_and_in_the_future_do_not_count() {
    let cases: [(&'static [(usize, u64)], &str); 5] = [
        (&[], "0 of 3"),
        (&[(1, NOW)], "1 of 3"),
        (&[(1, NOW), (1, NOW - 5)], "1 of 3"),
        (&[(1, NOW), (2, NOW - 2000)], "1 too long ago"),
        (&[(1, NOW), (2, NOW + 86_400)], "in the future"),
    ];
    for (lines, words) in cases {
        says(&cosigned(lines, false), Tier::Warning, Code::Ok, words);
        says(&cosigned(lines, true), Tier::Warning, Code::Evidence, words);
    }
}

#[test]
fn a_witness_in_the_future_is_told_even_where_the_others_are_enough() {
    let v = cosigned(&[(0, NOW), (1, NOW), (2, NOW + 86_400)], true);
    says(&v, Tier::Warning, Code::Ok, "c (2026-11-27T12:00:00Z)");
}

#[test]
fn a_line_that_a_witness_did_not_make_condemns_the_head() {
    let v = spoiled(&[(0, NOW), (1, NOW), (2, NOW)], false, |c| {
        c.note.signatures.last_mut().unwrap().bytes[9] ^= 1;
    });
    refused(&v, "did not make");
}

#[test]
fn a_log_that_the_witness_policy_does_not_name_is_not_enough() {
    for (named, tier, code) in [
        (true, Tier::Affirming, Code::Ok),
        (false, Tier::Warning, Code::Evidence),
    ] {
        let mut town = Town::new();
        let manifest = town.logged();
        let other = Pen::of(
            "other.example",
            atlas_manifests::log::note::KeyKind::Ed25519,
            9,
        );
        let key = if named {
            town.log.verifier_key()
        } else {
            other.key
        };
        let text = format!("log {key}\nquorum none\n");
        town.terms.log.witnesses = Some(Quorum::parse(text.as_bytes()).unwrap());
        town.terms.appraiser.policy.log.require = true;
        says(&town.verify(&manifest), tier, code, "");
    }
}
