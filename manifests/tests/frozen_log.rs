//! A log of format 1, for ever: what wrote it once is written alike, and what reads logs reads it.

use std::path::Path;

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::{InstanceId, RunId};
use atlas_manifests::log::append::LogWriter;
use atlas_manifests::log::audit::audit;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::log::note::{KeyKind, Signature, Signed, VerifierKey};
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::log::register::posix::Posix;
use atlas_manifests::statement::SetHead;
use ed25519_dalek::Signer as _;

const ORIGIN: &str = "log.example/frozen";
const FILES: [&str; 3] = ["checkpoint", "tile/0/000.p/6", "tile/entries/000.p/6"];

fn frozen() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/log-1")
}

fn key() -> VerifierKey {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, secret.verifying_key().to_bytes()).unwrap()
}

fn sign(text: &str) -> Vec<Signature> {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    vec![key().line(secret.sign(text.as_bytes()).to_bytes().to_vec())]
}

/// One life of a daemon: it begins, seals what a run wrote, takes something back, and ends.
fn leaves() -> Vec<Leaf> {
    let instance = InstanceId([0x11; 16]);
    let manifest = |n: u8| Leaf::Manifest {
        manifest: Sha256([n; 32]),
        instance,
    };
    vec![
        Leaf::Instance {
            instance,
            evidence: None,
            seal_key: Sha256([2; 32]),
            log_key: None,
        },
        Leaf::Inputs {
            run: RunId { instance, n: 1 },
            head: SetHead {
                size: 3,
                root: Sha256([3; 32]),
            },
        },
        manifest(0xaa),
        manifest(0xbb),
        Leaf::Revocation {
            what: Revoked::Manifest(Sha256([0xbb; 32])),
            reason: Reason::Wrong,
        },
        Leaf::Anchor {
            instance,
            seq: 0,
            manifests: 2,
            evidence: None,
            last: true,
        },
    ]
}

#[test]
fn a_log_of_format_1_is_written_as_it_ever_was() {
    let dir = tempfile::tempdir().unwrap();
    let register = Box::new(Posix::open(&dir.path().join("register")).unwrap());
    let mut log =
        LogWriter::open(dir.path(), register, ORIGIN, vec![Box::new(sign)], &[1; 32]).unwrap();
    let all: Vec<_> = leaves().iter().map(Leaf::encode).collect();
    log.append(&all).unwrap();
    for file in FILES {
        let made = std::fs::read(dir.path().join(file)).unwrap();
        let kept = std::fs::read(frozen().join(file)).unwrap();
        assert_eq!(made, kept, "{file}");
    }
}

#[test]
fn a_log_of_format_1_is_read_for_ever() {
    let log = LogReader::open(Directory::new(frozen())).unwrap();
    assert_eq!(log.checkpoint().signed_by_log(&key()), Signed::Yes);
    let mut breaches = Vec::new();
    let counts = audit(&log, |b| breaches.push(b.what)).unwrap();
    assert_eq!(breaches, [""; 0]);
    assert_eq!((counts.manifests, counts.revocations), (2, 1));
    for (index, leaf) in (0..).zip(leaves()) {
        assert_eq!(log.leaf(index).unwrap(), leaf.encode());
        assert!(log.proof(index).unwrap().holds(&leaf.hash()));
    }
}
