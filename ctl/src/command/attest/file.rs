//! Evidence in a file: what `attest -o` wrote, or a record alone. Read and bounded, not appraised.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use atlas_manifests::bundle::{Bundle, BundleError};
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::Evidence;
use atlas_manifests::evidence::record::MAX_RECORD;
use atlas_manifests::shelf::{Object, Shelf as _};

use crate::exit::Failure;

/// A tar says so here (POSIX ustar).
const TAR: std::ops::Range<usize> = 257..262;
const HEAD: u64 = 512;

/// What a file holds.
pub(crate) enum Held {
    /// A record, and what came with it.
    Evidence(Box<Given>),
    /// Neither a bundle nor a record: why, and the bytes, which are all of the file when it is no longer than a record.
    Other(String, Vec<u8>),
}

/// A record, and what came with it.
pub(crate) struct Given {
    /// What it is about.
    pub evidence: Evidence,
    bundle: Option<Bundle>,
}

impl Given {
    /// The collateral that was captured with it.
    pub(crate) fn collateral(&self) -> Option<Vec<u8>> {
        self.object(Object::Collateral, &self.evidence.collateral?)
    }

    /// Evidence that its event log goes on from.
    pub(crate) fn earlier(&self, id: &Sha256) -> Option<Evidence> {
        Evidence::decode(&self.object(Object::Evidence, id)?).ok()
    }

    fn object(&self, kind: Object, name: &Sha256) -> Option<Vec<u8>> {
        self.bundle.as_ref()?.object(kind, name).ok().flatten()
    }
}

/// Reads a file, or a pipe.
///
/// # Errors
/// When it cannot be read, or is about something else: then the line says what to do with it.
pub(crate) fn read(file: &Path) -> Result<Held, Failure> {
    let shown = file.display();
    let failed = |e: io::Error| Failure::io(&shown, &e);
    let mut opened = File::open(file).map_err(failed)?;
    let mut bytes = Vec::new();
    let head = opened.by_ref().take(HEAD).read_to_end(&mut bytes);
    head.map_err(failed)?;
    if bytes.get(TAR) == Some(b"ustar") {
        let bundle = match Bundle::read(io::BufReader::new(bytes.chain(opened))) {
            Ok(bundle) => bundle,
            Err(BundleError::Io(e)) => return Err(failed(e)),
            Err(BundleError::Damaged(why)) => {
                // Whoever asked knows better how to get another one.
                return Ok(Held::Other(
                    format!("not a usable bundle: {why}"),
                    Vec::new(),
                ));
            }
            Err(e) => return Err(Failure::error(format!("{shown}: {e}"))),
        };
        let Some(evidence) = bundle.evidence() else {
            return Err(Failure::error(format!(
                "{shown}: is a bundle about a file, not about evidence: check that file with atlasctl verify FILE --manifest {shown}"
            )));
        };
        let bundle = Some(bundle);
        return Ok(Held::Evidence(Box::new(Given { evidence, bundle })));
    }
    let rest = opened.take(MAX_RECORD as u64 + 1 - HEAD);
    io::BufReader::new(rest)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(match Evidence::decode(&bytes) {
        Ok(evidence) => Held::Evidence(Box::new(Given {
            evidence,
            bundle: None,
        })),
        Err(e) => Held::Other(e.to_string(), bytes),
    })
}
