//! What keeps a daemon from signing a second history: its register, which does not lie with the data, and the witnesses.
//!
//! Who restores the data from a copy seldom restores the authority's directory with it, where the register is kept unless it is elsewhere. That is no
//! defence against whoever restores both: that takes a witness, or a register of another machine.

use std::io;
use std::path::Path;

use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::Signed;
use atlas_manifests::log::operator::{LogKey, key_file, usual_origin};
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::log::recovery::OpenError;
use atlas_manifests::log::register::posix::Posix;
use atlas_manifests::log::register::{Register, RegisterError};
use atlas_manifests::set::empty_head;

use super::Ground;
use super::settings::Settings;

const REMEDY: &str =
    "restore the node's newest state, or begin a new one: move the node's directory away";

/// The published checkpoint; `None`: nothing was logged yet.
pub(super) fn published(ground: &Ground<'_>) -> Result<Option<Checkpoint>, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}/checkpoint: {e}", ground.named.display());
    match std::fs::read(ground.dir.join("checkpoint")) {
        Ok(bytes) => Checkpoint::parse(&bytes).map(Some).map_err(|e| named(&e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(named(&e)),
    }
}

/// The log's name: the one that it has, else the one that is wished for.
pub(super) fn origin(
    ground: &Ground<'_>,
    published: Option<&Checkpoint>,
    settings: &Settings,
) -> Result<String, String> {
    let wished = settings.origin.clone();
    match (published.map(|c| c.head.origin.clone()), wished) {
        (Some(has), Some(wished)) if has != wished => Err(format!(
            "this node's log is named {has}, and a log keeps its name: leave --log-origin out"
        )),
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(usual_origin(ground.node)),
    }
}

/// The log's key. A log that has begun is signed by the key that it began with, or by none.
pub(super) fn key(
    ground: &Ground<'_>,
    published: Option<&Checkpoint>,
    origin: &str,
) -> Result<LogKey, String> {
    let file = key_file(ground.authority_dir, ground.node);
    let other = || {
        format!(
            "{}: the log of this node was signed with another key than {}: put back the authority's directory that it was made with, or begin a new node: move {} away",
            ground.named.display(),
            file.display(),
            ground.named.parent().unwrap_or(ground.named).display()
        )
    };
    if published.is_some() && !file.exists() {
        return Err(other());
    }
    let key = LogKey::open_or_create(ground.authority, ground.authority_dir, ground.node, origin)
        .map_err(|e| e.to_string())?;
    match published {
        Some(now) if now.signed_by_log(&key.verifier_key()) != Signed::Yes => Err(other()),
        _ => Ok(key),
    }
}

/// Where the newest checkpoint stands.
pub(super) fn register(
    ground: &Ground<'_>,
    published: Option<&Checkpoint>,
    settings: &Settings,
) -> Result<Box<dyn Register>, String> {
    let file = format!("log-{}.register", ground.node);
    let own = ground.authority_dir.join(file);
    let Some(address) = &settings.register else {
        let register = Posix::open(&own).map_err(|e| e.to_string())?;
        return Ok(Box::new(register));
    };
    let elsewhere = atlas_net::register::open(address).map_err(|e| e.to_string())?;
    if published.is_some() && own.exists() {
        adopt(&own, &*elsewhere).map_err(|e| e.to_string())?;
    }
    Ok(elsewhere)
}

/// A log that moves to a new register takes along what its own one held.
fn adopt(own: &Path, elsewhere: &dyn Register) -> Result<(), RegisterError> {
    if elsewhere.load()?.is_some() {
        return Ok(());
    }
    let Some(held) = Posix::open(own)?.load()? else {
        return Ok(());
    };
    // Whoever was first there is judged when the log is opened.
    let _ = elsewhere.swap(None, &held)?;
    tracing::info!(
        "the log's newest checkpoint stands in {} from now on",
        elsewhere.name()
    );
    Ok(())
}

/// Why a log cannot be opened, and what to do about it.
pub(super) fn unopened(error: &OpenError, settings: &Settings) -> String {
    match error {
        OpenError::RegisterBehind { .. } if settings.register.is_none() => {
            format!("{error}; if this node was mounted with --log-register before, give it again")
        }
        _ => error.to_string(),
    }
}

/// Whether the log in `dir`, whose head is `now`, extends what somebody remembers of it.
pub(super) fn extends(
    dir: &Path,
    named: &Path,
    who: &str,
    then: &Checkpoint,
    now: Option<&Checkpoint>,
) -> Result<(), String> {
    let was = then.head.head;
    let is = now.map_or_else(empty_head, |c| c.head.head);
    let heads = format!(
        "{who} has {} leaves with the root {}, the log in {} has {} with {}",
        was.size,
        was.root,
        named.display(),
        is.size,
        is.root
    );
    if now.is_some_and(|now| then.head.origin != now.head.origin) {
        return Err(format!("{who} is about another log: {}", then.head.origin));
    }
    if was.size > is.size {
        return Err(format!(
            "the log is older than what was signed before, as if this disk came from a copy: {heads}: {REMEDY}"
        ));
    }
    let same = if was.size == is.size {
        is.root
    } else {
        LogReader::open(Directory::new(dir))
            .and_then(|log| log.root(was.size))
            .map_err(|e| e.to_string())?
    };
    if same != was.root {
        return Err(format!(
            "the log is another history than the one that was signed before: {heads}: {REMEDY}"
        ));
    }
    Ok(())
}
