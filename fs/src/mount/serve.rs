//! `atlas-fs mount` from beginning to end: check, make ready, split, mount, answer, live, let go. The order of things; each is done elsewhere.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use atlas_manifests::layout::Layout;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};

use super::checks::{Ground, examine, taken};
use super::daemon::{Role, Server, split};
use super::detach::{KernelMount, MountPoint as _};
use super::lifecycle::{Door, Event, Life};
use super::state::{Ready, Wanted, make_ready, trust_dir};
use super::{Parts, Plan, log, notify, signals};
use crate::attest::secrecy::keep_memory_private;
use crate::control::{serve, socket_path};
use crate::failure::{Failure, shown};
use crate::options::MountOptions;

/// What no mount has files for; the kernel allows no process more unless told so (`fs.nr_open`).
const DESCRIPTORS: u64 = 1 << 20;

/// Mounts. In the background it returns when the mount answers, in the foreground when it has ended.
///
/// The process must have no other threads yet.
///
/// # Errors
/// What stood in the way; nothing is mounted then.
pub fn mount(
    options: MountOptions,
    parts: &dyn Parts,
    say: &mut dyn FnMut(&str),
) -> Result<ExitCode, Failure> {
    // Before any key is read. Both processes of `split` inherit it.
    keep_memory_private()
        .map_err(|e| Failure::other(format!("the memory cannot be kept private: {e}")))?;
    let ground = examine(&options, say)?;
    parts.check(&options, &ground)?;
    let behind = |path: &Path| ground.behind(path);
    let ready = make_ready(
        &Wanted {
            state: &behind(&ground.state),
            state_named: &ground.state,
            node_state: ground.node_state.as_deref().map(behind).as_deref(),
            authority: &ground.authority,
            trust: &trust_dir()?,
            pin: false,
        },
        say,
    )?;
    unlocked(&ready.layout, &ground)?;
    for warning in &ground.warnings {
        say(&format!("warning: {warning}"));
    }
    let role = split(&ground.mountpoint, options.foreground)
        .map_err(|e| Failure::other(format!("cannot start a process: {e}")))?;
    let server = match role {
        Role::Watcher(watcher) => {
            let seen = watcher.watch();
            // In the foreground the other process tells what was found here.
            return if options.foreground {
                Ok(ExitCode::SUCCESS)
            } else {
                seen.map(|()| ExitCode::SUCCESS)
            };
        }
        Role::Server(server) => server,
    };
    live(server, options, ground, ready, parts)
}

/// Before anybody is made to wait: the state is not another daemon's. The lock itself is taken by the process that keeps it.
fn unlocked(layout: &Layout, ground: &Ground) -> Result<(), Failure> {
    let node = layout.own_node().map_err(Failure::other)?;
    match node.and_then(|node| layout.holder(node)) {
        Some(pid) => Err(taken(&ground.source, pid)),
        None => Ok(()),
    }
}

/// The serving process, from the split to its end.
fn live(
    server: Server,
    options: MountOptions,
    ground: Ground,
    ready: Ready,
    parts: &dyn Parts,
) -> Result<ExitCode, Failure> {
    // Modes come from the callers' requests, already under their own umask.
    rustix::process::umask(Mode::empty());
    raise_descriptors();
    let mountpoint = ground.mountpoint.clone();
    let drain = options.drain;
    let socket = socket_path(&ground.state);
    let started = (|| {
        let lock = ready.layout.claim().map_err(Failure::other)?;
        let file = match &ground.log_file {
            Some(file) => Some(file.clone()),
            None => server.background().then(|| lock.dir().join("daemon.log")),
        };
        let log = log::start(options.log_level, file.as_deref()).map_err(|e| {
            let file = file.as_deref().unwrap_or(Path::new("stderr"));
            Failure::other(format!("{}: the log cannot be written: {e}", shown(file)))
        })?;
        let (send, receive) = channel();
        let listening = signals::listen(send.clone())
            .map_err(|e| Failure::other(format!("signals cannot be handled: {e}")))?;
        let plan = Plan {
            options,
            ground,
            ready,
            lock,
            socket: socket.clone(),
        };
        Ok((log, send, receive, listening, parts.start(plan)?))
    })();
    let (log, events, receive, listening, mounted) = match started {
        Ok(started) => started,
        Err(failure) => return said(server.failed(failure)),
    };
    let prepared = (|| {
        let point = KernelMount::find(&mountpoint).map_err(Failure::other)?;
        let door = Arc::new(Door {
            inner: mounted.handler(),
            events: events.clone(),
            mountpoint: mountpoint.clone(),
        });
        match serve(&socket, door) {
            Ok(control) => Ok((point, control)),
            Err(e) => {
                abandon(&point);
                Err(Failure::other(e))
            }
        }
    })();
    let (point, mut control) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            mounted.stop();
            return said(server.failed(failure));
        }
    };
    let session = Arc::clone(&mounted);
    let waiting = thread::Builder::new()
        .name("atlas-session".into())
        .spawn(move || {
            session.wait();
            // Nobody listens any more when the life has ended first.
            let _ = events.send(Event::Gone);
        });
    let answered = waiting
        .map(drop)
        .map_err(|e| Failure::other(format!("cannot start a thread: {e}")))
        .and_then(|()| server.made());
    if let Err(failure) = answered {
        abandon(&point);
        control.stop();
        mounted.stop();
        return Err(failure);
    }
    tracing::info!("mounted at {}", shown(&mountpoint));
    tell("READY=1");
    Life::new(&*mounted, &point, receive, drain, &|| log.reopen()).run();
    tell("STOPPING=1");
    mounted.stop();
    // Last: `umount` waits for the end of its connection, and the next mount may then begin.
    control.stop();
    drop(listening);
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// As many descriptors as may be had: in inline mode each open file of a job is one of the daemon's. The soft limit is low for programs that
/// use select(2), which this one does not; the hard one is raised with CAP_SYS_RESOURCE only.
fn raise_descriptors() {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let most = now.maximum.map(|most| most.max(DESCRIPTORS));
    for maximum in [most, now.maximum] {
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        if rustix::process::setrlimit(Resource::Nofile, limit).is_ok() {
            return;
        }
    }
    // With fewer it works too, for fewer files at a time.
}

/// The exit code of a server whose failure the waiting process has said, or the failure.
fn said(failure: Option<Failure>) -> Result<ExitCode, Failure> {
    match failure {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::FAILURE),
    }
}

/// Takes away a mount that nobody was told of.
fn abandon(point: &KernelMount) {
    if let Err(e) = point.detach(true) {
        tracing::error!("{}: cannot be detached: {e}", shown(&point.point));
    }
}

fn tell(state: &str) {
    if let Err(e) = notify::notify(state) {
        tracing::warn!("systemd cannot be told {state}: {e}");
    }
}
