//! What the transparency log costs: appending by size of batch, opening, proving and finding in a large log. No mount and no privilege.
//!
//! `cargo run --release -p atlas-benches --bin log`. Checkpoints are signed with Ed25519, and the write-ahead log and the register are
//! synced as in the daemon. Logs are made where `TMPDIR` says: that disk is measured.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atlas_benches::Scale;
use atlas_benches::rounds::{Rounds, median};
use atlas_manifests::digest::Sha256;
use atlas_manifests::id::InstanceId;
use atlas_manifests::log::append::{LogWriter, Signer};
use atlas_manifests::log::find::{Finder, refresh};
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::log::register::posix::Posix;
use atlas_manifests::merkle::leaf_hash;
use ed25519_dalek::{Signer as _, SigningKey};

const ORIGIN: &str = "log.example/bench";
const BATCHES: [u64; 4] = [1, 16, 256, 1024];

fn main() -> Result<()> {
    let scale = Scale::from_args()?;
    let small = scale.rounds == 1;
    let (rounds, large) = if small { (1, 70_000) } else { (9, 10_000_000) };
    append(rounds, if small { 8 } else { 400 })?;
    large_log(large, if small { 20 } else { 1000 })
}

/// Leaves a second by size of batch.
fn append(rounds: usize, commits: u64) -> Result<()> {
    let homes = BATCHES.map(|_| tempfile::tempdir());
    let mut logs = Vec::new();
    for home in &homes {
        let home = home.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
        logs.push(open(home.path())?);
    }
    let mut measured = Rounds::default();
    for round in 0..=rounds {
        let mut row = vec![Duration::ZERO; logs.len()];
        for turn in 0..logs.len() {
            let who = (turn + round) % logs.len();
            let commits = (commits / BATCHES[who].ilog2().max(1) as u64).max(4);
            let first = logs[who].size();
            let batches: Vec<Vec<Vec<u8>>> = (0..commits)
                .map(|n| leaves(first + n * BATCHES[who], BATCHES[who]))
                .collect();
            let began = Instant::now();
            for batch in &batches {
                logs[who].append(batch)?;
            }
            row[who] = began.elapsed() / commits as u32;
        }
        // The first round warms up.
        if round > 0 {
            measured.push(row);
        }
    }
    println!("{:>8} {:>14} {:>14}", "batch", "a batch", "leaves a second");
    for (column, batch) in BATCHES.iter().enumerate() {
        let time = measured.time(column);
        println!(
            "{batch:>8} {:>12.3}ms {:>14.0}",
            time * 1e3,
            *batch as f64 / time
        );
    }
    println!("medians of {rounds} interleaved rounds\n");
    Ok(())
}

fn large_log(size: u64, times: usize) -> Result<()> {
    let home = tempfile::tempdir()?;
    let began = Instant::now();
    let mut log = open(home.path())?;
    while log.size() < size {
        let count = (size - log.size()).min(16_384);
        log.append(&leaves(log.size(), count))?;
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{size} leaves in batches of 16384: {took:.1}s, {:.0} leaves a second",
        size as f64 / took
    );
    let opening = |what: &str| -> Result<LogWriter> {
        let before = resident()?;
        let began = Instant::now();
        let log = open(home.path())?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        let more = resident()?.saturating_sub(before);
        println!("open {what}: {took:.1}ms, {more} KiB more resident");
        Ok(log)
    };
    drop(log);
    let mut log = opening("as the last batch left it")?;
    log.settle()?;
    for _ in 0..30 {
        log.append(&leaves(log.size(), 1024))?;
    }
    drop(log);
    let mut log = opening("with 30 batches of 1024 to replay")?;
    log.settle()?;
    drop(log);
    drop(opening("with nothing to replay")?);

    let source = Directory::new(home.path());
    let began = Instant::now();
    let reader = LogReader::open(&source)?;
    println!(
        "a reader opens: {:.2}ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    let places = (0..times as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size);
    let mut proofs = Vec::new();
    for index in places.clone() {
        let began = Instant::now();
        let proof = reader.proof(index)?;
        ensure!(
            proof.holds(&leaf_hash(&leaf(index))),
            "a proof does not hold"
        );
        proofs.push(began.elapsed().as_secs_f64());
        black_box(proof);
    }
    println!(
        "a proof is made and verified: {:.3}ms (median of {times})",
        median(proofs) * 1e3
    );

    let reader = LogReader::open(source)?;
    let began = Instant::now();
    let wrote = refresh(&reader, usize::MAX)?;
    println!(
        "lookup files that were missing: {wrote}, in {:.2}s",
        began.elapsed().as_secs_f64()
    );
    let finder = Finder::new(&reader);
    let began = Instant::now();
    finder.manifest(&digest(size - 1))?;
    println!(
        "first lookup, which reads the tail: {:.2}ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    let mut found = Vec::new();
    for index in places.chain([0, size - 1]).take(times) {
        let began = Instant::now();
        let at = finder
            .manifest(&digest(index))?
            .context("a leaf is not found")?;
        ensure!(at.index == index, "another leaf is found");
        found.push(began.elapsed().as_secs_f64());
    }
    println!(
        "a lookup by digest: {:.3}ms (median of {times})",
        median(found) * 1e3
    );
    let began = Instant::now();
    ensure!(
        finder.manifest(&digest(u64::MAX))?.is_none(),
        "what is not there is found"
    );
    println!(
        "a lookup of what is not logged: {:.3}ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    println!("resident at the end: {} KiB", resident()?);
    Ok(())
}

fn open(dir: &Path) -> Result<LogWriter> {
    let secret = SigningKey::from_bytes(&[1; 32]);
    let key = VerifierKey::new(ORIGIN, KeyKind::Ed25519, secret.verifying_key().to_bytes())?;
    let sign = move |text: &str| vec![key.line(secret.sign(text.as_bytes()).to_vec())];
    let signers: Vec<Box<dyn Signer>> = vec![Box::new(sign)];
    let register = Posix::open(&dir.join("register"))?;
    Ok(LogWriter::open(
        dir,
        Box::new(register),
        ORIGIN,
        signers,
        &[1; 32],
    )?)
}

fn digest(n: u64) -> Sha256 {
    Sha256::of(&n.to_be_bytes())
}

fn leaf(n: u64) -> Vec<u8> {
    let (manifest, instance) = (digest(n), InstanceId([1; 16]));
    Leaf::Manifest { manifest, instance }.encode()
}

fn leaves(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(leaf).collect()
}

/// Resident memory in KiB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}
