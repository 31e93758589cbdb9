//! `atlasctl log prove`: writes the proof that a manifest is in a log, after it held here. Whether to believe the log is for `check`.

use std::ffi::OsStr;
use std::path::Path;

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::find::{Finder, Found};
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::proof::Proof;
use atlas_manifests::log::reader::LogReader;
use atlas_manifests::merkle::leaf_hash;
use serde::Serialize;

use super::at::At;
use super::{REFUSED, failed};
use crate::cli::{Global, LogProveArgs};
use crate::exit::{Code, Failure};
use crate::find;
use crate::target;
use crate::view::out::{self, Out};

#[derive(Serialize)]
struct Document<'a> {
    manifest: Sha256,
    log: &'a str,
    origin: &'a str,
    index: u64,
    size: u64,
    file: String,
}

/// Writes it.
pub(super) fn prove(args: &LogProveArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let needed = [(Path::new(&args.what), "is the file itself")];
    target::refuse(&args.output, &needed)?;
    let (manifest, place) = manifest(&args.what, global)?;
    let at = At::find(args.log.as_deref().or(place), global)?;
    let name = at.name();
    let proof = match at {
        At::Url(remote) => {
            let bytes = remote
                .proof(&manifest)
                .map_err(|e| Failure::error(e.to_string()))?;
            let read = |b: Vec<u8>| {
                Proof::parse(&b).map_err(|e| Failure::new(REFUSED, format!("{name}: {e}")))
            };
            bytes.map(read).transpose()?
        }
        at => {
            let log = LogReader::open(at).map_err(|e| failed(&name, &e))?;
            let found = Finder::scanning(&log)
                .manifest(&manifest)
                .map_err(|e| failed(&name, &e))?;
            let prove = |f: Found| {
                let mut proof = log.proof(f.index)?;
                // With its leaf nothing else is needed to check it.
                proof.extra = Some(f.leaf.encode());
                Ok(proof)
            };
            found
                .map(prove)
                .transpose()
                .map_err(|e| failed(&name, &e))?
        }
    };
    let Some(proof) = proof else {
        let text = format!("{name}: the manifest {manifest} is not in this log");
        return Err(Failure::new(Code::NO_MANIFEST, text));
    };
    if leaf(&proof, &manifest).is_none_or(|leaf| !proof.holds(&leaf)) {
        let text = format!("{name}: its proof for the manifest {manifest} does not hold");
        return Err(Failure::new(REFUSED, text));
    }
    target::write(&args.output, &proof.encode(), args.force)?;
    let head = &proof.checkpoint.head;
    let shown = Document {
        manifest,
        log: &name,
        origin: &head.origin,
        index: proof.index,
        size: head.head.size,
        file: args.output.display().to_string(),
    };
    if global.json {
        out.json(&shown)?;
    } else {
        out::say(&format!(
            "{}: leaf {} of {} in {}; check it with atlasctl log check {} --manifest {manifest}",
            shown.file, shown.index, shown.size, shown.origin, shown.file
        ));
    }
    Ok(Code::OK)
}

/// The hash of the leaf that a proof brings along, if that says that this manifest was sealed.
pub(super) fn leaf(proof: &Proof, manifest: &Sha256) -> Option<Sha256> {
    let bytes = proof.extra.as_deref()?;
    match Leaf::decode(bytes) {
        Ok(Leaf::Manifest { manifest: of, .. }) if of == *manifest => Some(leaf_hash(bytes)),
        _ => None,
    }
}

/// The manifest that is meant, and the path by which its node's log is found.
pub(super) fn manifest<'a>(
    what: &'a OsStr,
    global: &Global,
) -> Result<(Sha256, Option<&'a OsStr>), Failure> {
    let found = find::find(what, global);
    if let Ok(found) = &found
        && let Ok(rows) = found.versions(what)
        && let Some(sealed) = rows.iter().rev().find_map(|r| r.manifest.as_ref())
    {
        let there = Path::new(what).exists().then_some(what);
        return Ok((sealed.sha256, there));
    }
    // A manifest's own digest is known to nobody but the log.
    if let Some(digest) = what.to_str().and_then(|t| t.parse::<Sha256>().ok()) {
        return Ok((digest, None));
    }
    found?.versions(what)?;
    let text = format!(
        "{}: has no manifest yet: see atlasctl show",
        Path::new(what).display()
    );
    Err(Failure::new(Code::NO_MANIFEST, text))
}
