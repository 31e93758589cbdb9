//! What is mounted where, as `/proc/self/mountinfo` says it (proc_pid_mountinfo(5)). Never touches a mount: a dead one would block.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The type that the kernel shows for a mount of ours.
pub const FS_TYPE: &str = "fuse.atlas";

/// One mount of this mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for it.
    pub id: u64,
    /// Major and minor device number.
    pub dev: (u32, u32),
    /// Which directory of its filesystem is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// For example `ext4` or `fuse.atlas`.
    pub fs_type: String,
    /// Whatever was named as its source.
    pub source: PathBuf,
}

/// Every mount of this process's namespace, in the order in which they cover each other.
///
/// # Errors
/// When /proc is not mounted.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mount that one sees at exactly `point`; `None` when nothing is mounted there.
pub fn at<'a>(mounts: &'a [Mount], point: &Path) -> Option<&'a Mount> {
    mounts.iter().rfind(|m| m.point == point)
}

/// The mount that `path` lies on.
pub fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let depth = |m: &Mount| m.point.as_os_str().len();
    mounts
        .iter()
        .filter(|m| path.starts_with(&m.point))
        .max_by_key(|m| depth(m))
}

/// Where else the directory `path`, or a part of it, can be reached: other mounts of the same filesystem that show it.
pub fn other_ways(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let Some(own) = covering(mounts, path) else {
        return Vec::new();
    };
    let Ok(below) = path.strip_prefix(&own.point) else {
        return Vec::new();
    };
    let inside = join(&own.root, below);
    mounts
        .iter()
        .filter(|m| m.dev == own.dev && m.id != own.id)
        .filter_map(|m| {
            if let Ok(rest) = inside.strip_prefix(&m.root) {
                Some(join(&m.point, rest))
            } else {
                m.root.starts_with(&inside).then(|| m.point.clone())
            }
        })
        .filter(|way| way != path)
        .collect()
}

/// `join`, without a slash at the end when there is nothing to add.
fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        base.to_owned()
    } else {
        base.join(rest)
    }
}

/// Reads the file's text; a line that is not one is passed over.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|b| *b == b' ');
    let id = number(words.next()?)?;
    words.next()?;
    let dev = std::str::from_utf8(words.next()?).ok()?;
    let (major, minor) = dev.split_once(':')?;
    let root = path(words.next()?);
    let point = path(words.next()?);
    words.find(|w| *w == b"-")?;
    Some(Mount {
        id,
        dev: (major.parse().ok()?, minor.parse().ok()?),
        root,
        point,
        fs_type: String::from_utf8_lossy(words.next()?).into_owned(),
        source: path(words.next()?),
    })
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Space, tab, newline and backslash stand as three octal digits after a backslash.
fn path(word: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|octal| std::str::from_utf8(octal).ok())
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
60 27 254:0 /srv/data /mnt/a\\040b rw - ext4 /dev/vda rw
61 27 254:0 /srv /srv2 rw shared:3 master:1 - ext4 /dev/vda rw
62 27 0:50 / /atlas rw,nosuid - fuse.atlas /srv/da\\134ta rw,user_id=0
63 27 0:51 / /atlas rw - tmpfs none rw
broken line
";

    #[test]
    fn lines_with_escapes_and_optional_fields_are_read() {
        let all = parse(TEXT);
        assert_eq!(all.len(), 5);
        assert_eq!(all[1].point, Path::new("/mnt/a b"));
        assert_eq!(all[3].source, Path::new("/srv/da\\ta"));
        assert_eq!(all[3].fs_type, FS_TYPE);
    }

    #[test]
    fn of_two_mounts_at_one_place_the_later_is_seen() {
        let all = parse(TEXT);
        assert_eq!(at(&all, Path::new("/atlas")).unwrap().id, 63);
        assert_eq!(covering(&all, Path::new("/atlas/x")).unwrap().id, 63);
        assert_eq!(covering(&all, Path::new("/atlas2")).unwrap().id, 27);
        assert!(at(&all, Path::new("/nowhere")).is_none());
    }

    #[test]
    fn other_mounts_that_show_a_directory_or_part_of_it_are_found() {
        let all = parse(TEXT);
        assert_eq!(
            other_ways(&all, Path::new("/srv/data")),
            [Path::new("/mnt/a b"), Path::new("/srv2/data")]
        );
        assert_eq!(
            other_ways(&all, Path::new("/srv/data/x")),
            [Path::new("/mnt/a b/x"), Path::new("/srv2/data/x")]
        );
        assert_eq!(
            other_ways(&all, Path::new("/srv")),
            [Path::new("/mnt/a b"), Path::new("/srv2")]
        );
        assert!(other_ways(&all, Path::new("/home")).is_empty());
    }

    #[test]
    fn this_systems_own_table_is_understood() {
        assert!(mounts().unwrap().iter().any(|m| m.point == Path::new("/")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
            let _ = path(&text);
        }
    }
}
