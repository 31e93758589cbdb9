//! `atlasctl register`: has the daemon seal what was there already.

use std::path::{Path, PathBuf};
use std::time::Duration;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::wire::{Ask, Say};
use serde::Serialize;

use crate::cli::RegisterArgs;
use crate::client::Client;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};
use crate::view::out::Out;
use crate::view::progress::Progress;
use crate::view::row::{self, JsonPath};
use crate::view::{amount, escape};

/// Between two progress lines one large file may be digested.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Serialize)]
struct Document<'a> {
    registered: Vec<Registered<'a>>,
}

#[derive(Serialize)]
struct Registered<'a> {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(flatten)]
    row: Row<'a>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: atlas_manifests::id::NodeRef,
    state: atlas_manifests::vocabulary::State,
    digest: Option<atlas_manifests::digest::Blake3>,
    members: Option<u64>,
    reason: Option<&'a str>,
}

/// Registers; each path becomes one version, a directory one set.
pub(crate) fn register(args: &RegisterArgs, json: bool, out: &mut Out) -> Result<Code, Failure> {
    let (socket, paths) = one_mount(&args.paths)?;
    let client = Client::connect(&socket)?;
    let mut progress = Progress::new();
    let ask = Ask::Register {
        paths,
        name: args.name.clone(),
        author: args.author.clone(),
    };
    let say = client.ask_for(ask, PATIENCE, |files, of, bytes| {
        let (files, of) = (amount::count(files), amount::counted(of, "file", "files"));
        progress.set(|| format!("{files} of {of}, {}", amount::size(bytes)));
    });
    progress.clear();
    let Say::Registered { rows } = say? else {
        return Err(client.unexpected().into());
    };
    if json {
        let registered = rows.iter().map(|r| Registered {
            path: r.path.as_ref().into(),
            row: summary(r),
        });
        out.json(&Document {
            registered: registered.collect(),
        })?;
    } else {
        for r in &rows {
            out.line(&line(r))?;
        }
    }
    Ok(Code::OK)
}

fn summary(r: &VersionRow) -> Row<'_> {
    Row {
        id: r.node,
        state: r.state,
        digest: r.digests.map(|d| d.blake3),
        members: r.members.map(|m| m.size),
        reason: r.reason.as_deref(),
    }
}

fn line(r: &VersionRow) -> String {
    let what = match (r.members, r.digests) {
        (Some(set), _) => format!("set of {}", amount::counted(set.size, "file", "files")),
        (None, Some(d)) => amount::size(d.size),
        (None, None) => String::new(),
    };
    let digest = r.digests.map_or(String::new(), |d| {
        amount::prefix(&d.blake3.hex()).to_owned()
    });
    let reason = r
        .reason
        .as_deref()
        .map_or(String::new(), |t| format!(" ({})", escape::line(t)));
    format!(
        "{}  {}  {what}  {digest}{reason}",
        r.state,
        row::path(r.path.as_ref())
    )
}

/// All paths lie on one live mount: its socket, and their paths below SOURCE.
fn one_mount(paths: &[PathBuf]) -> Result<(PathBuf, Vec<PathBytes>), Failure> {
    let mut socket: Option<PathBuf> = None;
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let (own, below) = on_mount(path)?;
        if socket.as_ref().is_some_and(|s| *s != own) {
            return Err(Failure::error(format!(
                "{}: on another mount than the paths before it: register it by itself",
                path.display()
            )));
        }
        socket = Some(own);
        all.push(PathBytes::from(below));
    }
    // clap demands one path at least.
    socket
        .map(|s| (s, all))
        .ok_or_else(|| Failure::new(Code::USAGE, "register: no path: give one"))
}

fn on_mount(path: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let located = place::locate(path)?;
    let Place::Live { status, below, .. } = located.place else {
        // Beside a state the daemon is what is missing; elsewhere it is the place that is wrong.
        let code = match located.place {
            Place::Backing { .. } => Code::NO_DAEMON,
            Place::Live { .. } | Place::Loose => Code::ERROR,
        };
        return Err(Failure::new(
            code,
            format!(
                "{}: not on a live mount: mount its directory with atlas-fs mount, then register it there",
                path.display()
            ),
        ));
    };
    // Followed: of a link that leads nowhere the daemon could say no more.
    place::metadata(&located.real, true)?.map_err(|e| Failure::io(path.display(), &e))?;
    Ok((status.socket.as_path().to_owned(), below))
}
