//! A statement as the contents of C2PA assertions, and back. Plain data in both directions: no signing (`seal`), no trust (`read`).

pub(crate) mod body;
pub(crate) mod decode;
pub(crate) mod ingredient;
pub(crate) mod size;
mod trim;

pub use trim::{CUT_MARK, trim};

use serde_json::{Value, json};

use crate::statement::{Origin, Statement};

/// Every label, key and type of our own begins with it.
pub const LABEL_PREFIX: &str = "org.atlasfs";

pub(crate) const VERSION: &str = "org.atlasfs.version";
pub(crate) const RUN: &str = "org.atlasfs.run";
pub(crate) const REGISTERED: &str = "org.atlasfs.registered";
pub(crate) const WITHHELD: &str = "org.atlasfs.withheld";
/// Names the quote that was made for this manifest alone.
pub(crate) const EVIDENCE: &str = "org.atlasfs.evidence";
/// Stands where C2PA wants at least one asset type and none is known.
pub(crate) const TYPE_DATA: &str = "org.atlasfs.types.data";

pub(crate) const ACTIONS: &str = "c2pa.actions.v2";
pub(crate) const INGREDIENT: &str = "c2pa.ingredient.v3";
pub(crate) const ASSET_TYPE: &str = "c2pa.asset-type.v2";
pub(crate) const DATA_HASH: &str = "c2pa.hash.data";

/// A model's bytes come out of an algorithm that was trained or trains.
const TRAINED: &str = "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData";
/// A file begins empty and a process fills it: all that a file system knows.
const EMPTY: &str = "http://c2pa.org/digitalsourcetype/empty";

/// The `ingredientIds` name by which the opened action finds the parent.
pub(crate) const PARENT: &str = "parent";

/// The data of `c2pa.actions.v2`.
pub(crate) fn actions(s: &Statement) -> Value {
    let mut first = match &s.parent {
        Some(_) => json!({"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}),
        None => json!({"action": "c2pa.created", "digitalSourceType": source_type(s)}),
    };
    let mut then = match (&s.parent, &s.origin) {
        (Some(_), _) => Some(json!({"action": "c2pa.edited"})),
        // Who made a registered file, and how, is not known.
        (None, Origin::Registered { .. }) => Some(json!({"action": "c2pa.unknown"})),
        (None, Origin::Run(_)) => None,
    };
    let last = then.as_mut().unwrap_or(&mut first);
    if s.sealed_at.parse::<jiff::Timestamp>().is_ok() {
        last["when"] = json!(s.sealed_at);
    }
    if let Origin::Run(run) = &s.origin {
        last["softwareAgent"] = json!({"name": run.program});
    }
    let actions: Vec<Value> = [Some(first), then].into_iter().flatten().collect();
    json!({"actions": actions, "allActionsIncluded": false})
}

/// The data of `c2pa.asset-type.v2`.
pub(crate) fn asset_type(s: &Statement) -> Value {
    let types: Vec<Value> = match s.asset.types.as_slice() {
        [] => vec![json!({"type": TYPE_DATA})],
        known => known.iter().map(|t| json!({"type": t})).collect(),
    };
    json!({"dc:format": s.asset.media_type, "types": types})
}

fn source_type(s: &Statement) -> &'static str {
    let made = matches!(s.origin, Origin::Run(_));
    let model = |t: &String| t.starts_with("c2pa.types.model");
    if made && s.asset.types.iter().any(model) {
        TRAINED
    } else {
        EMPTY
    }
}
