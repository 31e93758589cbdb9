//! The daemon as one more place where evidence is looked up: the control channel (CONTRACTS 4), seen as `Shelf` and `Catalogue`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atlas_manifests::bytes::{PathBytes, unbase64};
use atlas_manifests::digest::{DigestPrefix, Digests, Sha256};
use atlas_manifests::id::{NodeId, NodeRef, RunId};
use atlas_manifests::layout::Layout;
use atlas_manifests::log::state::Logs;
use atlas_manifests::rows::{RunRow, UseRow, VersionRow};
use atlas_manifests::shelf::{Catalogue, Entry, Logged, Object, Shelf, ShelfError};
use atlas_manifests::wire::{Ask, MAX_LINE, Reply, Request, Say, Status, VERSION};

use crate::exit::{Code, Failure, reason};

/// How long one answer may take, unless the question itself says how long it waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to one daemon. Requests are asked one after the other.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    stream: Mutex<BufReader<UnixStream>>,
    /// The logs of its state directory, which are read as files: they prove themselves.
    logs: Option<Logs>,
}

/// Why a question had no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody listens there, or the connection broke.
    #[error("{0}")]
    Gone(String),
    /// The daemon refused; its own words, and the exit code that it thinks fit.
    #[error("{text}")]
    Refused {
        /// One line with the remedy.
        text: String,
        /// Exit code of CONTRACTS 5.
        code: i32,
    },
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Gone(text) => Self::new(Code::NO_DAEMON, text),
            AskError::Refused { text, code } => Self::new(Code::from(code), text),
        }
    }
}

impl From<AskError> for ShelfError {
    fn from(error: AskError) -> Self {
        Self::Daemon(error.to_string())
    }
}

impl Client {
    /// Connects. The daemon learns from the kernel who asks.
    pub(crate) fn connect(socket: &Path) -> Result<Self, AskError> {
        let stream = UnixStream::connect(socket).map_err(|e| {
            let remedy = match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "no daemon is running: start it with atlas-fs mount"
                }
                io::ErrorKind::PermissionDenied => "ask as the user who mounted it",
                _ => "see atlasctl doctor",
            };
            AskError::Gone(format!("{}: {}: {remedy}", socket.display(), reason(&e)))
        })?;
        Ok(Self {
            socket: socket.to_owned(),
            stream: Mutex::new(BufReader::new(stream)),
            logs: None,
        })
    }

    /// With the logs of its state: its own as the mount shows it, since an in-place mount covers the state.
    pub(crate) fn with_logs(mut self, status: &Status) -> Self {
        let nodes = status.node_state.as_path().parent();
        let layout = Layout::at(status.state.as_path(), nodes);
        let mountpoint = status.mountpoint.as_path();
        self.logs = Some(Logs::mounted(&layout, status.node, mountpoint));
        self
    }

    /// Asks one question that has one answer.
    pub(crate) fn ask(&self, ask: Ask) -> Result<Say, AskError> {
        self.ask_for(ask, PATIENCE, |_, _, _| ())
    }

    /// Asks one question, waits at most `patience` between two replies, and hands on its progress: files, of how many, bytes.
    pub(crate) fn ask_for(
        &self,
        ask: Ask,
        patience: Duration,
        mut progress: impl FnMut(u64, u64, u64),
    ) -> Result<Say, AskError> {
        // A thread that panicked in here left half a message behind at worst, which the next read reports.
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(&Request { v: VERSION, ask })
            .map_err(|e| self.gone(&format!("request: {e}")))?;
        line.push(b'\n');
        stream
            .get_ref()
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.get_mut().write_all(&line))
            .map_err(|e| self.gone(&reason(&e)))?;
        loop {
            match self.reply(&mut stream)? {
                Say::Progress {
                    files,
                    of_files,
                    bytes,
                } => progress(files, of_files, bytes),
                Say::Error { text, code } => return Err(AskError::Refused { text, code }),
                say => return Ok(say),
            }
        }
    }

    /// What the daemon is doing; it may take at most this long to say so.
    pub(crate) fn status(&self, patience: Duration) -> Result<Status, AskError> {
        match self.ask_for(Ask::Status, patience, |_, _, _| ())? {
            Say::Status(status) => Ok(*status),
            _ => Err(self.unexpected()),
        }
    }

    /// The answer is of another kind than the question: the daemon is of another version.
    pub(crate) fn unexpected(&self) -> AskError {
        self.gone("an answer that this atlasctl does not know: use that of the daemon's version")
    }

    fn reply(&self, stream: &mut BufReader<UnixStream>) -> Result<Say, AskError> {
        let mut line = Vec::new();
        let read = stream.take(MAX_LINE as u64).read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(0) => return Err(self.gone("the daemon went away: see its log")),
            Ok(_) => return Err(self.gone("an answer without an end: see the daemon's log")),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Err(self.gone("the daemon does not answer: see its log"));
            }
            Err(e) => return Err(self.gone(&reason(&e))),
        }
        let reply: Reply = serde_json::from_slice(&line).map_err(|_| self.unexpected())?;
        if reply.v == VERSION {
            Ok(reply.say)
        } else {
            Err(self.unexpected())
        }
    }

    fn gone(&self, what: &str) -> AskError {
        AskError::Gone(format!("{}: {what}", self.socket.display()))
    }
}

