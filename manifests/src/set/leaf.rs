//! One leaf of an input set: what was used, how, and by which process of the run. Its bytes are what proofs are about.

use super::SetError;
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::{Blake3, Digests, Sha256};
use crate::id::{NodeId, NodeRef, VersionId};
use crate::vocabulary::{Kind, State};

/// One use of a run. Its order is its position in the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// What was used.
    pub node: NodeRef,
    /// Its content; `None` while somebody still wrote it.
    pub digests: Option<Digests>,
    /// SHA-256 of its manifest, when it had one.
    pub manifest: Option<Sha256>,
    /// Seen read, or only opened, ...
    pub kind: Kind,
    /// What it was when the leaf was fixed.
    pub state: State,
    /// Number of the reading process within the run.
    pub process: u32,
    /// Number of its tree within the run.
    pub tree: u32,
}

impl Leaf {
    /// The bytes of FORMAT.md, "Leaf": equal leaves have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(160));
        self.write(&mut w);
        w.0
    }

    /// Reads untrusted bytes; only what `encode` writes is accepted.
    pub fn decode(bytes: &[u8]) -> Result<Self, SetError> {
        let mut r = Reader::new(bytes);
        Self::read(&mut r)
            .and_then(|leaf| r.end().map(|()| leaf))
            .map_err(|source| SetError::Malformed {
                what: "leaf",
                source,
            })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.array(7);
        match &self.node {
            NodeRef::Version(v) => {
                w.array(2);
                w.bytes(&v.node.0);
                w.uint(v.n);
            }
            NodeRef::Content(c) => w.bytes(&c.0),
        }
        match &self.digests {
            Some(d) => {
                w.array(3);
                w.bytes(&d.blake3.0);
                w.bytes(&d.sha256.0);
                w.uint(d.size);
            }
            None => w.null(),
        }
        match &self.manifest {
            Some(m) => w.bytes(&m.0),
            None => w.null(),
        }
        w.text(self.kind.as_str());
        w.text(self.state.as_str());
        w.uint(self.process.into());
        w.uint(self.tree.into());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, CborError> {
        r.array_of(7)?;
        let node = if r.at_bytes() {
            NodeRef::Content(Blake3(r.fixed()?))
        } else {
            r.array_of(2)?;
            NodeRef::Version(VersionId {
                node: NodeId(r.fixed()?),
                n: r.uint()?,
            })
        };
        let digests = if r.null() {
            None
        } else {
            r.array_of(3)?;
            Some(Digests {
                blake3: Blake3(r.fixed()?),
                sha256: Sha256(r.fixed()?),
                size: r.uint()?,
            })
        };
        let manifest = if r.null() {
            None
        } else {
            Some(Sha256(r.fixed()?))
        };
        let unknown = r.error("unknown word");
        Ok(Self {
            node,
            digests,
            manifest,
            kind: r.text()?.parse().map_err(|_| unknown)?,
            state: r.text()?.parse().map_err(|_| unknown)?,
            process: r.uint32()?,
            tree: r.uint32()?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::digest::hex;
    use proptest::prelude::*;

    pub(in crate::set) fn any_leaf() -> impl Strategy<Value = Leaf> {
        let node = prop_oneof![
            any::<[u8; 32]>().prop_map(|c| NodeRef::Content(Blake3(c))),
            (any::<[u8; 16]>(), any::<u64>()).prop_map(|(node, n)| NodeRef::Version(VersionId {
                node: NodeId(node),
                n
            })),
        ];
        let digests = prop::option::of((any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u64>()))
            .prop_map(|d| {
                d.map(|(b, s, size)| Digests {
                    blake3: Blake3(b),
                    sha256: Sha256(s),
                    size,
                })
            });
        (
            node,
            digests,
            prop::option::of(any::<[u8; 32]>().prop_map(Sha256)),
            prop::sample::select(Kind::ALL),
            prop::sample::select(State::ALL),
            any::<u32>(),
            any::<u32>(),
        )
            .prop_map(
                |(node, digests, manifest, kind, state, process, tree)| Leaf {
                    node,
                    digests,
                    manifest,
                    kind,
                    state,
                    process,
                    tree,
                },
            )
    }

    /// The worked example of FORMAT.md: if this fails, either the format changed or its description lies.
    #[test]
    fn the_example_of_format_md_is_true() {
        let leaf = Leaf {
            node: NodeRef::Version(VersionId {
                node: NodeId([0x11; 16]),
                n: 258,
            }),
            digests: Some(Digests::of(b"hello")),
            manifest: None,
            kind: Kind::Opened,
            state: State::Digesting,
            process: 3,
            tree: 0,
        };
        let mut tree = super::super::SetTree::new();
        tree.push(&leaf);
        let text = include_str!("../../FORMAT.md");
        assert!(
            text.contains(&hex(&leaf.encode())),
            "{}",
            hex(&leaf.encode())
        );
        assert!(
            text.contains(&tree.head().root.hex()),
            "{}",
            tree.head().root.hex()
        );
    }

    proptest! {
        #[test]
        fn a_leaf_reads_back(leaf in any_leaf()) {
            prop_assert_eq!(Leaf::decode(&leaf.encode()).unwrap(), leaf);
        }

        #[test]
        fn bytes_that_decode_are_the_only_spelling(leaf in any_leaf(), at: prop::sample::Index, with: u8) {
            let mut bytes = leaf.encode();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(other) = Leaf::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn noise_is_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = Leaf::decode(&bytes);
        }
    }
}
