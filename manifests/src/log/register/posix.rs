//! A register in a file of a local filesystem, for one process at a time. Not for several machines.
//!
//! A rename costs two commits of the filesystem's journal, which is several waits for the disk. So the file is made once, of its full size,
//! and each swap overwrites a part of it that holds no value anybody relies on: one wait, and nothing for a journal. It holds the newest
//! value twice and the one before it twice. What is torn by a crash was never told to be stored, and the value before it is whole; one copy
//! that a disk lost is made good by the other; two lost copies are an error, and never an older value.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock, fstatfs};

use super::{MAX_VALUE, Register, RegisterError, Swapped, check_length};
use crate::digest::Sha256;
use crate::durable;

const MAGIC: &[u8; 8] = b"atlasreg";
/// Magic, generation, length plus one (none has 0), and the SHA-256 of these, the copy's number and the value.
const HEADER: usize = 8 + 8 + 4 + 32;
/// Disks write so much whole or not at all.
const BLOCK: usize = 4096;
const COPY: usize = MAX_VALUE + BLOCK;
/// Two of even generations, then two of odd ones.
const COPIES: usize = 4;

/// A register in a file that this process alone has open.
#[derive(Debug)]
pub struct Posix {
    path: PathBuf,
    held: Mutex<Held>,
    /// Locked as long as this lives; so is the file itself, in case somebody removes this one.
    _lock: File,
}

#[derive(Debug)]
struct Held {
    file: File,
    /// A write failed: what can be read need not be on the disk.
    unsettled: bool,
}

/// One of the file's copies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    generation: u64,
    value: Option<Vec<u8>>,
}

impl Posix {
    /// Opens it, and makes it when there is none; its directory must be there.
    ///
    /// # Errors
    /// `Unfit` when another process has it, when it is damaged or something else, or when its filesystem cannot lock.
    pub fn open(path: &Path) -> Result<Self, RegisterError> {
        let name = name_of(path);
        let io = |e: io::Error| RegisterError::unfit(&name, e);
        let lock = lock(path)?;
        let image = image();
        match path.symlink_metadata() {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                durable::write_durably(path, &image, 0o600).map_err(io)?;
            }
            Err(e) => return Err(io(e)),
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() || meta.len() != image.len() as u64 {
            let why = "it is not a register, or was cut short: restore it from a copy, or name a file that does not exist yet";
            return Err(RegisterError::unfit(name, why));
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(RegisterError::unfit(
                name,
                "another process has it open, and its lock file was removed: stop that process first",
            ));
        }
        let register = Self {
            path: path.to_owned(),
            held: Mutex::new(Held {
                file,
                // What a process that was killed wrote may be in memory and not on the disk.
                unsettled: true,
            }),
            _lock: lock,
        };
        drop(register.held()?);
        Ok(register)
    }

    /// The file, after what can be read of it was made durable.
    fn held(&self) -> Result<MutexGuard<'_, Held>, RegisterError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |here: &std::fs::Metadata, ours: &std::fs::Metadata| {
            (here.dev(), here.ino()) == (ours.dev(), ours.ino())
        };
        match (self.path.metadata(), held.file.metadata()) {
            (Ok(here), Ok(ours)) if same(&here, &ours) => {}
            _ => {
                let why =
                    "another file has its name now, or none: restart, so that it is opened again";
                return Err(RegisterError::unfit(self.name(), why));
            }
        }
        if held.unsettled {
            let Stored {
                mut generation,
                value,
            } = self.newest(&held)?;
            // Of a process that was killed: before what it relied on is overwritten.
            let synced = held.file.sync_data();
            synced.map_err(|e| RegisterError::unreachable(self.name(), e))?;
            // Into the places of the value before it first, then over all that a crash or a disk left behind.
            for _ in 0..2 {
                generation += 1;
                self.write(&mut held, generation, value.as_deref())?;
            }
        }
        Ok(held)
    }

    fn newest(&self, held: &Held) -> Result<Stored, RegisterError> {
        let read = |copy: usize| -> io::Result<Option<Stored>> {
            let mut bytes = vec![0; BLOCK];
            held.file.read_exact_at(&mut bytes, at(copy))?;
            if length(&bytes).is_some_and(|all| all > BLOCK) {
                bytes = vec![0; COPY];
                held.file.read_exact_at(&mut bytes, at(copy))?;
            }
            Ok(decode(&bytes, copy))
        };
        let copies: io::Result<Vec<_>> = (0..COPIES).map(read).collect();
        let copies = copies.map_err(|e| RegisterError::unreachable(self.name(), e))?;
        judge(&copies).ok_or_else(|| {
            let why = "it is damaged, or no register: an older value would let the log fork, so set it from what the log's witnesses saw \
                       last, or restore a copy that is as new";
            RegisterError::unfit(self.name(), why)
        })
    }

    fn write(
        &self,
        held: &mut Held,
        generation: u64,
        value: Option<&[u8]>,
    ) -> Result<(), RegisterError> {
        held.unsettled = true;
        let first = pair_of(generation);
        let bytes = [first, first + 1].map(|copy| encode(generation, value, copy));
        let write = || -> io::Result<()> {
            for (copy, bytes) in (first..).zip(&bytes) {
                held.file.write_all_at(bytes, at(copy))?;
                // What is longer than a block may be torn: then one copy must be whole while the other is written.
                if bytes.len() > BLOCK || copy > first {
                    held.file.sync_data()?;
                }
            }
            Ok(())
        };
        write().map_err(|e| RegisterError::unreachable(self.name(), e))?;
        held.unsettled = false;
        Ok(())
    }
}

