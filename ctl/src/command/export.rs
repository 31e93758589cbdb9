//! `atlasctl export`: one manifest, or a bundle that can be verified elsewhere. Never replaces a file unasked, never leaves half of one.

use atlas_manifests::bundle::{self, Disclose};
use atlas_manifests::digest::Sha256;
use atlas_manifests::shelf::Object;
use serde::Serialize;

use crate::cli::{ExportArgs, Global};
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::find;
use crate::target;
use crate::view::amount;
use crate::view::out::{self, Out};

#[derive(Serialize)]
struct Document {
    file: String,
    manifest: Sha256,
    size: u64,
    disclosed: Vec<String>,
}

/// Exports what was named.
pub(crate) fn export(args: &ExportArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let found = find::find(&args.what, global)?;
    let rows = found.versions(&args.what)?;
    // Of several manifests of one content the newest is meant, as `verify` has it.
    let Some(manifest) = rows.iter().rev().find_map(|r| r.manifest) else {
        let state = rows.last().map_or("unknown", |r| r.state.as_str());
        let what = args.what.display();
        return Err(Failure::new(
            Code::NO_MANIFEST,
            format!(
                "{what}: has no manifest ({state}): wait with atlasctl sync, or see atlasctl show {what}"
            ),
        ));
    };
    let name = manifest.sha256;
    let (to, bytes) = match (&args.bundle, &args.output) {
        (Some(to), _) => (to, whole(&found.evidence, &name, &args.disclose)?),
        (None, Some(to)) => (to, alone(&found.evidence, &name)?),
        // clap demands one of them.
        (None, None) => {
            return Err(Failure::new(
                Code::USAGE,
                "export: no target: give -o or --bundle",
            ));
        }
    };
    let what = args.what.as_ref();
    target::refuse(to, &[(what, "is the file whose proof this is")])?;
    target::write(to, &bytes, args.force)?;
    let size = bytes.len() as u64;
    if global.json {
        let file = to.display().to_string();
        out.json(&Document {
            file,
            manifest: name,
            size,
            disclosed: args.disclose.clone(),
        })?;
    } else {
        out::say(&format!("{}: {}", to.display(), amount::size(size)));
    }
    Ok(Code::OK)
}

fn alone(evidence: &Evidence, name: &Sha256) -> Result<Vec<u8>, Failure> {
    let bytes = evidence.shelf().object(Object::Manifest, name)?;
    bytes.ok_or_else(|| {
        Failure::new(
            Code::NO_MANIFEST,
            format!(
                "manifest {name}: missing from the store: restore the state directory from a copy"
            ),
        )
    })
}

fn whole(evidence: &Evidence, name: &Sha256, disclose: &[String]) -> Result<Vec<u8>, Failure> {
    let disclose = match disclose {
        [] => Disclose::Nothing,
        fields if fields.iter().any(|f| f == "all") => Disclose::All,
        fields => Disclose::Fields(fields.to_vec()),
    };
    let mut bytes = Vec::new();
    bundle::write(evidence.shelf(), name, &disclose, &mut bytes)
        .map_err(|e| Failure::error(e.to_string()))?;
    Ok(bytes)
}
