//! What a person named: a file, a content, a version or a run. Not what is then done with it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use atlas_manifests::digest::DigestPrefix;
use atlas_manifests::id::{NodeRef, RunId};
use atlas_manifests::rows::{RunRow, VersionRow};
use atlas_manifests::vocabulary::State;

use crate::cli::Global;
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::place::{self, Located, Place};
use crate::view::{escape, row};

/// What was named, and where more can be asked about it.
pub(crate) struct Found {
    /// Where to ask.
    pub evidence: Evidence,
    /// What it is.
    pub what: What,
}

/// What was named.
#[allow(clippy::large_enum_variant, reason = "one at a time, soon taken apart")]
pub(crate) enum What {
    /// A file that is there, or was: the version that the path stands for, when one is known.
    File {
        /// Where it is.
        located: Located,
        /// Its own version.
        row: Option<VersionRow>,
    },
    /// Versions with one content, oldest first.
    Content(Vec<VersionRow>),
    /// A run.
    Run(Box<RunRow>),
}

impl Found {
    /// The versions that are meant; an error names what was looked for and what to do.
    pub(crate) fn versions(&self, asked: &OsStr) -> Result<Vec<VersionRow>, Failure> {
        match &self.what {
            What::File { row: Some(row), .. } => Ok(vec![row.clone()]),
            What::File { row: None, located } => Err(unknown_file(located, &self.evidence)),
            What::Content(rows) => Ok(rows.clone()),
            What::Run(_) => Err(Failure::new(
                Code::USAGE,
                format!("{}: is a run: see it with atlasctl show", asked.display()),
            )),
        }
    }
}

/// Finds what was named. What exists as a file is a file, whatever else it might be called.
pub(crate) fn find(asked: &OsStr, global: &Global) -> Result<Found, Failure> {
    let path = Path::new(asked);
    if asked.is_empty() {
        return Err(Failure::new(
            Code::USAGE,
            "an empty name: give a path, a digest or a run",
        ));
    }
    if place::metadata(path, false)?.is_ok() {
        return file(path, global);
    }
    match asked.to_str() {
        Some(text) => match named(text, global)? {
            Some(found) => Ok(found),
            None => file_that_was(path, global),
        },
        None => file_that_was(path, global),
    }
}

/// The file at a path, and the version that the path stands for.
pub(crate) fn file(path: &Path, global: &Global) -> Result<Found, Failure> {
    let located = place::locate(path)?;
    let evidence = Evidence::at(&located, global)?;
    let row = own_row(&located, &evidence)?;
    Ok(Found {
        evidence,
        what: What::File { located, row },
    })
}

fn file_that_was(path: &Path, global: &Global) -> Result<Found, Failure> {
    let found = file(path, global)?;
    match &found.what {
        What::File { row: None, .. } => {
            // What can only be a digest names content, and there is no manifest for it; anything else may be misspelt.
            let text = path.to_str().unwrap_or_default();
            let digest = text.contains(':') && prefix(text).is_some();
            let short = text.len() < 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
            let (code, what) = if digest {
                (
                    Code::NO_MANIFEST,
                    "no content with this digest is known here",
                )
            } else if short {
                (
                    Code::ERROR,
                    "no such file or run, and a digest needs 8 digits at least",
                )
            } else {
                (Code::ERROR, "no such file, digest or run")
            };
            let shown = escape::short(&path.display().to_string(), 200);
            let text = format!("{shown}: {what}: see atlasctl ls and atlasctl runs");
            Err(Failure::new(code, text))
        }
        _ => Ok(found),
    }
}

/// Ids, digests and run names.
fn named(text: &str, global: &Global) -> Result<Option<Found>, Failure> {
    let evidence = Evidence::here(global)?;
    let rows = evidence.rows();
    let what = if let Ok(id) = text.parse::<NodeRef>() {
        let row = rows.versions(&[id])?.into_iter().flatten().next();
        row.map(|r| What::Content(vec![r]))
    } else if let Some(run) = run(text, &evidence)? {
        Some(What::Run(Box::new(run)))
    } else if let Some(prefix) = prefix(text) {
        content(&prefix, rows.by_digest(&prefix)?)?.map(What::Content)
    } else {
        None
    };
    Ok(what.map(|what| Found { evidence, what }))
}

/// Other programs print digests in capitals too.
fn prefix(text: &str) -> Option<DigestPrefix> {
    text.to_ascii_lowercase().parse().ok()
}

