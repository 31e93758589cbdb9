//! Anchors against a real Rekor, and against what stands between it and us. Not the formats: `atlas_manifests::log::anchor` tests those.

mod failures;
mod history;
mod lies;
mod proxy;
mod server;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::LogHead;
use atlas_manifests::log::anchor::{AnchorKey, Expected, shelf};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_manifests::statement::SetHead;
use atlas_net::rekor::{Anchorer, Backoff, Settings};
use proxy::{Act, Proxy, forward};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use server::{Server, program};

const ORIGIN: &str = "log.example/ours";

/// Our log's key.
pub(crate) fn log_key() -> (VerifierKey, Ed25519KeyPair) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = VerifierKey::new(ORIGIN, KeyKind::Ed25519, public).unwrap();
    (key, pair)
}

/// A head of our log.
pub(crate) fn ours(size: u64) -> Checkpoint {
    let root = Sha256::of(&size.to_be_bytes());
    let origin = ORIGIN.to_owned();
    let head = SetHead { size, root };
    let mut made = Checkpoint::of(LogHead { origin, head }).unwrap();
    let (key, pair) = log_key();
    let line = pair.sign(made.note.text.as_bytes()).as_ref().to_vec();
    made.note.add(key.line(line));
    made
}

pub(crate) fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(url, server::key(), log_key().0);
    settings.backoff = Backoff {
        first: Duration::from_secs(2),
        most: Duration::from_secs(60),
    };
    settings
}

pub(crate) fn anchorer(url: &str, dir: &Path) -> Anchorer {
    Anchorer::open(settings(url), AnchorKey::generate().unwrap(), dir).unwrap()
}

/// Passes everything on.
pub(crate) fn honest(server: &Server) -> Proxy {
    let url = server.url.clone();
    Proxy::start(move |asked| Act::Say(forward(&url, asked)))
}

#[test]
fn a_head_is_anchored_once_and_whoever_has_the_file_checks_it_offline() {
    let Some(program) = program("rekor") else {
        return;
    };
    let server = Server::start(&program);
    let proxy = honest(&server);
    let dir = tempfile::tempdir().unwrap();
    let mut a = anchorer(&proxy.url, dir.path());
    assert_eq!(a.wait(&ours(0), Instant::now()), None);
    assert_eq!(a.wait(&ours(5), Instant::now()), Some(Duration::ZERO));

    let begun = Instant::now();
    let first = a.anchor_once(&ours(5)).unwrap();
    let _ = writeln!(std::io::stderr(), "anchored in {:?}", begun.elapsed());
    assert_eq!(a.anchor_once(&ours(5)).unwrap(), first);
    assert_eq!(proxy.posts(), 1);
    assert_eq!(a.wait(&ours(5), Instant::now()), None);
    let wait = a.wait(&ours(6), Instant::now()).unwrap();
    assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(600));
    let second = a.anchor_once(&ours(6)).unwrap();
    assert_eq!((first.proof.index, second.proof.index), (0, 1));

    // Another life, another key, and the server is gone.
    drop(server);
    let mut later = anchorer(&proxy.url, dir.path());
    assert_eq!(later.anchor_once(&ours(6)).unwrap(), second);
    assert_eq!(proxy.posts(), 2);
    let (rekor, log) = (server::key(), log_key().0);
    let expected = Expected {
        public: &rekor,
        log: &log,
        key: Some(first.sent.key.digest()),
        quorum: None,
    };
    let kept = shelf::anchors(dir.path()).unwrap();
    let kept: Vec<_> = kept.into_iter().map(|f| f.anchor.unwrap()).collect();
    assert_eq!(kept, [first, second]);
    for anchor in &kept {
        anchor.verify(&expected).unwrap();
    }
}
