//! Exit codes (CONTRACTS 5) and the one-line error that goes with each. Nothing here decides what went wrong.

use std::fmt;
use std::io;

use atlas_manifests::shelf::ShelfError;

use crate::view::escape;

/// An exit code. The numbers are a contract; new ones may be added, none changes its meaning. Those that only verification finds
/// are named in `atlas_manifests::verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Code(pub u8);

impl Code {
    /// All went well.
    pub(crate) const OK: Self = Self(0);
    /// Any other error.
    pub(crate) const ERROR: Self = Self(1);
    /// The command line makes no sense.
    pub(crate) const USAGE: Self = Self(2);
    /// There is no manifest.
    pub(crate) const NO_MANIFEST: Self = Self(3);
    /// No daemon can be reached.
    pub(crate) const NO_DAEMON: Self = Self(9);
    /// `run` itself failed, before or beside its command.
    pub(crate) const RUN_FAILED: Self = Self(125);
    /// `run`: the command cannot be executed.
    pub(crate) const CANNOT_EXEC: Self = Self(126);
    /// `run`: the command is not found.
    pub(crate) const NOT_FOUND: Self = Self(127);
    /// Interrupted from the keyboard.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// Standard output was closed before everything was said: as if SIGPIPE had ended us, never 0.
    pub(crate) const CLOSED_PIPE: Self = Self(141);
}

impl From<i32> for Code {
    /// What the channel said; anything that is no exit code is an error.
    fn from(code: i32) -> Self {
        u8::try_from(code).map_or(Self::ERROR, Self)
    }
}

/// Why a command stops: a code, and one line that names the thing and says what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process ends with.
    pub code: Code,
    /// `thing: what: remedy`, not yet escaped; empty when there is nothing to say.
    pub text: String,
}

impl Failure {
    /// A failure with a line of its own.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// Any other error.
    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self::new(Code::ERROR, text)
    }

    /// Reading or writing `thing` failed.
    pub(crate) fn io(thing: impl fmt::Display, error: &io::Error) -> Self {
        Self::error(format!("{thing}: {}", reason(error)))
    }

    /// A command that has said all on standard output already.
    pub(crate) fn silent(code: Code) -> Self {
        Self::new(code, "")
    }

    /// The line for standard error, safe for a terminal; `None` when there is nothing to say.
    pub(crate) fn line(&self) -> Option<String> {
        (!self.text.is_empty()).then(|| format!("atlasctl: {}", escape::line(&self.text)))
    }
}

impl From<ShelfError> for Failure {
    fn from(error: ShelfError) -> Self {
        let code = match &error {
            ShelfError::Daemon(_) => Code::NO_DAEMON,
            ShelfError::Io { .. } | ShelfError::Damaged(_) => Code::ERROR,
        };
        Self::new(code, error.to_string())
    }
}

/// The system's words for an error, without the number that Rust appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) if error.raw_os_error().is_some() => text[..at].to_lowercase(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_the_file_is_called() {
        let f = Failure::error("a\nb\x1b[31m: no such file");
        assert_eq!(f.line().unwrap(), r"atlasctl: a\nb\x1b[31m: no such file");
    }

    #[test]
    fn a_system_error_reads_like_a_sentence() {
        let e = io::Error::from_raw_os_error(2);
        assert_eq!(reason(&e), "no such file or directory");
    }
}