impl Register for Posix {
    fn name(&self) -> String {
        name_of(&self.path)
    }

    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
        let held = self.held()?;
        Ok(self.newest(&held)?.value)
    }

    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
        check_length(&self.name(), new)?;
        let mut held = self.held()?;
        let now = self.newest(&held)?;
        if now.value.as_deref() != old {
            return Ok(Swapped::Lost);
        }
        self.write(&mut held, now.generation + 1, Some(new))?;
        Ok(Swapped::Done)
    }
}

fn name_of(path: &Path) -> String {
    format!("register file:{}", path.display())
}

/// Locks the file beside it, and proves that a lock is one there.
fn lock(path: &Path) -> Result<File, RegisterError> {
    let name = name_of(path);
    let unfit = |why: String| RegisterError::unfit(&name, why);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(&beside)
            .map_err(|e| unfit(format!("{}: {e}", beside.display())))
    };
    let mut file = open()?;
    if fstatfs(&file).is_ok_and(|fs| NETWORKED.contains(&fs.f_type)) {
        return Err(unfit(
            "it is on a network filesystem, whose locks and caches are not to be relied on: use etcd, PostgreSQL or S3".to_owned(),
        ));
    }
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        let _ = (&file).take(20).read_to_string(&mut owner);
        let owner: String = owner.chars().filter(char::is_ascii_digit).collect();
        return Err(unfit(format!(
            "process {owner} has it open: stop it first, or let this log have a register of its own"
        )));
    }
    if flock(&open()?, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Err(unfit(
            "its filesystem gives one lock to two owners: put it on a local one, such as ext4 or XFS".to_owned(),
        ));
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(|e| unfit(format!("{}: {e}", beside.display())))?;
    Ok(file)
}

/// `linux/magic.h`: NFS, SMB, SMB2, CIFS, Ceph, 9P.
const NETWORKED: [rustix::fs::FsWord; 6] = [
    0x6969,
    0x517B,
    0xFE53_4D42,
    0xFF53_4D42,
    0x00C3_6400,
    0x0102_1997,
];

/// A new file: generations 0 and 1 of no value at all. All blocks are written, so that none is made later.
fn image() -> Vec<u8> {
    let mut image = vec![0; COPIES * COPY];
    for (copy, place) in image.chunks_exact_mut(COPY).enumerate() {
        let generation = (copy / 2) as u64;
        for (to, from) in place.iter_mut().zip(encode(generation, None, copy)) {
            *to = from;
        }
    }
    image
}

const fn at(copy: usize) -> u64 {
    (copy * COPY) as u64
}

const fn pair_of(generation: u64) -> usize {
    if generation.is_multiple_of(2) { 0 } else { 2 }
}

/// `value` is at most `MAX_VALUE` long.
fn encode(generation: u64, value: Option<&[u8]>, copy: usize) -> Vec<u8> {
    let length = value.map_or(0, |v| v.len() as u32 + 1);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(generation.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    let value = value.unwrap_or_default();
    let sum = sum(&bytes, copy, value);
    bytes.extend(sum);
    bytes.extend(value);
    bytes
}

/// The copy's number is in it: a copy that lies in another's place is no copy.
fn sum(head: &[u8], copy: usize, value: &[u8]) -> [u8; 32] {
    Sha256::of(&[head, &[copy as u8], value].concat()).0
}

/// How long a copy that begins like this is, with its header.
fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(16..20)?.try_into().ok()?) as usize;
    let value = length.saturating_sub(1);
    (value <= MAX_VALUE).then_some(HEADER + value)
}

fn decode(bytes: &[u8], copy: usize) -> Option<Stored> {
    let head = bytes.get(..20).filter(|head| head.starts_with(MAGIC))?;
    let generation = u64::from_be_bytes(head.get(8..16)?.try_into().ok()?);
    let value = bytes.get(HEADER..length(bytes)?)?;
    let intact = sum(head, copy, value).as_slice() == bytes.get(20..HEADER)?;
    let none = head.get(16..20)? == [0; 4];
    (intact && pair_of(generation) == copy / 2 * 2).then(|| Stored {
        generation,
        value: (!none).then(|| value.to_vec()),
    })
}

/// The newest; `None` when it may be that there was a newer one.
fn judge(copies: &[Option<Stored>]) -> Option<Stored> {
    let (even, odd) = copies.split_at_checked(COPIES / 2)?;
    let newest = |pair: &[Option<Stored>]| {
        let of = |c: &Stored| c.generation;
        let newest = pair.iter().flatten().max_by_key(|c| of(c))?.clone();
        let agree = |c: &Stored| of(c) != of(&newest) || *c == newest;
        pair.iter().flatten().all(agree).then_some(newest)
    };
    let (even, odd) = (newest(even)?, newest(odd)?);
    let next_to = even.generation.abs_diff(odd.generation) == 1;
    let newest = if even.generation > odd.generation {
        even
    } else {
        odd
    };
    // Room for what settling adds: nobody comes here by swapping.
    (next_to && newest.generation < u64::MAX - 8).then_some(newest)
}

#[cfg(test)]
#[path = "posix_tests.rs"]
mod tests;
