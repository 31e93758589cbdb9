//! Our logs as others read them: Go's `sumdb` packages, npm's and PyPI's Sigstore, on logs at the edges of tiles and on a large one.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use atlas_manifests::bytes::base64;
use atlas_manifests::digest::Sha256;
use atlas_manifests::id::InstanceId;
use atlas_manifests::log::append::LogWriter;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::{KeyKind, Signature, VerifierKey};
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::log::register::posix::Posix;
use ed25519_dalek::Signer as _;
use serde_json::json;

const ORIGIN: &str = "log.example/readers";
/// Around one tile, one tile of tiles, and far beyond.
const SIZES: [u64; 6] = [1, 255, 256, 257, 65_536, 400_000];

fn secret() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn key() -> VerifierKey {
    let public = secret().verifying_key().to_bytes();
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, public).unwrap()
}

fn sign(text: &str) -> Vec<Signature> {
    let bytes = secret().sign(text.as_bytes()).to_bytes();
    vec![key().line(bytes.to_vec())]
}

fn leaf(n: u64) -> Vec<u8> {
    Leaf::Manifest {
        manifest: Sha256::of(&n.to_be_bytes()),
        instance: InstanceId([1; 16]),
    }
    .encode()
}

/// Grows the log to a size, in batches that end on no tile's edge.
fn grow(dir: &Path, size: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let register = Box::new(Posix::open(&dir.join("register")).unwrap());
    let mut log = LogWriter::open(dir, register, ORIGIN, vec![Box::new(sign)], &[9; 32]).unwrap();
    while log.size() < size {
        let end = (log.size() + 9_973).min(size);
        let leaves: Vec<_> = (log.size()..end).map(leaf).collect();
        log.append(&leaves).unwrap();
    }
}

/// The peer at this variable; `None`, and said, where it is not installed.
fn peer(variable: &str, who: &str) -> Option<String> {
    let found = std::env::var(variable).ok();
    if found.is_none() {
        // Past the capture of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {who}: not installed ({variable}): our logs are not read by it"
        );
    }
    found
}

fn judge(command: &mut Command, what: &str) -> bool {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(matches!(out.status.code(), Some(0 | 1)), "{what}: {said}");
    if !out.status.success() {
        let _ = writeln!(std::io::stderr(), "{what}: {said}");
    }
    out.status.success()
}

#[test]
fn gos_reader_verifies_logs_of_every_shape_and_their_growth() {
    let Some(check) = peer("ATLAS_TEST_TLOGCHECK", "tlogcheck") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut old: Option<std::path::PathBuf> = None;
    for size in SIZES {
        grow(&log, size);
        let mut command = Command::new(&check);
        command.arg(&log).arg(key().to_string()).args(&old);
        assert!(judge(&mut command, &format!("{size} leaves")));
        let kept = dir.path().join(format!("checkpoint-{size}"));
        std::fs::copy(log.join("checkpoint"), &kept).unwrap();
        old = Some(kept);
    }
    // Another key of the same name, and a leaf that is not the one that was hashed.
    let other = VerifierKey::new(ORIGIN, KeyKind::Ed25519, [9; 32]).unwrap();
    let mut command = Command::new(&check);
    command.arg(&log).arg(other.to_string());
    assert!(!judge(&mut command, "another key"));
    let first = log.join("tile/entries/000");
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let mut command = Command::new(&check);
    command.arg(&log).arg(key().to_string());
    assert!(!judge(&mut command, "a changed leaf"));
}

#[test]
fn sigstores_readers_verify_our_proofs_and_no_tampered_ones() {
    let npm = peer("ATLAS_TEST_NODE_CHECK", "@sigstore/verify");
    let pypi = peer("ATLAS_TEST_PY_CHECK", "PyPI's sigstore");
    let command = |which: usize, proof: &Path| {
        let program = [&npm, &pypi][which].as_ref()?;
        let mut command = if which == 0 {
            let mut node = Command::new("node");
            node.arg(program);
            node
        } else {
            Command::new(program)
        };
        command.arg(proof);
        Some(command)
    };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for size in SIZES {
        grow(&log, size);
        let reader = LogReader::open(Directory::new(&log)).unwrap();
        for index in [0, size - 1] {
            let proof = reader.proof(index).unwrap();
            let note = String::from_utf8(proof.checkpoint.encode()).unwrap();
            let spki = [
                &atlas_manifests::digest::unhex("302a300506032b6570032100").unwrap()[..],
                key().public(),
            ]
            .concat();
            let honest = json!({
                "entry": base64(&leaf(index)),
                "index": index,
                "treeSize": size,
                "rootHash": base64(&proof.checkpoint.head.head.root.0),
                "hashes": proof.hashes.iter().map(|h| base64(&h.0)).collect::<Vec<_>>(),
                "checkpoint": note,
                "publicKey": base64(&spki),
            });
            let mut forged = honest.clone();
            forged["entry"] = json!(base64(&leaf(index + 1)));
            for (json, good) in [(honest, true), (forged, false)] {
                // Each start of these programs takes a second.
                if !good && index == 0 {
                    continue;
                }
                let file = dir.path().join("proof.json");
                std::fs::write(&file, json.to_string()).unwrap();
                for which in 0..2 {
                    let Some(mut command) = command(which, &file) else {
                        continue;
                    };
                    let said = judge(&mut command, &format!("leaf {index} of {size}"));
                    assert_eq!(said, good, "leaf {index} of {size}, peer {which}");
                }
            }
        }
    }
}
