//! `atlasctl log revoke`: has a daemon say in its log that something is not to be believed any more. Takes nothing out of the log: nothing can.

use std::path::Path;

use atlas_manifests::wire::{Ask, Say};
use serde::Serialize;

use super::prove::manifest;
use crate::cli::{Global, LogRevokeArgs};
use crate::client::Client;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};
use crate::view::out::{self, Out};

#[derive(Serialize)]
struct Document {
    revoked: String,
    reason: String,
}

/// Revokes it.
pub(super) fn revoke(
    args: &LogRevokeArgs,
    global: &Global,
    out: &mut Out,
) -> Result<Code, Failure> {
    let manifest = match &args.what {
        Some(what) => Some(manifest(what, global)?.0),
        None => None,
    };
    let client = daemon(args)?;
    let ask = Ask::Revoke {
        manifest,
        instance: args.instance,
        reason: args.reason.clone(),
    };
    match client.ask(ask)? {
        Say::Done => {}
        _ => return Err(client.unexpected().into()),
    }
    let instance = args.instance.map(|i| format!("instance {i}"));
    let revoked = manifest.map(|m| m.to_string()).or(instance);
    let document = Document {
        revoked: revoked.unwrap_or_default(),
        reason: args.reason.clone(),
    };
    if global.json {
        out.json(&document)?;
    } else {
        out::say(&format!(
            "{} is revoked ({}): verify refuses it from now on, wherever the log is seen",
            document.revoked, document.reason
        ));
    }
    Ok(Code::OK)
}

/// Only a daemon writes a log: that of the file, of `--at`, or of the working directory.
fn daemon(args: &LogRevokeArgs) -> Result<Client, Failure> {
    let named = args.at.as_deref();
    let file = args.what.as_deref().map(Path::new).filter(|p| p.exists());
    let here = named.or(file).unwrap_or(Path::new("."));
    match place::locate(here)?.place {
        Place::Live { status, .. } => Ok(Client::connect(status.socket.as_path())?),
        _ => Err(Failure::new(
            Code::NO_DAEMON,
            format!(
                "{}: not on a live mount, whose daemon alone writes its log: name it with --at MOUNTPOINT",
                here.display()
            ),
        )),
    }
}