/// The rows of one content; a prefix that names several is refused.
fn content(
    prefix: &DigestPrefix,
    rows: Vec<VersionRow>,
) -> Result<Option<Vec<VersionRow>>, Failure> {
    let mut contents: Vec<_> = rows
        .iter()
        .filter_map(|r| r.digests.map(|d| d.blake3))
        .collect();
    contents.sort_unstable();
    contents.dedup();
    match contents.len() {
        0 => Ok(None),
        1 => {
            // Its manifests, when there are any; that it also lies somewhere unattested adds nothing.
            let sealed: Vec<_> = rows
                .iter()
                .filter(|r| r.manifest.is_some())
                .cloned()
                .collect();
            Ok(Some(if sealed.is_empty() { rows } else { sealed }))
        }
        n => Err(Failure::error(format!(
            "{}: names {n} different contents: give more digits",
            prefix.hex
        ))),
    }
}

fn run(text: &str, evidence: &Evidence) -> Result<Option<RunRow>, Failure> {
    if let Ok(id) = text.parse::<RunId>() {
        return Ok(evidence.rows().run(id)?);
    }
    let mut all = evidence.rows().runs()?;
    all.retain(|r| row::run_id(r.id) == text || r.name.as_deref() == Some(text));
    // Of several runs with one name the last is meant.
    Ok(all.pop())
}

/// The version that the path stands for: the last one there that has not been replaced or deleted, else the last that was there.
pub(crate) fn own_row(
    located: &Located,
    evidence: &Evidence,
) -> Result<Option<VersionRow>, Failure> {
    let below = match &located.place {
        Place::Live { below, .. } | Place::Backing { below, .. } => below.clone(),
        Place::Loose => return by_identity(&located.real, evidence),
    };
    let there = fs::symlink_metadata(&located.real).is_ok();
    let mut rows = evidence.rows().by_path(&below)?;
    rows.retain(|r| !there || !r.gone);
    let Some(last) = rows.pop() else {
        return match &located.place {
            Place::Live { .. } if there => by_other_name(&located.real, evidence),
            _ => Ok(None),
        };
    };
    // Nothing was to be sealed here, says a row that nobody signed: a manifest that is there all the same is what counts.
    let sealed = if matches!(last.state, State::Excluded | State::Empty) && last.manifest.is_none()
    {
        rows.into_iter()
            .rev()
            .find(|r| !r.gone && r.manifest.is_some())
    } else {
        None
    };
    Ok(Some(sealed.unwrap_or(last)))
}

/// A row has one path, and a file may have many names: the mount says what it is, and the row must be of this very file.
fn by_other_name(real: &Path, evidence: &Evidence) -> Result<Option<VersionRow>, Failure> {
    // First what costs nothing: the attribute may wait for a digest.
    let Some(meta) = fs::metadata(real).ok().filter(|m| m.nlink() > 1) else {
        return Ok(None);
    };
    let mut value = [0; 128];
    let Ok(n) = rustix::fs::getxattr(real, "user.atlas.digest", &mut value[..]) else {
        return Ok(None);
    };
    let Some(digest) = str::from_utf8(&value[..n]).ok().and_then(prefix) else {
        return Ok(None);
    };
    let mut rows = evidence.rows().by_digest(&digest)?;
    rows.retain(|r| !r.gone && r.identity.is_some_and(|i| i.ino == meta.ino()));
    Ok(rows.pop())
}

/// With `--state` the directory that the paths are below is not known: every end of the path is tried, and a row counts only when it
/// names this very file.
fn by_identity(real: &Path, evidence: &Evidence) -> Result<Option<VersionRow>, Failure> {
    let Ok(meta) = fs::metadata(real) else {
        return Ok(None);
    };
    let mut rest = real.components();
    while rest.next().is_some() {
        let below: PathBuf = rest.as_path().to_owned();
        if below.as_os_str().is_empty() {
            break;
        }
        let mut rows = evidence.rows().by_path(&below)?;
        rows.retain(|r| {
            !r.gone
                && r.identity
                    .is_some_and(|i| i.dev == meta.dev() && i.ino == meta.ino())
        });
        if let Some(own) = rows.pop() {
            return Ok(Some(own));
        }
    }
    Ok(None)
}

fn unknown_file(located: &Located, evidence: &Evidence) -> Failure {
    let path = located.real.display();
    let text = match evidence {
        Evidence::Nothing(_) => format!(
            "{path}: not below a mount or a directory with state: name its state with --state, or verify it with --manifest"
        ),
        Evidence::Mount(..) => {
            format!("{path}: the daemon's socket is out of reach: ask as the user who mounted it")
        }
        Evidence::Daemon(_) | Evidence::State { .. } | Evidence::Bundle(..) => {
            format!(
                "{path}: nothing is known of it: it was never read or written through the mount; see atlasctl register"
            )
        }
    };
    Failure::new(Code::NO_MANIFEST, text)
}
