//! Keeps the rules of `.atlasignore` files current while the mount lives. Reads each when it changed; the deciding is `Exclusions`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use atlas_manifests::digest::Sha256;

use super::exclusions::directories;
use super::{Config, Exclusions, IGNORE_FILE};

/// More of a file of rules is not read, in bytes.
const MAX_RULES: u64 = 1 << 20;

/// Opens a path below SOURCE on the backing side, never through the mount.
type Open = Box<dyn Fn(&Path) -> io::Result<File> + Send + Sync>;

/// The rules in force now. Called off the FUSE threads: it looks at one file for each directory above the one asked about.
pub struct LiveExclusions {
    config: Config,
    open: Open,
    state: RwLock<State>,
}

struct State {
    rules: Exclusions,
    /// What was last seen of each directory's file of rules; no entry where there was none.
    seen: HashMap<PathBuf, Seen>,
}

struct Seen {
    /// Device, inode, size, mtime (s, ns) and ctime (s, ns).
    identity: (u64, u64, u64, i64, i64, i64, i64),
    digest: Sha256,
}

impl LiveExclusions {
    /// `open` is `Backing::open_path`, or what stands for it.
    pub fn new(
        config: Config,
        open: impl Fn(&Path) -> io::Result<File> + Send + Sync + 'static,
    ) -> Self {
        let rules = Exclusions::new(&config);
        Self {
            config,
            open: Box::new(open),
            state: RwLock::new(State {
                rules,
                seen: HashMap::new(),
            }),
        }
    }

    /// As `Exclusions::excluded`, with every `.atlasignore` above `rel` as it is now.
    pub fn excluded(&self, rel: &Path) -> bool {
        for dir in directories(rel) {
            self.refresh(&dir);
        }
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .rules
            .excluded(rel)
    }

    /// Digest of the configuration that decides about `rel`: `config.toml`, and each `.atlasignore` above it, as last seen.
    pub fn digest(&self, rel: &Path) -> Sha256 {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = self.config.digest().hex();
        let mut any = false;
        for (depth, dir) in directories(rel).iter().enumerate() {
            if let Some(seen) = state.seen.get(dir) {
                any = true;
                // Writing to a string cannot fail.
                let _ = write!(text, "\n{depth} {}", seen.digest.hex());
            }
        }
        if any {
            Sha256::of(text.as_bytes())
        } else {
            self.config.digest()
        }
    }

    fn refresh(&self, dir: &Path) {
        let found = (self.open)(&dir.join(IGNORE_FILE)).and_then(|file| {
            let meta = file.metadata()?;
            Ok((file, meta))
        });
        let (file, meta) = match found {
            Ok((file, meta)) if meta.is_file() => (file, meta),
            // Absent is the usual case; one that cannot be read says nothing, and the file it would speak of is sealed.
            _ => {
                let known = self
                    .state
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .seen
                    .contains_key(dir);
                if known {
                    let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                    state.seen.remove(dir);
                    state.rules.remove_ignore_file(dir);
                }
                return;
            }
        };
        let identity = (
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        );
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.seen.get(dir).is_some_and(|s| s.identity == identity) {
                return;
            }
        }
        let mut text = Vec::new();
        if let Err(e) = file.take(MAX_RULES).read_to_end(&mut text) {
            tracing::warn!("{}: {e}", dir.join(IGNORE_FILE).escaped());
            return;
        }
        let digest = Sha256::of(&text);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.rules.set_ignore_file(dir, &text);
        state.seen.insert(dir.to_owned(), Seen { identity, digest });
    }
}

/// Paths as a terminal may see them.
trait Escaped {
    fn escaped(&self) -> String;
}

impl Escaped for Path {
    fn escaped(&self) -> String {
        self.to_string_lossy().escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn rules_are_followed_as_they_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        fs::create_dir(root.join("a")).unwrap();
        let live = LiveExclusions::new(Config::default(), move |p| File::open(root.join(p)));
        let file = Path::new("a/x.tmp");
        let before = live.digest(file);
        assert!(!live.excluded(file));
        fs::write(dir.path().join("a/.atlasignore"), "*.tmp\n").unwrap();
        assert!(live.excluded(file));
        assert_ne!(
            live.digest(file),
            before,
            "the manifest would not say which rules held"
        );
        assert!(!live.excluded(Path::new("x.tmp")));
        fs::write(dir.path().join("a/.atlasignore"), "*.temp\n").unwrap();
        assert!(!live.excluded(file));
        fs::write(dir.path().join(".atlasignore"), "*.tmp\n").unwrap();
        assert!(live.excluded(file));
        fs::remove_file(dir.path().join(".atlasignore")).unwrap();
        fs::remove_file(dir.path().join("a/.atlasignore")).unwrap();
        assert!(!live.excluded(file));
        assert_eq!(live.digest(file), before);
    }

    #[test]
    fn a_directory_or_a_pipe_by_that_name_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        fs::create_dir(root.join(".atlasignore")).unwrap();
        let live = LiveExclusions::new(Config::default(), move |p| File::open(root.join(p)));
        assert!(!live.excluded(Path::new("x.tmp")));
    }
}
