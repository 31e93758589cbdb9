//! `atlasctl trust`: the authorities that `verify` believes. Pinned outside the data, for everybody by root, else for one user.

use std::path::PathBuf;

use atlas_manifests::digest::Sha256;
use atlas_manifests::trust::{self, Anchor, Anchors};
use serde::Serialize;

use crate::cli::TrustVerb;
use crate::exit::{Code, Failure};
use crate::view::escape;
use crate::view::out::{self, Out};
use crate::view::paint::Paint;
use crate::view::table::{Cell, table};

#[derive(Serialize)]
struct Document {
    authorities: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    fingerprint: Sha256,
    name: String,
    not_before: String,
    not_after: String,
    file: String,
}

impl From<&Anchor> for Line {
    fn from(a: &Anchor) -> Self {
        Self {
            fingerprint: a.fingerprint,
            name: a.name.clone(),
            not_before: a.not_before.clone(),
            not_after: a.not_after.clone(),
            file: a.file.display().to_string(),
        }
    }
}

/// Adds, lists or removes.
pub(crate) fn trust(verb: &TrustVerb, json: bool, out: &mut Out) -> Result<Code, Failure> {
    let failed = |e: trust::TrustError| Failure::error(format!("trust: {e}"));
    let (all, said) = match verb {
        TrustVerb::List => (
            Anchors::load(&trust::default_dirs(), &[])
                .map_err(failed)?
                .anchors,
            None,
        ),
        TrustVerb::Add { file } => (
            trust::add(&own_dir()?, file).map_err(failed)?,
            Some("believed from now on"),
        ),
        TrustVerb::Rm { fingerprint } => {
            let gone = trust::remove(&own_dir()?, fingerprint).map_err(failed)?;
            (vec![gone], Some("believed no longer"))
        }
    };
    if json {
        let authorities = all.iter().map(Line::from).collect();
        out.json(&Document { authorities })?;
    } else if let Some(said) = said {
        for a in &all {
            out::say(&format!(
                "{} {}: {said} ({})",
                a.fingerprint,
                a.name,
                a.file.display()
            ));
        }
    } else if all.is_empty() {
        out::say(
            "No authority is believed yet: atlas-fs init pins its own; add others with atlasctl trust add CA.pem",
        );
    } else {
        out.text(&list(&all, out.paint))?;
    }
    Ok(Code::OK)
}

/// Where this user may pin: the machine's directory for root, else the user's own.
fn own_dir() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(trust::SYSTEM_DIR));
    }
    trust::user_dir().ok_or_else(|| Failure::error("trust: no home directory: set HOME"))
}

/// The date of an RFC 3339 time.
fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// Its directory: the file is called by its fingerprint, unless somebody put it there by hand.
fn place(a: &Anchor) -> String {
    let own = a
        .file
        .file_stem()
        .is_some_and(|s| *s == *a.fingerprint.hex());
    let shown = a.file.parent().filter(|_| own).unwrap_or(&a.file);
    escape::line(&shown.display().to_string())
}

fn list(all: &[Anchor], paint: Paint) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|a| {
            [
                Cell::new(a.fingerprint.hex()).painted(|t| paint.strong(t)),
                Cell::new(escape::short(&escape::line(day(&a.not_after)), 20)),
                Cell::new(escape::short(&escape::line(&a.name), 60)),
                Cell::new(place(a)),
            ]
        })
        .collect();
    table(
        ["FINGERPRINT (SHA-256)", "VALID UNTIL", "NAME", "IN"],
        &rows,
        paint,
    )
}
