//! How a mount ends: by a signal, by `atlas-fs umount`, or because somebody detached it (CONTRACTS 5). Decisions and waiting; no system calls.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use atlas_manifests::wire::{Ask, Say};

use super::detach::MountPoint;
use super::{Mounted, Writer, holders};
use crate::control::{Handler, Peer};
use crate::failure::shown;

/// How often a wait looks up.
const SLICE: Duration = Duration::from_millis(250);

/// Something that concerns a mount's life.
#[derive(Debug)]
pub enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reopen,
    /// The kernel has ended the session.
    Gone,
    /// `atlas-fs umount`.
    Unmount(Asked),
}

/// A request to unmount, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// Although somebody holds it.
    pub force: bool,
    /// Instead of the mount's own time for sealing.
    pub drain: Option<Duration>,
    /// Hears `Ok` when it is detached, or why it is not.
    pub answer: SyncSender<Result<(), String>>,
}

/// A mount's life from the moment it answers.
pub struct Life<'a> {
    mounted: &'a dyn Mounted,
    point: &'a dyn MountPoint,
    events: Receiver<Event>,
    drain: Duration,
    reopen: &'a dyn Fn(),
    /// Signals to stop so far.
    stops: u32,
    /// Somebody asked with force.
    force: bool,
    /// The session has ended.
    gone: bool,
    /// Asked to unmount while the mount was ending already.
    waiting: Vec<SyncSender<Result<(), String>>>,
}

impl<'a> Life<'a> {
    /// `drain`: how long sealing may take at the end. `reopen` opens the log file again.
    pub fn new(
        mounted: &'a dyn Mounted,
        point: &'a dyn MountPoint,
        events: Receiver<Event>,
        drain: Duration,
        reopen: &'a dyn Fn(),
    ) -> Self {
        Self {
            mounted,
            point,
            events,
            drain,
            reopen,
            stops: 0,
            force: false,
            gone: false,
            waiting: Vec::new(),
        }
    }

    /// Lives until the mount is detached and what was queued is sealed, or journaled. Then `Mounted::stop` is due.
    pub fn run(mut self) {
        while let Ok(event) = self.events.recv() {
            match event {
                Event::Reopen => (self.reopen)(),
                Event::Stop => {
                    self.stops += 1;
                    self.stop();
                    break;
                }
                Event::Gone => {
                    tracing::info!("detached by somebody else");
                    self.gone = true;
                    self.seal(self.drain);
                    break;
                }
                Event::Unmount(asked) => {
                    let done = self.unmount(&asked);
                    let detached = done.is_ok();
                    // Who asked may be gone by now.
                    let _ = asked.answer.send(done);
                    if detached {
                        break;
                    }
                }
            }
        }
        for answer in self.waiting.drain(..) {
            let _ = answer.send(Ok(()));
        }
    }

    /// On request: all or nothing. While somebody holds the mount it goes on as before.
    fn unmount(&mut self, asked: &Asked) -> Result<(), String> {
        if !asked.force {
            self.free()?;
        }
        self.mounted.refuse_opens(true);
        let done = self.unmount_refusing(asked);
        if done.is_err() {
            self.mounted.refuse_opens(false);
            for answer in self.waiting.drain(..) {
                let _ = answer.send(done.clone());
            }
        }
        done
    }

