//! The control channel (CONTRACTS 4): a UNIX socket, one JSON request and one or more JSON replies a line. Not what is answered: see `Handler`.

mod client;
mod line;
mod peer;
mod place;
mod server;

use std::io;

use atlas_manifests::wire::{Ask, Say};

pub use client::{Client, ClientError};
pub use line::{IDLE, MAX_REQUEST};
pub use peer::Peer;
pub use place::{socket_dir, socket_path, sockets, state_id};
pub use server::{MAX_CONNECTIONS, MAX_OTHERS, MAX_PER_USER, ServeError, Server, serve};

/// Answers requests. Called on a connection's own thread, never on a FUSE thread; may take as long as the request takes.
pub trait Handler: Send + Sync {
    /// Answers one request by at least one call of `say`. What the peer may not see as itself is left out here.
    ///
    /// # Errors
    /// Only what `say` returned: the peer is gone, and the connection is closed.
    fn answer(
        &self,
        peer: Peer,
        ask: Ask,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()>;
}
