//! Names of nodes, instances, versions and runs. Newtypes, so that one is never taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Blake3, hex, unhex};

/// Why an id could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Atlas id: {0:?}")]
pub struct ParseIdError(pub String);

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                unhex(text)
                    .and_then(|v| v.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError(text.to_owned()))
            }
        }
    };
}

id16!(
    /// One state directory's owner: the machine (or mount) that seals into it. 32 hex digits.
    NodeId
);
id16!(
    /// One life of the daemon. 32 hex digits.
    InstanceId
);

/// A version that a node sealed, or will: `urn:atlas:v:<node>:<n>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// Whose counter.
    pub node: NodeId,
    /// The node's monotonic seal number; edges go from a higher to a lower one.
    pub n: u64,
}

/// One job: `urn:atlas:r:<instance>:<n>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The daemon's life in which the run was first seen.
    pub instance: InstanceId,
    /// Counted from 1 in that life.
    pub n: u64,
}

/// A node of the lineage graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeRef {
    /// A version that a node of ours ended.
    Version(VersionId),
    /// Content that nobody sealed: `urn:atlas:c:<blake3 hex>`.
    Content(Blake3),
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:atlas:v:{}:{}", self.node, self.n)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:atlas:r:{}:{}", self.instance, self.n)
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(v) => v.fmt(f),
            Self::Content(c) => write!(f, "urn:atlas:c:{}", c.hex()),
        }
    }
}

impl FromStr for VersionId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (node, n) = text.strip_prefix("urn:atlas:v:")?.split_once(':')?;
            Some(Self {
                node: node.parse().ok()?,
                n: number(n)?,
            })
        };
        parse().ok_or_else(|| ParseIdError(text.to_owned()))
    }
}

impl FromStr for RunId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (instance, n) = text.strip_prefix("urn:atlas:r:")?.split_once(':')?;
            Some(Self {
                instance: instance.parse().ok()?,
                n: number(n)?,
            })
        };
        parse().ok_or_else(|| ParseIdError(text.to_owned()))
    }
}

impl FromStr for NodeRef {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("urn:atlas:c:") {
            return Blake3::from_hex(rest)
                .map(Self::Content)
                .map_err(|_| ParseIdError(text.to_owned()));
        }
        text.parse().map(Self::Version)
    }
}

/// Decimal without sign or leading zero: one number has one spelling.
fn number(text: &str) -> Option<u64> {
    let n: u64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(NodeId, InstanceId, VersionId, RunId, NodeRef);

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}
debug_as_display!(VersionId, RunId, NodeRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_they_were_written() {
        let v = VersionId {
            node: NodeId([7; 16]),
            n: 42,
        };
        assert_eq!(v.to_string().parse(), Ok(v));
        assert_eq!(v.to_string().parse(), Ok(NodeRef::Version(v)));
        let r = RunId {
            instance: InstanceId([9; 16]),
            n: 1,
        };
        assert_eq!(r.to_string().parse(), Ok(r));
        let c = NodeRef::Content(Blake3([3; 32]));
        assert_eq!(c.to_string().parse(), Ok(c));
    }

    #[test]
    fn a_number_has_one_spelling() {
        let id = format!("urn:atlas:v:{}:042", "0".repeat(32));
        assert!(id.parse::<VersionId>().is_err());
        let id = format!("urn:atlas:v:{}:+42", "0".repeat(32));
        assert!(id.parse::<VersionId>().is_err());
    }
}
