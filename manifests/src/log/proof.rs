//! A proof that stands alone (C2SP tlog-proof): index, hashes, and the checkpoint that they lead to. Not whether to believe its signatures.

use super::checkpoint::{Checkpoint, decimal};
use crate::bytes::{base64, unbase64};
use crate::digest::Sha256;
use crate::merkle::{MAX_PROOF, root_of_inclusion};

/// First line of a proof.
const FORMAT: &str = "c2sp.org/tlog-proof@v1";
/// No proof is longer, in bytes.
pub const MAX_FILE: usize = 128 << 10;

/// Why bytes are no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a proof of a transparency log: {0}")]
pub struct ProofError(String);

/// Inclusion of one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What the application adds. Nobody signs it.
    pub extra: Option<Vec<u8>>,
    /// Position of the leaf.
    pub index: u64,
    /// From the leaf's sibling up.
    pub hashes: Vec<Sha256>,
    /// What they lead to.
    pub checkpoint: Checkpoint,
}

impl Proof {
    /// The text of a `.tlog-proof` file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{FORMAT}\n");
        if let Some(extra) = &self.extra {
            out.push_str(&format!("extra {}\n", base64(extra)));
        }
        out.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            out.push_str(&base64(&hash.0));
            out.push('\n');
        }
        out.push('\n');
        let mut out = out.into_bytes();
        out.extend(self.checkpoint.encode());
        out
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let wrong = |what: &str| ProofError(what.to_owned());
        if bytes.len() > MAX_FILE {
            return Err(wrong("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        let (lines, checkpoint) = text
            .split_once("\n\n")
            .ok_or_else(|| wrong("it has no checkpoint"))?;
        let mut lines = lines.split('\n').peekable();
        if lines.next() != Some(FORMAT) {
            return Err(wrong("it begins with another line"));
        }
        let extra = lines
            .next_if(|l| l.starts_with("extra "))
            .map(|l| unbase64(&l["extra ".len()..]).ok_or_else(|| wrong("its extra data")))
            .transpose()?;
        let index = lines
            .next()
            .and_then(|l| decimal(l.strip_prefix("index ")?))
            .ok_or_else(|| wrong("its index"))?;
        let hashes = lines
            .take(MAX_PROOF + 1)
            .map(|l| {
                let hash = unbase64(l).and_then(|h| h.try_into().ok());
                hash.map(Sha256).ok_or_else(|| wrong("one of its hashes"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if hashes.len() > MAX_PROOF {
            return Err(wrong("it has too many hashes"));
        }
        let checkpoint =
            Checkpoint::parse(checkpoint.as_bytes()).map_err(|e| ProofError(e.to_string()))?;
        Ok(Self {
            extra,
            index,
            hashes,
            checkpoint,
        })
    }

    /// Whether its hashes lead from this leaf to its checkpoint's root.
    pub fn holds(&self, leaf: &Sha256) -> bool {
        let head = &self.checkpoint.head.head;
        root_of_inclusion(leaf, self.index, head.size, &self.hashes) == Some(head.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::TestKey;
    use crate::merkle::{leaf_hash, node_hash};
    use crate::statement::SetHead;

    fn proof() -> (Proof, Sha256) {
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let root = node_hash(&a, &b);
        let checkpoint = TestKey::log("log.example", 1).checkpoint(SetHead { size: 2, root });
        let hashes = vec![a];
        let made = Proof {
            extra: None,
            index: 1,
            hashes,
            checkpoint,
        };
        (made, b)
    }

    #[test]
    fn a_proof_is_read_as_it_was_written_and_holds() {
        let (mut made, leaf) = proof();
        for extra in [None, Some(b"more".to_vec())] {
            made.extra = extra;
            let read = Proof::parse(&made.encode()).unwrap();
            assert_eq!(read, made);
            assert!(read.holds(&leaf));
            assert!(!read.holds(&leaf_hash(b"c")));
        }
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let text = String::from_utf8(proof().0.encode()).unwrap();
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 1", "index 01"),
            ("index 1", "index"),
            ("index 1\n", ""),
            ("index 1\n", "index 1\nshort\n"),
            ("index 1\n", "extra x\nindex 1\n"),
            ("\n\n", "\n"),
            ("log.example\n2", "log.example\n02"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text);
            assert!(Proof::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let hash = text.split('\n').nth(2).unwrap();
        let long = text.replacen(hash, &vec![hash; MAX_PROOF + 1].join("\n"), 1);
        assert!(Proof::parse(long.as_bytes()).is_err());
    }
}
