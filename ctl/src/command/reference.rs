//! `atlasctl reference`: what is vouched for, pinned outside the data for everybody by root, else for one user. It judges no evidence.

mod make;

use std::path::{Path, PathBuf};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::reference::{
    self, Document, ReferenceError, References, Removed, Vouched,
};
use serde::Serialize;

use crate::cli::ReferenceVerb;
use crate::exit::{Code, Failure};
use crate::view::amount::{counted, prefix};
use crate::view::escape;
use crate::view::out::{self, Out};
use crate::view::paint::Paint;
use crate::view::table::{Cell, table};

#[derive(Serialize)]
struct Pins {
    references: Vec<Line>,
}

/// One pinned file. A name or counts are absent where it can no longer be read.
#[derive(Serialize)]
struct Line {
    fingerprint: Sha256,
    name: Option<String>,
    issued: Option<String>,
    measurements: Option<usize>,
    artifacts: Option<usize>,
    signer: Option<Sha256>,
    file: String,
}

impl From<Removed> for Line {
    fn from(removed: Removed) -> Self {
        let document = removed.vouched.as_ref().map(|v| &v.document);
        Self {
            fingerprint: removed.fingerprint,
            name: document.map(|d| d.name.clone()),
            issued: document.and_then(|d| d.issued.clone()),
            measurements: document.map(|d| d.measurements.len()),
            artifacts: document.map(|d| d.artifacts.len()),
            signer: removed.vouched.as_ref().and_then(|v| v.signer),
            file: removed.file.display().to_string(),
        }
    }
}

impl From<Vouched> for Line {
    fn from(vouched: Vouched) -> Self {
        Self::from(Removed {
            fingerprint: vouched.fingerprint,
            file: vouched.file.clone(),
            vouched: Some(vouched),
        })
    }
}

/// Adds, lists, removes, signs or drafts.
pub(crate) fn reference(verb: &ReferenceVerb, json: bool, out: &mut Out) -> Result<Code, Failure> {
    match verb {
        ReferenceVerb::Sign(args) => make::sign(args, json, out),
        ReferenceVerb::Draft(args) => make::draft(args, out),
        ReferenceVerb::List => {
            let all = References::load(&reference::default_dirs(), &[], &[]).map_err(failed)?;
            list(all.documents, json, out)
        }
        ReferenceVerb::Add {
            file,
            signer,
            unsigned,
        } => {
            let added = reference::add(&own_dir()?, file, signer.as_deref(), *unsigned);
            told(
                added.map_err(failed)?.into(),
                "believed from now on",
                json,
                out,
            )
        }
        ReferenceVerb::Rm { fingerprint } => {
            let gone = reference::remove(&own_dir()?, fingerprint);
            told(
                gone.map_err(failed)?.into(),
                "believed no longer",
                json,
                out,
            )
        }
    }
}

/// The code for an error of the library.
pub(crate) fn code(error: &ReferenceError) -> Code {
    match error {
        ReferenceError::Untrusted { .. } => Code::NOT_TRUSTED,
        _ => Code::ERROR,
    }
}

fn failed(error: ReferenceError) -> Failure {
    Failure::new(code(&error), format!("reference: {error}"))
}

/// `2 measurements, 5 artifacts`.
pub(crate) fn holds(document: &Document) -> String {
    let (measurements, artifacts) = (document.measurements.len(), document.artifacts.len());
    let parts = [
        (measurements, "measurement", "measurements"),
        (artifacts, "artifact", "artifacts"),
    ];
    let said = parts.into_iter().filter(|(n, ..)| *n > 0);
    let said: Vec<_> = said
        .map(|(n, one, many)| counted(n as u64, one, many))
        .collect();
    said.join(", ")
}

/// Where this user may pin: the machine's directory for root, else the user's own.
fn own_dir() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(reference::SYSTEM_DIR));
    }
    reference::user_dir().ok_or_else(|| Failure::error("reference: no home directory: set HOME"))
}

fn told(line: Line, said: &str, json: bool, out: &mut Out) -> Result<Code, Failure> {
    if json {
        let references = vec![line];
        out.json(&Pins { references })?;
    } else {
        let name = line.name.as_deref().unwrap_or("(could not be read)");
        out::say(&format!(
            "{} {name}: {said} ({})",
            line.fingerprint, line.file
        ));
    }
    Ok(Code::OK)
}

fn list(all: Vec<Vouched>, json: bool, out: &mut Out) -> Result<Code, Failure> {
    if json {
        let references = all.into_iter().map(Line::from).collect();
        out.json(&Pins { references })?;
    } else if all.is_empty() {
        out::say(
            "No reference values are believed yet: make them with atlasctl reference draft and sign, add them with atlasctl reference add FILE",
        );
    } else {
        out.text(&shown(&all, out.paint))?;
    }
    Ok(Code::OK)
}

fn shown(all: &[Vouched], paint: Paint) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|v| {
            let signer = v.signer.map(|s| prefix(&s.hex()).to_owned());
            [
                Cell::new(v.fingerprint.hex()).painted(|t| paint.strong(t)),
                Cell::new(holds(&v.document)),
                match signer {
                    Some(signer) => Cell::new(signer),
                    None => Cell::new("unsigned").painted(|t| paint.warn(t)),
                },
                Cell::new(escape::short(&escape::line(&v.document.name), 60)),
                Cell::new(place(&v.file, &v.fingerprint)),
            ]
        })
        .collect();
    table(
        ["FINGERPRINT (SHA-256)", "HOLDS", "SIGNER", "NAME", "IN"],
        &rows,
        paint,
    )
}

/// Its directory: the file is called by its fingerprint, unless somebody put it there by hand.
fn place(file: &Path, fingerprint: &Sha256) -> String {
    let own = file.file_stem().is_some_and(|s| *s == *fingerprint.hex());
    let shown = file.parent().filter(|_| own).unwrap_or(file);
    escape::line(&shown.display().to_string())
}
