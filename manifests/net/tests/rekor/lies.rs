//! Answers of a real Rekor in which something was changed on the way: none is believed, none is kept.

use std::sync::{Arc, Mutex};

use atlas_manifests::log::anchor::{AnchorError, AnchorKey, shelf};
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_net::rekor::{Anchorer, RekorError};
use serde_json::Value;

use crate::proxy::{Act, Proxy, Said, forward};
use crate::server::{Server, key, program};
use crate::{anchorer, ours, settings};

/// Changes one character of a text for another of the same kind.
fn flip(text: &str) -> String {
    let at = text.len() / 2;
    let (before, rest) = text.split_at(at);
    let first = rest.chars().next().unwrap_or('0');
    let other = match first {
        '0' => '1',
        'A' => 'B',
        c if c.is_ascii_digit() => '0',
        _ => 'A',
    };
    let rest = rest.get(first.len_utf8()..).unwrap_or_default();
    format!("{before}{other}{rest}")
}

#[test]
fn no_field_of_an_answer_can_be_changed_on_the_way() {
    let Some(program) = program("rekor lies") else {
        return;
    };
    let server = Server::start(&program);
    // Else the tree has one leaf, and the proof no hashes.
    let dir = tempfile::tempdir().unwrap();
    anchorer(&server.url, dir.path())
        .anchor_once(&ours(1))
        .unwrap();
    std::thread::scope(|scope| {
        for path in [
            "/logIndex",
            "/logId/keyId",
            "/kindVersion/kind",
            "/kindVersion/version",
            "/inclusionProof/logIndex",
            "/inclusionProof/rootHash",
            "/inclusionProof/treeSize",
            "/inclusionProof/hashes/0",
            "/inclusionProof/checkpoint/envelope",
            "/canonicalizedBody",
        ] {
            let url = &server.url;
            scope.spawn(move || one_field(url, path));
        }
    });
}

fn one_field(url: &str, path: &'static str) {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), url.to_owned());
    let proxy = Proxy::start(move |asked| {
        let mut said = forward(&upstream, asked);
        assert_eq!(said.status, 201);
        let mut json: Value = serde_json::from_slice(&said.body).unwrap();
        let field = json.pointer_mut(path).unwrap();
        *field = Value::String(flip(field.as_str().unwrap()));
        said.body = json.to_string().into_bytes();
        Act::Say(said)
    });
    let mut a = anchorer(&proxy.url, dir.path());
    let error = a.anchor_once(&ours(5)).unwrap_err();
    assert!(matches!(error, RekorError::Answer(_)), "{path}: {error}");
    assert!(shelf::anchors(dir.path()).unwrap().is_empty());
    let again = url.to_owned();
    proxy.set(move |asked| Act::Say(forward(&again, asked)));
    a.anchor_once(&ours(5)).unwrap();
}

#[test]
fn a_log_with_another_key_or_name_is_not_believed() {
    let Some(program) = program("rekor key") else {
        return;
    };
    let server = Server::start(&program);
    let right = key();
    for (name, public) in [(right.name(), [9; 32]), ("other.test", *right.public())] {
        let dir = tempfile::tempdir().unwrap();
        let mut set = settings(&server.url);
        set.public = VerifierKey::new(name, KeyKind::Ed25519, public).unwrap();
        let mut a = Anchorer::open(set, AnchorKey::generate().unwrap(), dir.path()).unwrap();
        let error = a.anchor_once(&ours(5)).unwrap_err();
        let other = matches!(error, RekorError::Answer(AnchorError::OtherLog(_)));
        assert!(other && !error.retryable(), "{error}");
        assert!(shelf::anchors(dir.path()).unwrap().is_empty());
    }
}

/// What the log said before, whole or in part, does not pass for what it says now.
#[test]
fn an_older_answer_is_not_believed() {
    let Some(program) = program("rekor replay") else {
        return;
    };
    let server = Server::start(&program);
    let first = Arc::new(Mutex::new(Value::Null));
    let (dir, url) = (tempfile::tempdir().unwrap(), server.url.clone());
    let proxy = Proxy::start({
        let (first, url) = (Arc::clone(&first), url.clone());
        move |asked| {
            let said = forward(&url, asked);
            *first.lock().unwrap() = serde_json::from_slice(&said.body).unwrap();
            Act::Say(said)
        }
    });
    let mut a = anchorer(&proxy.url, dir.path());
    a.anchor_once(&ours(1)).unwrap();
    let old = first.lock().unwrap().clone();

    let whole = old.to_string();
    proxy.set(move |_| Act::Say(Said::of(201, whole.clone())));
    let error = a.anchor_once(&ours(2)).unwrap_err();
    let other = matches!(error, RekorError::Answer(AnchorError::OtherEntry));
    assert!(other, "{error}");

    // The new entry under the checkpoint of before, which does not reach it: perhaps soon.
    proxy.set(move |asked| {
        let mut said = forward(&url, asked);
        let mut json: Value = serde_json::from_slice(&said.body).unwrap();
        for field in ["checkpoint", "rootHash", "treeSize"] {
            json["inclusionProof"][field] = old["inclusionProof"][field].clone();
        }
        said.body = json.to_string().into_bytes();
        Act::Say(said)
    });
    let error = a.anchor_once(&ours(2)).unwrap_err();
    let lags = matches!(
        error,
        RekorError::Answer(AnchorError::Lagging { size: 1, .. })
    );
    assert!(lags && error.retryable(), "{error}");
    assert_eq!(shelf::sizes(dir.path()).unwrap(), [1]);
}
