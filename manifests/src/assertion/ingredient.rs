//! One input as a C2PA ingredient: named by hashes in its metadata, never embedded.

use serde::{Deserialize, Serialize};

use crate::digest::{Blake3, Digests, Sha256};
use crate::id::NodeRef;
use crate::statement::{Input, ManifestRef};
use crate::vocabulary::{Grade, Kind, State};

const ALG: &str = "sha256";

/// What we say of an ingredient. Written under the SDK's names for the fields, read under the specification's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ingredient {
    #[serde(alias = "dc:title")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(alias = "dc:format")]
    pub(crate) format: String,
    pub(crate) relationship: String,
    pub(crate) metadata: Metadata,
}

/// Keys of our own in C2PA's `assertion-metadata-map`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Metadata {
    #[serde(rename = "org.atlasfs.asset")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asset: Option<AssetRef>,
    #[serde(rename = "org.atlasfs.manifest")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Hashed>,
    #[serde(rename = "org.atlasfs.input")]
    input: Edge,
}

#[derive(Debug, Serialize, Deserialize)]
struct AssetRef {
    alg: String,
    hash: String,
    size: u64,
    blake3: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hashed {
    alg: String,
    hash: String,
    size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Edge {
    /// Left out when it is the content itself, which `asset.blake3` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeRef>,
    kind: Kind,
    grade: Grade,
    state: State,
}

pub(crate) const PARENT_OF: &str = "parentOf";
pub(crate) const INPUT_TO: &str = "inputTo";

impl Ingredient {
    pub(crate) fn of(input: &Input, relationship: &str) -> Self {
        let itself = input.digests.map(|d| NodeRef::Content(d.blake3));
        Self {
            title: input.title.clone(),
            format: input.media_type.clone(),
            relationship: relationship.to_owned(),
            metadata: Metadata {
                asset: input.digests.map(|d| AssetRef {
                    alg: ALG.to_owned(),
                    hash: d.sha256.hex(),
                    size: d.size,
                    blake3: d.blake3.hex(),
                }),
                manifest: input.manifest.map(|m| Hashed {
                    alg: ALG.to_owned(),
                    hash: m.sha256.hex(),
                    size: m.size,
                }),
                input: Edge {
                    node: (itself != Some(input.node)).then_some(input.node),
                    kind: input.kind,
                    grade: input.grade,
                    state: input.state,
                },
            },
        }
    }

    pub(crate) fn into_input(self) -> Result<Input, String> {
        let sha256 = |alg: &str, hash: &str| match alg {
            ALG => Sha256::from_hex(hash).map_err(|e| e.to_string()),
            other => Err(format!("hash algorithm {other:?} is not sha256")),
        };
        let digests = match self.metadata.asset {
            Some(a) => Some(Digests {
                sha256: sha256(&a.alg, &a.hash)?,
                blake3: Blake3::from_hex(&a.blake3).map_err(|e| e.to_string())?,
                size: a.size,
            }),
            None => None,
        };
        let manifest = match self.metadata.manifest {
            Some(m) => Some(ManifestRef {
                sha256: sha256(&m.alg, &m.hash)?,
                size: m.size,
            }),
            None => None,
        };
        let edge = self.metadata.input;
        let node = edge
            .node
            .or(digests.map(|d| NodeRef::Content(d.blake3)))
            .ok_or("an ingredient names neither its node nor its content")?;
        Ok(Input {
            node,
            title: self.title,
            digests,
            manifest,
            media_type: self.format,
            kind: edge.kind,
            grade: edge.grade,
            state: edge.state,
        })
    }
}