macro_rules! answer {
    ($client:expr, $ask:expr, $pattern:pat => $value:expr) => {
        match $client.ask($ask)? {
            $pattern => Ok($value),
            _ => Err($client.unexpected().into()),
        }
    };
}

impl Shelf for Client {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        let Say::Bytes { b64 } = self.ask(Ask::Object { kind, name: *name })? else {
            return Err(self.unexpected().into());
        };
        b64.map(|text| unbase64(&text).ok_or_else(|| self.unexpected().into()))
            .transpose()
    }

    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        answer!(self, Ask::ManifestsOf { asset: *asset }, Say::Names { names } => names)
    }

    fn transparency(&self, entry: &Entry) -> Result<Option<Logged>, ShelfError> {
        let logged = self.logs.as_ref().map(|l| l.logged(entry)).transpose()?;
        Ok(logged.flatten())
    }

    fn growth(&self, node: NodeId, old: u64, new: u64) -> Result<Option<Vec<Sha256>>, ShelfError> {
        let grown = self.logs.as_ref().map(|l| l.growth(node, old, new));
        Ok(grown.transpose()?.flatten())
    }
}

impl Catalogue for Client {
    fn by_path(&self, path: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        let path = PathBytes::from(path);
        answer!(self, Ask::ByPath { path }, Say::Versions { rows } => rows)
    }

    fn by_digest(&self, digest: &DigestPrefix) -> Result<Vec<VersionRow>, ShelfError> {
        let digest = match digest.alg {
            Some(alg) => format!("{alg}:{}", digest.hex),
            None => digest.hex.clone(),
        };
        answer!(self, Ask::ByDigest { digest }, Say::Versions { rows } => rows)
    }

    fn versions(&self, nodes: &[NodeRef]) -> Result<Vec<Option<VersionRow>>, ShelfError> {
        let nodes = nodes.to_vec();
        answer!(self, Ask::Versions { nodes }, Say::MaybeVersions { rows } => rows)
    }

    fn written_by(&self, run: RunId) -> Result<Vec<VersionRow>, ShelfError> {
        answer!(self, Ask::WrittenBy { run }, Say::Versions { rows } => rows)
    }

    fn run(&self, id: RunId) -> Result<Option<RunRow>, ShelfError> {
        answer!(self, Ask::Run { id }, Say::Runs { rows } => rows.into_iter().next())
    }

    fn runs(&self) -> Result<Vec<RunRow>, ShelfError> {
        answer!(self, Ask::Runs, Say::Runs { rows } => rows)
    }

    fn uses(&self, run: RunId, below: u64) -> Result<Vec<UseRow>, ShelfError> {
        answer!(self, Ask::Uses { run, below }, Say::Uses { rows } => rows)
    }

    fn users(&self, node: NodeRef) -> Result<Vec<UseRow>, ShelfError> {
        answer!(self, Ask::Users { node }, Say::Uses { rows } => rows)
    }

    fn under(&self, dir: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        let dir = PathBytes::from(dir);
        answer!(self, Ask::Under { dir }, Say::Versions { rows } => rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Answers the first request with these lines, then hangs up.
    fn daemon(lines: &'static [u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&stream).read_line(&mut asked).unwrap();
            assert!(asked.starts_with("{\"v\":1,\"op\":"), "{asked}");
            (&stream).write_all(lines).unwrap();
        });
        (dir, socket)
    }

    #[test]
    fn progress_is_handed_on_until_the_answer_comes() {
        let (_dir, socket) = daemon(
            b"{\"v\":1,\"re\":\"progress\",\"files\":1,\"of_files\":2,\"bytes\":3}\n{\"v\":1,\"re\":\"registered\",\"rows\":[]}\n",
        );
        let client = Client::connect(&socket).unwrap();
        let mut seen = Vec::new();
        let ask = Ask::Register {
            paths: vec![],
            name: None,
            author: None,
        };
        let say = client
            .ask_for(ask, PATIENCE, |f, o, b| seen.push((f, o, b)))
            .unwrap();
        assert!(matches!(say, Say::Registered { .. }));
        assert_eq!(seen, [(1, 2, 3)]);
    }

    #[test]
    fn a_refusal_keeps_the_daemons_words_and_its_code() {
        let (_dir, socket) =
            daemon(b"{\"v\":1,\"re\":\"error\",\"text\":\"x: read-only\",\"code\":1}\n");
        let failure = Failure::from(
            Client::connect(&socket)
                .unwrap()
                .status(PATIENCE)
                .unwrap_err(),
        );
        assert_eq!(
            (failure.code, failure.text.as_str()),
            (Code::ERROR, "x: read-only")
        );
    }

    #[test]
    fn a_daemon_that_hangs_up_or_talks_nonsense_is_code_9_and_never_a_panic() {
        for lines in [
            &b""[..],
            b"{\"v\":1,\"re\":\"done\"}",
            b"nonsense\n",
            b"{\"v\":2,\"re\":\"done\"}\n",
            b"{\"v\":1,\"re\":\"done\"}\n",
        ] {
            let (_dir, socket) = daemon(lines);
            let failure = Failure::from(
                Client::connect(&socket)
                    .unwrap()
                    .status(PATIENCE)
                    .unwrap_err(),
            );
            assert_eq!(failure.code, Code::NO_DAEMON, "{}", failure.text);
        }
        let failure = Failure::from(Client::connect(Path::new("/nonexistent/s")).unwrap_err());
        assert_eq!(failure.code, Code::NO_DAEMON);
    }
}
