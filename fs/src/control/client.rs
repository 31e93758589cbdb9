//! A caller of the control channel, as `umount` needs one. Not atlasctl's: that crate may not depend on this one.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use atlas_manifests::wire::{Ask, Reply, Request, Say, VERSION};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers, or no longer.
    #[error("the daemon does not answer: {0}")]
    Io(#[from] io::Error),
    /// What came is not a reply.
    #[error("the daemon's answer cannot be understood: {0}")]
    NotAReply(#[from] serde_json::Error),
}

/// One connection to a daemon.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects. Each reply is waited for at most `patience`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// From now on each reply is waited for at most `patience`.
    ///
    /// # Errors
    /// When it is zero.
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), ClientError> {
        Ok(self.stream.get_ref().set_read_timeout(Some(patience))?)
    }

    /// Asks, and gives the first reply.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub fn ask(&mut self, ask: Ask) -> Result<Say, ClientError> {
        let mut line = serde_json::to_vec(&Request { v: VERSION, ask })?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        self.reply()
    }

    /// The next reply to the last request.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub fn reply(&mut self) -> Result<Say, ClientError> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_slice::<Reply>(&line)?.say)
    }
}