    fn unmount_refusing(&mut self, asked: &Asked) -> Result<(), String> {
        self.seal(asked.drain.unwrap_or(self.drain));
        let force = asked.force || self.force;
        if self.gone {
            return Ok(());
        }
        if !force {
            // Somebody may have come between the first look and the refusal of opens.
            self.free()?;
        }
        match self.point.detach(force) {
            Ok(()) => {
                tracing::info!("detached on request");
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Err(self.busy()),
            Err(e) => Err(format!("cannot be detached: {e}")),
        }
    }

    /// Nobody holds the mount, or who does.
    fn free(&self) -> Result<(), String> {
        let writers = self.mounted.writers();
        if !writers.is_empty() {
            return Err(format!(
                "still written by {}: let them finish, or use --force, which leaves their files incomplete",
                named(&writers)
            ));
        }
        if self.point.holders().is_empty() {
            Ok(())
        } else {
            Err(self.busy())
        }
    }

    fn busy(&self) -> String {
        let holders = self.point.holders();
        let who = if holders.is_empty() {
            "somebody that this user may not see".into()
        } else {
            holders::listed(&holders)
        };
        format!("in use by {who}: let them finish, or use --force")
    }

    /// On a signal: as soon as nobody writes any more, without a way back.
    fn stop(&mut self) {
        self.mounted.refuse_opens(true);
        tracing::info!("ending: new opens are refused");
        let mut told = None;
        while !self.gone && !self.force {
            let writers = self.mounted.writers();
            if writers.is_empty() {
                break;
            }
            let now = Some((writers, self.stops));
            if now != told {
                if let Some((writers, _)) = &now {
                    tracing::warn!(
                        "not detached while it is written by {}; `atlas-fs umount --force` would leave their files incomplete",
                        named(writers)
                    );
                }
                told = now;
            }
            self.look_up(SLICE);
        }
        self.seal(self.drain);
        if !self.gone {
            self.leave();
        }
    }

    /// Detaches; readers keep what they have open for as long as sealing might have taken, then the session ends under them.
    fn leave(&mut self) {
        let detached = self.point.detach(self.force);
        match detached {
            Ok(()) => tracing::info!("detached"),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                tracing::warn!("still {}", self.busy());
                if let Err(e) = self.point.detach(true) {
                    tracing::error!("cannot be detached, the next mount will clear it away: {e}");
                    return;
                }
                let deadline = Instant::now() + self.drain;
                while !self.gone && !self.hurried() && Instant::now() < deadline {
                    self.look_up(SLICE);
                }
            }
            Err(e) => {
                tracing::error!("cannot be detached, the next mount will clear it away: {e}");
            }
        }
    }

    /// Seals what is queued for at most so long, in slices, so that a second signal is heard.
    fn seal(&mut self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut sealed = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let hurry = left.is_zero() || self.hurried();
            let drained = self.mounted.drain(if hurry {
                Duration::ZERO
            } else {
                left.min(SLICE)
            });
            sealed += drained.sealed;
            if drained.left == 0 || hurry {
                tracing::info!(
                    "{sealed} versions sealed at the end, {} left for the next mount",
                    drained.left
                );
                return;
            }
            self.look_up(Duration::ZERO);
        }
    }

    /// A second signal.
    fn hurried(&self) -> bool {
        self.stops > 1
    }

    /// Takes note of one event, waiting at most so long for it.
    fn look_up(&mut self, at_most: Duration) {
        match self.events.recv_timeout(at_most) {
            Ok(Event::Stop) => {
                self.stops += 1;
                tracing::info!("hurried by a second signal");
            }
            Ok(Event::Reopen) => (self.reopen)(),
            Ok(Event::Gone) => self.gone = true,
            Ok(Event::Unmount(asked)) => {
                self.force |= asked.force;
                self.waiting.push(asked.answer);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody can ask or signal any more; writers and sealing go on.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(at_most),
        }
    }
}

/// In words, for one line: at most three by name.
fn named(writers: &[Writer]) -> String {
    let mut text: Vec<String> = writers
        .iter()
        .take(3)
        .map(|w| {
            let path = shown(&w.path);
            match w.pid {
                0 => format!("a process outside the daemon's pid namespace ({path})"),
                pid => format!("{} (process {pid}: {path})", holders::name_of(pid)),
            }
        })
        .collect();
    if writers.len() > 3 {
        text.push(format!("and {} more", writers.len() - 3));
    }
    text.join(", ")
}

/// Answers `Unmount` and passes everything else on.
pub struct Door {
    /// Answers the rest.
    pub inner: Arc<dyn Handler>,
    /// Where `Life` hears of it.
    pub events: Sender<Event>,
    /// Named in answers.
    pub mountpoint: PathBuf,
}

impl Handler for Door {
    fn answer(
        &self,
        peer: Peer,
        ask: Ask,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()> {
        let Ask::Unmount { force, drain_ms } = ask else {
            return self.inner.answer(peer, ask, say);
        };
        let error = |text: String| Say::Error { text, code: 1 };
        if !peer.is_owner() {
            let uid = rustix::process::geteuid().as_raw();
            return say(error(format!(
                "{}: only root and user {uid}, who mounted it, may unmount it",
                shown(&self.mountpoint)
            )));
        }
        let (answer, answered) = sync_channel(1);
        let asked = Asked {
            force,
            drain: drain_ms.map(Duration::from_millis),
            answer,
        };
        // When nobody listens or answers any more, the mount has ended meanwhile.
        let done = match self.events.send(Event::Unmount(asked)) {
            Ok(()) => answered.recv().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        };
        say(match done {
            Ok(()) => Say::Done,
            Err(text) => error(format!("{}: {text}", shown(&self.mountpoint))),
        })
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
