//! What stands in the log (FORMAT.md 8.1): small statements of digests and counts in deterministic CBOR. No file names, nothing that was withheld.

use crate::cbor::{CborError, Reader, Writer};
use crate::digest::Sha256;
use crate::id::{InstanceId, RunId};
use crate::merkle::leaf_hash;
use crate::statement::SetHead;

/// First word of a leaf.
const FORMAT: &str = "atlas-leaf-1";
/// No leaf of ours is longer, in bytes. tlog-tiles allows 65,535.
pub const MAX_LEAF: usize = 1024;

/// One entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// A manifest was sealed.
    Manifest {
        /// SHA-256 of its bytes.
        manifest: Sha256,
        /// Who sealed it.
        instance: InstanceId,
    },
    /// A run's inputs had grown to this when a manifest committed to them: the run's own tree, whose root is chained into this one.
    Inputs {
        /// Whose inputs.
        run: RunId,
        /// As in the manifest.
        head: SetHead,
    },
    /// A life of the daemon begins.
    Instance {
        /// Which.
        instance: InstanceId,
        /// Its first evidence, by its binding; `None` without hardware.
        evidence: Option<Sha256>,
        /// SHA-256 of the SubjectPublicKeyInfo of the key that seals.
        seal_key: Sha256,
        /// The same of the key in its memory that signs checkpoints; `None` without hardware.
        log_key: Option<Sha256>,
    },
    /// How far an instance had come: at an interval, and at its end.
    Anchor {
        /// Which life of the daemon.
        instance: InstanceId,
        /// Counted from 0 in that life.
        seq: u64,
        /// Manifests of the instance in the log so far.
        manifests: u64,
        /// The newest evidence; `None` without hardware.
        evidence: Option<Sha256>,
        /// Nothing of this instance may follow.
        last: bool,
    },
    /// Something is not to be believed from here on.
    Revocation {
        /// What.
        what: Revoked,
        /// Why.
        reason: Reason,
    },
}

/// What a revocation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// One manifest, whenever it was logged.
    Manifest(Sha256),
    /// A life of the daemon: what it sealed and is logged after this leaf, or is not logged.
    Instance(InstanceId),
}

/// Why something is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A key may be in other hands.
    Compromised,
    /// What is said is wrong.
    Wrong,
    /// There is something newer.
    Superseded,
}

impl Reason {
    /// Each, for help texts.
    pub const ALL: [Self; 3] = [Self::Compromised, Self::Wrong, Self::Superseded];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compromised => "compromised",
            Self::Wrong => "wrong",
            Self::Superseded => "superseded",
        }
    }
}

impl Leaf {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Manifest { .. } => "manifest",
            Self::Inputs { .. } => "inputs",
            Self::Instance { .. } => "instance",
            Self::Anchor { .. } => "anchor",
            Self::Revocation { .. } => "revocation",
        }
    }

    /// Deterministic CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        let begin = |w: &mut Writer, len: usize| {
            w.array(len + 2);
            w.text(FORMAT);
            w.text(self.kind());
        };
        match self {
            Self::Manifest { manifest, instance } => {
                begin(&mut w, 2);
                w.bytes(&manifest.0);
                w.bytes(&instance.0);
            }
            Self::Inputs { run, head } => {
                begin(&mut w, 4);
                w.bytes(&run.instance.0);
                w.uint(run.n);
                w.uint(head.size);
                w.bytes(&head.root.0);
            }
            Self::Instance {
                instance,
                evidence,
                seal_key,
                log_key,
            } => {
                begin(&mut w, 4);
                w.bytes(&instance.0);
                optional(&mut w, *evidence);
                w.bytes(&seal_key.0);
                optional(&mut w, *log_key);
            }
            Self::Anchor {
                instance,
                seq,
                manifests,
                evidence,
                last,
            } => {
                begin(&mut w, 5);
                w.bytes(&instance.0);
                w.uint(*seq);
                w.uint(*manifests);
                optional(&mut w, *evidence);
                w.uint(u64::from(*last));
            }
            Self::Revocation { what, reason } => {
                begin(&mut w, 3);
                match what {
                    Revoked::Manifest(digest) => {
                        w.text("manifest");
                        w.bytes(&digest.0);
                    }
                    Revoked::Instance(id) => {
                        w.text("instance");
                        w.bytes(&id.0);
                    }
                }
                w.text(reason.as_str());
            }
        }
        w.0
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one leaf in its one spelling.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(bytes);
        let len = r.array()?;
        if r.text()? != FORMAT {
            return Err(r.error("not a leaf of a known format"));
        }
        let kind = r.text()?;
        let (leaf, parts) = match kind {
            "manifest" => (
                Self::Manifest {
                    manifest: Sha256(r.fixed()?),
                    instance: InstanceId(r.fixed()?),
                },
                2,
            ),
            "inputs" => (
                Self::Inputs {
                    run: RunId {
                        instance: InstanceId(r.fixed()?),
                        n: r.uint()?,
                    },
                    head: SetHead {
                        size: r.uint()?,
                        root: Sha256(r.fixed()?),
                    },
                },
                4,
            ),
            "instance" => (
                Self::Instance {
                    instance: InstanceId(r.fixed()?),
                    evidence: maybe(&mut r)?,
                    seal_key: Sha256(r.fixed()?),
                    log_key: maybe(&mut r)?,
                },
                4,
            ),
            "anchor" => (
                Self::Anchor {
                    instance: InstanceId(r.fixed()?),
                    seq: r.uint()?,
                    manifests: r.uint()?,
                    evidence: maybe(&mut r)?,
                    last: match r.uint()? {
                        0 => false,
                        1 => true,
                        _ => return Err(r.error("neither 0 nor 1")),
                    },
                },
                5,
            ),
            "revocation" => (
                Self::Revocation {
                    what: match r.text()? {
                        "manifest" => Revoked::Manifest(Sha256(r.fixed()?)),
                        "instance" => Revoked::Instance(InstanceId(r.fixed()?)),
                        _ => return Err(r.error("nothing that can be revoked")),
                    },
                    reason: {
                        let word = r.text()?;
                        let known = Reason::ALL.into_iter().find(|x| x.as_str() == word);
                        known.ok_or_else(|| r.error("no reason that is known"))?
                    },
                },
                3,
            ),
            _ => return Err(r.error("a kind of leaf that is not known")),
        };
        r.end()?;
        if len != parts + 2 {
            return Err(r.error("a leaf of another length"));
        }
        Ok(leaf)
    }

    /// Its hash in the tree.
    pub fn hash(&self) -> Sha256 {
        leaf_hash(&self.encode())
    }
}

fn optional(w: &mut Writer, digest: Option<Sha256>) {
    match digest {
        Some(digest) => w.bytes(&digest.0),
        None => w.null(),
    }
}

fn maybe(r: &mut Reader<'_>) -> Result<Option<Sha256>, CborError> {
    if r.null() {
        return Ok(None);
    }
    Ok(Some(Sha256(r.fixed()?)))
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
