//! The bodies of our own assertions, field by field as FORMAT.md lists them. CBOR maps; digests are byte strings.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Blake3, Sha256};
use crate::id::{InstanceId, NodeId, RunId, VersionId};
use crate::statement::{Git, Origin, Python, RunStatement, SetHead, Statement, Withheld};
use crate::vocabulary::{Closed, Confined, Cut, Hardware, Quiet, RunHow};

/// The version of our assertions: a reader refuses one that it does not know.
pub(crate) const BODY_VERSION: u32 = 1;

/// A byte string of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes<const N: usize>;
        impl<const N: usize> Visitor<'_> for Bytes<N> {
            type Value = Fixed<N>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a byte string of {N} bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, b: &[u8]) -> Result<Self::Value, E> {
                b.try_into()
                    .map(Fixed)
                    .map_err(|_| E::invalid_length(b.len(), &self))
            }
        }
        d.deserialize_bytes(Bytes::<N>)
    }
}

/// A Merkle head.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    size: u64,
    root: Fixed<32>,
}

impl From<SetHead> for Head {
    fn from(h: SetHead) -> Self {
        Self {
            size: h.size,
            root: Fixed(h.root.0),
        }
    }
}

impl From<Head> for SetHead {
    fn from(h: Head) -> Self {
        Self {
            size: h.size,
            root: Sha256(h.root.0),
        }
    }
}

/// `org.atlasfs.version`: what ended, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VersionBody {
    v: u32,
    pub(crate) node: Fixed<16>,
    pub(crate) n: u64,
    pub(crate) size: u64,
    pub(crate) blake3: Fixed<32>,
    pub(crate) sealed: String,
    pub(crate) closed: Closed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<i32>,
    pub(crate) quiet: Quiet,
    pub(crate) cut: Cut,
    pub(crate) inputs: Head,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<Head>,
    pub(crate) config: Fixed<32>,
    pub(crate) instance: Fixed<16>,
    pub(crate) hardware: Hardware,
}

impl VersionBody {
    pub(crate) fn of(s: &Statement) -> Self {
        Self {
            v: BODY_VERSION,
            node: Fixed(s.version.node.0),
            n: s.version.n,
            size: s.asset.digests.size,
            blake3: Fixed(s.asset.digests.blake3.0),
            sealed: s.sealed_at.clone(),
            closed: s.closed,
            status: s.status,
            quiet: s.quiet,
            cut: s.cut,
            inputs: s.input_set.into(),
            members: s.members.map(Head::from),
            config: Fixed(s.config.0),
            instance: Fixed(s.instance.0),
            hardware: s.hardware,
        }
    }

    pub(crate) fn known(&self) -> Result<(), String> {
        known(self.v)
    }

    pub(crate) fn version(&self) -> VersionId {
        VersionId {
            node: NodeId(self.node.0),
            n: self.n,
        }
    }

    pub(crate) fn instance(&self) -> InstanceId {
        InstanceId(self.instance.0)
    }
}

/// `org.atlasfs.run`: the job that wrote it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunBody {
    v: u32,
    run: RunId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    meta: Vec<(String, String)>,
    how: RunHow,
    started: String,
    process: u32,
    tree: u32,
    program: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program_blake3: Option<Fixed<32>>,
    confined: Confined,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    git: Option<Git>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python: Option<PythonBody>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PythonBody {
    count: u32,
    sha256: Fixed<32>,
}

/// `org.atlasfs.registered`: who says what it is, when nobody was seen to write it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RegisteredBody {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
}

/// One of the two bodies that say where a version comes from.
pub(crate) enum OriginBody {
    Run(RunBody),
    Registered(RegisteredBody),
}

impl OriginBody {
    pub(crate) fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Run(r) => Self::Run(RunBody {
                v: BODY_VERSION,
                run: r.id,
                name: r.name.clone(),
                meta: r.meta.clone(),
                how: r.how,
                started: r.started.clone(),
                process: r.process,
                tree: r.tree,
                program: r.program.clone(),
                program_blake3: r.program_digest.map(|d| Fixed(d.0)),
                confined: r.confined,
                git: r.git.clone(),
                python: r.python.as_ref().map(|p| PythonBody {
                    count: p.count,
                    sha256: Fixed(p.sha256.0),
                }),
            }),
            Origin::Registered { name, author } => Self::Registered(RegisteredBody {
                v: BODY_VERSION,
                name: name.clone(),
                author: author.clone(),
            }),
        }
    }
}

impl TryFrom<OriginBody> for Origin {
    type Error = String;
    fn try_from(body: OriginBody) -> Result<Self, String> {
        match body {
            OriginBody::Run(r) => {
                known(r.v)?;
                Ok(Self::Run(RunStatement {
                    id: r.run,
                    name: r.name,
                    meta: r.meta,
                    how: r.how,
                    started: r.started,
                    process: r.process,
                    tree: r.tree,
                    program: r.program,
                    program_digest: r.program_blake3.map(|d| Blake3(d.0)),
                    confined: r.confined,
                    git: r.git,
                    python: r.python.map(|p| Python {
                        count: p.count,
                        sha256: Sha256(p.sha256.0),
                    }),
                }))
            }
            OriginBody::Registered(r) => {
                known(r.v)?;
                Ok(Self::Registered {
                    name: r.name,
                    author: r.author,
                })
            }
        }
    }
}

/// `org.atlasfs.withheld`: salted digests of what is not said.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WithheldBody {
    v: u32,
    fields: Vec<(String, Fixed<32>)>,
}

impl WithheldBody {
    pub(crate) fn of(withheld: &[Withheld]) -> Self {
        Self {
            v: BODY_VERSION,
            fields: withheld
                .iter()
                .map(|w| (w.field.clone(), Fixed(w.sha256.0)))
                .collect(),
        }
    }

    pub(crate) fn into_fields(self) -> Result<Vec<Withheld>, String> {
        known(self.v)?;
        let field = |(field, sha256): (String, Fixed<32>)| Withheld {
            field,
            sha256: Sha256(sha256.0),
        };
        Ok(self.fields.into_iter().map(field).collect())
    }
}

/// `org.atlasfs.evidence`: the quote that was made for this manifest alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EvidenceBody {
    v: u32,
    /// SHA-256 of its binding.
    binding: Fixed<32>,
}

impl EvidenceBody {
    pub(crate) fn of(binding: &Sha256) -> Self {
        Self {
            v: BODY_VERSION,
            binding: Fixed(binding.0),
        }
    }

    pub(crate) fn into_name(self) -> Result<Sha256, String> {
        known(self.v)?;
        Ok(Sha256(self.binding.0))
    }
}

fn known(v: u32) -> Result<(), String> {
    if v == BODY_VERSION {
        Ok(())
    } else {
        Err(format!(
            "written in version {v} of the format; use a newer atlasctl"
        ))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn version() -> VersionBody {
        VersionBody {
            v: BODY_VERSION,
            node: Fixed([0; 16]),
            n: 1,
            size: 5,
            blake3: Fixed([0; 32]),
            sealed: String::new(),
            closed: Closed::Explicit,
            status: None,
            quiet: Quiet::Proven,
            cut: Cut::Close,
            inputs: crate::set::empty_head().into(),
            members: None,
            config: Fixed([0; 32]),
            instance: Fixed([0; 16]),
            hardware: Hardware::None,
        }
    }

    #[test]
    fn a_body_of_a_later_version_is_refused_with_the_remedy() {
        let mut body = version();
        assert_eq!(body.known(), Ok(()));
        body.v += 1;
        assert!(body.known().unwrap_err().contains("newer atlasctl"));
    }
}
