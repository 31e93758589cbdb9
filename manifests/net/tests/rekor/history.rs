//! A public log that takes something back or has two histories is found out, with both of its checkpoints in hand. So is a log of ours.

use std::sync::Arc;

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::anchor::{AnchorKey, AnchorRequest};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::Signed;
use atlas_net::rekor::RekorError;

use crate::proxy::{Act, Proxy, Said, forward};
use crate::server::{Server, key, program};
use crate::{anchorer, log_key, ours};

/// Entries of somebody else.
fn others(server: &Server, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut a = anchorer(&server.url, dir.path());
    for n in 1..=count {
        a.anchor_once(&ours(1000 + n)).unwrap();
    }
}

/// A server, and its files at `api/v2` where `tiles`.
fn served(server: &Arc<Server>, tiles: bool) -> Proxy {
    let server = Arc::clone(server);
    Proxy::start(move |asked| {
        let below = asked.path.strip_prefix("/api/v2/");
        let file = below.filter(|_| tiles && asked.method == "GET");
        Act::Say(match file.map(|f| server.file(f)) {
            Some(Some(bytes)) => Said::of(200, bytes),
            Some(None) => Said::of(404, ""),
            None => forward(&server.url, asked),
        })
    })
}

fn signed_both(error: &RekorError) {
    let (RekorError::Rollback { both, kept } | RekorError::Split { both, kept }) = error else {
        panic!("{error}");
    };
    let heads = [&both.remembered, &both.shown];
    assert_eq!(kept.len(), 2);
    for (path, head) in kept.iter().zip(heads) {
        let read = Checkpoint::parse(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(&read, head);
        assert_eq!(read.signed_by_log(&key()), Signed::Yes);
    }
    assert!(!error.retryable() && !error.to_string().contains('\n'));
}

#[test]
fn a_public_log_that_went_back_or_has_two_histories_is_found_out() {
    let Some(program) = program("rekor history") else {
        return;
    };
    let (one, two) = (Server::start(&program), Arc::new(Server::start(&program)));
    let dir = tempfile::tempdir().unwrap();
    let mut a = anchorer(&one.url, dir.path());
    a.anchor_once(&ours(1)).unwrap();
    a.anchor_once(&ours(2)).unwrap();
    // The same key, and nothing of what was.
    let mut b = anchorer(&two.url, dir.path());
    let error = b.anchor_once(&ours(3)).unwrap_err();
    assert!(matches!(error, RekorError::Rollback { .. }), "{error}");
    signed_both(&error);
    // As many leaves as before; then one more, whose proof shows what was before it.
    for _ in 0..2 {
        let error = b.anchor_once(&ours(3)).unwrap_err();
        assert!(matches!(error, RekorError::Split { .. }), "{error}");
        signed_both(&error);
    }
    // Others' entries between: tiles show it.
    let proxy = served(&two, true);
    let error = anchorer(&proxy.url, dir.path())
        .anchor_once(&ours(3))
        .unwrap_err();
    assert!(matches!(error, RekorError::Split { .. }), "{error}");
    signed_both(&error);
    // The log of before goes on as if nothing had been.
    a.anchor_once(&ours(3)).unwrap();
}

#[test]
fn a_public_log_that_only_grew_is_believed_with_tiles_and_without() {
    let Some(program) = program("rekor growth") else {
        return;
    };
    let server = Arc::new(Server::start(&program));
    let dir = tempfile::tempdir().unwrap();
    for (tiles, size) in [(true, 1), (true, 2), (false, 3)] {
        let proxy = served(&server, tiles);
        let mut a = anchorer(&proxy.url, dir.path());
        a.anchor_once(&ours(size)).unwrap();
        others(&server, 2);
    }
}

#[test]
fn two_heads_of_ours_of_one_size_are_not_both_anchored() {
    let Some(program) = program("rekor own") else {
        return;
    };
    let server = Server::start(&program);
    let dir = tempfile::tempdir().unwrap();
    let mut a = anchorer(&server.url, dir.path());
    a.anchor_once(&ours(5)).unwrap();
    let mut head = ours(5).head;
    head.head.root = Sha256::of(b"another");
    let mut other = Checkpoint::of(head).unwrap();
    let (log, pair) = log_key();
    let unsigned = a.anchor_once(&other).unwrap_err();
    assert!(matches!(unsigned, RekorError::NotOurs(_)), "{unsigned}");
    let line = pair.sign(other.note.text.as_bytes()).as_ref().to_vec();
    other.note.add(log.line(line));
    let error = a.anchor_once(&other).unwrap_err();
    assert!(
        matches!(error, RekorError::OwnSplit { size: 5, .. }),
        "{error}"
    );
}

/// Each signature is another entry; the same bytes are one.
#[test]
fn the_same_request_sent_twice_is_a_duplicate_with_its_place() {
    use atlas_net::http::Http;
    use atlas_net::rekor::{Posted, Rekor, TIMEOUT};
    let Some(program) = program("rekor twice") else {
        return;
    };
    let server = Server::start(&program);
    let rekor = Rekor::new(Http::new(TIMEOUT), &server.url);
    let key = AnchorKey::generate().unwrap();
    let request = AnchorRequest::sign(&ours(5), &key).unwrap();
    assert!(matches!(rekor.post(&request), Ok(Posted::Entry(_))));
    assert_eq!(rekor.post(&request).unwrap(), Posted::Duplicate(Some(0)));
    assert!(rekor.proof(0).is_err(), "this storage serves no tiles");
}
