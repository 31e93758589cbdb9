//! The few files of a git repository that name its HEAD: references, one commit, pack indexes. Reads bytes that it is handed; opens nothing.
//!
//! The files are the job's, so nothing of them is mapped into memory: a file that its owner cuts short under a map kills the
//! reader. They are read with bounds, and decoded with gix.

use gix::objs::{CommitRef, Kind};
use gix::{ObjectId, hash};

/// No commit object is looked at beyond this, in bytes.
pub(crate) const MAX_COMMIT: usize = 1 << 20;

/// What HEAD says: a commit, or the name of a reference.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Commit(ObjectId),
    Reference(String),
}

/// The content of HEAD or of a loose reference.
pub(crate) fn head(text: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(text).ok()?.trim_end();
    match text.strip_prefix("ref: ") {
        Some(name) => safe(name).then(|| Head::Reference(name.to_owned())),
        None => ObjectId::from_hex(text.as_bytes()).ok().map(Head::Commit),
    }
}

/// A reference's name becomes a path: it stays below the repository.
fn safe(name: &str) -> bool {
    name.starts_with("refs/")
        && name.len() < 1024
        && name
            .split('/')
            .all(|p| !p.is_empty() && p != "." && p != "..")
        && !name.contains('\0')
}

/// A reference in `packed-refs`.
pub(crate) fn packed(text: &[u8], name: &str) -> Option<ObjectId> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let space = line.iter().position(|b| *b == b' ')?;
        let (id, rest) = line.split_at(space);
        (&rest[1..] == name.as_bytes()).then(|| ObjectId::from_hex(id).ok())?
    })
}

/// The directory that a `.git` file names (work trees, submodules).
pub(crate) fn gitdir(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"gitdir: ").map(<[u8]>::trim_ascii_end)
}

/// The tree of a commit, from its loose object file.
pub(crate) fn loose_commit(file: &[u8], id: ObjectId) -> Option<ObjectId> {
    let object = inflate(file, MAX_COMMIT)?;
    let nul = object.iter().take(64).position(|b| *b == 0)?;
    object
        .starts_with(b"commit ")
        .then(|| tree(&object[nul + 1..], id))?
}

/// Where a pack holds an object, from the pack's index.
pub(crate) fn offset(index: Vec<u8>, id: ObjectId) -> Option<u64> {
    // The path only names it in errors.
    let index = gix::odb::pack::index::File::from_data(index, "pack.idx".into(), id.kind()).ok()?;
    index.lookup(id).map(|at| index.pack_offset_at_index(at))
}

/// The tree of a commit, from a pack's bytes at that offset. `None` also for one stored as a difference: the newest is not.
pub(crate) fn packed_commit(bytes: &[u8], at: u64, id: ObjectId) -> Option<ObjectId> {
    let entry = gix::odb::pack::data::Entry::from_bytes(bytes, at, id.kind()).ok()?;
    if entry.header != gix::odb::pack::data::entry::Header::Commit {
        return None;
    }
    let header = usize::try_from(entry.data_offset.checked_sub(at)?).ok()?;
    let size = usize::try_from(entry.decompressed_size)
        .ok()
        .filter(|s| *s <= MAX_COMMIT)?;
    tree(&inflate(bytes.get(header..)?, size)?, id)
}

/// Believes a commit only when it has the name that it was asked for by.
fn tree(commit: &[u8], id: ObjectId) -> Option<ObjectId> {
    let real = gix::objs::compute_hash(id.kind(), Kind::Commit, commit).ok()?;
    if real != id {
        return None;
    }
    CommitRef::from_bytes(commit, id.kind())
        .ok()
        .map(|c| c.tree())
}

fn inflate(input: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; max];
    let (_, _, written) = gix::zlib::Inflate::default().once(input, &mut out).ok()?;
    out.truncate(written);
    Some(out)
}

/// The kind of hash, from how long a name is.
pub(crate) fn kind(id: ObjectId) -> hash::Kind {
    id.kind()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn head_is_a_commit_or_a_name_that_stays_in_the_repository() {
        let id = ObjectId::from_hex(ID.as_bytes()).unwrap();
        assert_eq!(head(format!("{ID}\n").as_bytes()), Some(Head::Commit(id)));
        assert_eq!(
            head(b"ref: refs/heads/main\n"),
            Some(Head::Reference("refs/heads/main".to_owned()))
        );
        for bad in [
            "ref: ../../etc/passwd",
            "ref: refs/../../x",
            "ref: /etc/passwd",
            "ref: refs//x",
            "",
            "xyz",
            "ref: ",
        ] {
            assert_eq!(head(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_packed_reference_is_found_by_its_whole_name() {
        let text = format!(
            "# pack-refs with: peeled\n{ID} refs/heads/main\n^{ID}\n{ID} refs/heads/main2\n"
        );
        assert!(packed(text.as_bytes(), "refs/heads/main2").is_some());
        assert!(packed(text.as_bytes(), "refs/heads/mai").is_none());
        assert!(packed(b"", "refs/heads/main").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, at: u64) {
            let id = ObjectId::from_hex(ID.as_bytes()).unwrap();
            head(&bytes);
            packed(&bytes, "refs/heads/main");
            gitdir(&bytes);
            loose_commit(&bytes, id);
            packed_commit(&bytes, at, id);
            offset(bytes, id);
        }
    }
}
