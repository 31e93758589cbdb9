//! Which files are left out: the rules of `config.toml` and of `.atlasignore`, decided without touching a disk. Not who reads those files.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::Config;

/// The name of a file of rules beside the data.
pub const IGNORE_FILE: &str = ".atlasignore";

/// The rules in force. Those of a deeper directory come before those of a shallower one, and `config.toml` comes last.
#[derive(Debug, Clone)]
pub struct Exclusions {
    config: Arc<Gitignore>,
    /// By directory below SOURCE; the empty path is SOURCE itself.
    beside: BTreeMap<PathBuf, Arc<Gitignore>>,
}

impl Exclusions {
    /// The rules of the configuration alone.
    pub fn new(config: &Config) -> Self {
        Self {
            config: Arc::new(compile(config.exclude.iter().map(String::as_str))),
            beside: BTreeMap::new(),
        }
    }

    /// Adds, or replaces, what the `.atlasignore` in `dir` (below SOURCE) says. A line that is no pattern leaves nothing out, as in git.
    pub fn set_ignore_file(&mut self, dir: &Path, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        self.beside
            .insert(dir.to_owned(), Arc::new(compile(text.lines())));
    }

    /// Forgets what the `.atlasignore` in `dir` said.
    pub fn remove_ignore_file(&mut self, dir: &Path) {
        self.beside.remove(dir);
    }

    /// True when the file at `rel`, below SOURCE, is left out: it, or a directory that it lies in, is ignored. As in git, what lies in an
    /// ignored directory cannot be taken back.
    pub fn excluded(&self, rel: &Path) -> bool {
        let parts: Vec<_> = rel
            .components()
            .filter(|c| matches!(c, Component::Normal(_)))
            .collect();
        let mut upto = PathBuf::new();
        for (i, part) in parts.iter().enumerate() {
            let dir = upto.clone();
            upto.push(part);
            if self.ignored(&dir, &upto, i + 1 < parts.len()) {
                return true;
            }
        }
        false
    }

    /// What the nearest rule says of the entry `path` of directory `dir`, its parents aside.
    fn ignored(&self, dir: &Path, path: &Path, is_dir: bool) -> bool {
        for above in dir.ancestors() {
            let Some(rules) = self.beside.get(above) else {
                continue;
            };
            let below = path.strip_prefix(above).unwrap_or(path);
            let found = rules.matched(below, is_dir);
            if !found.is_none() {
                return found.is_ignore();
            }
        }
        self.config.matched(path, is_dir).is_ignore()
    }
}

/// Why a pattern cannot be used.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.chars().any(char::is_control) {
        return Err("a pattern with a control character".into());
    }
    let mut builder = GitignoreBuilder::new("");
    builder
        .add_line(None, pattern)
        .map(drop)
        .map_err(|e| e.to_string())?;
    builder.build().map(drop).map_err(|e| e.to_string())
}

fn compile<'a>(lines: impl Iterator<Item = &'a str>) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        // A line that is no pattern is passed over: those of the configuration have been checked, the others are git's way.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The directories whose `.atlasignore` may speak of `rel`, SOURCE (empty) first.
pub(super) fn directories(rel: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = rel
        .ancestors()
        .skip(1)
        .filter(|dir| !dir.as_os_str().as_bytes().starts_with(b"/"))
        .map(Path::to_owned)
        .collect();
    dirs.reverse();
    dirs
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::*;

    fn default() -> Exclusions {
        Exclusions::new(&Config::default())
    }

    #[test]
    fn the_defaults_leave_out_what_contracts_say_and_nothing_else() {
        let rules = default();
        for out in [
            ".git/HEAD",
            "a/.git/objects/ab/cd",
            "__pycache__/m.cpython-313.pyc",
            "x/node_modules/y/z.js",
            ".venv/bin/python",
            "lib/site-packages/torch/__init__.py",
            "Cargo.lock",
            "a/b.swp",
            "m.pyc",
        ] {
            assert!(rules.excluded(Path::new(out)), "{out}");
        }
        for kept in [
            ".gitignore",
            ".git",
            "git/HEAD",
            "model.safetensors",
            "lock",
            "a.lock.txt",
            "x.pycc",
            "__pycache__",
            "",
        ] {
            assert!(!rules.excluded(Path::new(kept)), "{kept}");
        }
    }

    #[test]
    fn a_deeper_file_speaks_before_a_shallower_one_and_both_before_the_configuration() {
        let mut rules = default();
        rules.set_ignore_file(Path::new(""), b"# scratch\n*.tmp\n!keep.lock\n/top\n");
        rules.set_ignore_file(Path::new("runs"), b"!*.tmp\nlogs/\n");
        assert!(rules.excluded(Path::new("a.tmp")));
        assert!(!rules.excluded(Path::new("runs/a.tmp")));
        assert!(!rules.excluded(Path::new("runs/deep/a.tmp")));
        assert!(!rules.excluded(Path::new("keep.lock")));
        assert!(rules.excluded(Path::new("other.lock")));
        assert!(rules.excluded(Path::new("top")));
        assert!(!rules.excluded(Path::new("runs/top")));
        assert!(rules.excluded(Path::new("runs/logs/x")));
        assert!(!rules.excluded(Path::new("logs/x")));
        rules.remove_ignore_file(Path::new("runs"));
        assert!(rules.excluded(Path::new("runs/a.tmp")));
    }

    #[test]
    fn what_lies_in_an_ignored_directory_cannot_be_taken_back() {
        let mut rules = default();
        rules.set_ignore_file(Path::new(""), b"!.git/config\n");
        assert!(rules.excluded(Path::new(".git/config")));
        rules.set_ignore_file(Path::new(""), b"!.git/\n");
        assert!(!rules.excluded(Path::new(".git/config")));
    }

    #[test]
    fn broken_lines_leave_nothing_out() {
        let mut rules = default();
        rules.set_ignore_file(Path::new(""), b"x[z-a]\n\xff\xfe\n*.tmp\n");
        assert!(rules.excluded(Path::new("x.tmp")));
        assert!(!rules.excluded(Path::new("x[z-a]")));
    }

    #[test]
    fn names_that_are_not_utf8_and_odd_paths_are_judged_and_do_not_panic() {
        let rules = default();
        assert!(rules.excluded(Path::new(OsStr::from_bytes(b"\xff/\xfe.pyc"))));
        assert!(rules.excluded(Path::new("/abs/x.pyc")));
        assert!(rules.excluded(Path::new("../x.pyc")));
        assert!(rules.excluded(Path::new("./x.pyc")));
    }

    #[test]
    fn the_directories_of_a_file_start_at_the_source() {
        let dirs = directories(Path::new("a/b/c"));
        assert_eq!(dirs, [Path::new(""), Path::new("a"), Path::new("a/b")]);
    }

    proptest! {
        #[test]
        fn no_rules_and_no_path_panic(text in prop::collection::vec(any::<u8>(), 0..80), path in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut rules = default();
            rules.set_ignore_file(Path::new(""), &text);
            rules.set_ignore_file(Path::new("a"), &text);
            rules.excluded(Path::new(OsStr::from_bytes(&path)));
        }
    }
}
