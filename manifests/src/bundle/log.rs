//! What a bundle takes along of logs (`log/`): proofs, keys, certificates. It judges none of it: `verify` does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{BundleError, evidence};
use crate::digest::Sha256;
use crate::id::{InstanceId, NodeId};
use crate::log::leaf::{Leaf, Revoked};
use crate::log::operator::MAX_CERTIFICATE;
use crate::log::proof::{MAX_FILE, Proof};
use crate::log::state::MAX_KEYS;
use crate::shelf::{Entry, Logged, Shelf};

/// One entry of a bundle that is about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Certificate,
    Keys,
    Proof(Sha256),
    /// By its index.
    Leaf(u64),
}

fn path(node: NodeId, part: Part) -> String {
    match part {
        Part::Certificate => format!("log/{node}/certificate.pem"),
        Part::Keys => format!("log/{node}/keys"),
        Part::Proof(manifest) => format!("log/{node}/proofs/{}.tlog-proof", manifest.hex()),
        Part::Leaf(index) => format!("log/{node}/leaves/{index}.tlog-proof"),
    }
}

fn parse(entry: &str) -> Option<(NodeId, Part)> {
    let (node, rest) = entry.strip_prefix("log/")?.split_once('/')?;
    let part = match rest.split_once('/') {
        None if rest == "certificate.pem" => Part::Certificate,
        None if rest == "keys" => Part::Keys,
        Some(("proofs", name)) => {
            Part::Proof(Sha256::from_hex(name.strip_suffix(".tlog-proof")?).ok()?)
        }
        Some(("leaves", name)) => Part::Leaf(name.strip_suffix(".tlog-proof")?.parse().ok()?),
        _ => return None,
    };
    let node = node.parse().ok()?;
    // Each has one name.
    (path(node, part) == entry).then_some((node, part))
}

/// The most bytes that this entry may have; `None` when it is not about a log.
pub(super) fn limit(entry: &str) -> Option<u64> {
    let (_, part) = parse(entry)?;
    Some(match part {
        Part::Certificate => MAX_CERTIFICATE,
        Part::Keys => MAX_KEYS,
        Part::Proof(_) | Part::Leaf(_) => MAX_FILE as u64,
    })
}

/// Takes along what the shelf's log says of a manifest, and the evidence behind the keys that signed it.
pub(super) fn collect(
    shelf: &dyn Shelf,
    entry: &Entry,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    let Some(logged) = shelf.transparency(entry)? else {
        return Ok(());
    };
    let mut put = |part, bytes: Vec<u8>| objects.insert(path(entry.node, part), bytes);
    put(Part::Certificate, logged.certificate.to_vec());
    put(Part::Keys, logged.keys.to_vec());
    let mut signers = Vec::new();
    let read = |bytes: &[u8]| {
        Proof::parse(bytes).map_err(|e| BundleError::Incomplete(format!("a node's log: {e}")))
    };
    for bytes in logged.leaves {
        put(Part::Leaf(read(&bytes)?.index), bytes);
    }
    if let Some(bytes) = logged.proof {
        let proof = read(&bytes)?;
        let origin = &proof.checkpoint.head.origin;
        let evidence = |name: &str| {
            name.strip_prefix(origin)?
                .strip_prefix('/')
                .map(str::to_owned)
        };
        let lines = proof.checkpoint.note.signatures.iter();
        signers.extend(lines.filter_map(|l| Sha256::from_hex(&evidence(&l.name)?).ok()));
        put(Part::Proof(entry.manifest), bytes);
    }
    for id in signers {
        evidence::collect(shelf, id, objects)?;
    }
    Ok(())
}

/// What a leaf is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    Manifest(Sha256),
    Instance(InstanceId),
    /// It cannot be read: whoever asks shall see that.
    Anything,
}

fn about(proof: &[u8]) -> About {
    let leaf = Proof::parse(proof).ok().and_then(|p| p.extra);
    match leaf.and_then(|l| Leaf::decode(&l).ok()) {
        Some(Leaf::Manifest { manifest, .. }) => About::Manifest(manifest),
        Some(Leaf::Revocation { what, .. }) => match what {
            Revoked::Manifest(manifest) => About::Manifest(manifest),
            Revoked::Instance(instance) => About::Instance(instance),
        },
        Some(Leaf::Instance { instance, .. } | Leaf::Anchor { instance, .. }) => {
            About::Instance(instance)
        }
        Some(Leaf::Inputs { run, .. }) => About::Instance(run.instance),
        None => About::Anything,
    }
}

/// The logs of a bundle.
#[derive(Debug, Default)]
pub(super) struct Logs(BTreeMap<NodeId, Log>);

#[derive(Debug, Default)]
struct Log {
    certificate: Arc<[u8]>,
    keys: Arc<[u8]>,
    proofs: HashMap<Sha256, Vec<u8>>,
    leaves: HashMap<About, Vec<Vec<u8>>>,
}

impl Logs {
    /// Takes an entry for which there is a `limit`.
    pub(super) fn add(&mut self, entry: &str, bytes: Vec<u8>) {
        let Some((node, part)) = parse(entry) else {
            return;
        };
        let log = self.0.entry(node).or_default();
        match part {
            Part::Certificate => log.certificate = bytes.into(),
            Part::Keys => log.keys = bytes.into(),
            Part::Proof(manifest) => {
                log.proofs.insert(manifest, bytes);
            }
            Part::Leaf(_) => log.leaves.entry(about(&bytes)).or_default().push(bytes),
        }
    }

    pub(super) fn logged(&self, entry: &Entry) -> Option<Logged> {
        let log = self.0.get(&entry.node)?;
        let subjects = [
            About::Manifest(entry.manifest),
            About::Instance(entry.instance),
            About::Anything,
        ];
        let leaves = subjects.iter().filter_map(|s| log.leaves.get(s));
        Some(Logged {
            certificate: Arc::clone(&log.certificate),
            keys: Arc::clone(&log.keys),
            proof: log.proofs.get(&entry.manifest).cloned(),
            leaves: leaves.flatten().cloned().collect(),
            live: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_log_has_one_name_in_a_bundle() {
        let node = NodeId([7; 16]);
        for part in [
            Part::Certificate,
            Part::Keys,
            Part::Proof(Sha256([1; 32])),
            Part::Leaf(12),
        ] {
            assert_eq!(parse(&path(node, part)), Some((node, part)));
        }
        let hex = node.to_string();
        for bad in [
            "log/x/keys".to_owned(),
            format!("log/{hex}/key"),
            format!("log/{hex}/../keys"),
            format!("log/{hex}/leaves/01.tlog-proof"),
            format!("log/{hex}/leaves/+1.tlog-proof"),
            format!("log/{}/keys", hex.to_uppercase().replace('7', "A")),
            format!("log/{hex}/proofs/ab.tlog-proof"),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
            assert_eq!(limit(&bad), None);
        }
    }
}
