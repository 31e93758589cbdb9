//! Exit codes (CONTRACTS 5) and the one-line error that goes with each. Nothing here decides what went wrong.

use std::fmt;
use std::io;

use atlas_manifests::shelf::ShelfError;
use serde::Serialize;

use crate::view::escape;
use crate::view::out::{self, Out};

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
    /// A signature is not of anybody trusted.
    pub(crate) const NOT_TRUSTED: Self = Self(5);
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
        let text = plain(text.into());
        Self { code, text }
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

    /// Says it on standard error, and to a program that asked for JSON on `json` too, unless that holds a document already.
    pub(crate) fn report(&self, json: Option<&mut Out>) {
        let Some(line) = self.line() else { return };
        if let Some(to) = json
            && !to.begun()
        {
            let told = Told {
                error: Error {
                    code: self.code.0,
                    text: &self.text,
                },
            };
            // Nobody may read there any more; the line below and the code are said all the same.
            let _ = to.json(&told);
        }
        out::say(&line);
    }

    /// The line for standard error, safe for a terminal; `None` when there is nothing to say. A name of thousands of characters is
    /// cut in its middle: what stands before it and after it is what helps.
    pub(crate) fn line(&self) -> Option<String> {
        const MOST: usize = 600;
        let text = escape::short(&escape::line(&self.text), MOST);
        (!self.text.is_empty()).then(|| format!("atlasctl: {text}"))
    }
}

/// A failure as a program reads it.
#[derive(Serialize)]
struct Told<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: u8,
    text: &'a str,
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

/// Without the numbers that Rust appends to the system's words.
fn plain(mut text: String) -> String {
    const NUMBER: &str = " (os error ";
    let mut from = 0;
    while let Some(at) = text[from..].find(NUMBER).map(|at| from + at) {
        let rest = &text[at + NUMBER.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        from = at + NUMBER.len() + digits;
        if rest[digits..].starts_with(')') {
            text.replace_range(at..=from, "");
            from = at;
        }
    }
    text
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
    fn an_error_about_a_very_long_name_still_ends_with_its_remedy() {
        let f = Failure::error(format!("{}: is a pipe: name a file", "x".repeat(10_000)));
        let line = f.line().unwrap();
        assert!(line.len() < 700 && line.ends_with("name a file"), "{line}");
    }

    #[test]
    fn a_system_error_reads_like_a_sentence() {
        let e = io::Error::from_raw_os_error(2);
        assert_eq!(reason(&e), "no such file or directory");
        let f = Failure::error(format!("a: {e}: look; b: {e} (os error x) (os error 1"));
        let words = "No such file or directory";
        let plain = format!("a: {words}: look; b: {words} (os error x) (os error 1");
        assert_eq!(f.text, plain);
    }
}
