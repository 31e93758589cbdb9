//! The socket's server: accepts, counts, reads requests, writes replies. It never dies of what a peer sends.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atlas_manifests::wire::{Reply, Say, VERSION};

use super::line::{IDLE, Line, Lines, parse};
use super::peer::is_owner;
use super::place::make_dir;
use super::{Handler, Peer};

/// So many connections are served at once; one more is told to come back.
pub const MAX_CONNECTIONS: usize = 64;
/// So many of them may belong to users other than root and the daemon's own: they never shut these two out.
pub const MAX_OTHERS: usize = 48;
/// So many of them may belong to one such user: nobody shuts the others out.
pub const MAX_PER_USER: usize = 16;

/// Why the socket could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another daemon answers there.
    #[error("{}: another daemon answers on this control socket", .0.display())]
    Taken(PathBuf),
    /// Something that is not a socket of ours lies there.
    #[error("{}: not a socket of this user: remove it and mount again", .0.display())]
    NotOurs(PathBuf),
    /// The system refused.
    #[error("{}: cannot serve the control socket: {source}", path.display())]
    Io {
        /// The socket, or its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A served socket. Dropping it stops it.
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Arc<dyn Handler>,
    stopping: AtomicBool,
    /// Held only to add, remove and count; never while a peer is read, written or answered.
    open: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    streams: HashMap<u64, (u32, UnixStream)>,
}

/// Serves `handler` at `path`, which becomes a socket that everybody may connect to: each request is judged by who asks.
///
/// # Errors
/// When another daemon answers there, or the path cannot be used. A socket of ours that nobody answers is replaced.
pub fn serve(path: &Path, handler: Arc<dyn Handler>) -> Result<Server, ServeError> {
    let io_error = |source| ServeError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        make_dir(dir).map_err(|source| ServeError::Io {
            path: dir.to_owned(),
            source,
        })?;
    }
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(io_error)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(io_error)?;
    let shared = Arc::new(Shared {
        handler,
        stopping: AtomicBool::new(false),
        open: Mutex::default(),
    });
    let theirs = Arc::clone(&shared);
    let accepting = thread::Builder::new()
        .name("atlas-control".into())
        .spawn(move || accept(&listener, &theirs))
        .map_err(io_error)?;
    Ok(Server {
        path: path.to_owned(),
        shared,
        accepting: Some(accepting),
    })
}

impl Server {
    /// Where it is served.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket, then closes every connection: who waits for the end of its own finds nobody answering there any more. Requests
    /// that are being answered find their peer gone.
    pub fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees the flag.
        let woken = UnixStream::connect(&self.path).is_ok();
        if woken && accepting.join().is_err() {
            tracing::error!("the control socket's thread panicked");
        }
        // Somebody may have removed it; then there is nothing to remove.
        let _ = fs::remove_file(&self.path);
        for (_, stream) in self.shared.connections().streams.values() {
            // A peer that is gone already cannot be shut down, and need not be.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        // A panic cannot leave the map half changed: each use is one insert, one remove or one count.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for this peer, or why there is none.
    fn admit(&self, peer: &Peer, stream: &UnixStream) -> Result<u64, String> {
        let mut open = self.connections();
        refusal(peer.uid, open.streams.values().map(|(uid, _)| *uid)).map_or(Ok(()), Err)?;
        let copy = stream.try_clone().map_err(|e| e.to_string())?;
        let id = open.next;
        open.next += 1;
        open.streams.insert(id, (peer.uid, copy));
        Ok(id)
    }
}

/// Why user `uid` gets no further connection beside those that `open` lists by user; `None` when it does.
fn refusal(uid: u32, open: impl Iterator<Item = u32> + Clone) -> Option<String> {
    let others = open.clone().filter(|u| !is_owner(*u)).count();
    if open.clone().count() >= MAX_CONNECTIONS || (!is_owner(uid) && others >= MAX_OTHERS) {
        let all = open.count();
        return Some(format!(
            "{all} connections are open already: try again later"
        ));
    }
    if !is_owner(uid) && open.filter(|u| *u == uid).count() >= MAX_PER_USER {
        return Some(format!(
            "user {uid} has {MAX_PER_USER} connections open already: close one"
        ));
    }
    None
}

/// Removes a socket that nobody answers, when it is ours.
fn clear(path: &Path) -> Result<(), ServeError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(ServeError::NotOurs(path.to_owned()));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(ServeError::Taken(path.to_owned()));
    }
    fs::remove_file(path).map_err(|source| ServeError::Io {
        path: path.to_owned(),
        source,
    })
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Out of descriptors, or the peer left before we came. Either passes; a spin would not help.
                tracing::warn!("control socket: {e}");
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if let Err(e) = admit(stream, shared) {
            tracing::warn!("control socket: {e}");
        }
    }
}

/// Gives the peer a thread of its own, or tells it why not. Never blocks: one short line fits into a fresh socket.
fn admit(stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    // A peer that does not read its answers is given up; nothing else waits for it meanwhile.
    stream.set_write_timeout(Some(IDLE))?;
    let peer = Peer::of(&stream)?;
    let id = match shared.admit(&peer, &stream) {
        Ok(id) => id,
        Err(text) => return send(&stream, Say::Error { text, code: 1 }),
    };
    let place = Place(Arc::clone(shared), id);
    thread::Builder::new()
        .name("atlas-peer".into())
        .spawn(move || {
            if let Err(e) = converse(&stream, &peer, &place.0) {
                tracing::debug!("control connection: {e}");
            }
        })?;
    Ok(())
}

/// Removes the connection when it ends, however it ends.
struct Place(Arc<Shared>, u64);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections().streams.remove(&self.1);
    }
}

fn converse(stream: &UnixStream, peer: &Peer, shared: &Shared) -> io::Result<()> {
    let mut lines = Lines::new();
    loop {
        let mut from = stream;
        let line = match lines.next(&mut from, |left| stream.set_read_timeout(Some(left)))? {
            Line::Whole(line) => line,
            Line::End => return Ok(()),
            Line::TooLong => {
                let text = "a request longer than 4 MiB: ask for less at once".into();
                return send(stream, Say::Error { text, code: 2 });
            }
        };
        if shared.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        if !peer.alive() {
            let text = "the process that opened this connection has ended: connect again".into();
            return send(stream, Say::Error { text, code: 1 });
        }
        match parse(&line) {
            Ok(ask) => shared
                .handler
                .answer(peer.clone(), ask, &mut |say| send(stream, say))?,
            Err(say) => send(stream, *say)?,
        }
    }
}

fn send(stream: &UnixStream, say: Say) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, stream);
    serde_json::to_writer(&mut out, &Reply { v: VERSION, say })?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
