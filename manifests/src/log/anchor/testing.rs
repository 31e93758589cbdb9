//! A public log of our own making, and an answer that a real one gave, for the tests of anchors. Not compiled into what ships.

use super::{AnchorKey, AnchorPublic, AnchorRequest, Answer, Expected, PublicAnchor};
use crate::bytes::{base64, unbase64};
use crate::digest::Sha256;
use crate::log::checkpoint::Checkpoint;
use crate::log::note::VerifierKey;
use crate::log::proof::Proof;
use crate::log::testing::TestKey;
use crate::merkle::{leaf_hash, node_hash};
use crate::statement::SetHead;
use sha2::Digest as _;

/// What rekor-tiles v2.2.1 answered on a machine of ours.
pub(super) const RECORDED: &str = include_str!("recorded.json");
/// Its key, as a C2SP verifier key.
pub(super) const RECORDED_KEY: &str = include_str!("recorded.vkey");

pub(super) fn recorded() -> Answer {
    Answer::parse(RECORDED.as_bytes()).unwrap()
}

/// The request that it answered.
pub(super) fn recorded_request() -> AnchorRequest {
    let body: serde_json::Value = serde_json::from_slice(&recorded().body).unwrap();
    let spec = &body["spec"]["hashedRekordV002"];
    let bytes = |v: &serde_json::Value| unbase64(v.as_str().unwrap()).unwrap();
    let signature = &spec["signature"];
    AnchorRequest {
        digest: Sha256(bytes(&spec["data"]["digest"]).try_into().unwrap()),
        signature: bytes(&signature["content"]),
        key: AnchorPublic::from_spki(&bytes(&signature["verifier"]["publicKey"]["rawBytes"]))
            .unwrap(),
    }
}

/// A checkpoint of our log, and its key.
pub(super) fn ours(size: u64) -> (Checkpoint, TestKey) {
    let key = TestKey::log("log.example/ours", 1);
    let root = Sha256::of(&size.to_be_bytes());
    (key.checkpoint(SetHead { size, root }), key)
}

/// One anchor, as the third of the four leaves of a public log.
pub(super) struct Lab {
    pub(super) ours: Checkpoint,
    pub(super) log: VerifierKey,
    pub(super) public: TestKey,
    pub(super) request: AnchorRequest,
    pub(super) anchor: PublicAnchor,
}

impl Lab {
    pub(super) fn new(size: u64) -> Self {
        let (ours, log) = ours(size);
        let public = TestKey::log("rekor.example", 2);
        let key = AnchorKey::generate().unwrap();
        let request = AnchorRequest::sign(&ours, &key).unwrap();
        let left = node_hash(&leaf_hash(b"a"), &leaf_hash(b"b"));
        let last = leaf_hash(b"d");
        let root = node_hash(&left, &node_hash(&request.leaf(), &last));
        let proof = Proof {
            extra: None,
            index: 2,
            hashes: vec![last, left],
            checkpoint: public.checkpoint(SetHead { size: 4, root }),
        };
        let anchor = PublicAnchor {
            checkpoint: ours.clone(),
            sent: request.clone(),
            proof,
        };
        Self {
            ours,
            log: log.key,
            public,
            request,
            anchor,
        }
    }

    pub(super) fn expected(&self) -> Expected<'_> {
        Expected {
            public: &self.public.key,
            log: &self.log,
            key: Some(self.request.key.digest()),
            quorum: None,
        }
    }

    /// As the server would answer.
    pub(super) fn answer(&self) -> serde_json::Value {
        let proof = &self.anchor.proof;
        let key = &self.public.key;
        let mut id = sha2::Sha256::new_with_prefix(key.name().as_bytes());
        id.update(b"\n\x01");
        id.update(key.public());
        let checkpoint = String::from_utf8(proof.checkpoint.encode()).unwrap();
        let hashes: Vec<_> = proof.hashes.iter().map(|h| base64(&h.0)).collect();
        serde_json::json!({
            "logIndex": "2",
            "logId": {"keyId": base64(&id.finalize())},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "integratedTime": "0",
            "inclusionPromise": null,
            "inclusionProof": {
                "logIndex": "2",
                "rootHash": base64(&proof.checkpoint.head.head.root.0),
                "treeSize": "4",
                "hashes": hashes,
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": base64(self.request.body().as_bytes()),
        })
    }
}
