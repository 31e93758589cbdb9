//! `atlasctl ls`: a directory's files with their state and digest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Blake3;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::vocabulary::State;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{Global, LsArgs};
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};
use crate::view::out::Out;
use crate::view::paint::Paint;
use crate::view::row::JsonPath;
use crate::view::table::{Cell, table};
use crate::view::{amount, escape};

#[derive(Serialize)]
struct Document {
    entries: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    name: JsonPath,
    directory: bool,
    state: Option<State>,
    digest: Option<Blake3>,
    size: Option<u64>,
    sealed_at: Option<String>,
    files: Option<u64>,
}

/// One name in the directory.
#[derive(Debug, Default, Clone, PartialEq)]
struct Entry {
    directory: bool,
    size: Option<u64>,
    row: Option<VersionRow>,
    /// Known files below a directory, and how many of them are sealed.
    below: (u64, u64),
}

/// Lists the directory.
pub(crate) fn ls(args: &LsArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let located = place::locate(&args.dir)?;
    let evidence = Evidence::at(&located, global)?;
    let mut entries = on_disk(&located.real)?;
    let below = match &located.place {
        Place::Live { below, .. } | Place::Backing { below, .. } => Some(below),
        Place::Loose => None,
    };
    if let Some(below) = below {
        for row in evidence.rows().under(below)? {
            add(&mut entries, below, row);
        }
    }
    if global.json {
        let entries = entries
            .into_iter()
            .map(|(name, e)| line(&name, e))
            .collect();
        out.json(&Document { entries })?;
    } else {
        out.text(&list(&entries, Timestamp::now(), out.paint))?;
    }
    Ok(Code::OK)
}

fn on_disk(dir: &Path) -> Result<BTreeMap<Vec<u8>, Entry>, Failure> {
    let failed = |e: std::io::Error| Failure::io(dir.display(), &e);
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().as_bytes().to_vec();
        if name == b".atlas" {
            continue;
        }
        // A name that vanished meanwhile is listed without a size.
        let meta = entry.metadata().ok();
        let directory = meta.as_ref().is_some_and(fs::Metadata::is_dir);
        let size = meta.filter(|_| !directory).map(|m| m.len());
        entries.insert(
            name,
            Entry {
                directory,
                size,
                ..Entry::default()
            },
        );
    }
    Ok(entries)
}

/// Puts a row where it belongs. Names that are not on disk any more stay out.
fn add(entries: &mut BTreeMap<Vec<u8>, Entry>, dir: &Path, row: VersionRow) {
    let Some(path) = &row.path else { return };
    let Ok(rest) = path.as_path().strip_prefix(dir) else {
        return;
    };
    let mut parts = rest.components();
    let Some(first) = parts.next() else { return };
    let Some(entry) = entries.get_mut(first.as_os_str().as_bytes()) else {
        return;
    };
    if parts.next().is_none() {
        entry.row = Some(row);
    } else {
        entry.below.0 += 1;
        entry.below.1 += u64::from(matches!(row.state, State::Sealed | State::Logged));
    }
}

fn line(name: &[u8], e: Entry) -> Line {
    Line {
        name: Some(&PathBytes(name.to_vec())).into(),
        directory: e.directory,
        state: e.row.as_ref().map(|r| r.state),
        digest: e.row.as_ref().and_then(|r| Some(r.digests?.blake3)),
        size: e.size,
        sealed_at: e.row.and_then(|r| r.sealed_at),
        files: e.directory.then_some(e.below.0),
    }
}

fn list(entries: &BTreeMap<Vec<u8>, Entry>, now: Timestamp, paint: Paint) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|(name, e)| {
            let row = e.row.as_ref();
            let state = match row {
                Some(r) => Cell::new(r.state.as_str()).painted(|t| paint.state(t, r.state)),
                None => Cell::new("-"),
            };
            let digest = row
                .and_then(|r| r.digests)
                .map(|d| amount::prefix(&d.blake3.hex()).to_owned());
            let age = row
                .and_then(|r| r.sealed_at.as_deref())
                .map(|at| amount::age(at, now));
            let shown = escape::name(name);
            let shown = match (e.directory, e.below) {
                (true, (0, _)) => format!("{shown}/"),
                (true, (files, sealed)) => {
                    let files = amount::counted(files, "file", "files");
                    format!(
                        "{shown}/  {}",
                        paint.dim(&format!("{files} known, {} sealed", amount::count(sealed)))
                    )
                }
                (false, _) => shown,
            };
            [
                state,
                Cell::new(digest.unwrap_or_else(|| "-".to_owned())),
                Cell::right(e.size.map_or("-".to_owned(), amount::size)),
                Cell::new(age.unwrap_or_else(|| "-".to_owned())),
                Cell::new(shown),
            ]
        })
        .collect();
    table(["STATE", "DIGEST", "SIZE", "SEALED", "NAME"], &rows, paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn a_subdirectory_is_one_line_and_names_cannot_draw_on_the_screen() {
        let mut entries = BTreeMap::new();
        for (name, directory) in [
            (&b"data"[..], true),
            (b"m.pt", false),
            (b"n\x1b[2Jew", false),
        ] {
            let size = (!directory).then_some(1234);
            entries.insert(
                name.to_vec(),
                Entry {
                    directory,
                    size,
                    ..Entry::default()
                },
            );
        }
        for path in [
            "out/m.pt",
            "out/data/a",
            "out/data/b/c",
            "out/deleted",
            "elsewhere",
        ] {
            add(&mut entries, Path::new("out"), sample::version(1, path));
        }
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let digest = Blake3::of(b"out/m.pt").hex();
        let expected = format!(
            "\
STATE   DIGEST          SIZE  SEALED   NAME
-       -                  -  -        data/  2 files known, 2 sealed
sealed  {}  1.2 kB  1 h ago  m.pt
-       -             1.2 kB  -        n\\x1b[2Jew
",
            &digest[..12]
        );
        assert_eq!(list(&entries, now, Paint::PLAIN), expected);
    }
}
