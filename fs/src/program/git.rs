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
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, readlinkat, statx};

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
    let (tree, dir) = script.ancestors().skip(1).take(MAX_UP).find_map(|d| Some((d, repository_at(d, open)?)))?;
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
            None => return repository::packed(&read(open, &common.join("packed-refs"), MAX_TABLE)?, &name),
        }
    }
    None
}

/// The tree that a commit names, wherever its object lies.
fn tree_of(common: &Path, id: ObjectId, open: Open<'_>) -> Option<ObjectId> {
    let objects = common.join("objects");
    let hex = id.to_string();
    if let Some(file) = read(open, &objects.join(&hex[..2]).join(&hex[2..]), MAX_COMMIT as u64) {
        return repository::loose_commit(&file, id);
    }
    let packs = objects.join("pack");
    for name in open(&packs)?.names(4 * MAX_PACKS).iter().filter(|n| n.ends_with(b".idx")).take(MAX_PACKS) {
        let index = packs.join(os(name));
        let Some(at) = read(open, &index, MAX_TABLE).and_then(|bytes| repository::offset(bytes, id)) else {
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
fn compare(top: &Path, dir: &Path, common: &Path, commit: ObjectId, open: Open<'_>) -> Option<bool> {
    let found = open(&dir.join("index"))?;
    let (_, identity) = found.open().ok()?;
    let bytes = small(&found, MAX_TABLE)?;
    let (index, _) = gix::index::State::from_bytes(
        &bytes,
        gix::index::fs::Metadata::from_path_no_follow(Path::new("/")).ok().map(|_| filetime())?,
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
