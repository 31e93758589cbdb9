//! What hardware evidence adds to verifying a file: cold, with the instance already verified, and beside hashing. Hashes no artifact itself.
//!
//! `cargo run --release -p atlas-benches --bin evidence`; needs no mount and no privilege. The evidence is a simulator's: signatures of
//! the same kinds and number as Intel's, so that they take the same time.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atlas_benches::Scale;
use atlas_benches::house::{CONTENT, House, Who};
use atlas_benches::rounds::Rounds;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::appraise::Presented;
use atlas_manifests::read;
use atlas_manifests::verify::{Code, Content, ManifestChoice, Memo, Subject, Terms, verify};

/// What is hashed for comparison: a small checkpoint.
const YARDSTICK: usize = 16 << 20;

fn main() -> Result<()> {
    let scale = Scale::from_args()?;
    let house = House::new()?;
    let terms = house.terms()?;
    let attested = [house.seal(Who::Attested, 1)?, house.seal(Who::Attested, 2)?];
    let local = [house.seal(Who::Local, 1)?, house.seal(Who::Local, 2)?];
    let appraiser = house.appraiser();
    let noise = vec![0x5a; YARDSTICK];

    let first = |manifests: &[Vec<u8>]| {
        let mut memo = Memo::default();
        timed(|| good(&house, &terms, &manifests[1], &mut memo))
    };
    let next = |manifests: &[Vec<u8>]| {
        let mut memo = Memo::default();
        good(&house, &terms, &manifests[0], &mut memo)?;
        timed(|| good(&house, &terms, &manifests[1], &mut memo))
    };
    let appraise = || {
        let a = appraiser.appraise(&Presented {
            evidence: house.evidence(),
            earlier: &|_| None,
            collateral: Some(house.collateral()),
            nonce: None,
        });
        ensure!(!a.refused(), "honest evidence is refused: {a:?}");
        Ok(())
    };
    let hash = || {
        black_box(Sha256::of(&noise));
        Ok(())
    };
    let read = || {
        black_box(read::read(&attested[0], &terms.anchors.pem)?);
        Ok(())
    };
    let contestants: [(&str, &dyn Fn() -> Result<Duration>); 7] = [
        ("SHA-256 of 16 MiB", &|| timed(hash)),
        ("verify, local key, first file", &|| first(&local)),
        ("verify, attested, first file (cold)", &|| first(&attested)),
        ("verify, local key, next file", &|| next(&local)),
        ("verify, attested, next file (warm)", &|| next(&attested)),
        ("the appraisal alone", &|| timed(appraise)),
        ("reading the manifest alone (C2PA)", &|| timed(read)),
    ];

    let mut rounds = Rounds::default();
    let number = if scale.rounds == 1 { 2 } else { 200 };
    // One round to warm up, whose numbers are dropped.
    for round in 0..=number {
        let mut row = vec![Duration::ZERO; contestants.len()];
        // Nobody is always the first after the disturbance before.
        for turn in 0..contestants.len() {
            let who = (turn + round) % contestants.len();
            row[who] = contestants[who].1()?;
        }
        if round > 0 {
            rounds.push(row);
        }
    }

    println!("{:40} {:>10} {:>14}", "", "median", "hashing / this");
    for (column, (name, _)) in contestants.iter().enumerate() {
        let time = rounds.time(column) * 1e3;
        println!("{name:40} {time:>8.3}ms {:>14.2}", rounds.ratio(column));
    }
    for (name, with, without) in [("cold", 2, 1), ("warm", 4, 3)] {
        let added = (rounds.time(with) - rounds.time(without)) * 1e3;
        println!("{:40} {added:>8.3}ms", format!("evidence adds, {name}"));
    }
    println!("\nmedians of {number} interleaved rounds; the artifact is not hashed in any of them");
    Ok(())
}

/// Verifies a manifest, which must pass, of a file whose digests are known.
fn good(house: &House, terms: &Terms, manifest: &[u8], memo: &mut Memo) -> Result<()> {
    let subject = Subject {
        path: "model.safetensors".into(),
        content: Content::Digests(Digests::of(CONTENT)),
    };
    let choice = ManifestChoice {
        given: Some(manifest.to_vec()),
        ..ManifestChoice::default()
    };
    let v = verify(house.shelf(), terms, subject, &choice, memo, &|_, _| {});
    ensure!(v.code == Code::Ok, "it does not pass: {:#?}", v.reasons);
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}
