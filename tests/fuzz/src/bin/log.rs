//! What is read of a transparency log: notes, checkpoints, keys, proofs, leaves, policies, tiles and their names. Not a whole log.
#![no_main]

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::anchor::{Answer, PublicAnchor};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::{Note, Signature, VerifierKey};
use atlas_manifests::log::proof::Proof;
use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::log::tile::{Bundle, Resource, hashes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    let text = std::str::from_utf8(bytes);
    match (which % 10, text) {
        (0, _) => {
            if let Ok(note) = Note::parse(bytes) {
                assert_eq!(note.encode(), bytes, "one note, two spellings");
            }
        }
        (1, _) => {
            if let Ok(read) = Checkpoint::parse(bytes) {
                assert_eq!(read.encode(), bytes);
                let made = Checkpoint::of(read.head.clone());
                // Extension lines, and origins that we would not give, are read and not written.
                assert!(
                    made.is_err()
                        || read
                            .note
                            .text
                            .starts_with(made.as_ref().map_or("", |m| &m.note.text))
                );
            }
        }
        (2, _) => {
            if let Ok(proof) = Proof::parse(bytes) {
                assert_eq!(proof.encode(), bytes);
                let _ = proof.holds(&Sha256([7; 32]));
            }
        }
        (3, _) => {
            if let Ok(leaf) = Leaf::decode(bytes) {
                assert_eq!(leaf.encode(), bytes);
            }
        }
        (4, _) => {
            if let Ok(quorum) = Quorum::parse(bytes) {
                assert!(!quorum.demands() || !quorum.met_by(|_| false));
                assert!(quorum.met_by(|_| true));
            }
        }
        (5, Ok(text)) => {
            if let Ok(key) = text.parse::<VerifierKey>() {
                assert_eq!(key.to_string(), text);
            }
            let _ = Signature::parse_all(text);
        }
        (6, Ok(text)) => {
            if let Ok(resource) = Resource::parse(text) {
                assert_eq!(resource.path(), text);
            }
        }
        (7, _) => {
            let width = bytes.first().map_or(1, |b| u16::from(*b) + 1);
            let _ = hashes(bytes, width);
            if let Ok(bundle) = Bundle::decode(bytes.to_vec(), width) {
                assert_eq!(bundle.bytes(), bytes);
                assert_eq!(bundle.iter().count(), usize::from(width));
            }
        }
        (8, _) => {
            if let Ok(anchor) = PublicAnchor::decode(bytes) {
                assert_eq!(
                    anchor.encode().ok().as_deref(),
                    Some(bytes),
                    "one anchor, two spellings"
                );
            }
        }
        (9, _) => {
            let _ = Answer::parse(bytes);
        }
        _ => {}
    }
});
