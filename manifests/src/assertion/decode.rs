//! From the assertions of a manifest back to the statement that was sealed. Their hashes were compared with the claim; their contents are still untrusted.

use serde::Deserialize;

use super::body::{EvidenceBody, Fixed, OriginBody, VersionBody, WithheldBody};
use super::ingredient::{INPUT_TO, Ingredient, PARENT_OF};
use super::{
    ASSET_TYPE, DATA_HASH, EVIDENCE, INGREDIENT, REGISTERED, RUN, TYPE_DATA, VERSION, WITHHELD,
};
use crate::digest::{Blake3, Digests, Sha256};
use crate::frame::Frame;
use crate::statement::{Asset, MAX_DIRECT_INPUTS, Origin, Statement};

/// Why assertions are no statement of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It has no version assertion.
    NotOurs,
    /// It does not bind the whole content by SHA-256, which nothing honest does.
    Binding(&'static str),
    /// Something else is wrong. Names it.
    Wrong(String),
}

impl From<String> for DecodeError {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

#[derive(Debug, Deserialize)]
struct DataHash {
    #[serde(default)]
    exclusions: Option<serde::de::IgnoredAny>,
    alg: Option<String>,
    hash: Fixed<32>,
}

#[derive(Debug, Deserialize)]
struct AssetType {
    #[serde(rename = "dc:format")]
    format: String,
    types: Vec<Type>,
}

#[derive(Debug, Deserialize)]
struct Type {
    #[serde(rename = "type")]
    name: String,
}

/// The statement in a manifest.
pub(crate) fn statement(frame: &Frame<'_>) -> Result<Statement, DecodeError> {
    let version: VersionBody = frame.assertion(VERSION)?.ok_or(DecodeError::NotOurs)?;
    version.known()?;
    let need = |label: &str| format!("assertion {label} is missing");
    let hash: DataHash = frame.assertion(DATA_HASH)?.ok_or_else(|| need(DATA_HASH))?;
    if hash.exclusions.is_some() {
        return Err(DecodeError::Binding("its data hash leaves bytes out"));
    }
    if hash.alg.as_deref() != Some("sha256") {
        return Err(DecodeError::Binding("its data hash is not SHA-256"));
    }
    let kind: AssetType = frame
        .assertion(ASSET_TYPE)?
        .ok_or_else(|| need(ASSET_TYPE))?;
    let run = frame.assertion(RUN)?.map(OriginBody::Run);
    let registered = frame.assertion(REGISTERED)?.map(OriginBody::Registered);
    let origin = match (run, registered) {
        (Some(one), None) | (None, Some(one)) => Origin::try_from(one)?,
        _ => {
            return Err(
                "it must say either which run wrote it or that it was registered"
                    .to_owned()
                    .into(),
            );
        }
    };
    let withheld = match frame.assertion::<WithheldBody>(WITHHELD)? {
        Some(body) => body.into_fields()?,
        None => Vec::new(),
    };
    let evidence = match frame.assertion::<EvidenceBody>(EVIDENCE)? {
        Some(body) => Some(body.into_name()?),
        None => None,
    };
    if frame.claim.instance_id != version.version().to_string() {
        return Err("claim and version assertion name different versions"
            .to_owned()
            .into());
    }
    let (parent, inputs) = inputs(frame)?;
    Ok(Statement {
        version: version.version(),
        title: frame.claim.title.clone(),
        asset: Asset {
            digests: Digests {
                blake3: Blake3(version.blake3.0),
                sha256: Sha256(hash.hash.0),
                size: version.size,
            },
            media_type: kind.format,
            types: kind
                .types
                .into_iter()
                .map(|t| t.name)
                .filter(|t| t != TYPE_DATA)
                .collect(),
        },
        closed: version.closed,
        status: version.status,
        quiet: version.quiet,
        cut: version.cut,
        parent,
        inputs,
        origin,
        withheld,
        config: Sha256(version.config.0),
        instance: version.instance(),
        hardware: version.hardware,
        evidence,
        input_set: version.inputs.into(),
        members: version.members.map(Into::into),
        sealed_at: version.sealed,
    })
}

type Inputs = (
    Option<crate::statement::Input>,
    Vec<crate::statement::Input>,
);

fn inputs(frame: &Frame<'_>) -> Result<Inputs, String> {
    let mut parent = None;
    let mut inputs = Vec::new();
    // c2pa.ingredient.v3, c2pa.ingredient.v3__1, ...
    let labels = frame
        .assertions
        .iter()
        .map(|(label, _)| *label)
        .filter(|l| l.split("__").next() == Some(INGREDIENT));
    for label in labels {
        let Some(ingredient) = frame.assertion::<Ingredient>(label)? else {
            continue;
        };
        let relationship = ingredient.relationship.clone();
        let input = ingredient
            .into_input()
            .map_err(|e| format!("assertion {label}: {e}"))?;
        match relationship.as_str() {
            PARENT_OF if parent.is_none() => parent = Some(input),
            INPUT_TO => inputs.push(input),
            _ => {
                return Err(format!(
                    "assertion {label}: a second parent, or another relationship"
                ));
            }
        }
    }
    if inputs.len() + usize::from(parent.is_some()) > MAX_DIRECT_INPUTS {
        return Err(format!("more than {MAX_DIRECT_INPUTS} inputs"));
    }
    Ok((parent, inputs))
}
