//! A witness without its HTTP: its key, the heads that it remembers, and what it cosigns (C2SP tlog-witness). It keeps no leaves and no tiles.
//! Ed25519 only; ML-DSA-44, which the specification recommends, is not made here.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use atlas_manifests::bytes::{base64, unbase64};
use atlas_manifests::digest::Sha256;
use atlas_manifests::given;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::cosignature::cosign;
use atlas_manifests::log::memory::{Memory, MemoryError};
use atlas_manifests::log::note::{KeyKind, Note, NoteError, Signature, Signed, VerifierKey};
use atlas_manifests::merkle::{empty_root, is_consistent};
use atlas_manifests::private::random;
use atlas_manifests::statement::SetHead;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::request::Request;

/// First words of the file of a key, as Go's `note` package has them too.
const PRIVATE: &str = "PRIVATE+KEY";
/// The byte of cosignature/v1 keys.
const KIND: u8 = 4;
/// No file of a key is longer, in bytes.
const MAX_KEY: u64 = 1024;

/// Why there is no witness.
#[derive(Debug, thiserror::Error)]
pub enum CosignerError {
    /// Reading or writing failed.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two witnesses of one key would not know of each other.
    #[error(
        "{path:?}: another witness runs on this state: stop it, or give this one another --state"
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
    },
    /// The key is unfit.
    #[error("{path:?}: {why}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// What a log is called, or its key.
    #[error("{0}")]
    Log(String),
    /// The memory of heads fails.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl From<NoteError> for CosignerError {
    fn from(e: NoteError) -> Self {
        Self::Log(e.0.to_owned())
    }
}

/// What a witness answers to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its cosignature: the head is remembered, durably.
    Cosigned(Signature),
    /// What was sent is no request.
    Malformed,
    /// Nobody told it of this log.
    UnknownLog,
    /// The log did not sign it.
    Unsigned,
    /// It remembers another size.
    Remembers(u64),
    /// It is not shown that this extends what it remembers.
    Inconsistent,
    /// It could not remember: it has not signed either.
    Failed(String),
}

/// A witness.
#[derive(Debug)]
pub struct Cosigner {
    key: VerifierKey,
    pair: Ed25519KeyPair,
    logs: HashMap<String, Known>,
    memory: Memory,
    /// Held while it lives.
    _lock: File,
}

#[derive(Debug)]
struct Known {
    keys: Vec<VerifierKey>,
    /// Held while a head of this log is compared and remembered.
    one: Mutex<()>,
}

impl Cosigner {
    /// The witness of this state directory; a new key gets `name`, an old one must have it if it is given.
    ///
    /// # Errors
    /// When another one runs there, no log is named, or a file cannot be used.
    pub fn open(
        state: &Path,
        name: Option<&str>,
        logs: &[VerifierKey],
    ) -> Result<Self, CosignerError> {
        let mut known: HashMap<String, Known> = HashMap::new();
        for key in logs {
            if key.kind() != KeyKind::Ed25519 {
                let why = format!("{key}: is the key of a witness: name a log's");
                return Err(CosignerError::Log(why));
            }
            let one = known.entry(key.name().to_owned()).or_insert_with(|| Known {
                keys: Vec::new(),
                one: Mutex::new(()),
            });
            if !one.keys.contains(key) {
                one.keys.push(key.clone());
            }
        }
        if known.is_empty() {
            let why = "a witness without logs cosigns nothing: name them with --log VKEY or --policy FILE";
            return Err(CosignerError::Log(why.to_owned()));
        }
        // Makes the state directory too.
        let memory = Memory::open(&state.join("heads"))?;
        let lock = lock(state)?;
        let (key, pair) = match load(&state.join("witness.key"))? {
            Some(found) => found,
            None => make(state, name)?,
        };
        if let Some(name) = name.filter(|n| *n != key.name()) {
            let why = format!(
                "is the key of {:?}, not of {name:?}: leave --name out, or give another --state",
                key.name()
            );
            let path = state.join("witness.key");
            return Err(CosignerError::Key { path, why });
        }
        let told = state.join("witness.vkey");
        write(&told, &format!("{key}\n"), 0o644).map_err(at(&told))?;
        Ok(Self {
            key,
            pair,
            logs: known,
            memory,
            _lock: lock,
        })
    }

    /// Its public key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The origins that it knows.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// Decides on the body of an `add-checkpoint`, at `now` in seconds since 1970.
    pub fn add(&self, body: &[u8], now: u64) -> Verdict {
        let Some(Request { old, proof, note }) = Request::parse(body) else {
            return Verdict::Malformed;
        };
        let (checkpoint, origin) = match Checkpoint::parse(&note.encode()) {
            Ok(read) => (Some(read.clone()), read.head.origin),
            // Such a root is a claim of its log, and is answered as one.
            Err(_) => match no_such_empty_tree(&note) {
                Some(origin) => (None, origin),
                None => return Verdict::Malformed,
            },
        };
        let Some(log) = self.logs.get(&origin) else {
            return Verdict::UnknownLog;
        };
        let said: Vec<_> = log.keys.iter().map(|k| note.signed_by(k)).collect();
        if said.contains(&Signed::Forged) || !said.contains(&Signed::Yes) {
            return Verdict::Unsigned;
        }
        let Some(checkpoint) = checkpoint else {
            return Verdict::Inconsistent;
        };
        if old > checkpoint.head.head.size {
            return Verdict::Malformed;
        }
        self.decide(log, checkpoint, old, &proof, now)
            .unwrap_or_else(|e| Verdict::Failed(e.to_string()))
    }

