//! `atlasctl sync`: waits until what was closed by now is sealed.

use std::path::Path;
use std::time::{Duration, Instant};

use atlas_manifests::wire::{Ask, Say};
use serde::Serialize;

use crate::cli::SyncArgs;
use crate::client::Client;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};
use crate::view::amount;
use crate::view::out::Out;
use crate::view::progress::Progress;

/// One question waits at most this long, so that Ctrl-C and the progress line come through.
const STEP: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Document {
    pending: u64,
}

/// Waits; code 1 when the time is over and something is still on its way.
pub(crate) fn sync(args: &SyncArgs, json: bool, out: &mut Out) -> Result<Code, Failure> {
    let clients = clients(args)?;
    let end = Instant::now() + Duration::from_secs(args.timeout);
    let mut progress = Progress::new();
    let mut pending = 0;
    for client in &clients {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let now = ask(client, left.min(STEP))?;
            if now == 0 || left.is_zero() {
                pending += now;
                break;
            }
            progress.set(|| format!("{} to seal", amount::counted(now, "version", "versions")));
        }
    }
    progress.clear();
    if json {
        out.json(&Document { pending })?;
    }
    if pending > 0 {
        let text = format!(
            "sync: {} not sealed after {} s: see atlasctl status",
            amount::counted(pending, "version is", "versions are"),
            args.timeout
        );
        return Err(Failure::error(text));
    }
    Ok(Code::OK)
}

fn ask(client: &Client, wait: Duration) -> Result<u64, Failure> {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    match client.ask(Ask::Sync { wait_ms })? {
        Say::Synced { pending } => Ok(pending),
        _ => Err(client.unexpected().into()),
    }
}

/// The daemon of the path; without one that of the working directory, else all.
fn clients(args: &SyncArgs) -> Result<Vec<Client>, Failure> {
    let here = args.at.as_deref().unwrap_or(Path::new("."));
    if let Place::Live { status, .. } = place::locate(here)?.place {
        return Ok(vec![Client::connect(status.socket.as_path())?]);
    }
    let all: Vec<_> = place::daemons()
        .into_iter()
        .map(|(client, _)| client)
        .collect();
    if args.at.is_some() || all.is_empty() {
        let here = here.display();
        return Err(Failure::new(
            Code::NO_DAEMON,
            format!("{here}: not on a live mount: start one with atlas-fs mount SOURCE MOUNTPOINT"),
        ));
    }
    Ok(all)
}
