//! Who is at the other end of a connection, as the kernel says it. Nothing that the peer says about itself.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A connected process, as it was when it connected (SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD).
#[derive(Debug, Clone)]
pub struct Peer {
    /// Process id in the daemon's pid namespace; 0 when it is outside.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Names the process for as long as it is held, whatever becomes of its pid; `None` before Linux 6.5.
    pub pidfd: Option<Arc<OwnedFd>>,
}

impl Peer {
    /// Asks the kernel who connected.
    ///
    /// # Errors
    /// When the kernel does not tell, which a connected UNIX socket never does.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let who = rustix::net::sockopt::socket_peercred(stream)?;
        Ok(Self {
            pid: who.pid.as_raw_nonzero().get(),
            uid: who.uid.as_raw(),
            gid: who.gid.as_raw(),
            groups: groups(stream.as_raw_fd())?,
            pidfd: pidfd(stream.as_raw_fd()).map(Arc::new),
        })
    }

    /// False once the process that connected has ended: its pid may by now be another's, and who writes to the socket inherited it.
    /// True when it cannot be told.
    pub fn alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return true;
        };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0)
    }

    /// True when the peer is root or the user that this process runs as.
    pub fn is_owner(&self) -> bool {
        is_owner(self.uid)
    }
}

/// True of root and of the user that this process runs as.
pub(super) fn is_owner(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// The supplementary groups of the peer; the list is asked for again with more room when it was too long.
fn groups(socket: RawFd) -> io::Result<Vec<u32>> {
    let mut room = vec![0u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(room.len() * size_of::<u32>())
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: `room` is valid for writes of `bytes` bytes, and the kernel writes no more than it is told.
        let rc = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                room.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let got = bytes as usize / size_of::<u32>();
        if rc == 0 {
            room.truncate(got);
            return Ok(room);
        }
        let error = io::Error::last_os_error();
        // A process has at most 65,536 groups (NGROUPS_MAX).
        if error.raw_os_error() != Some(libc::ERANGE) || got <= room.len() || got > 1 << 16 {
            return Err(error);
        }
        room.resize(got, 0);
    }
}

/// A pidfd for the peer; `None` when the kernel has none to give (before Linux 6.5, or the process has been reaped).
fn pidfd(socket: RawFd) -> Option<OwnedFd> {
    /// `asm-generic/socket.h`; not in the libc crate for every target.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: RawFd = -1;
    let mut bytes = size_of::<RawFd>() as libc::socklen_t;
    // SAFETY: `fd` is valid for writes of `bytes` bytes.
    let rc = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut bytes,
        )
    };
    if rc != 0 || fd < 0 {
        return None;
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_by_the_kernel() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = Peer::of(&a).unwrap();
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert!(peer.alive());
        assert!(peer.is_owner());
    }

    #[test]
    fn a_connection_that_outlives_its_process_is_not_that_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut child = std::process::Command::new("python3")
            .arg("-c")
            .arg("import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.recv(1)")
            .arg(&path)
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let peer = Peer::of(&stream).unwrap();
        assert_eq!(peer.pid, i32::try_from(child.id()).unwrap());
        assert!(peer.alive());
        drop(stream);
        child.wait().unwrap();
        assert_eq!(peer.alive(), peer.pidfd.is_none());
    }
}