    /// What it last cosigned of the log whose origin has this SHA-256.
    ///
    /// # Errors
    /// When what it remembers cannot be read.
    pub fn head(&self, origin: &Sha256) -> Result<Option<Checkpoint>, MemoryError> {
        let known = self.origins().find(|o| Sha256::of(o.as_bytes()) == *origin);
        known.map_or(Ok(None), |origin| self.memory.load(origin))
    }

    fn decide(
        &self,
        log: &Known,
        mut new: Checkpoint,
        old: u64,
        proof: &[Sha256],
        now: u64,
    ) -> Result<Verdict, MemoryError> {
        let _one = log.one.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = self.memory.load(&new.head.origin)?;
        let nothing = SetHead {
            size: 0,
            root: empty_root(),
        };
        let was = remembered.as_ref().map_or(nothing, |r| r.head.head);
        if old != was.size {
            return Ok(Verdict::Remembers(was.size));
        }
        if !is_consistent(&was, &new.head.head, proof) {
            return Ok(Verdict::Inconsistent);
        }
        if now == 0 {
            let why = "the clock of this machine is before 1970: set it";
            return Ok(Verdict::Failed(why.to_owned()));
        }
        let sign = |message: &[u8]| {
            let mut bytes = [0; 64];
            bytes.copy_from_slice(self.pair.sign(message).as_ref());
            bytes
        };
        let line = cosign(&self.key, &new, now, sign);
        // What others say of it is not ours to hand on.
        new.note
            .signatures
            .retain(|s| log.keys.iter().any(|k| k.made(s)));
        new.note.add(line.clone());
        // Only what is remembered leaves this process.
        if self.memory.swap(remembered.as_ref(), &new)? {
            Ok(Verdict::Cosigned(line))
        } else {
            let why = "somebody else writes to the state of this witness";
            Ok(Verdict::Failed(why.to_owned()))
        }
    }
}

/// The origin of a checkpoint of no leaves with a root that the tree of no leaves has not.
fn no_such_empty_tree(note: &Note) -> Option<String> {
    let mut lines = note.text.split_terminator('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let root: [u8; 32] = unbase64(root)?.try_into().ok()?;
    let other = size == "0" && Sha256(root) != empty_root();
    (other && !origin.is_empty() && !lines.any(str::is_empty)).then(|| origin.to_owned())
}

fn lock(state: &Path) -> Result<File, CosignerError> {
    let path = state.join("witness.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(at(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CosignerError::Locked {
            path: state.to_owned(),
        }),
        // Without locks two witnesses might run here: none does.
        Err(e) => Err(at(&path)(e.into())),
    }
}

fn load(path: &Path) -> Result<Option<(VerifierKey, Ed25519KeyPair)>, CosignerError> {
    use std::os::unix::fs::MetadataExt as _;
    let unfit = |why: &str| CosignerError::Key {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let bytes = match given::read(path, MAX_KEY) {
        Ok(bytes) => bytes,
        Err(given::GivenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(at(path)(e.into())),
    };
    if fs::metadata(path).map_err(at(path))?.mode() & 0o077 != 0 {
        return Err(unfit(
            "others may read this key: make another one, or chmod 600 it",
        ));
    }
    let parsed = || {
        let text = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
        let rest = text.strip_prefix(PRIVATE)?.strip_prefix('+')?;
        let mut parts = rest.splitn(3, '+');
        let (name, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let secret = unbase64(secret)?;
        let (kind, seed) = secret.split_first()?;
        let (key, pair) = keys(name, seed)?;
        (*kind == KIND && format!("{:08x}", key.id()) == id).then_some((key, pair))
    };
    parsed()
        .map(Some)
        .ok_or_else(|| unfit("is no key of a witness: restore it from a copy"))
}

fn make(state: &Path, name: Option<&str>) -> Result<(VerifierKey, Ed25519KeyPair), CosignerError> {
    let path = state.join("witness.key");
    // The heads that an old key cosigned are no new one's.
    let heads = state.join("heads");
    let used = fs::read_dir(&heads)
        .map_err(at(&heads))?
        .any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "checkpoint")));
    if used {
        let why = "is missing, and this state has heads: restore it, or begin with another --state";
        return Err(CosignerError::Key {
            path,
            why: why.to_owned(),
        });
    }
    let name = name.ok_or_else(|| CosignerError::Key {
        path: path.clone(),
        why: "there is no key yet: name the new witness with --name".to_owned(),
    })?;
    let seed: [u8; 32] = random().map_err(at(Path::new("/dev/urandom")))?;
    // Checks the name.
    VerifierKey::new(name, KeyKind::Cosignature, [0; 32])?;
    let (key, pair) = keys(name, &seed).ok_or_else(|| CosignerError::Key {
        path: path.clone(),
        why: "no key can be made".to_owned(),
    })?;
    let secret = base64(&[&[KIND][..], &seed].concat());
    let text = format!("{PRIVATE}+{name}+{:08x}+{secret}\n", key.id());
    write(&path, &text, 0o600).map_err(at(&path))?;
    Ok((key, pair))
}

fn keys(name: &str, seed: &[u8]) -> Option<(VerifierKey, Ed25519KeyPair)> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let public = pair.public_key().as_ref().try_into().ok()?;
    let key = VerifierKey::new(name, KeyKind::Cosignature, public).ok()?;
    Some((key, pair))
}

/// Whole or not at all, and durably.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let tmp = path.with_extension("tmp");
    match fs::remove_file(&tmp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&tmp)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    File::open(dir)?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CosignerError + '_ {
    move |source| CosignerError::Io {
        path: path.to_owned(),
        source,
    }
}
