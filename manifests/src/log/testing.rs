//! Keys and heads for tests of the log. Not compiled into what ships.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ed25519_dalek::Signer as _;

use super::append::{LogWriter, Signer};
use super::checkpoint::Checkpoint;
use super::edge::Edge;
use super::note::{KeyKind, Signed, VerifierKey};
use super::reader::{Directory, LogReader};
use super::recovery::OpenError;
use super::register::{Register, RegisterError, Swapped};
use super::tile::{Bundle, Resource, encode_hashes};
use crate::digest::Sha256;
use crate::evidence::LogHead;
use crate::merkle::leaf_hash;
use crate::statement::SetHead;

/// A key that anybody could make.
pub(crate) struct TestKey {
    pub(crate) key: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl TestKey {
    pub(crate) fn log(name: &str, seed: u8) -> Self {
        Self::make(name, KeyKind::Ed25519, seed)
    }

    pub(crate) fn witness(name: &str, seed: u8) -> Self {
        Self::make(name, KeyKind::Cosignature, seed)
    }

    fn make(name: &str, kind: KeyKind, seed: u8) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let public = secret.verifying_key().to_bytes();
        Self {
            key: VerifierKey::new(name, kind, public).unwrap(),
            secret,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }

    /// A checkpoint that this log signed.
    pub(crate) fn checkpoint(&self, head: SetHead) -> Checkpoint {
        let mut made = Checkpoint::of(LogHead {
            origin: self.key.name().to_owned(),
            head,
        })
        .unwrap();
        let line = self.sign(made.note.text.as_bytes()).to_vec();
        made.note.add(self.key.line(line));
        made
    }
}

/// Some log's head, by a seed of its root.
pub(crate) fn head(seed: &[u8], size: u64) -> LogHead {
    LogHead {
        origin: "log.example/1".to_owned(),
        head: SetHead {
            size,
            root: Sha256::of(seed),
        },
    }
}

/// A log's files, written plainly: for readers' tests, which must not depend on the writer.
pub(crate) struct Files(std::path::PathBuf);

impl Files {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// All files of the log with these leaves, and its checkpoint.
    pub(crate) fn write(&self, key: &TestKey, size: u64, leaf: impl Fn(u64) -> Vec<u8>) {
        let put = |name: &Resource, bytes: &[u8]| {
            let path = self.0.join(name.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let (mut edge, mut full, mut bundle) = (Edge::default(), Vec::new(), Bundle::default());
        for n in 0..size {
            let leaf = leaf(n);
            bundle.push(&leaf).unwrap();
            edge.push(leaf_hash(&leaf), &mut full);
            if (n + 1) % 256 == 0 {
                put(&Resource::full_entries(n / 256), bundle.bytes());
                bundle = Bundle::default();
            }
        }
        for tile in full {
            let name = Resource::full(tile.level, tile.index);
            put(&name, &encode_hashes(&tile.hashes));
        }
        for (name, hashes) in edge.partial() {
            put(&name, &encode_hashes(hashes));
        }
        if !bundle.is_empty() {
            let (index, width) = (size / 256, bundle.len() as u16);
            put(&Resource::Entries { index, width }, bundle.bytes());
        }
        let checkpoint = key.checkpoint(edge.head());
        put(&Resource::Checkpoint, &checkpoint.encode());
    }
}

/// What a register does to the next swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Somebody else's value is there before.
    Lost,
    /// It stores, and the answer does not arrive.
    Unheard,
    /// Nothing arrives.
    Unsent,
    /// Nothing arrives, and nothing can be read, until it is cleared.
    Down,
}

/// A register in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Held>>);

/// Its value, and what it does next.
type Held = (Option<Vec<u8>>, Option<Fault>);

impl Memory {
    pub(crate) fn value(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().0.clone()
    }

    pub(crate) fn set(&self, value: Option<Vec<u8>>) {
        self.0.lock().unwrap().0 = value;
    }

    pub(crate) fn fault(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().1 = fault;
    }
}

fn unreachable() -> RegisterError {
    RegisterError::Unreachable {
        name: "a register in memory".to_owned(),
        why: "a test says so".to_owned(),
    }
}

impl Register for Memory {
    fn name(&self) -> String {
        "a register in memory".to_owned()
    }

    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
        let state = self.0.lock().unwrap();
        if state.1 == Some(Fault::Down) {
            return Err(unreachable());
        }
        Ok(state.0.clone())
    }

    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
        let mut state = self.0.lock().unwrap();
        let fault = state.1;
        if fault == Some(Fault::Down) {
            return Err(unreachable());
        }
        state.1 = None;
        match fault {
            Some(Fault::Unsent | Fault::Down) => return Err(unreachable()),
            Some(Fault::Lost) => state.0 = Some(b"another's".to_vec()),
            Some(Fault::Unheard) | None => {}
        }
        if state.0.as_deref() != old {
            return Ok(Swapped::Lost);
        }
        state.0 = Some(new.to_vec());
        match fault {
            Some(Fault::Unheard) => Err(unreachable()),
            _ => Ok(Swapped::Done),
        }
    }
}

/// A register in a file, for one writer.
pub(crate) struct InFile(pub(crate) std::path::PathBuf);

impl Register for InFile {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
        match std::fs::read(&self.0) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(RegisterError::Unfit {
                name: self.name(),
                why: e.to_string(),
            }),
        }
    }

    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
        if self.load()?.as_deref() != old {
            return Ok(Swapped::Lost);
        }
        crate::durable::write_durably(&self.0, new, 0o600).unwrap();
        Ok(Swapped::Done)
    }
}

/// The origin of logs under test.
pub(crate) const ORIGIN: &str = "log.example";

/// A leaf like those that the log has, by its index.
pub(crate) fn leaf(n: u64) -> Vec<u8> {
    format!("leaf {n}").into_bytes()
}

/// Leaves `from .. from + count`.
pub(crate) fn leaves(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(leaf).collect()
}

/// Two keys, as a log and an instance have.
pub(crate) fn signers() -> Vec<Box<dyn Signer>> {
    let signer = |name: &str, seed| -> Box<dyn Signer> {
        let key = TestKey::log(name, seed);
        Box::new(move |text: &str| vec![key.key.line(key.sign(text.as_bytes()).to_vec())])
    };
    vec![signer(ORIGIN, 1), signer("log.example/instance", 2)]
}

/// What the write-ahead logs of tests are written with.
pub(crate) const WAL_KEY: [u8; 32] = [9; 32];

/// Opens a log for writing.
pub(crate) fn open(dir: &Path, register: &Memory) -> Result<LogWriter, OpenError> {
    LogWriter::open(dir, Box::new(register.clone()), ORIGIN, signers(), &WAL_KEY)
}

/// Checks all that a log's directory says: its checkpoint is signed, each leaf is there, and its proof holds.
pub(crate) fn check(dir: &Path, size: u64) {
    let reader = LogReader::open(Directory::new(dir)).unwrap();
    assert_eq!(reader.head().size, size);
    let signed = reader
        .checkpoint()
        .signed_by_log(&TestKey::log(ORIGIN, 1).key);
    assert_eq!(signed, Signed::Yes);
    for n in 0..size {
        assert_eq!(reader.leaf(n).unwrap(), leaf(n));
    }
    let step = (size as usize / 40).max(1);
    for n in (0..size).step_by(step) {
        assert!(reader.proof(n).unwrap().holds(&leaf_hash(&leaf(n))));
    }
}
