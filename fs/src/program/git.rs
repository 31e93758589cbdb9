//! The source state of a script in a git work tree: commit, and whether a tracked file differs. Runs nothing that a repository asks for.
//!
//! No filter, hook, monitor or configuration of the repository is looked at, so what they would do is not known: a file that
//! differs byte for byte in a repository with attributes leaves `dirty` open.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atlas_manifests::statement::Git;
use gix::ObjectId;
use gix::index::entry::{Flags, Mode as EntryMode, Stage};
use gix::objs::Kind;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat2, readlinkat, statx,
};
use rustix::io::Errno;

use super::repository::{self, Head, MAX_COMMIT};
use super::small;
use super::walk::Found;

/// How far up from the script a repository is looked for.
const MAX_UP: usize = 32;
/// A reference is a line.
const MAX_REFERENCE: u64 = 4 << 10;
/// `packed-refs` and indexes, in bytes.
const MAX_TABLE: u64 = 64 << 20;
/// Pack indexes looked at.
const MAX_PACKS: usize = 64;
/// Bytes of changed files hashed at most, all together, to see whether they are really different.
const MAX_HASHED: u64 = 256 << 20;
/// Time for one work tree.
const MAX_TIME: Duration = Duration::from_secs(5);

type Open<'a> = &'a dyn Fn(&Path) -> Option<Found>;

/// The state of the work tree that a script lies in. `script` is absolute and without symbolic links.
pub(crate) fn state(script: &Path, open: Open<'_>) -> Option<Git> {
    let (tree, dir) = script
        .ancestors()
        .skip(1)
        .take(MAX_UP)
        .find_map(|d| Some((d, repository_at(d, open)?)))?;
    // Work trees of one repository share references and objects.
    let common = read(open, &dir.join("commondir"), MAX_REFERENCE)
        .map_or_else(|| dir.clone(), |c| dir.join(os(c.trim_ascii_end())));
    let commit = commit(&dir, &common, open)?;
    let clean = compare(tree, &dir, &common, commit, open);
    Some(Git {
        commit: commit.to_string(),
        dirty: clean.map(|c| !c),
    })
}

