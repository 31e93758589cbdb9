//! What keeps a daemon from signing a second history: its register, and a memory of the newest head that does not lie with the data.
//!
//! Who restores the data from a copy seldom restores the authority's directory with it. Neither is a defence against whoever restores both:
//! that takes a witness, or a register of another machine.

use std::io;
use std::path::{Path, PathBuf};

use atlas_manifests::id::NodeId;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::{Signed, VerifierKey};
use atlas_manifests::log::operator::usual_origin;
use atlas_manifests::log::reader::{Directory, LogReader};
use atlas_manifests::log::register::{Register, posix};
use atlas_manifests::set::empty_head;

use super::Ground;
use super::settings::Settings;
use crate::mount::state::replace;

const REMEDY: &str =
    "restore the node's newest state, or begin a new one: move the node's directory away";

/// The log's name: the one that it has, else the one that is wished for.
pub(super) fn origin(ground: &Ground<'_>, settings: &Settings) -> Result<String, String> {
    let wished = settings.origin.clone();
    let named = |e: &dyn std::fmt::Display| format!("{}/checkpoint: {e}", ground.named.display());
    let has = match std::fs::read(ground.dir.join("checkpoint")) {
        Ok(bytes) => {
            let read = Checkpoint::parse(&bytes).map_err(|e| named(&e))?;
            Some(read.head.origin)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(named(&e)),
    };
    match (has, wished) {
        (Some(has), Some(wished)) if has != wished => Err(format!(
            "this node's log is named {has}, and a log keeps its name: leave --log-origin out"
        )),
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(usual_origin(ground.node)),
    }
}

/// Where the newest checkpoint stands.
pub(super) fn register(dir: &Path, settings: &Settings) -> Result<Box<dyn Register>, String> {
    match &settings.register {
        None => {
            let register = posix::Posix::open(&dir.join("register"));
            Ok(Box::new(register.map_err(|e| e.to_string())?))
        }
        Some(address) => atlas_net::register::open(address).map_err(|e| e.to_string()),
    }
}

/// The newest checkpoint that this machine signed, kept beside the authority's key.
pub(super) struct Memory {
    path: PathBuf,
    key: VerifierKey,
}

impl Memory {
    pub(super) fn of(authority_dir: &Path, node: NodeId, key: VerifierKey) -> Self {
        Self {
            path: authority_dir.join(format!("log-{node}.head")),
            key,
        }
    }

    /// Whether a log that was just opened goes on from what is remembered.
    ///
    /// # Errors
    /// When it does not: this disk is older, or another history. One line, with both heads.
    pub(super) fn compare(
        &self,
        ground: &Ground<'_>,
        now: Option<&Checkpoint>,
    ) -> Result<(), String> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(format!("{}: {e}", self.path.display())),
        };
        let damaged = || {
            format!(
                "{}: is not a checkpoint that this node signed: if you know why, remove it",
                self.path.display()
            )
        };
        let then = Checkpoint::parse(&bytes).map_err(|_| damaged())?;
        if then.signed_by_log(&self.key) != Signed::Yes {
            return Err(damaged());
        }
        let memory = format!("this machine's memory ({})", self.path.display());
        extends(ground, &memory, &then, now)
    }

    /// Remembers. What cannot be kept is said: it is a second line of defence.
    pub(super) fn keep(&self, now: Option<&Checkpoint>) {
        let Some(now) = now else { return };
        if let Err(e) = replace(&self.path, &now.encode()) {
            tracing::warn!("{}: {e}", self.path.display());
        }
    }
}

/// Whether the log in `dir`, whose head is `now`, extends what somebody remembers of it.
pub(super) fn extends(
    ground: &Ground<'_>,
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
        ground.named.display(),
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
        LogReader::open(Directory::new(ground.dir))
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
