//! `atlasctl status`: what the daemons say of themselves.

use atlas_manifests::wire::{LogStatus, Status};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::StatusArgs;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};
use crate::view::out::Out;
use crate::view::paint::Paint;
use crate::view::{amount, escape};

#[derive(Serialize)]
struct Document {
    mounts: Vec<Status>,
}

/// Shows one daemon, or all of them.
pub(crate) fn status(args: &StatusArgs, json: bool, out: &mut Out) -> Result<Code, Failure> {
    let mounts = match &args.at {
        Some(path) => match place::locate(path)?.place {
            Place::Live { status, .. } => vec![*status],
            Place::Backing { .. } | Place::Loose => {
                let path = path.display();
                return Err(Failure::new(
                    Code::NO_DAEMON,
                    format!(
                        "{path}: not on a live mount: start one with atlas-fs mount SOURCE MOUNTPOINT"
                    ),
                ));
            }
        },
        None => everywhere(),
    };
    let code = if mounts.is_empty() {
        Code::NO_DAEMON
    } else {
        Code::OK
    };
    if json {
        out.json(&Document { mounts })?;
    } else {
        for (i, status) in mounts.iter().enumerate() {
            if i > 0 {
                out.line("")?;
            }
            out.text(&describe(status, Timestamp::now(), out.paint))?;
        }
    }
    if code == Code::NO_DAEMON {
        return Err(Failure::new(
            code,
            "no daemon can be reached: start one with atlas-fs mount SOURCE MOUNTPOINT",
        ));
    }
    Ok(code)
}

/// The daemons that answer, and the mount of the working directory, whose socket may be out of reach.
fn everywhere() -> Vec<Status> {
    let mut all: Vec<Status> = place::daemons()
        .into_iter()
        .map(|(_, status)| status)
        .collect();
    if let Ok(here) = place::locate(std::path::Path::new("."))
        && let Place::Live { status, .. } = here.place
        && all.iter().all(|s| s.instance != status.instance)
    {
        all.push(*status);
    }
    all
}

fn describe(s: &Status, now: Timestamp, paint: Paint) -> String {
    let name = |p: &atlas_manifests::bytes::PathBytes| escape::name(&p.0);
    let mut text = format!(
        "{} on {}\n",
        paint.strong(&name(&s.source)),
        paint.strong(&name(&s.mountpoint))
    );
    let mut row = |key: &str, value: String| {
        text.push_str(&format!("  {} {value}\n", paint.dim(&format!("{key:<10}"))));
    };
    let access = if s.read_only { ", read-only" } else { "" };
    row(
        "io",
        format!(
            "{}{access} ({})",
            escape::line(&s.io),
            escape::line(&s.io_reason)
        ),
    );
    let sealed = amount::counted(s.sealed, "version", "versions");
    row("sealed", format!("{sealed} since it was mounted"));
    let pending = format!(
        "{} to seal, {} open for writing",
        amount::count(s.pending),
        amount::count(s.open)
    );
    row("pending", pending);
    if s.behind > 0 {
        let behind = amount::counted(s.behind, "change", "changes");
        row(
            "behind",
            paint.warn(&format!("{behind} did not come through the mount")),
        );
    }
    row("hardware", escape::line(&s.hardware));
    if let Some(e) = &s.evidence {
        let anchors = amount::counted(e.anchors, "anchor", "anchors");
        row(
            "evidence",
            format!("{}, {anchors}: see atlasctl attest", e.first.hex()),
        );
    }
    if let Some(log) = &s.log {
        row("log", transparency(log));
    }
    row("authority", s.authority.to_string());
    row("state", name(&s.state));
    row("socket", name(&s.socket));
    row(
        "daemon",
        format!("process {}, version {}", s.pid, escape::line(&s.version)),
    );
    row("mounted", amount::age(&s.mounted_at, now));
    for warning in &s.warnings {
        row("warning", paint.warn(&escape::line(warning)));
    }
    text
}

/// The log in one line. Witnesses are named by whoever mounted.
fn transparency(log: &LogStatus) -> String {
    let leaves = amount::counted(log.size, "leaf", "leaves");
    let mut text = format!("{leaves} in {}", escape::line(&log.origin));
    if log.waiting > 0 {
        let waiting = amount::count(log.waiting);
        text.push_str(&format!(", {waiting} wait for their place"));
    }
    for witness in &log.witnesses {
        let seen = witness.size.map_or("nothing yet".to_owned(), amount::count);
        text.push_str(&format!(
            "; {} cosigned {seen}",
            escape::line(&witness.name)
        ));
    }
    if let Some(size) = log.public {
        text.push_str(&format!("; {} in a public log", amount::count(size)));
    }
    text
}
