//! `config.toml` (CONTRACTS 6): what to seal and what to leave out. Not command-line options.

mod exclusions;
mod live;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use atlas_manifests::digest::Sha256;
pub use atlas_manifests::exclusion::DEFAULT_EXCLUDE;
use atlas_manifests::given::{self, GivenError};
use serde::Deserialize;
use toml::Spanned;

pub use exclusions::{Exclusions, IGNORE_FILE};
pub use live::LiveExclusions;

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Files that are tracked as inputs and never sealed: lines of `.gitignore` syntax, below SOURCE.
    pub exclude: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            exclude: DEFAULT_EXCLUDE.map(String::from).to_vec(),
        }
    }
}

/// What is wrong with a configuration, in one line that names file and line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that is not understood.
    #[error("{}:{line}: {what}: correct it, or remove the file and run `atlas-fs init` for a fresh one", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seal: Seal,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    exclude: Option<Vec<Spanned<String>>>,
}

impl Config {
    /// Reads the text of a configuration. `path` is only for messages. What is not said has its default.
    ///
    /// # Errors
    /// When it is not TOML, holds an unknown key (it could be a misspelt one), or a pattern that no file name can match.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |at: usize, what: &str| ConfigError::Wrong {
            path: path.to_owned(),
            line: line_of(text, at),
            what: what
                .lines()
                .next()
                .unwrap_or("cannot be read")
                .escape_default()
                .to_string(),
        };
        let file: File = toml::from_str(text)
            .map_err(|e| wrong(e.span().map_or(0, |span| span.start), e.message()))?;
        let Some(patterns) = file.seal.exclude else {
            return Ok(Self::default());
        };
        for pattern in &patterns {
            exclusions::check(pattern.as_ref()).map_err(|e| wrong(pattern.span().start, &e))?;
        }
        Ok(Self {
            exclude: patterns.into_iter().map(Spanned::into_inner).collect(),
        })
    }

    /// Reads `path`; the default when there is no such file.
    ///
    /// # Errors
    /// As `parse`, and when it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(ConfigError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| ConfigError::Wrong {
            path: path.to_owned(),
            line: bytes[..e.valid_up_to()].split(|b| *b == b'\n').count(),
            what: "not UTF-8".into(),
        })?;
        Self::parse(text, path)
    }

    /// Writes the default, with every key and what it means, unless the file is there already. True when it was written.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn write_default(path: &Path) -> Result<bool, ConfigError> {
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .and_then(|mut file| {
                file.write_all(Self::default_text().as_bytes())?;
                file.sync_all()
            });
        match made {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(ConfigError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The default as a file with comments.
    pub fn default_text() -> String {
        let mut text = String::from(
            "# What Atlas seals below this directory. Read when it is mounted.\n\n\
             [seal]\n\
             # Files that are tracked as inputs and never sealed, in .gitignore syntax.\n\
             # A `.atlasignore` beside the data adds to these, or takes back with `!`.\n\
             exclude = [\n",
        );
        for pattern in DEFAULT_EXCLUDE {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {pattern:?},");
        }
        text.push_str("]\n");
        text
    }

    /// SHA-256 of the effective configuration in one spelling: each pattern with its length before it, in order. Comments and layout do not count.
    pub fn digest(&self) -> Sha256 {
        let mut canonical = b"atlas/config/v1\0".to_vec();
        for pattern in &self.exclude {
            canonical.extend_from_slice(&(pattern.len() as u64).to_be_bytes());
            canonical.extend_from_slice(pattern.as_bytes());
        }
        Sha256::of(&canonical)
    }
}

/// The bytes of a regular file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = given::open(path).map_err(|e| match e {
        GivenError::NotAFile => io::Error::other("not a regular file"),
        other => other.into(),
    })?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The line that holds byte `at`, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/s/.atlas/config.toml"))
    }

    #[test]
    fn what_init_writes_is_the_default() {
        assert_eq!(parse(&Config::default_text()).unwrap(), Config::default());
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(parse("[seal]\n").unwrap(), Config::default());
        assert_eq!(
            parse("[seal]\nexclude = []").unwrap().exclude,
            Vec::<String>::new()
        );
    }

    #[test]
    fn garbage_is_named_by_file_and_line_in_one_line() {
        for (text, line) in [
            ("[seal]\nexclude = [\n  \"a\",\n  3,\n]\n", 4),
            ("[seal]\nexclude = [\"ok\",\n\"x[z-a]\"]\n", 3),
            ("[seal]\n\nexlude = []\n", 3),
            ("[sael]\n", 1),
            ("\n\u{1}\u{2}garbage\n", 2),
            ("[seal]\nexclude = \"x", 2),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("/s/.atlas/config.toml:{line}: ")),
                "{message}"
            );
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_text_is_named_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, b"[seal]\n\xff\xfe").unwrap();
        let message = Config::load(&path).unwrap_err().to_string();
        assert!(message.contains("config.toml:2: not UTF-8"), "{message}");
    }

    #[test]
    fn the_default_is_written_once_and_never_over_a_persons_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert_eq!(Config::load(&path).unwrap(), Config::default());
        assert!(Config::write_default(&path).unwrap());
        fs::write(&path, "[seal]\nexclude = [\"mine\"]\n").unwrap();
        assert!(!Config::write_default(&path).unwrap());
        assert_eq!(Config::load(&path).unwrap().exclude, ["mine"]);
    }

    #[test]
    fn the_digest_is_of_what_is_in_force_and_not_of_its_layout() {
        let a = parse("[seal]\nexclude = [\"a\", \"b\"]").unwrap();
        let same = parse("# why\n[seal]\nexclude = [ 'a',\n 'b' ]").unwrap();
        assert_eq!(a.digest(), same.digest());
        for other in ["[\"b\", \"a\"]", "[\"ab\"]", "[\"a\", \"b\", \"\"]", "[]"] {
            let other = parse(&format!("[seal]\nexclude = {other}")).unwrap();
            assert_ne!(a.digest(), other.digest());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "(\\[seal\\]\n)?(exclude ?= ?)?\\PC{0,60}") {
            if let Err(e) = parse(&text) {
                prop_assert!(!e.to_string().contains('\n'));
            }
        }
    }
}