fn os(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn read(open: Open<'_>, path: &Path, max: u64) -> Option<Vec<u8>> {
    small(&open(path)?, max)
}

/// The repository of a work tree whose top is `top`.
fn repository_at(top: &Path, open: Open<'_>) -> Option<PathBuf> {
    let git = open(&top.join(".git"))?;
    let dir = if git.is_dir() {
        git.path
    } else {
        let text = small(&git, MAX_REFERENCE)?;
        top.join(os(repository::gitdir(&text)?))
    };
    open(&dir.join("HEAD"))?.is_file().then_some(dir)
}

fn commit(dir: &Path, common: &Path, open: Open<'_>) -> Option<ObjectId> {
    let mut head = repository::head(&read(open, &dir.join("HEAD"), MAX_REFERENCE)?)?;
    // References to references are at most a few deep.
    for _ in 0..5 {
        let name = match head {
            Head::Commit(id) => return Some(id),
            Head::Reference(name) => name,
        };
        match read(open, &common.join(&name), MAX_REFERENCE) {
            Some(text) => head = repository::head(&text)?,
            None => {
                return repository::packed(
                    &read(open, &common.join("packed-refs"), MAX_TABLE)?,
                    &name,
                );
            }
        }
    }
    None
}

/// The tree that a commit names, wherever its object lies.
fn tree_of(common: &Path, id: ObjectId, open: Open<'_>) -> Option<ObjectId> {
    let objects = common.join("objects");
    let hex = id.to_string();
    if let Some(file) = read(
        open,
        &objects.join(&hex[..2]).join(&hex[2..]),
        MAX_COMMIT as u64,
    ) {
        return repository::loose_commit(&file, id);
    }
    let packs = objects.join("pack");
    for name in open(&packs)?
        .names(4 * MAX_PACKS)
        .iter()
        .filter(|n| n.ends_with(b".idx"))
        .take(MAX_PACKS)
    {
        let index = packs.join(os(name));
        let Some(at) =
            read(open, &index, MAX_TABLE).and_then(|bytes| repository::offset(bytes, id))
        else {
            continue;
        };
        let (mut pack, _) = open(&index.with_extension("pack"))?.open().ok()?;
        pack.seek(SeekFrom::Start(at)).ok()?;
        let mut bytes = Vec::new();
        pack.take(MAX_COMMIT as u64).read_to_end(&mut bytes).ok()?;
        return repository::packed_commit(&bytes, at, id);
    }
    None
}

/// Whether HEAD, index and work tree agree; `None` when that cannot be told within the bounds.
fn compare(
    top: &Path,
    dir: &Path,
    common: &Path,
    commit: ObjectId,
    open: Open<'_>,
) -> Option<bool> {
    let found = open(&dir.join("index"))?;
    let (_, identity) = found.open().ok()?;
    let bytes = small(&found, MAX_TABLE)?;
    let (index, _) = gix::index::State::from_bytes(
        &bytes,
        // Only passed through; what counts is the index file's own time, below.
        gix::index::State::new(repository::kind(commit)).timestamp(),
        repository::kind(commit),
        gix::index::decode::Options {
            thread_limit: Some(1),
            alloc_limit_bytes: Some(1 << 30),
            ..Default::default()
        },
    )
    .ok()?;
    // A part of it elsewhere, or whole directories as one entry: not told from here.
    if index.link().is_some() || index.is_sparse() {
        return None;
    }
    let staged = staged(&index, tree_of(common, commit, open));
    let unstaged = worktree(top, &index, repository::kind(commit), identity.mtime, open);
    match (staged, unstaged) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Whether the index is HEAD's tree, by the tree that git noted in it; `None` when it noted none since the last change.
fn staged(index: &gix::index::State, head: Option<ObjectId>) -> Option<bool> {
    let noted = index.tree()?;
    noted.num_entries?;
    Some(noted.id == head?)
}

/// Whether every tracked file is as the index has it; `None` when that takes too long, or cannot be told byte for byte.
fn worktree(
    top: &Path,
    index: &gix::index::State,
    hash: gix::hash::Kind,
    index_time: i128,
    open: Open<'_>,
) -> Option<bool> {
    let (dir, _) = open(top)?.open().ok()?;
    let deadline = Instant::now() + MAX_TIME;
    // What attributes and line-ending settings do to files is not known here.
    let attributes = index.entries().iter().any(|e| {
        let path = e.path(index);
        path == ".gitattributes" || path.ends_with(b"/.gitattributes")
    });
    let mut left = MAX_HASHED;
    let mut unsure = false;
    for entry in index.entries() {
        if Instant::now() > deadline {
            return None;
        }
        if entry.flags.contains(Flags::SKIP_WORKTREE) || entry.mode == EntryMode::COMMIT {
            continue;
        }
        if entry.stage() != Stage::Unconflicted || entry.flags.contains(Flags::INTENT_TO_ADD) {
            return Some(false);
        }
        let file = match tracked(&dir, entry.path(index)) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Some(false),
            Err(_) => return None,
        };
        match same(&file, entry, hash, index_time, &mut left) {
            Some(true) => {}
            Some(false) if !attributes => return Some(false),
            Some(false) | None => unsure = true,
        }
    }
    (!unsure).then_some(true)
}

/// Opens a tracked file without following any link, and never into another filesystem: that could be our own mount.
fn tracked(dir: &std::fs::File, path: &gix::bstr::BStr) -> Result<OwnedFd, Errno> {
    openat2(
        dir,
        os(path),
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_XDEV
            | ResolveFlags::NO_MAGICLINKS,
    )
}

fn same(
    file: &OwnedFd,
    entry: &gix::index::Entry,
    hash: gix::hash::Kind,
    index_time: i128,
    left: &mut u64,
) -> Option<bool> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
    let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
    let mode = match kind {
        FileType::RegularFile if stat.stx_mode & 0o100 != 0 => EntryMode::FILE_EXECUTABLE,
        FileType::RegularFile => EntryMode::FILE,
        FileType::Symlink => EntryMode::SYMLINK,
        _ => return Some(false),
    };
    if mode != entry.mode {
        return Some(false);
    }
    let (secs, nsecs) = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
    // The index keeps the low 32 bits, and some builds of git no nanoseconds.
    let unchanged = entry.stat.size == stat.stx_size as u32
        && entry.stat.mtime.secs == secs as u32
        && (entry.stat.mtime.nsecs == nsecs || entry.stat.mtime.nsecs == 0);
    // A file written in the moment of the index may have changed again in that moment.
    let racy = i128::from(secs) * 1_000_000_000 + i128::from(nsecs) >= index_time;
    if unchanged && !racy && stat.stx_size <= u64::from(u32::MAX) {
        return Some(true);
    }
    if stat.stx_size > *left {
        return None;
    }
    *left -= stat.stx_size;
    let bytes = if kind == FileType::Symlink {
        readlinkat(file, "", Vec::new()).ok()?.into_bytes()
    } else {
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        let opened = std::fs::File::open(own).ok()?;
        let mut bytes = Vec::new();
        opened
            .take(stat.stx_size + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        bytes
    };
    let id = gix::objs::compute_hash(hash, Kind::Blob, &bytes).ok()?;
    Some(id == entry.id)
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
